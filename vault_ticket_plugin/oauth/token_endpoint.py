"""The token endpoint over HTTPS: the refresh grant (RFC 6749 section 6) and revocation (RFC 7009)."""

from __future__ import annotations

import logging
from urllib.parse import urlencode, urlsplit

from vault_ticket_plugin import __version__
from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import ConfigError, EndpointUnavailable, ProtocolError, SpendInDoubt
from vault_ticket_plugin.model import TokenResponse
from vault_ticket_plugin.oauth import token_response
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

    def refresh(self, refresh_token: Secret, client_id: str | None, deadline: Deadline) -> TokenResponse:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()}
        if client_id is None:
            raise ConfigError(
                f"profile {self._profile.name} has no Client ID",
                "Put client_id into the profile, or store it with the grant: `vault-ticket store` asks for it.",
            )
        try:
            reply = self._post(self._profile.token_url, form | {"client_id": client_id}, deadline)
        except NotSent as error:
            raise EndpointUnavailable(f"the token endpoint can't be reached: {error}", token_response.LATER) from None
        except Interrupted as error:
            raise SpendInDoubt(f"the token endpoint's answer was lost: {error}", token_response.LATER) from None
        if len(reply.body) > MAX_ANSWER_BYTES:
            raise ProtocolError("the token endpoint's answer is larger than 1 MiB", token_response.CHECK_URL)
        return token_response.read(
            reply.status, reply.headers, reply.body, self._profile.default_lifetime, self._clock.wall()
        )

    def revoke(self, access_token: Secret, client_id: str | None, deadline: Deadline) -> bool:
        url = self._profile.revocation_url
        if url is None:
            return False
        form = {"token": access_token.reveal(), "token_type_hint": "access_token"}
        if client_id:
            form["client_id"] = client_id
        try:
            reply = self._post(url, form, deadline)
        except (NotSent, Interrupted) as error:
            raise EndpointUnavailable(f"the revocation endpoint can't be reached: {error}", UNREVOKED) from None
        if reply.status != 200:  # RFC 7009 section 2.2: 200 for an unknown token too
            raise EndpointUnavailable(f"the revocation endpoint refuses (status {reply.status})", UNREVOKED)
        return True

    def _post(self, url: str, form: dict[str, str], deadline: Deadline) -> HttpResponse:
        transport = Transport(Tls(ca_file=self._profile.ca_cert))
        try:
            reply = transport.exchange("POST", url, HEADERS, urlencode(form).encode(), deadline, deadline.left())
        finally:
            transport.close()
        log.debug("POST %s: status %d", urlsplit(url)._replace(query="").geturl(), reply.status)
        return reply
