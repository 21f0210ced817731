"""One spend of the grant: the refresh grant request, tried again where that is safe."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import (
    ClientRejected,
    EndpointUnavailable,
    GrantRejected,
    SpendInDoubt,
    VaultTicketError,
)
from vault_ticket_plugin.model import Doubt, TokenResponse
from vault_ticket_plugin.refresh.notes import rejected
from vault_ticket_plugin.refresh.retry import BACKOFF_INITIAL, BACKOFF_MAX, LAST_TRY_SHARE
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)


class SpendFailure(NamedTuple):
    """No answer to use."""

    error: VaultTicketError
    lost: bool = False
    """Whether the answer to a try of ours was lost: what is told as dead may be what that one brought to life."""


def spend(
    ask: Callable[[], TokenResponse], profile: Profile, found: Doubt | None, ours: Doubt, budget: Deadline, clock: Clock
) -> TokenResponse | SpendFailure:
    """`ask`: one request. All tries lie within the budget, and those after a lost answer within `reuse_grace` too.

    `found`: the doubt that the grant was found with. `ours`: what there is to say once an answer is lost.
    """
    grace = Deadline.after(profile.reuse_grace, clock)
    tries = budget.within(budget.left() * LAST_TRY_SHARE)
    backoff = tries.backoff(BACKOFF_INITIAL, BACKOFF_MAX)
    lost: SpendInDoubt | None = None
    failed: EndpointUnavailable | None = None
    while True:
        try:
            log.info("spending the refresh token of %s", profile.grant)
            return ask()

        except (GrantRejected, ClientRejected) as error:
            return SpendFailure(rejected(error.code, ours if lost else found, profile), lost is not None)

        except SpendInDoubt as error:
            backoff = tries.within(grace.left()).backoff(BACKOFF_INITIAL, BACKOFF_MAX)
            if lost is not None or not backoff.sleep(error.retry_after or 0.0):
                return SpendFailure(error, lost=True)
            lost = error

        except EndpointUnavailable as error:
            # The last try of all, cut short by the end of the time, tells less than the one before it.
            failed = failed if failed is not None and budget.passed() else error
            if not backoff.sleep(error.retry_after or 0.0):
                return SpendFailure(lost or failed, lost is not None)

        except VaultTicketError as error:
            return SpendFailure(error, lost is not None)
