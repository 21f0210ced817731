"""A long run's own Vault token: renewed, or replaced by another login, before it ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import TokenRefused, VaultDenied, VaultTicketError
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.messages import VaultRequest
from vault_ticket_plugin.vault.session import VaultSession

log = logging.getLogger(__name__)

# A token is seen to after this share of what is left of it: twice more, should that fail, before it ends.
SHARE = 1 / 3
# Not more often, however short a token lives; and not less often, so that one that was replaced is noticed.
SOONEST, LATEST = 1.0, 3600.0
# Where that failed: soon enough for a token of a minute.
RETRY = 10.0
# A renewal that brings no more than this share of the token's first life has met its limit (max_ttl).
WORN_OUT = 1 / 2


def keep_token(session: VaultSession, deadline: Deadline) -> float:
    """See to it that the session's token lives on; seconds until that should be done again.

    A token that is refused, or may not look at itself, is replaced if there is a way to log in. What fails is logged:
    the calls that need the token will tell.
    """
    try:
        if session.settings.auth.method == "none":
            return LATEST  # the listener's own matter
        found = session.send(VaultRequest("GET", paths.LOOKUP_SELF), deadline).data
        ttl, first = _seconds(found, "ttl"), _seconds(found, "creation_ttl")
        if ttl == 0:
            return LATEST  # a root token, say

        if ttl > first * (1 - SHARE):
            return _pause(ttl)
        if found.get("renewable") is True:
            renewed = session.send(VaultRequest("POST", paths.RENEW_SELF, {}), deadline)
            auth = renewed.body.get("auth")
            ttl = _seconds(auth if isinstance(auth, Mapping) else {}, "lease_duration") or ttl

        if ttl <= first * WORN_OUT and session.log_in_again(deadline):
            log.info("logged in to Vault again, before the token ends")
            return SOONEST  # look what came of it
        return _pause(ttl)
    except TokenRefused as error:
        log.warning("%s. %s", error.message, error.hint)
    except VaultDenied:
        return LATEST  # it may not look at itself: another login replaces it when Vault no longer knows it
    except VaultTicketError as error:
        log.info("our Vault token could not be looked after: %s", error.message)
    return RETRY


def _pause(ttl: float) -> float:
    return min(max(ttl * SHARE, SOONEST), LATEST)


def _seconds(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
