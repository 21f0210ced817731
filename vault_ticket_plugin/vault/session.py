"""One conversation with Vault: token, namespace, retries, the server's clock, and errors in our own words.

A Vault token goes to the configured address only: redirects are not followed. KV calls are made here and not through
hvac, because hvac's give no headers back and take none, and reading one document should not import every API
(docs/decisions/0003).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from vault_ticket_plugin import __version__
from vault_ticket_plugin.clock import Clock, Deadline
from vault_ticket_plugin.errors import (
    ConfigError,
    StoredDataInvalid,
    TokenRefused,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.vault import VaultSettings, no_address
from vault_ticket_plugin.transport.exchange import HttpResponse, Interrupted, NotSent, Transport

log = logging.getLogger(__name__)

# 412: a replica has not caught up. 429: rate limit, or a standby asked for health. 5xx: no leader, sealed, or a load
# balancer without a server behind it. 472, 473: replication states of Enterprise clusters.
TRANSIENT = frozenset({412, 429, 472, 473, 500, 502, 503, 504})
# What a server says in a 400 while a KV v2 mount is being prepared.
PREPARING = ("waiting for the primary to upgrade", "upgrading from non-versioned")
BACKOFF_INITIAL, BACKOFF_MAX = 0.1, 2.0
# What Vault says in an error is quoted up to this length.
MAX_QUOTE = 200
# Two readings of a clock with whole seconds may lie so far apart and still be of one clock.
ONE_CLOCK = 1.5


@dataclass(frozen=True, slots=True)
class Answer:
    """Status 200, 204, 400 or 404, and the JSON object that came with it (empty where none did)."""

    status: int
    body: Mapping[str, Any] = field(repr=False)

    @property
    def errors(self) -> str:
        """Vault's own words, made safe to print."""
        said = self.body.get("errors")
        words = "; ".join(str(one) for one in said) if isinstance(said, list) else ""
        return _printable(words)


class VaultSession:
    """Safe to use from several threads.

    `log_in` is called when a token is first needed, and again when Vault no longer knows the one it brought.
    """

    def __init__(
        self,
        settings: VaultSettings,
        log_in: Callable[[VaultSession, Deadline], Login],
        clock: Clock,
    ) -> None:
        if not settings.address:
            raise no_address()
        self.settings = settings
        self._log_in = log_in
        self._clock = clock
        self._transport = Transport(settings.tls, settings.unix_socket)
        self._lock = threading.RLock()
        self._login: Login | None = None
        self._index: str | None = None
        self._server_time: tuple[float, float] | None = None

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Mapping[str, Any] | None = None,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        token: Secret | None = None,
        anonymous: bool = False,
    ) -> Answer:
        """One API call below /v1/, tried again until the deadline while the failure is a passing one.

        `token` in place of the session's own; `anonymous` with none. Raises VaultUnreachable, VaultDenied and, for a
        status that no working setup gives, ConfigError or StoredDataInvalid.
        """
        used = None if anonymous else token or self._own_token(deadline)
        answer = self._try(method, path, deadline, body, query, headers, used)
        if answer is None and token is None and not anonymous and self._renew_login(used):
            used = self._own_token(deadline)
            answer = self._try(method, path, deadline, body, query, headers, used)
        if answer is None and anonymous:
            raise VaultDenied("permission denied", "")
        if answer is None:
            raise TokenRefused(
                f"Vault at {self.settings.shown} does not accept our token",
                "It is wrong, expired or revoked: get a new one, or configure a login (auth) in [vault].",
            )
        return answer

    def now(self) -> float:
        """Vault's time, at most a second behind; this host's as long as Vault has not told it."""
        if self._server_time is None:
            return self._clock.wall()
        time, at = self._server_time
        return time + (self._clock.monotonic() - at)

    def have_token(self, deadline: Deadline) -> None:
        """Log in, where that is not done yet. Only a call will tell whether Vault takes the token."""
        self._own_token(deadline)

    def log_in_again(self, deadline: Deadline) -> bool:
        """Another token in place of ours, which may still be in use; False where there is no way to get one."""
        with self._lock:
            if self._login is None or not self._login.renewable:
                return False
            self._login = self._log_in(self, deadline)
            return True

    def revoke_own_login(self, deadline: Deadline) -> None:
        """Take back a token that this session got by a login, so that no lease is left behind."""
        with self._lock:
            login, self._login = self._login, None
        if login is not None and login.token is not None and login.revocable:
            self._try("POST", "auth/token/revoke-self", deadline, None, "", None, login.token)

    def close(self) -> None:
        self._transport.close()

    def _own_token(self, deadline: Deadline) -> Secret | None:
        with self._lock:
            if self._login is None:
                self._login = self._log_in(self, deadline)
            return self._login.token

    def _renew_login(self, refused: Secret | None) -> bool:
        """Whether there is another token to try in place of the refused one."""
        with self._lock:
            if self._login is None or self._login.token != refused:
                return True  # another thread has logged in meanwhile
            if not self._login.renewable:
                return False
            self._login = None
            return True

    def _try(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Mapping[str, Any] | None,
        query: str,
        headers: Mapping[str, str] | None,
        token: Secret | None,
    ) -> Answer | None:
        """None where Vault does not know the token."""
        url = f"{self.settings.address}/v1/{quote(path)}{query}"
        sent = self._headers(method, token, headers or {}, body is not None)
        content = None if body is None else json.dumps(body).encode()
        pauses = deadline.pauses(BACKOFF_INITIAL, BACKOFF_MAX)
        problem: VaultUnreachable | None = None
        while True:
            hurried = deadline.left() < BACKOFF_MAX
            try:
                reply = self._transport.exchange(method, url, sent, content, deadline, self.settings.client_timeout)
            except (NotSent, Interrupted) as lost:
                # A last try may have no time for an answer: what was found before says more.
                if problem is None or not hurried:
                    problem = VaultUnreachable(
                        f"Vault at {self.settings.shown} gives no answer: {lost}",
                        "Check VAULT_ADDR or `address` under [vault], and that the server runs.",
                    )
            else:
                log.debug("%s %s: status %d", method, path, reply.status)
                self._learn(reply)
                verdict = self._judge(reply, f"{method} {path}")
                if not isinstance(verdict, VaultUnreachable):
                    return verdict
                problem = verdict
            if next(pauses, None) is None:
                raise problem
            log.info("%s; trying again", problem.message)

    def _headers(self, method: str, token: Secret | None, more: Mapping[str, str], has_body: bool) -> dict[str, str]:
        headers = {"X-Vault-Request": "true", "User-Agent": f"vault-ticket/{__version__}"}
        if self.settings.namespace:
            headers["X-Vault-Namespace"] = self.settings.namespace
        headers |= more
        if has_body:
            headers["Content-Type"] = "application/json"
        if token:
            headers["X-Vault-Token"] = token.reveal()
        if self._index and method == "GET":
            # A standby that has not seen our write yet passes the read on to the leader.
            headers |= {"X-Vault-Index": self._index, "X-Vault-Inconsistent": "forward-active-node"}
        return headers

    def _learn(self, reply: HttpResponse) -> None:
        self._index = reply.headers.get("x-vault-index", self._index)
        try:
            said = parsedate_to_datetime(reply.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return
        # Whole seconds, rounded down: of several readings of one clock the latest is the most exact.
        if self._server_time is None or not 0 <= self.now() - said <= ONE_CLOCK:
            self._server_time = (said, self._clock.monotonic())

    def _judge(self, reply: HttpResponse, call: str) -> Answer | VaultUnreachable | None:
        shown = self.settings.shown
        if reply.status in (301, 302, 303, 307, 308):
            other = _printable(urlsplit(reply.headers.get("location", "")).netloc.rpartition("@")[2])
            return VaultUnreachable(
                f"Vault at {shown} sends us to {other or 'another address'}, where our token does not go unasked",
                "A standby without forwarding: set the address to the active node or to the cluster's own.",
            )
        try:
            # An empty answer is Vault's only with these; its own 404 has `{"errors": []}`.
            body = json.loads(reply.body) if reply.body or reply.status not in (200, 204) else {}
        except (ValueError, RecursionError):
            body = None
        answer = Answer(reply.status, body if isinstance(body, dict) else {})
        if reply.status in TRANSIENT:
            if "sealed" in answer.errors.lower():
                return VaultUnreachable(f"Vault at {shown} is sealed", "Unseal it, then try again.")
            said = answer.errors or "no reason given"
            return VaultUnreachable(f"Vault at {shown} can't answer now (status {reply.status}: {said})", "Try again.")
        if not isinstance(body, dict):
            raise ConfigError(
                f"what answers at {shown} is not Vault (status {reply.status}, no JSON object)",
                "Check VAULT_ADDR or `address` under [vault].",
            )
        if reply.status == 400 and any(words in answer.errors.lower() for words in PREPARING):
            return VaultUnreachable(f"Vault at {shown} is preparing the mount", "Try again.")
        if reply.status == 403:
            return None if _is_bad_token(body) else _raise_denied(call)
        if reply.status in (200, 204, 400, 404):
            return answer
        if reply.status == 405:
            raise ConfigError(f"Vault does not know {call}", "Check `mount` and `kv_version` in the profile.")
        raise StoredDataInvalid(
            f"Vault refuses {call} (status {reply.status}: {answer.errors})", "Vault's own log may say more."
        )


class Login(NamedTuple):
    """A token and how we came by it. `token` None: a listener with auto-auth adds its own.

    `renewable`: logging in again brings another one. `revocable`: it is ours to take back.
    """

    token: Secret | None
    renewable: bool = False
    revocable: bool = False


def refused(answer: Answer, call: str) -> VaultTicketError:
    """The error for a 400 that the caller knows no better name for."""
    return ConfigError(f"Vault refuses {call}: {answer.errors or 'no reason given'}", "Check the configuration.")


def _printable(words: str) -> str:
    """What another host said, fit for a terminal."""
    return "".join(c if c.isprintable() else " " for c in words)[:MAX_QUOTE].strip()


def _is_bad_token(body: Mapping[str, Any]) -> bool:
    """A 403 for the token itself; a policy's says `1 error occurred: …` around the same words."""
    said = body.get("errors")
    return isinstance(said, list) and said[:1] in (["permission denied"], ["invalid token"], ["bad token"])


def _raise_denied(call: str) -> Any:
    method, path = call.split(" ", 1)
    capability = {"GET": "read", "DELETE": "delete", "LIST": "list"}.get(method, "create and update")
    raise VaultDenied(
        f"Vault denies {method} {path}",
        f"The token's policies need `{capability}` on {path} (see policies/ for what each role needs).",
    )
