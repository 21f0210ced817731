"""The token endpoint over HTTPS: the refresh grant (RFC 6749 section 6) and revocation (RFC 7009)."""

from __future__ import annotations

import logging
from urllib.parse import urlencode, urlsplit

from vault_ticket_plugin import __version__
from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import EndpointUnavailable, ProtocolError, SpendInDoubt
from vault_ticket_plugin.model import ClientIdentity, TokenResponse
from vault_ticket_plugin.oauth import token_response
from vault_ticket_plugin.oauth.client_auth import form_fields
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.settings.vault import Tls
from vault_ticket_plugin.transport.exchange import MAX_ANSWER_BYTES, HttpResponse, Interrupted, NotSent, Transport

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    "User-Agent": f"vault-ticket/{__version__}",
}
UNREVOKED = "The ticket is withdrawn from Vault, and stays valid at the server until it expires."


class HttpTokenEndpoint:
    """`TokenEndpoint` (ports.py) for one profile. Each request has a connection of its own: a kept-alive one that the
    server has just closed would leave a spend in doubt."""

    def __init__(self, profile: Profile, clock: Clock) -> None:
        self._profile = profile
        self._clock = clock

    def refresh(
        self, refresh_token: Secret, client: ClientIdentity, send_by: Deadline, deadline: Deadline
    ) -> TokenResponse:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        try:
            response = self._post(self._profile.token_url, form | form_fields(client), send_by, deadline)
        except NotSent as error:
            raise EndpointUnavailable(f"the token endpoint can't be reached: {error}", token_response.LATER) from None
        except Interrupted as error:
            raise SpendInDoubt(f"the token endpoint's answer was lost: {error}", token_response.LATER) from None
        if len(response.body) > MAX_ANSWER_BYTES:
            raise ProtocolError("the token endpoint's answer is larger than 1 MiB", token_response.CHECK_URL)
        return token_response.read(
            response.status, response.headers, response.body, self._profile.default_lifetime, self._clock.wall()
        )

    def revoke(self, access_token: Secret, client: ClientIdentity | None, deadline: Deadline) -> bool:
        url = self._profile.revocation_url
        if url is None:
            return False
        form = {"token": access_token.reveal(), "token_type_hint": "access_token"}
        if client is not None:
            form |= form_fields(client)
        try:
            response = self._post(url, form, deadline, deadline)
        except (NotSent, Interrupted) as error:
            raise EndpointUnavailable(f"the revocation endpoint can't be reached: {error}", UNREVOKED) from None
        if response.status != 200:  # RFC 7009 section 2.2: 200 for an unknown token too
            raise EndpointUnavailable(f"the revocation endpoint refuses (status {response.status})", UNREVOKED)
        return True

    def _post(self, url: str, form: dict[str, str], send_by: Deadline, deadline: Deadline) -> HttpResponse:
        transport = Transport(Tls(ca_file=self._profile.ca_cert))
        try:
            body = urlencode(form).encode()
            response = transport.exchange("POST", url, HEADERS, body, deadline, deadline.left(), send_by)
        finally:
            transport.close()
        log.debug("POST %s: status %d", urlsplit(url)._replace(query="").geturl(), response.status)
        return response
