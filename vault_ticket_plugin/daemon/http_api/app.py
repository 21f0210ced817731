"""What is asked over HTTP and how it is answered: the ASGI application (docs/daemon.md, openapi.json)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Mapping
from email.utils import formatdate
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from vault_ticket_plugin import environment
from vault_ticket_plugin.clock import HOST_CLOCK, Clock, Deadline
from vault_ticket_plugin.daemon.http_api import access
from vault_ticket_plugin.daemon.http_api.pool import Full, Pool
from vault_ticket_plugin.daemon.http_api.problem import Refused, Response, failed, problem, rendered
from vault_ticket_plugin.daemon.http_api.request import OriginGuard, bearer_of, min_ttl
from vault_ticket_plugin.daemon.http_api.ticket_response import TicketResponse
from vault_ticket_plugin.daemon.keeper import Keeper
from vault_ticket_plugin.errors import Busy, VaultDenied, VaultTicketError
from vault_ticket_plugin.events import Event, EventSink
from vault_ticket_plugin.model import CLOCK_STEP, Demand, LiveTicket
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.daemon import DEFAULT_RATE
from vault_ticket_plugin.settings.load import DEFAULT_TIMEOUT
from vault_ticket_plugin.settings.profile import Profile

log = logging.getLogger(__name__)

TICKETS = "/v1/tickets/"
METHODS = b"GET, HEAD"
METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
# What a Vault token is made of; the length is that of the longest that a server was seen to make, doubled.
TOKEN = re.compile(rb"[!-~]{1,4096}")
# Rendered answers kept: a token that nobody asks for needs none.
MAX_RENDERED = 1024
# Refreshes asked for by callers at once, and checks of their tokens.
TICKET_THREADS, CHECK_THREADS, WAITING = 16, 4, 64


class RequestContext(NamedTuple):
    """Who asks, and when."""

    at: float
    """By the monotonic clock."""
    key: Hashable
    """What its requests are counted under."""
    peer: access.Peer | None
    """If it came by a unix socket."""
    token: bytes | None
    """The Vault token that it shows."""
    digest: bytes
    """That token's; empty if there is none."""

    def __repr__(self) -> str:
        return "RequestContext(…)"


class HttpApi:
    """ASGI 3, for one event loop. `replace` may be called from any thread."""

    def __init__(
        self,
        keeper: Keeper,
        emit: EventSink,
        metrics: Callable[[], bytes],
        *,
        check: access.Check | None = None,
        rate: float = DEFAULT_RATE,
        clock: Clock = HOST_CLOCK,
        patience: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._keeper = keeper
        self._emit = emit
        self._metrics = metrics
        self._clock = clock
        self._patience = patience

        self._tickets = Pool("hand-out", TICKET_THREADS, WAITING)
        self._checks = Pool("token-check", CHECK_THREADS, WAITING)
        self._looks = Pool("look", 1, WAITING)
        self._gate = OriginGuard()
        self._rendered: dict[tuple[str, bool], TicketResponse] = {}

        self._open = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics_text,
            "/openapi.json": self._openapi,
        }
        self.replace(check, rate)

    def replace(self, check: access.Check | None, rate: float) -> None:
        """From now on tokens are checked with this, and callers may make so many requests a second."""
        self._check = check
        self._rate = access.Rate(rate)
        self._verdicts = access.Verdicts()

    def close(self) -> None:
        """In the event loop's thread, when it ends."""
        for pool in (self._tickets, self._checks, self._looks):
            pool.close()

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        try:
            answer = await self._answer(scope)
        except Refused as refused:
            answer = refused.answer
        except Full:
            answer = failed(Busy("the daemon has too much to do", "Try again in a moment."))
        except VaultTicketError as error:
            answer = failed(error)
        except Exception as error:  # noqa: BLE001 - its text may quote a value
            log.error("a request failed: this is a bug in vault-ticket: %s", type(error).__name__)  # noqa: TRY400
            answer = problem(500, f"this is a bug in vault-ticket: {type(error).__name__}", "Please report it.")

        headers = answer.headers
        if not answer.dated:
            headers = [*headers, (b"date", formatdate(self._clock.wall(), usegmt=True).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Any) -> Response:
        peer: access.Peer | None = scope["state"].get("peer")
        headers = self._gate.headers(scope["headers"], peer is not None)
        path: str = scope["path"]

        asked = self._identify(headers, peer, path in self._open)
        wait = self._rate.wait(asked.key, asked.at)
        if wait > 0.0:
            later = [(b"retry-after", b"%d" % (int(wait) + 1))]
            raise Refused(failed(Busy("too many requests by one caller", "Ask less often."), 429, later))

        name = path[len(TICKETS) :] if path.startswith(TICKETS) else ""
        is_ticket = name != "" and environment.is_profile_name(name)
        if not is_ticket and path not in self._open:
            raise Refused(problem(404, "there is nothing of that name", "See /openapi.json."))
        if scope["method"] not in ("GET", "HEAD"):
            raise Refused(problem(405, "nothing here is changed", "Use GET.", [(b"allow", METHODS)]))

        if not is_ticket:
            if scope["query_string"]:
                raise Refused(problem(400, "there is no such query parameter", "See /openapi.json."))
            return await self._open[path]()
        return await self._ticket(name, scope["query_string"], headers, asked)

    def _identify(self, headers: Mapping[bytes, bytes], peer: access.Peer | None, is_open: bool) -> RequestContext:
        now = self._clock.monotonic()
        if peer is not None:
            return RequestContext(now, peer.uid, peer, None, b"")
        token = bearer_of(headers)
        digest = access.digest_of(token) if token else b""
        if self._verdicts.seen_good(digest):
            return RequestContext(now, digest, None, token, digest)
        # All that are not known share one bucket, so that inventing tokens gains nothing.
        return RequestContext(now, "open" if is_open else "strangers", None, token, digest)

    async def _ticket(self, name: str, query: bytes, headers: Mapping[bytes, bytes], asked: RequestContext) -> Response:
        profile = self._keeper.profile(name)
        who = await self._authorize(name, profile, asked)

        least = min_ttl(query) if query else 0.0
        live = self._keeper.ready(name, least)
        on_tcp = asked.peer is None
        if live is None or profile is None:
            try:
                live = await self._tickets.run((name, least), asked.key, lambda: self._obtain(name, least))
            except Full:
                self._emit(Event("hand-out", name, "failed", who, "", "Busy"))
                raise
            except VaultTicketError as error:
                self._emit(Event("hand-out", name, "failed", who, "", error.name))
                raise
            profile = self._keeper.profile(name) or profile or Profile.standard(name)

        answer = self._rendered.get((name, on_tcp))
        if answer is None or answer.live is not live or answer.profile is not profile:
            answer = self._render(live, profile, on_tcp)

        now = self._clock.monotonic()
        if live.left(now) <= CLOCK_STEP:
            raise Busy("the ticket ended while it was fetched", "Try again.")
        self._emit(Event("hand-out", name, "given", who, answer.fingerprint))
        return answer.answer(now, headers.get(b"if-none-match"))

    def _obtain(self, name: str, min_ttl: float) -> LiveTicket:
        return self._keeper.ticket(name, Demand(min_ttl=min_ttl), Deadline.after(self._patience, self._clock))

    def _render(self, live: LiveTicket, profile: Profile, on_tcp: bool) -> TicketResponse:
        answer = TicketResponse(live, profile, on_tcp)
        key = (profile.name, on_tcp)
        self._rendered.pop(key, None)
        self._rendered[key] = answer
        if len(self._rendered) > MAX_RENDERED:
            del self._rendered[next(iter(self._rendered))]
        return answer

    async def _authorize(self, name: str, profile: Profile | None, asked: RequestContext) -> str:
        """Who it is. Whether there is such a profile is shown to nobody who may not have its ticket."""
        if asked.peer is not None:
            if access.may_have(asked.peer, profile):
                return asked.peer.who
            raise self._denied(name, asked.peer.who, "The profile's `allow` names the users and groups.")
        if not asked.token or not TOKEN.fullmatch(asked.token):
            self._emit(Event("hand-out", name, "denied", "nobody", "", "no token"))
            needed = VaultDenied("a Vault token is needed", "Send your own as X-Vault-Token.")
            raise Refused(failed(needed, 401, [(b"www-authenticate", b'Bearer realm="vault"')]))
        caller = await self._caller(name, profile, asked)
        if caller is None:
            hint = "The token needs the right to read the profile's ticket in Vault."
            raise self._denied(name, "a token", hint)
        return caller.who

    async def _caller(self, name: str, profile: Profile | None, asked: RequestContext) -> access.Caller | None:
        check, verdicts, token = self._check, self._verdicts, asked.token
        if check is None or token is None:
            return None
        # Vault is asked about a profile that is not there just the same: neither time nor a failure tells.
        where = (profile or Profile.standard(name)).ticket
        verdict = verdicts.find(asked.digest, where, asked.at)
        if verdict is None:
            secret, deadline = Secret(token.decode("ascii")), Deadline.after(access.CHECK_SECONDS, self._clock)
            caller = await self._checks.run((asked.digest, where), asked.key, lambda: check(secret, where, deadline))
            verdict = verdicts.keep(asked.digest, where, caller, asked.at)
        return None if profile is None else verdict.caller

    def _denied(self, name: str, who: str, hint: str) -> Refused:
        self._emit(Event("hand-out", name, "denied", who))
        return Refused(failed(VaultDenied("this profile is not for you, or there is none of that name", hint), 403))

    async def _healthz(self) -> Response:
        if self._keeper.alive():
            return rendered(200, {"alive": True})
        return problem(503, "the scheduler stands still", "Restart the daemon.", [(b"retry-after", b"5")])

    async def _readyz(self) -> Response:
        states = await self._looks.run("readyz", None, self._keeper.states)
        counts = {"profiles": len(states), "usable": sum(one.left > CLOCK_STEP for one in states.values())}
        if counts["usable"] == counts["profiles"]:
            return rendered(200, counts)
        return problem(503, "not every profile has a usable ticket", "", [(b"retry-after", b"5")], **counts)

    async def _metrics_text(self) -> Response:
        body = await self._looks.run("metrics", None, self._metrics)
        plain = [(b"content-type", METRICS_TYPE), (b"content-length", b"%d" % len(body))]
        return Response(200, [*plain, (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")], body)

    async def _openapi(self) -> Response:
        body = _document()
        plain = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        return Response(200, [*plain, (b"x-content-type-options", b"nosniff")], body)


@cache
def _document() -> bytes:
    return resources.files(__package__).joinpath("openapi.json").read_bytes()
