"""The program's first step: what the warm path says is written whole, else the whole program runs."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from tests.support.cli import COMMAND, Host
from tests.test_warm import CONFIG, put
from vault_ticket_plugin import cli, entry, warm

TEXT = "Authorization: Bearer abc.def\n"
WHOLE = 99  # how the stand-in for the whole program ends


@pytest.fixture(autouse=True)
def _no_whole_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "run", lambda: WHOLE)


def output(monkeypatch: pytest.MonkeyPatch, takes: Callable[[bytes], int]) -> list[bytes]:
    """What is written to file descriptor 1, which takes so many bytes of what it is given, or fails."""
    out: list[bytes] = []

    def write(fd: int, data: Sequence[int]) -> int:
        assert fd == 1
        count = takes(bytes(data))
        out.append(bytes(data)[:count])
        return count

    monkeypatch.setattr(warm, "cached_output", lambda *_: TEXT)
    monkeypatch.setattr(os, "write", write)
    return out


def test_what_the_warm_path_says_is_written_and_the_whole_program_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = output(monkeypatch, len)
    assert entry.main() == 0
    assert out == [TEXT.encode()]


def test_where_it_says_nothing_nothing_is_written_and_the_whole_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    out = output(monkeypatch, len)
    monkeypatch.setattr(warm, "cached_output", lambda *_: None)
    assert entry.main() == WHOLE
    assert out == []


def test_it_is_asked_with_the_arguments_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "argv", ["/usr/bin/vault-ticket", "get", "support"])
    monkeypatch.setattr(warm, "cached_output", lambda *given: seen.extend(given))
    assert entry.main() == WHOLE
    assert seen == [["get", "support"], os.environ]


def test_a_reader_that_takes_a_few_bytes_at_a_time_gets_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    out = output(monkeypatch, lambda data: min(7, len(data)))
    assert entry.main() == 0
    assert b"".join(out) == TEXT.encode()


def test_an_output_that_takes_nothing_is_left_to_the_whole_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what is wrong, in its own words."""

    def refuse(_: bytes) -> int:
        raise BrokenPipeError

    output(monkeypatch, refuse)
    assert entry.main() == WHOLE


def test_an_output_that_breaks_half_way_is_not_given_the_rest_of_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(data: bytes) -> int:
        if data != TEXT.encode():
            raise OSError(28, "No space left on device")
        return 7

    out = output(monkeypatch, break_off)
    assert entry.main() == 74
    assert b"".join(out) == TEXT.encode()[:7]


def test_no_core_file_is_ever_written() -> None:
    """It would hold the tokens in memory."""
    done = subprocess.run(
        [sys.executable, "-c", "import resource, vault_ticket_plugin.core_dump as l; l.no_core_file();"
         "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "0\n"


def test_a_system_without_such_limits_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(warm, "cached_output", lambda *_: None)
    assert entry.main() == WHOLE


class TestOutputLost:
    """Both ways end alike where standard output can't be written."""

    WARM = ("get", "support")
    WHOLE = ("get", "support", "--min-ttl", "0")

    @pytest.fixture
    def warmed(self, host: Host) -> Host:
        host.configure(CONFIG)
        put(host.env(), "support", "abc.def")
        assert warm.cached_output(self.WARM, host.env()) is not None
        return host

    def ending(self, host: Host, how: str, arguments: tuple[str, ...]) -> tuple[int, str]:
        command = {
            "closed": 'exec "$@" >&-',
            "full": 'exec "$@" >/dev/full',
            "no reader": 'exec "$@"',
        }[how]
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command, "sh", COMMAND, *arguments],
                env=host.env(),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(writer)
        return done.returncode, done.stderr

    @pytest.mark.parametrize("how", ["closed", "full", "no reader"])
    def test_the_exit_code_and_the_words_are_the_same(self, warmed: Host, how: str) -> None:
        code, said = self.ending(warmed, how, self.WARM)
        assert (code, said) == self.ending(warmed, how, self.WHOLE)
        assert code == 74
        assert said.startswith("vault-ticket: standard output ")
        assert "Traceback" not in said
        assert "abc.def" not in said
