"""A ticket as an answer over HTTP: its body, and the headers that say how long it stays true."""

from __future__ import annotations

from email.utils import formatdate

from vault_ticket_plugin.daemon.http_api.problem import Headers, Response
from vault_ticket_plugin.formats import json_document
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.model import LiveTicket
from vault_ticket_plugin.settings.profile import Profile

NOT_IN_304 = (b"content-type", b"content-length")


class TicketResponse:
    """Made once for a ticket, and its headers once a second at most."""

    __slots__ = ("body", "etag", "fingerprint", "headers", "lasting", "live", "profile", "second")

    def __init__(self, live: LiveTicket, profile: Profile, on_tcp: bool) -> None:
        ticket = live.ticket
        self.live, self.profile, self.second = live, profile, -1
        self.fingerprint = ticket.access_token.fingerprint()
        self.etag = f'"{self.fingerprint}"'.encode()
        self.body = json_document.render(ticket, FormatContext(profile)).encode()

        self.headers: Headers = []
        self.lasting: Headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            (b"etag", self.etag),
            (b"last-modified", formatdate(ticket.issued_at, usegmt=True).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        if on_tcp:
            self.lasting.append((b"vary", b"X-Vault-Token, Authorization"))

    def headers_at(self, now: float) -> Headers:
        left, ticket = self.live.left(now), self.live.ticket
        time = ticket.expires_at - left
        if int(time) != self.second:
            self.second = int(time)
            fresh = max(0, int(left - self.profile.windows.soft_for(ticket.lifetime)))
            self.headers = [
                *self.lasting,
                (b"date", formatdate(time, usegmt=True).encode()),
                (b"cache-control", b"private, max-age=%d" % fresh),
            ]
        return self.headers

    def answer(self, now: float, if_none_match: bytes | None) -> Response:
        headers = self.headers_at(now)
        if if_none_match is not None and _matches(if_none_match, self.etag):
            return Response(304, [one for one in headers if one[0] not in NOT_IN_304], b"", True)
        return Response(200, headers, self.body, True)


def _matches(listed: bytes, etag: bytes) -> bool:
    return any(one.strip().removeprefix(b"W/") in (b"*", etag) for one in listed.split(b","))
