"""One spend of the grant: the refresh grant request, tried again where that is safe."""

from __future__ import annotations

import logging
from collections.abc import Callable

from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import ClientRejected, EndpointUnavailable, GrantRejected, SpendInDoubt
from vault_ticket_plugin.model import Doubt, TokenResponse
from vault_ticket_plugin.refresh import notes
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

# Between two tries of one spend; none begins past this share of its time: cut short, its answer might get lost.
BACKOFF_INITIAL, BACKOFF_MAX, RETRY_UNTIL = 0.2, 2.0, 0.75


def spend(
    ask: Callable[[], TokenResponse], profile: Profile, found: Doubt | None, ours: Doubt, budget: Deadline, clock: Clock
) -> TokenResponse:
    """`ask`: one request. All tries lie within the budget.

    `found`: the doubt that the grant was found with. `ours`: what there is to say once an answer is lost; a rejection
    after that has the loss as its cause.
    """
    grace = Deadline.after(profile.reuse_grace, clock)
    pauses = budget.within(budget.left() * RETRY_UNTIL).pauses(BACKOFF_INITIAL, BACKOFF_MAX)
    lost: SpendInDoubt | None = None
    failed: EndpointUnavailable | None = None
    while True:
        try:
            log.info("spending the refresh token of %s", profile.grant)
            return ask()
        except (GrantRejected, ClientRejected) as error:
            raise notes.rejected(error.code, ours if lost else found, profile) from lost
        except SpendInDoubt as error:
            if lost is not None or grace.passed() or next(pauses, None) is None:
                raise
            lost = error
        except EndpointUnavailable as error:
            # The last try of all, cut short by the end of the time, tells less than the one before it.
            failed = failed if failed is not None and budget.passed() else error
            wait = error.retry_after or 0.0
            if wait >= budget.left():
                raise lost or failed from None
            clock.sleep(wait)
            if next(pauses, None) is None:
                raise lost or failed from None
