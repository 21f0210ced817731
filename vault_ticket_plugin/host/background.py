"""A spend in a thread of its own, for programs that stay: the daemon, `exec --file`, a program that imports us.

No daemon thread: the interpreter waits for it as it ends. Signals are raised in the main thread only, so that whoever
is interrupted, cancelled or out of patience leaves, and the spend goes on.
"""

from __future__ import annotations

import concurrent.futures
import threading
from concurrent.futures import Future

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.refresh.carrier import Held, InPlace, Job, T, goes_on
from vault_ticket_plugin.transport.watchdog import WATCHDOG


class Waiting:
    """`Waiter` (refresh/carrier.py) in another thread."""

    def __init__(self) -> None:
        self.left = False

    def gone(self) -> bool:
        return self.left

    def commit(self) -> None:
        """Nothing ends a thread from outside."""


class InThread:
    """`Carrier` (refresh/carrier.py). Safe to use from several threads."""

    def __init__(self) -> None:
        self._threads: set[threading.Thread] = set()

    def carry(self, job: Job[T], lock: Held | None, patience: Deadline) -> T:
        WATCHDOG.start()  # an interpreter that is ending starts none, and the spend may outlive it
        caller, outcome = Waiting(), Future[T]()

        def run() -> None:
            try:
                done: T | BaseException = job(caller)
            except BaseException as error:  # noqa: BLE001 - it is the caller's to tell
                done = error
            finally:
                self._threads.discard(threading.current_thread())
                if lock is not None:
                    lock.close()
            if isinstance(done, BaseException):
                outcome.set_exception(done)
            else:
                outcome.set_result(done)

        thread = threading.Thread(target=run, name="spend", daemon=False)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # a limit on threads, or the interpreter is ending
            self._threads.discard(thread)
            return InPlace().carry(job, lock, patience)

        try:
            return outcome.result(patience.left())
        except concurrent.futures.TimeoutError:
            raise goes_on() from None
        finally:
            caller.left = True

    def finish(self) -> None:
        """All of it: what was spent is to be saved, and its parts stay open meanwhile."""
        for thread in list(self._threads):
            thread.join()
