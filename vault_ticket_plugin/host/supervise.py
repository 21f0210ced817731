"""Another program, run in our place or below us with signals passed on. No shell is in between."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from vault_ticket_plugin import core_dump
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.transport.watchdog import WATCHDOG

PASSED_ON = frozenset(
    {
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
        *(signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT),
    }
)
# A terminal's keys reach every process of its foreground group: the child has got these already when they come from
# the kernel, and a second SIGINT means more to many programs than the first.
OF_A_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH})
SI_KERNEL = 0x80
# Who is stopped by one of these is a job of a shell, and the shell waits for us to stop too.
OF_JOB_CONTROL = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
# Where it would be ignored a blocked signal need not be kept for us; one with a handler is.
IGNORED_BY_DEFAULT = (signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT)
# Python ignores these, and what is ignored stays so across exec.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def become(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Run it in our place: every signal and the exit code are its own. OSError if it can't be run."""
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    core_dump.as_before()
    try:
        os.execvpe(command[0], list(command), dict(environ))  # noqa: S606 - that is the point
    finally:
        core_dump.no_core_file()


def supervise(command: Sequence[str], environ: Mapping[str, str], beside: Callable[[threading.Event], None]) -> int:
    """Run it below us to its end; the status that wait(2) gives. OSError if it can't be run.

    `beside` runs in a thread as long, and ends soon after its event is set. No signal that we pass on can end us
    before that.
    """
    if not hasattr(signal, "sigwaitinfo"):
        raise ConfigError("this system has no sigwaitinfo(2)", "Run it without --file.")

    for number in IGNORED_BY_DEFAULT:
        signal.signal(number, lambda *_: None)
    _wait_for_other_threads()

    watched = PASSED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        ended = threading.Event()
        pid = _start(command, environ, before)
        thread = threading.Thread(target=beside, args=(ended,))
        thread.start()
        try:
            return _pass_on(pid, watched)
        finally:
            ended.set()
            thread.join()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_for_other_threads() -> None:
    """Those that began before do not block our signals, and would take them: a SIGCHLD then never reaches us.

    Here it is the watchdog, which begins anew with the next call, in a thread that does block them.
    """
    WATCHDOG.end()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()


def _start(command: Sequence[str], environ: Mapping[str, str], mask: set[int]) -> int:
    core_dump.as_before()
    try:
        return os.posix_spawnp(command[0], list(command), dict(environ), setsigmask=mask, setsigdef=IGNORED_BY_PYTHON)
    finally:
        core_dump.no_core_file()


def _pass_on(pid: int, watched: frozenset[signal.Signals]) -> int:
    while True:
        came = signal.sigwaitinfo(watched)
        if came.si_signo == signal.SIGCHLD:
            changed, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if changed and not os.WIFSTOPPED(status):
                return status
            if changed and os.WSTOPSIG(status) in OF_JOB_CONTROL:
                os.kill(os.getpid(), signal.SIGSTOP)
        elif came.si_signo not in OF_A_TERMINAL or came.si_code != SI_KERNEL:
            with contextlib.suppress(PermissionError):  # it runs as somebody else by now
                os.kill(pid, came.si_signo)
