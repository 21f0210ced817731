"""A login by hvac, which knows every auth method's API: what its answer means, and what a refusal does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError, VaultDenied, VaultTicketError
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.vault import Auth
from vault_ticket_plugin.vault.hvac_adapter import hvac_client
from vault_ticket_plugin.vault.judgement import BadToken, Denied
from vault_ticket_plugin.vault.messages import Invalid, Ok, VaultRequest, VaultResponse
from vault_ticket_plugin.vault.session import Login, VaultSession

# Both servers' user lockout: after five wrong logins, by default.
LOCKOUT = "15 minutes"


def log_in_by_hvac(
    session: VaultSession, auth: Auth, deadline: Deadline, keys: str, call: Callable[[Any], Any]
) -> Login:
    """`call`: the login, with an hvac client. `keys`: the ones in [vault] auth that decide it."""
    import hvac.exceptions

    where, hint = f"auth/{auth.mount}", f"Check {keys} and mount in the configuration, and the role in Vault."

    def judge(response: VaultResponse | BadToken | Denied, _request: VaultRequest) -> Any:
        if isinstance(response, Ok) and "auth" in response.body:
            return response.body
        raise _failure(response, auth.method, where, hint)

    client = hvac_client(session, deadline, judge, anonymous=True)
    try:
        given = call(client)["auth"]
    except hvac.exceptions.VaultError as error:
        raise ConfigError(f"the {auth.method} login can't be made: {type(error).__name__}", hint) from None
    # A batch token has no lease and can't be revoked.
    return Login(Secret(given["client_token"]), renewable=True, revocable=given.get("token_type") != "batch")


def _failure(response: VaultResponse | BadToken | Denied, method: str, where: str, hint: str) -> VaultTicketError:
    if isinstance(response, Invalid):  # a wrong secret id, an unknown role, a claim that is not bound
        return VaultDenied(f"Vault refuses the {method} login at {where}: {response.errors}", hint)
    if isinstance(response, BadToken | Denied):
        return VaultDenied(
            f"Vault refuses the {method} login at {where}: permission denied",
            f"There is no {method} login at that mount, or no such role; or Vault lets nobody in by it for {LOCKOUT}, "
            f"after five wrong logins. {hint}",
        )
    if "namespace" in response.errors:  # OpenBao's 404 for one that is not there
        return ConfigError(f"Vault can't find {where}: {response.errors}", "Check VAULT_NAMESPACE or `namespace`.")
    return ConfigError(
        f"Vault has no {method} login at {where}", "Correct `mount` in [vault] auth, or enable the method there."
    )
