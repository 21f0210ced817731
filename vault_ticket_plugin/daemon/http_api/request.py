"""Reading a request: whom it is sent to, by what, and how long the ticket shall last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from vault_ticket_plugin.daemon.http_api.problem import Headers, Refused, problem
from vault_ticket_plugin.durations import parse_duration
from vault_ticket_plugin.settings.hosts import is_loopback

# Duration's largest unit first, each once, and few digits: whatever fits is a duration below a hundred years.
_PART = r"(\.[0-9]{1,20})?"
MIN_TTL = re.compile(
    rf"[0-9]{{1,9}}{_PART}|([0-9]{{1,4}}{_PART}d)?([0-9]{{1,5}}{_PART}h)?([0-9]{{1,7}}{_PART}m)?"
    rf"([0-9]{{1,9}}{_PART}s)?([0-9]{{1,9}}{_PART}ms)?"
)
HOST = re.compile(r"(?P<name>\[[0-9a-f:]+\]|[a-z0-9.]+)(:[0-9]{1,5})?")
MAX_HOSTS = 64
ONCE = (b"host", b"authorization", b"x-vault-token")


class OriginGuard:
    """What no other host's web page gets through. For one thread."""

    def __init__(self) -> None:
        self._hosts: set[bytes | None] = set()

    def headers(self, listed: Headers, is_unix: bool) -> Mapping[bytes, bytes]:
        headers = dict(listed)
        if len(headers) != len(listed):
            names = [name for name, _ in listed]
            if any(names.count(one) > 1 for one in ONCE):
                raise Refused(problem(400, "a header that names one thing is there twice"))
        if b"origin" in headers or headers.get(b"sec-fetch-site", b"none") != b"none":
            raise Refused(problem(403, "web pages are given nothing", "Ask with another program than a browser."))
        host = headers.get(b"host")
        if host not in self._hosts:
            self._judge(host, is_unix)
        return headers

    def _judge(self, host: bytes | None, is_unix: bool) -> None:
        """A page of another site that has its name resolved to this host (DNS rebinding) still sends that name."""
        if not host and is_unix:
            return  # a browser does not get here
        if host is None:
            raise Refused(problem(400, "there is no Host header"))
        found = HOST.fullmatch(host.decode("latin-1").lower())
        if found is None or not is_loopback(found["name"]):
            raise Refused(problem(421, "the Host header names another host", "Use localhost, 127.0.0.1 or [::1]."))
        if len(self._hosts) < MAX_HOSTS:
            self._hosts.add(host)


def bearer_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The Vault token that is shown, as Vault's own API takes it."""
    token = headers.get(b"x-vault-token")
    if token is None and b"authorization" in headers:
        scheme, _, rest = headers[b"authorization"].partition(b" ")
        token = rest.strip() if scheme.lower() == b"bearer" else None
    return token


def min_ttl(query: bytes) -> float:
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
        [(name, value)] = given
        if name == "min_ttl" and value and MIN_TTL.fullmatch(value):
            return parse_duration(value)
    except ValueError:
        pass
    raise Refused(problem(400, "the query is not min_ttl=DURATION", "A duration is like 90s, 20m or 1h30m."))
