"""Calls that run one step at a time: a test decides who goes on, who fails and who is killed, and when.

Each call runs in a thread of its own that stops before and after every call to Vault and to the token endpoint, and
where it sleeps. Only one of them, or the test, ever runs: the same decisions give the same run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.fakes import SimClock, Time
from tests.world import FakeHost, FakeProcess
from vault_ticket_plugin.errors import CasMismatch, EndpointUnavailable, SpendInDoubt, VaultUnreachable

# A thread that does not come back in this time hangs, and the test with it.
PATIENCE = 60.0

_current = threading.local()


class Killed(BaseException):
    """SIGKILL: nothing of ours catches it, and nothing is written to Vault on its way out."""


def now_running() -> Call | None:
    """The call whose thread this is."""
    return getattr(_current, "call", None)


class SteppedClock(SimClock):
    """Sleeping is a stop like any other; whoever is woken early lets the time pass."""

    def sleep(self, seconds: float) -> None:
        call, end = now_running(), self.time.now + seconds
        if call is not None:
            call.stop("sleep", "")
        self.time.now = max(self.time.now, end)


class Call:
    """One call on one host. `at`: where it stands; "" before its first step and after its end."""

    def __init__(self, host: FakeHost, ask: Callable[[FakeProcess], str]) -> None:
        self.host = host
        self.process = host.process()
        self.at = ""
        self.path = ""
        self.done = False
        self.killed = False
        self.result: str | None = None
        self.error: BaseException | None = None
        self._failure: BaseException | None = None
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        for seam in (self.process.store, self.process.endpoint):
            seam.before = lambda call, path: self.stop(f"before {call}", path)
            seam.after = lambda call, path: self.stop(f"after {call}", path)
        self._thread = threading.Thread(target=self._run, args=(ask,), daemon=True)
        self._thread.start()

    # -- the test's side

    def step(self) -> None:
        """Go on to the next stop."""
        assert not self.done
        self._go.release()
        assert self._stopped.acquire(timeout=PATIENCE), f"the call hangs after {self.at}"

    def kill(self) -> None:
        self.killed = True
        while not self.done:
            self.step()
        self._thread.join(PATIENCE)

    def fail(self) -> bool:
        """Go on with what can go wrong where it stands; False where nothing can."""
        self._failure = {
            "before spend": EndpointUnavailable("the token endpoint can't be reached: connection refused"),
            "after spend": SpendInDoubt("the token endpoint's answer was lost: connection reset by peer"),
            "before write": VaultUnreachable("Vault gives no answer: connection refused"),
            "before read": VaultUnreachable("Vault gives no answer: connection refused"),
            # Its answer was lost, it was tried again, and failed on itself.
            "after write": CasMismatch("somebody else wrote first"),
            "after read": VaultUnreachable("Vault gives no answer: it took too long"),
        }.get(self.at)
        if self._failure is None:
            return False
        self.step()
        return True

    # -- the call's side

    def stop(self, at: str, path: str) -> None:
        if self.killed:
            raise Killed
        self.at, self.path = at, path
        self._stopped.release()
        self._go.acquire()
        failure, self._failure = self._failure, None
        if self.killed:
            raise Killed
        if failure is not None:
            raise failure

    def _run(self, ask: Callable[[FakeProcess], str]) -> None:
        _current.call = self
        self._go.acquire()
        try:
            if not self.killed:
                self.result = ask(self.process)
        except BaseException as error:  # noqa: BLE001 - the test judges it
            self.error = error
        self.done, self.at = True, ""
        self._stopped.release()


def stepped(host: FakeHost, time: Time) -> FakeHost:
    """The host with a clock whose sleep is a stop."""
    host.clock = SteppedClock(time)
    return host
