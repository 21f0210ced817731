"""One conversation with Vault: token, namespace, retries, the server's clock, and errors in our own words.

A Vault token goes to the configured address only: redirects are not followed. KV calls are made here and not through
hvac, because hvac's give no headers back and take none, and reading one document should not import every API
(docs/decisions/0003).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote

from vault_ticket_plugin import __version__
from vault_ticket_plugin.clock import Clock, Deadline, Moment, RemoteClock
from vault_ticket_plugin.errors import ConfigError, TokenRefused, VaultDenied, VaultTicketError, VaultUnreachable
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.vault import VaultSettings, no_address
from vault_ticket_plugin.transport.exchange import HttpResponse, Interrupted, NotSent, Transport
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.judgement import BadToken, Denied, Retry, Wrong, judge
from vault_ticket_plugin.vault.messages import Invalid, Missing, Ok, VaultRequest, VaultResponse

log = logging.getLogger(__name__)

BACKOFF_INITIAL, BACKOFF_MAX = 0.1, 2.0
# What a policy must allow for a call.
CAPABILITIES = {"GET": "read", "DELETE": "delete", "LIST": "list", "PATCH": "patch"}


class Login(NamedTuple):
    """A token and how we came by it."""

    token: Secret | None
    """None: a listener with auto-auth adds its own."""
    renewable: bool = False
    """Logging in again brings another one."""
    revocable: bool = False
    """It is ours to take back."""


class VaultSession:
    """Safe to use from several threads."""

    def __init__(
        self,
        settings: VaultSettings,
        log_in: Callable[[VaultSession, Deadline], Login],
        clock: Clock,
    ) -> None:
        """`log_in` is called when a token is first needed, and again when Vault no longer knows the one it brought."""
        if not settings.address:
            raise no_address()
        self.settings = settings
        self._log_in = log_in
        self._clock = clock
        self._transport = Transport(settings.tls, settings.unix_socket)
        self._lock = threading.RLock()
        self._login: Login | None = None
        self._index: str | None = None
        self._vault_clock = RemoteClock()

    # -- calls

    def send(self, request: VaultRequest, deadline: Deadline) -> VaultResponse:
        """One API call, tried again until the deadline while the failure is a passing one.

        Ok, Missing or Invalid. Raises VaultUnreachable, VaultDenied (TokenRefused if Vault does not know the token)
        and, for a status that no working setup gives, ConfigError or StoredDataInvalid.
        """
        judged = self.ask(request, deadline)
        if isinstance(judged, BadToken):
            raise TokenRefused(
                f"Vault at {self.settings.shown} does not accept our token",
                "It is wrong, expired or revoked: get a new one, or configure a login (auth) in [vault].",
            )
        if isinstance(judged, Denied):
            raise _denied(request)
        return judged

    def ask(self, request: VaultRequest, deadline: Deadline) -> Ok | Missing | Invalid | BadToken | Denied:
        """The same for a caller who can tell better what a no means."""
        token = None if request.anonymous else request.token or self._own_token(deadline)
        judged = self._exchange(request, token, deadline)
        own = request.token is None and not request.anonymous
        if isinstance(judged, BadToken) and own and self._renew_login(token):
            judged = self._exchange(request, self._own_token(deadline), deadline)
        return judged

    def now(self) -> Moment:
        """Vault's time, as far as its answers tell it; this host's as long as there was none."""
        said = self._vault_clock.at(self._clock.monotonic())
        return said or Moment(self._clock.wall(), self._clock.wall())

    # -- the login

    def have_token(self, deadline: Deadline) -> None:
        """Log in, if that is not done yet. Only a call will tell whether Vault takes the token."""
        self._own_token(deadline)

    def log_in_again(self, deadline: Deadline) -> bool:
        """Another token in place of ours, which may still be in use; False if there is no way to get one."""
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
            self._exchange(VaultRequest("POST", paths.REVOKE_SELF), login.token, deadline)

    def hand_over(self) -> None:
        """Connections and login are a fork's from now on. What is still asked here makes new ones."""
        with self._lock:
            self._login = None
        self._transport.close()

    def descriptors(self) -> list[int]:
        """What a fork needs to go on with them."""
        return self._transport.descriptors()

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

    # -- one call

    def _exchange(
        self, request: VaultRequest, token: Secret | None, deadline: Deadline
    ) -> Ok | Missing | Invalid | BadToken | Denied:
        url = f"{self.settings.address}/v1/{quote(request.path)}{request.query}"
        headers = self._headers(request, token)
        content = None if request.body is None else json.dumps(request.body).encode()
        backoff = deadline.backoff(BACKOFF_INITIAL, BACKOFF_MAX)
        problem: VaultUnreachable | None = None
        retried = False
        while True:
            hurried = deadline.left() < BACKOFF_MAX
            left = self._clock.monotonic()
            try:
                response = self._transport.exchange(
                    request.method, url, headers, content, deadline, self.settings.client_timeout
                )
            except (NotSent, Interrupted) as lost:
                retried = retried or isinstance(lost, Interrupted)
                # A last try may have no time for an answer: what was found before says more.
                if problem is None or not hurried:
                    problem = self._no_answer(lost)
            else:
                log.debug("%s: status %d", request, response.status)
                self._learn(response, left)
                judged = judge(response, request, self.settings.shown)
                if isinstance(judged, Wrong):
                    raise judged.error
                if isinstance(judged, VaultResponse):
                    return judged._replace(retried=retried)
                if not isinstance(judged, Retry):
                    return judged
                retried, problem = True, judged.error  # a gateway may say so of what the server behind it has done

            if not backoff.sleep(problem.retry_after or 0.0):
                raise problem
            log.info("%s; trying again", problem.message)

    def _no_answer(self, lost: Exception) -> VaultUnreachable:
        return VaultUnreachable(
            f"Vault at {self.settings.shown} gives no answer: {lost}",
            "Check VAULT_ADDR or `address` under [vault], and that the server runs.",
        )

    def _headers(self, request: VaultRequest, token: Secret | None) -> dict[str, str]:
        headers = {"X-Vault-Request": "true", "User-Agent": f"vault-ticket/{__version__}", **request.headers}
        namespace = self.settings.namespace if request.namespace is None else request.namespace
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        if request.body is not None:
            headers.setdefault("Content-Type", "application/json")
        if token:
            headers["X-Vault-Token"] = token.reveal()
        if self._index and request.method == "GET":
            # A standby that has not seen our write yet passes the read on to the leader.
            headers |= {"X-Vault-Index": self._index, "X-Vault-Inconsistent": "forward-active-node"}
        return headers

    def _learn(self, response: HttpResponse, left: float) -> None:
        """`left`: the moment when its request did."""
        self._index = response.headers.get("x-vault-index", self._index)
        try:
            date = parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return
        self._vault_clock.read(date, left, self._clock.monotonic())


def refused(response: VaultResponse, doing: str) -> VaultTicketError:
    """The error for an Invalid that the caller knows no better name for."""
    return ConfigError(f"Vault refuses {doing}: {response.errors or 'no reason given'}", "Check the configuration.")


def _denied(request: VaultRequest) -> VaultDenied:
    capability = CAPABILITIES.get(request.method, "create and update")
    return VaultDenied(
        f"Vault denies {request}",
        f"The token's policies need `{capability}` on {request.path} (see policies/ for what each role needs).",
    )
