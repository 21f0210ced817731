"""hvac over our session: it knows every API's calls, and sends them by our transport, retries and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.vault.judgement import BadToken, Denied
from vault_ticket_plugin.vault.messages import Invalid, Missing, Ok, VaultRequest
from vault_ticket_plugin.vault.session import VaultSession

Judge = Callable[[Ok | Missing | Invalid | BadToken | Denied, VaultRequest], Any]


def hvac_client(session: VaultSession, deadline: Deadline, judge: Judge, *, anonymous: bool = False) -> Any:
    """An hvac.Client whose calls return what `judge` makes of the answer; `anonymous`: without the session's token."""
    import hvac
    import hvac.adapters

    class Adapter(hvac.adapters.Adapter):  # type: ignore[misc]
        def request(self, method: str, url: str, json: Mapping[str, Any] | None = None, **_: object) -> Any:
            path = unquote(url.removeprefix("/v1/"))  # the session quotes it
            request = VaultRequest(method.upper(), path, json, anonymous=anonymous)
            return judge(session.ask(request, deadline), request)

        def get_login_token(self, response: Any) -> Any:
            return response["auth"]["client_token"]

    return hvac.Client(url=session.settings.address, token="", adapter=Adapter)
