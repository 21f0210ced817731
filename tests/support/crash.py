"""Runs `vault-ticket` over its real wiring, and gets a signal at one boundary of the refresh transaction.

    python -m tests.support.crash before:save get support

By itself it is SIGKILL, to whichever process has come that far. CRASH_SIGNAL names another, and CRASH_WHOM another
process: `command` for the one that was started, `group` for its process group. With "never" nothing happens, and
CRASH_TRACE names the file that gets the steps that were gone through.
"""

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from typing import Any

import urllib3

from vault_ticket_plugin.cli import run
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.transport.exchange import Transport

# Every step of a refresh at an expired ticket: each is one call to Vault, to the token endpoint or to the disk.
STEPS = (
    "look",
    "read",
    "claim",
    "look again",
    "spend",  # the request is sent; then the server has answered
    "answer",  # … and now its answer is read
    "journal",
    "save",
    "see notes",  # of the refresh tokens that were spent before: a hand put this one there
    "note",
    "forget",  # the journal's entry is removed
    "expire",  # the leased path's metadata
    "publish",
    "release",
)
# The same document is read or written for several reasons, in this order.
TURNS = {"GET token": ("look", "look again"), "POST grant": ("claim", "save", "release")}
NAMES = {
    "GET grant": "read",
    "GET metadata": "see notes",
    "PATCH metadata": "note",
    "POST metadata": "expire",
    "POST token": "publish",
}


# Enough for the other process to die, or to say that it leaves, before this one goes on.
SETTLE_SECONDS = 0.2


class Steps:
    def __init__(self, strike: str) -> None:
        self.strike = strike
        self.seen: Counter[str] = Counter()
        self.command = os.getpid()

    def name(self, method: str, url: str) -> str:
        """What this request to Vault is for."""
        *_, kind, _, _, document = url.split("/")
        what = f"{method} {'metadata' if kind == 'metadata' else document}"
        self.seen[what] += 1
        return TURNS[what][self.seen[what] - 1] if what in TURNS else NAMES[what]

    def before(self, step: str) -> None:
        self._strike(f"before:{step}")
        if "CRASH_TRACE" in os.environ:
            with open(os.environ["CRASH_TRACE"], "a") as trace:
                trace.write(f"{step}\n")

    def after(self, step: str) -> None:
        self._strike(f"after:{step}")

    def _strike(self, moment: str) -> None:
        if moment != self.strike:
            return
        self.strike = "never"
        number, whom = int(os.environ.get("CRASH_SIGNAL", signal.SIGKILL)), os.environ.get("CRASH_WHOM")
        with contextlib.suppress(ProcessLookupError):
            if whom == "group":
                os.killpg(self.command, number)
            else:
                os.kill(self.command if whom == "command" else os.getpid(), number)
        if whom:
            time.sleep(SETTLE_SECONDS)


def instrument(steps: Steps) -> None:
    exchange, send = Transport.exchange, urllib3.PoolManager.urlopen

    def watched_exchange(self: Transport, method: str, url: str, *args: Any) -> Any:
        spending = url.endswith("/token") and "/v1/" not in url
        step = "spend" if spending else steps.name(method, url)
        steps.before(step)
        reply = exchange(self, method, url, *args)
        steps.after("answer" if spending else step)
        return reply

    def watched_send(self: Any, method: str, url: str, *args: Any, **more: Any) -> Any:
        response = send(self, method, url, *args, **more)
        if url.endswith("/token") and "/v1/" not in url:
            steps.after("spend")
            steps.before("answer")
        return response

    def watched(owner: Any, name: str, step: str) -> None:
        original = getattr(owner, name)

        def call(self: Any, *args: Any) -> Any:
            steps.before(step)
            result = original(self, *args)
            steps.after(step)
            return result

        setattr(owner, name, call)

    Transport.exchange = watched_exchange  # type: ignore[method-assign, assignment]
    urllib3.PoolManager.urlopen = watched_send  # type: ignore[method-assign]
    watched(Journal, "write", "journal")
    watched(Journal, "remove", "forget")


def main() -> int:
    steps = Steps(sys.argv[1])
    instrument(steps)
    sys.argv[1:2] = []
    return run()


if __name__ == "__main__":
    sys.exit(main())
