"""Token endpoints: how a server rotates, what it makes of a token that comes twice, and in which words it says so.

Refresh tokens tell their descent: `a-1` was rotated to `a-2`. An access token names the refresh token that brought it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal, NamedTuple
from urllib.parse import parse_qs

from vault_ticket_plugin.transport.exchange import HttpResponse

CLIENT = "client-1"

Rotation = Literal["strict", "grace, same pair", "grace, new pair", "none"]
ROTATIONS: tuple[Rotation, ...] = ("strict", "grace, same pair", "grace, new pair", "none")


class Dialect(NamedTuple):
    """In which words a server answers."""

    rejected: int = 400
    """The status of invalid_grant."""
    busy: int = 429
    """The status of a request that it does not take now."""
    broken: int = 502
    """The status where it, or a gateway before it, failed in the middle."""
    expires_as_text: bool = False


DIALECTS = (Dialect(), Dialect(rejected=401, busy=503), Dialect(broken=500, expires_as_text=True))


class Access(NamedTuple):
    """An access token."""

    family: str
    token: str
    """The refresh token that brought it."""
    ends: float


@dataclass(slots=True)
class Issued:
    """A refresh token; `children` came of it, the first at `spent_at`."""

    parent: str | None
    children: list[str] = field(default_factory=list)
    spent_at: float = 0.0


@dataclass(slots=True)
class Family:
    """All that came of one grant. `ended_by`: why it is dead, if it is."""

    tokens: dict[str, Issued]
    ended_by: str = ""


class AuthServer:
    """One authorization server, with its own clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.rotation: Rotation = "strict"
        self.dialect = Dialect()
        self.grace = 30.0
        self.ends_old_access = False
        self.lifetime = 300.0
        self.skew = 0.0
        self.down_until = 0.0
        self.busy_until = 0.0
        self.retry_after: int | None = None
        self.families: dict[str, Family] = {}
        self.access: dict[str, Access] = {}
        self.spends = 0

    # -- what people do

    def issue(self) -> str:
        """A new grant; its first refresh token."""
        turn, letter = divmod(len(self.families), 26)
        name = chr(ord("a") + letter) * (turn + 1)
        self.families[name] = Family({f"{name}-1": Issued(None)})
        return f"{name}-1"

    def end(self, name: str, why: str) -> None:
        family = self.families[name]
        family.ended_by = family.ended_by or why

    # -- what is known of a token

    def takes(self, token: str) -> bool:
        """Whether it is good for a spend that nobody could call a second use."""
        family = self.families.get(family_of(token))
        return family is not None and not family.ended_by and token in family.tokens and not _is_spent(family, token)

    def alive(self, access_token: str) -> bool:
        found = self.access.get(access_token)
        return found is not None and not self.families[found.family].ended_by and self._now() < found.ends

    # -- requests

    def handle(self, path: str, body: bytes, broken: bool = False, gateway: bool = False) -> HttpResponse:
        """One POST. `broken`: it is processed, and fails on its way out; `gateway`: at one that says 503."""
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if self._now() < self.busy_until:
            headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
            return self._response(self.dialect.busy, {"error_description": "too much to do"}, headers)
        if path.endswith("/revoke"):
            return self._revoke(form)
        response = self._refresh(form)
        return self._response(503 if gateway else self.dialect.broken, None) if broken else response

    def wall(self) -> HttpResponse:
        """What a firewall answers in its place."""
        return HttpResponse(401, {"content-type": "text/html"}, b"<html>Sign in to the network</html>")

    def _revoke(self, form: dict[str, str]) -> HttpResponse:
        found = self.access.get(form.get("token", ""))
        if found is not None:
            self.access[form["token"]] = found._replace(ends=self._now())
        return self._response(200, {})

    def _refresh(self, form: dict[str, str]) -> HttpResponse:
        if form.get("client_id") != CLIENT:
            return self._response(401, {"error": "invalid_client"})
        token = form.get("refresh_token", "")
        name = family_of(token)
        family = self.families.get(name)
        if family is None or family.ended_by or token not in family.tokens:
            return self._response(self.dialect.rejected, {"error": "invalid_grant"})

        issued = family.tokens[token]
        if not _is_spent(family, token) or self.rotation == "none":
            return self._granted(name, family, token)
        forgiven = self.rotation != "strict" and 0 < self._now() - issued.spent_at <= self.grace
        if not forgiven or any(family.tokens[child].children for child in issued.children):
            self.end(name, f"{token} was used twice")
            return self._response(self.dialect.rejected, {"error": "invalid_grant"})
        if self.rotation == "grace, same pair":
            return self._pair(name, issued.children[0])
        return self._granted(name, family, token)

    def _granted(self, name: str, family: Family, token: str) -> HttpResponse:
        self.spends += 1
        if self.rotation == "none":
            return self._pair(name, token)
        issued, made = family.tokens[token], f"{name}-{len(family.tokens) + 1}"
        issued.spent_at = issued.spent_at if issued.children else self._now()
        issued.children.append(made)
        family.tokens[made] = Issued(token)
        return self._pair(name, made)

    def _pair(self, name: str, token: str) -> HttpResponse:
        now = self._now()
        if self.ends_old_access:
            ended = {one: found for one, found in self.access.items() if found.family == name and found.ends > now}
            self.access |= {one: found._replace(ends=now) for one, found in ended.items()}
        access = f"access-{len(self.access) + 1}-of-{token}"
        self.access[access] = Access(name, token, now + self.lifetime)
        # As the Ticket API says it: a second less than the token lives.
        seconds = int(self.lifetime) - 1
        expires: int | str = str(seconds) if self.dialect.expires_as_text else seconds
        plain = {"access_token": access, "token_type": "Bearer", "expires_in": expires, "refresh_token": token}
        return self._response(200, plain)

    def _response(self, status: int, plain: object, headers: dict[str, str] | None = None) -> HttpResponse:
        date = formatdate(int(self._now() + self.skew), usegmt=True)
        body = b"" if plain is None else json.dumps(plain).encode()
        return HttpResponse(status, {"content-type": "application/json", "date": date, **(headers or {})}, body)


def _is_spent(family: Family, token: str) -> bool:
    """It, or a sister of it: of two pairs that came of one token the one that is used first stays."""
    issued = family.tokens[token]
    sisters = family.tokens[issued.parent].children if issued.parent else []
    return bool(issued.children) or any(family.tokens[one].children for one in sisters)


def family_of(token: str) -> str:
    return token.rpartition("-")[0]
