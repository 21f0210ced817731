"""A spend in a process of its own, for one-shot commands: whatever ends the command does not end the spend.

It is forked twice and not started anew, since an interpreter costs as much as the refresh. It has its own session,
ignores what a terminal, a shell or a supervisor sends, and keeps no descriptor but those that it works with, so that
nobody waits for the end of a pipe that it never writes to.

    command                                           process
    ends its threads, forks, closes its copy          closes all but the socket to the command, Vault's connection,
    of the lock, and touches neither the              the lock and our folders; does the job; closes the lock
    connection nor the login any more
    shows log lines as they come           ← log
    returns or raises                      ← done or failed
    reads to the end                                  gives the login back, and ends
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import VaultTicketError, bug
from vault_ticket_plugin.host.background import InThread
from vault_ticket_plugin.host.detached_wire import CallerGone, Link, Remote, Voice, outcome_to_plain
from vault_ticket_plugin.host.lock import HeldLock
from vault_ticket_plugin.log import NAME
from vault_ticket_plugin.refresh.carrier import Held, InPlace, Job, T
from vault_ticket_plugin.transport.watchdog import WATCHDOG

log = logging.getLogger(__name__)

# What ends or stops a command: a terminal's keys and its closing, a shell's job control, a supervisor.
IGNORED = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
)
# A command that has what it came for, or is told to end, stays so long: what ends with it (a container, a unit's
# control group) then does not cut a usual refresh short, which takes a tenth of a second.
LINGER_SECONDS = 2.0
# Far beyond what a process may need. One that hangs would keep the lock.
SPARE_SECONDS = 30.0
# What the first child ends with if it can't fork.
NO_SECOND_FORK = 75


class Needs(NamedTuple):
    """What a process and its command must know of the parts that they share; wiring.py has them."""

    descriptors: Callable[[], Iterable[int]]
    """What the process works with: connections and folders."""
    hand_over: Callable[[], None]
    """In the command: connection and login are the process's from now on."""
    close: Callable[[], None]
    """In the process, at its end: give the login back."""
    claim_seconds: float
    """How long a claim lasts at most."""


class Detached:
    """`Carrier` (refresh/carrier.py) of a command that ends soon."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._links: list[Link] = []
        self._in_thread = InThread()

    def carry(self, job: Job[T], lock: Held | None, patience: Deadline) -> T:
        if not _can_fork():
            return self._in_thread.carry(job, lock, patience)

        mask = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
        try:
            link = self._start(job, lock, patience)
            if link is None:
                log.info("no process can be started for the refresh: it is done in this one")
                return InPlace().carry(job, lock, patience)

            self._links.append(link)
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                return cast("T", link.result(patience))  # what the process says is what the job returned
            except VaultTicketError:
                raise
            except BaseException:
                self._links.remove(link)
                link.say_that_we_leave()
                link.read_to_end(self._linger())
                raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def finish(self) -> None:
        """Read to the end, so that the login is given back, and no process of ours is left behind for `exec`."""
        links, self._links = self._links, []
        for link in links:
            if link.answered or os.getpid() == 1:
                link.read_to_end(self._linger())
            link.close()
        self._in_thread.finish()

    def _linger(self) -> float:
        """What has us as PID 1 ends with us, and the process too."""
        return self._needs.claim_seconds if os.getpid() == 1 else LINGER_SECONDS

    def _start(self, job: Job[T], lock: Held | None, patience: Deadline) -> Link | None:
        """None if there is no process to be had. Signals are blocked."""
        ours, theirs = socket.socketpair()
        if isinstance(lock, HeldLock):
            lock.keep_in_fork()
        longest = patience.left() + 2 * self._needs.claim_seconds + SPARE_SECONDS

        if not _fork_twice(lambda: self._be_the_process(job, lock, theirs, longest)):
            ours.close()
            theirs.close()
            return None

        theirs.close()
        if lock is not None:
            lock.close()
        self._needs.hand_over()
        return Link(ours)

    def _be_the_process(self, job: Job[T], lock: Held | None, to_caller: socket.socket, longest: float) -> None:
        signal.alarm(int(longest))
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
        fd = lock.fd if isinstance(lock, HeldLock) else -1
        _let_go_of_all_but({to_caller.fileno(), fd, *self._needs.descriptors()})

        voice = Voice(to_caller)
        logger = logging.getLogger(NAME)
        logger.handlers[:] = [voice]
        voice.say("pid", os.getpid())
        caller = Remote(to_caller)

        try:
            kind, outcome = _outcome(job, caller)
        except CallerGone:
            kind, outcome = "gone", None
        finally:
            caller.commit()  # what is left does not ask who is there
            if lock is not None:
                lock.close()
        voice.say(kind, outcome)
        self._needs.close()


def _can_fork() -> bool:
    """Only a process of one thread: another one's locks would stay locked in the fork. And macOS's own libraries must
    not be used in a fork."""
    if sys.platform == "darwin" or threading.current_thread() is not threading.main_thread():
        return False
    WATCHDOG.end()
    return threading.active_count() == 1


def _fork_twice(run: Callable[[], None]) -> bool:
    """Whether a process runs it. Nobody has to wait for its end: it is no child of ours."""
    gc.freeze()  # the collector would touch, and so copy, every page that the two share
    try:
        first = os.fork()
    except OSError:
        return False

    if first == 0:
        status = NO_SECOND_FORK
        try:
            os.setsid()
            if os.fork() == 0:
                run()
            status = 0
        finally:
            os._exit(status)

    try:
        return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) != NO_SECOND_FORK
    except ChildProcessError:  # whoever started us ignores SIGCHLD: the end of the socket will tell
        return True


def _let_go_of_all_but(kept: set[int]) -> None:
    """No terminal, no working directory, no descriptor of the command's or its caller's."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)

    for fd in _descriptors() - {0, 1, 2} - kept:
        with contextlib.suppress(OSError):  # the one that listed them
            os.close(fd)

    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):  # OpenSSL reads them for each connection that trusts the system
        if os.environ.get(name):
            os.environ[name] = os.path.abspath(os.environ[name])
    os.chdir("/")


def _descriptors() -> set[int]:
    """All that are open; where the system does not list them, all that there may be."""
    try:
        return {int(name) for name in os.listdir("/dev/fd")}
    except OSError:
        return set(range(os.sysconf("SC_OPEN_MAX")))


def _outcome(job: Job[T], caller: Remote) -> tuple[str, dict[str, Any] | None]:
    try:
        live = job(caller)
    except VaultTicketError as error:
        return "failed", error.to_plain()
    except Exception as error:  # noqa: BLE001 - the command tells it as its own
        return "failed", bug(error).to_plain()
    return "done", outcome_to_plain(live)
