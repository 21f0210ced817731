"""Response wrapping: a ticket behind a token that works once, so that it can be handed over.

`sys/wrapping/wrap` takes the very ticket that the issuer has just vouched for. A read of the leased path with
X-Vault-Wrap-TTL would need no rule in the policies, but wraps whatever is there at that moment: an expired version too,
which unwraps to nothing, and on KV v2 the document's history with it (docs/decisions/0014).
"""

from __future__ import annotations

from vault_ticket_plugin.clock import Deadline, to_rfc3339
from vault_ticket_plugin.errors import StoredDataInvalid, VaultDenied
from vault_ticket_plugin.model import Document, Ticket
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.judgement import BadToken, Denied
from vault_ticket_plugin.vault.messages import Invalid, Ok, VaultRequest
from vault_ticket_plugin.vault.session import VaultSession, refused


def wrap(session: VaultSession, ticket: Ticket, seconds: float, deadline: Deadline) -> Secret:
    """A wrapping token for the data of the leased path, good for so many seconds."""
    headers = {"X-Vault-Wrap-TTL": f"{max(1, int(seconds))}s"}
    request = VaultRequest("POST", paths.WRAP, leased_path.data_of(ticket), headers=headers)
    response = session.send(request, deadline)
    if not isinstance(response, Ok):
        raise refused(response, "wrapping the ticket")
    token = (response.body.get("wrap_info") or {}).get("token")
    if not isinstance(token, str):
        raise StoredDataInvalid("Vault's answer has no wrapping token", "Try again.")
    return Secret(token)


def unwrap(session: VaultSession, token: Secret, deadline: Deadline) -> Ticket:
    """The ticket behind it; a second time there is none. The token itself is the login."""
    response = session.ask(VaultRequest("POST", paths.UNWRAP, token=token), deadline)
    if isinstance(response, BadToken | Denied | Invalid):  # OpenBao says so with a 400, others with a 403
        raise _used()
    ticket = leased_path.parse(Document(response.data), session.now().latest) if isinstance(response, Ok) else None
    if ticket is None:
        raise StoredDataInvalid("what was wrapped is no ticket", "Wrap one by `vault-ticket get --wrap 60s`.")
    if not ticket.usable(session.now().latest):
        raise StoredDataInvalid(
            f"the ticket that was wrapped ended at {to_rfc3339(ticket.expires_at)}", "Have another one wrapped."
        )
    return ticket


def _used() -> VaultDenied:
    return VaultDenied(
        "Vault does not know this wrapping token: it was used already, or has expired",
        "It works once. If you have not used it, somebody else may have: withdraw the ticket "
        "(`vault-ticket revoke PROFILE`), and have a new one wrapped (`vault-ticket get PROFILE --force --wrap 60s`).",
    )
