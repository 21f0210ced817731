"""How `status` and `doctor` look: to a person at a terminal, and to a program on a pipe."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.site import CLIENT, Site
from tests.support.cli import COMMAND, Host

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(host: Host, *args: str, columns: int = 100, env: Mapping[str, str] | None = None) -> str:
    """What a terminal of so many columns gets."""
    more = dict(env or {})
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        with subprocess.Popen(
            [COMMAND, *args],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=host.env({"TERM": "xterm-256color"} | more),
            cwd=host.home,
        ) as process:
            os.close(theirs)
            text = b"".join(chunks(ours))
            assert process.stderr is not None
            assert process.stderr.read() == b""
    finally:
        os.close(ours)
    encoding = "latin-1" if "ISO-8859-1" in more.get("PYTHONIOENCODING", "") else "utf-8"
    return text.decode(encoding).replace("\r\n", "\n")


def chunks(terminal: int) -> Iterator[bytes]:
    """Until the other side is closed, which Linux tells by EIO."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            return
        if not chunk:
            return
        yield chunk
    raise TimeoutError("the command did not end")


@pytest.fixture
def fresh(site: Site) -> Site:
    site.put_grant({"refresh_token": site.api.issue_grant(CLIENT)})
    assert site.get().code == 0
    return site


@pytest.mark.parametrize(
    ("left", "state", "colour", "cells"),
    [(3590, "fresh", 32, 16), (900, "soft", 33, 4), (60, "hard", 31, 1), (-5, "expired", 31, 0)],
)
def test_a_bar_shows_what_is_left(site: Site, left: float, state: str, colour: int, cells: int) -> None:
    site.put_grant({"refresh_token": "token"})
    site.put_ticket(left=left)
    line = on_terminal(site.helper, "status").splitlines()[0]
    bar = "█" * cells + "░" * (16 - cells)
    assert f"\x1b[{colour}m{state:<7}\x1b[0m  \x1b[{colour}m{bar}\x1b[0m" in line


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
@pytest.mark.parametrize("command", ["status", "doctor"])
def test_no_colour_where_none_is_wanted(fresh: Site, command: str, env: dict[str, str]) -> None:
    """The bar and the broken lines stay: they are no colour."""
    args = [command] if command == "status" else [command, fresh.profile]
    shown = on_terminal(fresh.helper, *args, env=env)
    assert "\x1b" not in shown
    assert ("█" in shown) == (command == "status")


def test_an_empty_no_color_counts_as_none(fresh: Site) -> None:
    assert "\x1b[32m" in on_terminal(fresh.helper, "status", env={"NO_COLOR": ""})


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_nothing_but_text_where_it_is_piped(fresh: Site, command: str) -> None:
    done = fresh.helper.run(*([command] if command == "status" else [command, fresh.profile]))
    assert not set("\x1b█░→") & set(done.out)


def test_the_profiles_of_a_status_are_aligned(fresh: Site) -> None:
    grants = {name: fresh.profile_config() for name in (fresh.profile, "b")}
    fresh.helper.configure({"profiles": grants})
    shown = ESCAPE.sub("", on_terminal(fresh.helper, "status"))
    bars = [re.search("[█░]", line) for line in shown.splitlines() if set("█░") & set(line)]
    assert len({found.start() for found in bars if found}) == 1
    assert "no grant is stored at secret/ticket/b/grant" in shown
    assert "Run `vault-ticket store b`." in shown


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_doctors_lines_fit_the_terminal(site: Site, columns: int) -> None:
    """Words are kept whole: a path may be longer than a line. What is broken goes on below its own column."""
    site.helper.environ["VAULT_TOKEN"] = site.bao.root_token
    shown = ESCAPE.sub("", on_terminal(site.helper, "doctor", site.profile, columns=columns))
    for line in shown.splitlines():
        assert len(line) < columns or len(line.split()[-1]) > columns - 30
    starts = {line.index(line.split("  ")[1].strip()) for line in shown.splitlines()[:-1] if line[:4].strip()}
    assert starts == {6}
    assert re.search(r"^ {18,20}→ ", shown, re.MULTILINE)


def test_doctor_paints_by_what_it_found(site: Site) -> None:
    shown = on_terminal(site.helper, "doctor", site.profile)
    assert "\x1b[32mpass\x1b[0m  seal" in shown
    assert "\x1b[31m\x1b[1mfail\x1b[0m  grant" in shown
    assert "\x1b[2mskip\x1b[0m  check-and-set" in shown


def test_a_terminal_of_another_encoding_gets_what_it_can_show(site: Site) -> None:
    """Plain signs for the bar, and a `?` rather than an error for an arrow in a hint."""
    site.api.revoke(token := site.api.issue_grant(CLIENT))
    site.put_grant({"refresh_token": token})
    assert site.get().code == 77
    shown = on_terminal(site.helper, "status", env={"PYTHONIOENCODING": "ISO-8859-1"})
    assert "." * 16 in shown
    assert "Settings ? Installation" in ESCAPE.sub("", shown).replace("\n  ", " ")
