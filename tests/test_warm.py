"""The warm path says exactly what the whole program would say, or nothing."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.support.cli import COMMAND, Host
from vault_ticket_plugin import cli, environment, password_database, warm
from vault_ticket_plugin.clock import Clock
from vault_ticket_plugin.errors import SaveFailed
from vault_ticket_plugin.formats import CACHEABLE, CONTEXTUAL, FORMATS
from vault_ticket_plugin.model import LiveTicket, Ticket
from vault_ticket_plugin.refresh.store_grant import StoreGrant
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.load import load_settings
from vault_ticket_plugin.wiring import wired

T = TypeVar("T")
START = 1_800_000_000.0
LIFETIME = 3600.0
SOFT = 1200.0
CONFIG = """
[vault]
address = "https://127.0.0.1:1"
[profiles.support]
[profiles.default]
soft_window = "1m"
[profiles.billing]
"""


class Stopped(Clock):
    """Both clocks of this host, for both ways, at a moment that a test chooses."""

    def __init__(self) -> None:
        self.moment = START

    @contextlib.contextmanager
    def in_force(self) -> Any:
        with (
            mock.patch("time.time", side_effect=lambda: self.moment),
            mock.patch.object(warm, "monotonic", side_effect=lambda: self.moment - START + 5000),
        ):
            yield self


def put(environ: Mapping[str, str], profile: str, token: str, *, age: float = 0.0) -> None:
    """A ticket of that profile into the cache, as the whole program would under this environment."""
    found = load_settings(environ)
    now = time.time()
    ticket = Ticket(Secret(token), "Bearer", now - age, now - age + LIFETIME)
    with wired(found, environ) as wiring:
        wanted = found.profile(profile)
        live = LiveTicket.at(ticket, now, wiring.clock.monotonic())
        wiring.cache(wanted).put(live, wanted.windows)


def whole_program(arguments: list[str], environ: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the click program, which may not ask Vault."""
    out, err = io.StringIO(), io.StringIO()
    at_sigterm = signal.getsignal(signal.SIGTERM)
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.object(sys, "argv", ["vault-ticket", *arguments]),
        mock.patch(
            "vault_ticket_plugin.transport.exchange.Transport.exchange", side_effect=AssertionError("it asks Vault")
        ),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = cli.run()
        finally:
            signal.signal(signal.SIGTERM, at_sigterm)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def environ(host: Host) -> dict[str, str]:
    host.configure(CONFIG)
    return host.env({"VAULT_TOKEN": "a token"})


PROFILES = ("support", "default", "billing")
names = st.sampled_from([*FORMATS, "JSON", ""])
plausible = st.one_of(
    *(st.sampled_from(PROFILES).map(lambda name: [name]) for _ in range(2)),
    names.map(lambda name: ["--format", name]),
    names.map(lambda name: [f"--format={name}"]),
    st.just(["--wait"]),
)
odd = st.sampled_from(
    [
        *("get", "store", "status", "-v", "-vv", "--verbose", "--log-format=json", "--log-format", "text", "--force"),
        *("--min-ttl", "5m", "--min-ttl=1h", "--no-cache", "--timeout=1s", "--", "-", "", " ", " support ", "--help"),
        *("-h", "--version", "<nil>", "<no value>", "nobody", "../support", "--forma=json", "--format", "--wait=1"),
        *("--wait=", "support\n", "--format=json\n", "-wait", "@support", *FORMATS),
    ]
).map(lambda one: [one])
rest = (
    st.lists(plausible, max_size=3)
    | st.lists(plausible, max_size=3, unique_by=lambda parts: parts[0][:3])
    | st.lists(plausible | odd, max_size=4)
    | st.lists(st.text(max_size=4).map(lambda one: [one]), max_size=3)
)
first = st.sampled_from([["get"]] * 6 + [[], ["-v", "get"], ["status"], ["--", "get"]])
command_lines = st.tuples(first, rest).map(lambda parts: parts[0] + [one for part in parts[1] for one in part])
variables = st.fixed_dictionaries(
    {},
    optional={
        "VAULT_TICKET_PROFILE": st.sampled_from(["", "support", "billing", "nobody", " ", "../x"]),
        "VAULT_NAMESPACE": st.sampled_from(["", "ops"]),
        "BAO_TOKEN": st.sampled_from(["", "another token"]),
        "XDG_CONFIG_HOME": st.just("/nonexistent"),
        "LANG": st.sampled_from(["C", "C.UTF-8"]),
    },
)
changes = variables | st.just({"_VAULT_TICKET_COMPLETE": "bash_source"}) | st.just({"BAO_ADDR": "https://127.0.0.1:2"})


def mostly(usual: T, other: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    return st.one_of(*[st.just(usual)] * 3, other)


@given(
    arguments=command_lines,
    made_under=variables,
    changed=mostly({}, changes),
    tickets=mostly(set(PROFILES), st.sets(st.sampled_from(PROFILES))),
    journal=mostly(False, st.booleans()),
    passed=mostly(0.0, st.sampled_from([1.0, LIFETIME - SOFT - 1, LIFETIME - SOFT, LIFETIME, -5.0])),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_warm_path_answers_is_what_the_whole_program_would(
    host: Host,
    environ: dict[str, str],
    arguments: list[str],
    made_under: dict[str, str],
    changed: dict[str, str],
    tickets: set[str],
    journal: bool,
    passed: float,
) -> None:
    """Same standard output, exit code 0, nothing on standard error, and Vault is not asked."""
    folder = host.runtime / "vault-ticket"
    shutil.rmtree(folder, ignore_errors=True)
    made_under = environ | {"BAO_ADDR": "https://127.0.0.1:1"} | made_under
    clock = Stopped()
    with clock.in_force():
        for profile in tickets:
            put(made_under, profile, f"token-of-{profile}")
        if tickets and journal:
            (folder / "0123456789abcdef-0123456789abcdef.journal").touch(0o600)
        clock.moment += passed
        used = made_under | changed
        text = warm.cached_output(arguments, used)
        event("hit" if text is not None else "miss")
        if text is not None:
            assert whole_program(arguments, used) == (0, text, "")


@pytest.mark.parametrize("name", CACHEABLE)
@pytest.mark.parametrize("profile", ["support", "default", "billing"])
def test_every_plain_format_of_every_profile_is_a_hit(environ: dict[str, str], name: str, profile: str) -> None:
    """The property above is not empty."""
    with Stopped().in_force():
        put(environ, profile, "abc.def")
        for arguments in (["get", profile, "--format", name], ["get", f"--format={name}", "--wait", profile]):
            text = warm.cached_output(arguments, environ)
            assert text is not None
            assert whole_program(arguments, environ) == (0, text, "")


@pytest.mark.parametrize("name", CONTEXTUAL)
def test_formats_that_need_more_than_the_ticket_are_left_to_the_whole_program(
    environ: dict[str, str], name: str
) -> None:
    put(environ, "support", "abc.def")
    assert warm.cached_output(["get", "support", "--format", name], environ) is None


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["status"], ["store", "support"], ["support"], ["-v", "get"], ["get", "-v"], ["get", "--force"]),
        *(["get", "--min-ttl", "0"], ["get", "--min-ttl=5m", "support"], ["get", "--no-cache"], ["get", "--help"]),
        *(["get", "support", "support"], ["get", "--", "support"], ["get", ""], ["get", "--format"], ["get", "nobody"]),
        *(
            ["get", "--format=json", "--format=json"],
            ["get", "--format", "json", "--format=token"],
            ["get", "../support"],
        ),
        *(["get", "<nil>"], ["get", "--timeout=5s"], ["get", "--format", "--wait"], ["get", "--log-format=json"]),
    ],
    ids=" ".join,
)
def test_any_other_command_line_is_left_to_the_whole_program(environ: dict[str, str], arguments: list[str]) -> None:
    for profile in ("support", "default"):
        put(environ, profile, "abc.def")
    assert warm.cached_output(["get"], environ) is not None
    assert warm.cached_output(arguments, environ) is None


class TestMisses:
    @pytest.fixture
    def warmed(self, environ: dict[str, str]) -> dict[str, str]:
        put(environ, "support", "abc.def")
        assert self.answer(environ) == "abc.def\n"
        return environ

    @staticmethod
    def answer(environ: Mapping[str, str]) -> str | None:
        return warm.cached_output(["get", "support", "--format=token"], environ)

    @staticmethod
    def entry(host: Host) -> Path:
        (found,) = (host.runtime / "vault-ticket").glob("support-*.ticket")
        return found

    def test_another_content_of_the_configuration(self, warmed: dict[str, str], host: Host) -> None:
        host.configure(CONFIG + "# a comment\n")
        assert self.answer(warmed) is None

    def test_another_time_of_the_configuration(self, warmed: dict[str, str], host: Host) -> None:
        """The content may differ where size and inode do not."""
        before = host.config_file.stat()
        os.utime(host.config_file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
        assert self.answer(warmed) is None
        os.utime(host.config_file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert self.answer(warmed) is not None

    def test_another_file_of_the_same_size_and_time(self, warmed: dict[str, str], host: Host) -> None:
        copy = host.config_file.with_name("copy")
        shutil.copy2(host.config_file, copy)
        copy.replace(host.config_file)
        assert self.answer(warmed) is None

    def test_no_configuration_any_more(self, warmed: dict[str, str], host: Host) -> None:
        host.config_file.unlink()
        assert self.answer(warmed) is None

    def test_a_configuration_in_a_place_that_comes_before(self, warmed: dict[str, str], host: Host) -> None:
        other = host.folder / "other.toml"
        shutil.copy2(host.config_file, other)
        assert self.answer(warmed | {"VAULT_TICKET_CONFIG": str(other)}) is None

    def test_a_configuration_that_is_named_and_missing(self, warmed: dict[str, str]) -> None:
        assert self.answer(warmed | {"VAULT_TICKET_CONFIG": "/nonexistent"}) is None

    @pytest.mark.parametrize("name", environment.NAMES)
    def test_another_value_of_a_relevant_variable(self, warmed: dict[str, str], host: Host, name: str) -> None:
        for value in ("", str(host.folder)):
            if warmed.get(name) != value:
                assert self.answer(warmed | {name: value}) is None
        assert self.answer({k: v for k, v in warmed.items() if k != name}) == (None if name in warmed else "abc.def\n")

    def test_another_value_of_any_other_variable_is_none(self, warmed: dict[str, str]) -> None:
        assert self.answer(warmed | {"PWD": "/", "LC_ALL": "C", "VAULT_FORMAT": "json"}) is not None

    @pytest.mark.parametrize(
        ("passed", "hit"),
        [(0.0, True), (LIFETIME - SOFT - 1, True), (LIFETIME - SOFT, False), (LIFETIME, False), (-1.0, False)],
    )
    def test_the_soft_window_expiry_and_a_clock_set_back(
        self, environ: dict[str, str], passed: float, hit: bool
    ) -> None:
        clock = Stopped()
        with clock.in_force():
            put(environ, "support", "abc.def")
            clock.moment += passed
            assert (self.answer(environ) is not None) is hit

    def test_either_clock_alone_makes_it_older(self, environ: dict[str, str]) -> None:
        with Stopped().in_force():
            put(environ, "support", "abc.def")
            with mock.patch("time.time", return_value=START + LIFETIME):
                assert self.answer(environ) is None
            with mock.patch.object(warm, "monotonic", return_value=5000 + LIFETIME):
                assert self.answer(environ) is None

    def test_either_clock_alone_set_back(self, environ: dict[str, str]) -> None:
        """Nobody knows then how old the entry is."""
        with Stopped().in_force():
            put(environ, "support", "abc.def")
            with mock.patch("time.time", return_value=START - 1):
                assert self.answer(environ) is None
            with mock.patch.object(warm, "monotonic", return_value=5000 - 1):
                assert self.answer(environ) is None

    def test_a_ticket_already_in_its_soft_window(self, environ: dict[str, str]) -> None:
        put(environ, "support", "abc.def", age=LIFETIME - SOFT + 5)
        assert self.answer(environ) is None

    @pytest.mark.parametrize("place", ["runtime", "state"])
    def test_a_journal_that_waits(self, warmed: dict[str, str], host: Host, place: str) -> None:
        """Whatever its name says: the whole program prints the same ticket, then saves what is in it."""
        folder = getattr(host, place) / "vault-ticket"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "0123456789abcdef-0123456789abcdef.journal").touch(0o600)
        assert self.answer(warmed) is None

    def test_without_a_home_the_password_database_is_not_asked(self, host: Host) -> None:
        """It may not answer for long; the whole program asks it with patience of its own."""
        environ = {name: value for name, value in host.env().items() if name not in {"HOME", "XDG_CONFIG_HOME"}}
        with mock.patch.object(password_database, "home", side_effect=AssertionError("asked")):
            assert self.answer(environ) is None

    def test_a_store_that_could_not_save_what_it_got(self, warmed: dict[str, str], host: Host) -> None:
        """Its journal may be on the disk, where the warm path does not look: the next call has to be a cold one."""
        token = host.secret_file("token", "a refresh token".replace(" ", "-"))

        def fail(storing: StoreGrant, *_: object) -> None:
            storing.forget()
            raise SaveFailed("it is rotated, and could not be stored")

        with mock.patch.object(StoreGrant, "store_token", autospec=True, side_effect=fail):
            code, out, err = whole_program(["store", "support", "--client-id=1", f"--file={token}"], warmed)
        assert (code, out) == (74, "")
        assert "could not be stored" in err
        assert self.answer(warmed) is None

    @pytest.mark.parametrize("mode", [0o644, 0o640])
    def test_an_entry_that_others_may_read(self, warmed: dict[str, str], host: Host, mode: int) -> None:
        self.entry(host).chmod(mode)
        assert self.answer(warmed) is None

    def test_a_folder_that_others_may_read_or_that_is_a_link(self, warmed: dict[str, str], host: Host) -> None:
        folder = host.runtime / "vault-ticket"
        folder.chmod(0o750)
        assert self.answer(warmed) is None
        folder.chmod(0o700)
        folder.rename(host.runtime / "real")
        folder.symlink_to("real")
        assert self.answer(warmed) is None

    def test_no_folder_at_all_and_none_is_made(self, environ: dict[str, str], host: Host) -> None:
        assert self.answer(environ) is None
        assert not (host.runtime / "vault-ticket").exists()

    @pytest.mark.parametrize("line", [0, 1, 2, 4])
    @pytest.mark.parametrize(
        "damage", ["", "vault-ticket 0", "nan nan nan nan nan", "0 0 nan 0 0", "a b c", "1 2", "-"]
    )
    def test_a_damaged_line(self, warmed: dict[str, str], host: Host, line: int, damage: str) -> None:
        lines = self.entry(host).read_text().split("\n")
        lines[line] = damage
        self.entry(host).write_text("\n".join(lines))
        assert self.answer(warmed) is None

    @given(damage=st.binary(min_size=1, max_size=6), at=st.integers(0, 700), cut=st.booleans())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_damage_anywhere_raises_nothing(
        self, environ: dict[str, str], host: Host, damage: bytes, at: int, cut: bool
    ) -> None:
        put(environ, "support", "abc.def")
        whole = self.entry(host).read_bytes()
        self.entry(host).write_bytes(whole[:at] + damage + (b"" if cut else whole[at + len(damage) :]))
        text = self.answer(environ)
        assert text is None or text.endswith("\n")

    def test_an_entry_of_another_profile_in_its_place_is_not_noticed_by_name_alone(
        self, warmed: dict[str, str], host: Host
    ) -> None:
        """What tells entries apart is their name: nobody but us can write there."""
        assert warm.cached_output(["get", "billing"], warmed) is None
        assert "billing" not in "".join(path.name for path in self.entry(host).parent.iterdir())


def test_a_configuration_whose_path_is_no_text_is_cached_all_the_same(host: Host) -> None:
    """A path is bytes; Python has them as lone surrogates."""
    path = host.folder / "caf\udce9\n.toml"
    path.write_text(CONFIG)
    environ = host.env({"VAULT_TICKET_CONFIG": str(path)})
    put(environ, "support", "abc.def")
    assert warm.cached_output(["get", "support", "--format=token"], environ) == "abc.def\n"


# What a warm call may import beyond what a bare interpreter does.
ALLOWED = {
    *("vault_ticket_plugin", "vault_ticket_plugin.entry", "vault_ticket_plugin.warm"),
    *("vault_ticket_plugin.environment", "vault_ticket_plugin.folder", "vault_ticket_plugin.core_dump"),
    *("__future__", "errno", "binascii", "resource"),
}


def imported(host: Host, *command: str | Path, **more: str) -> tuple[set[str], str]:
    """The modules that a Python process imported, and its standard output. `more`: variables of its environment."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        env=host.env(more),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert lines, "the interpreter tells what it imports"
    return {line.rpartition("|")[2].strip() for line in lines} - {"imported package"}, done.stdout


def test_a_warm_call_imports_next_to_nothing(host: Host) -> None:
    host.configure(CONFIG)
    put(host.env(), "support", "abc.def")
    bare, _ = imported(host, "-c", "pass")
    mine, out = imported(host, COMMAND, "get", "support", "--format=token")
    assert out == "abc.def\n"
    assert mine - bare <= ALLOWED
    cold, out = imported(host, COMMAND, "get", "support", "--format=token", "--min-ttl=0")
    assert out == "abc.def\n"
    assert {"click", "json", "vault_ticket_plugin.settings.load"} <= cold - bare  # so the list above would notice
    assert not {"requests", "urllib3", "hvac", "http.client"} & cold  # what is only for going out


def test_only_a_secret_in_the_environment_needs_hashlib(environ: dict[str, str], host: Host) -> None:
    """Its fingerprint is in the entry, and not its text."""
    put(environ, "support", "abc.def")
    mine, out = imported(host, COMMAND, "get", "support", "--format=token", VAULT_TOKEN="a token")
    assert out == "abc.def\n"
    assert "hashlib" in mine
    for entry in (host.runtime / "vault-ticket").iterdir():
        assert "a token" not in entry.read_text()
