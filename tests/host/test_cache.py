"""The cache: what can't be trusted is passed over and replaced, failures cool down, clocks may jump."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_ticket_plugin import errors, warm
from vault_ticket_plugin.clock import Clock
from vault_ticket_plugin.errors import EndpointUnavailable, GrantRejected, VaultTicketError, VaultUnreachable
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.host.cache import Cache, open_runtime
from vault_ticket_plugin.model import LiveTicket, Ticket, Windows
from vault_ticket_plugin.refresh.retry import COOLDOWN_MAX, MAX_RETRY_AFTER
from vault_ticket_plugin.secret import Secret

NOW = 1_800_000_000.0  # Vault's time; this host's clock is set to another
LIFETIME = 3600.0
TICKET = Ticket(Secret("m4rk3d-access"), "Bearer", NOW, NOW + LIFETIME)
WINDOWS = Windows(1200, 120)
NOBODY = 65534
# What a failure is read as that has another class than it was written with: one that is not known here is no damage.
UNDAMAGED: dict[str, tuple[type[VaultTicketError], int]] = {
    '"title": "ConfigError"': (errors.ConfigError, 78),
    '"title": "annotations"': (VaultTicketError, 75),
    '"title": "Any"': (VaultTicketError, 75),
    '"title": "__doc__"': (VaultTicketError, 75),
}


class Simulated(Clock):
    """Two clocks that a test moves together or apart."""

    def __init__(self) -> None:
        self.wall_time = 1_700_000_000.0
        self.since_boot = 5000.0

    def wall(self) -> float:
        return self.wall_time

    def monotonic(self) -> float:
        return self.since_boot

    def sleep(self, seconds: float) -> None:
        self.wall_time += seconds
        self.since_boot += seconds


@pytest.fixture
def clock() -> Simulated:
    return Simulated()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder(str(tmp_path / "run")) as folder:
        yield folder


@pytest.fixture
def cache(folder: Folder, clock: Simulated) -> Cache:
    return Cache(folder, "support", ticket_key="i" * 16, config_version="-", environment_key="(d)", clock=clock)


def put(cache: Cache, ticket: Ticket = TICKET, now: float = NOW) -> None:
    """`now`: what time it is by Vault."""
    cache.put(LiveTicket.at(ticket, now, cache.clock.monotonic()), WINDOWS)


def cooldown(cache: Cache) -> float:
    """Seconds for which the failure, which is there, is remembered still."""
    found = cache.failure()
    assert found is not None
    assert found.remembered_for is not None
    return found.remembered_for


def entry(cache: Cache, ending: str = ".ticket") -> Path:
    assert cache.folder is not None
    (found,) = Path(cache.folder.path).glob(f"*{ending}")
    return found


class TestTickets:
    def test_what_was_put_is_found_with_vaults_time_carried_on(self, cache: Cache, clock: Simulated) -> None:
        assert cache.ticket() is None
        put(cache, now=NOW + 10)
        clock.sleep(100)
        found = cache.ticket()
        assert found is not None
        assert (found.ticket, found.vault_time(clock.monotonic())) == (TICKET, NOW + 110)

    def test_a_ticket_that_is_over_is_not_put(self, cache: Cache, folder: Folder) -> None:
        put(cache, now=NOW + LIFETIME - 0.5)
        assert folder.names() == []

    def test_it_stays_readable_after_it_is_over(self, cache: Cache, clock: Simulated) -> None:
        """Whether it is good enough is for the issuer to judge, by the time that comes with it."""
        put(cache)
        clock.sleep(2 * LIFETIME)
        found = cache.ticket()
        assert found is not None
        assert not found.usable(clock.monotonic())
        assert not found.ticket.usable(found.vault_time(clock.monotonic()))

    @pytest.mark.parametrize("off", [{"folder": None}, {"tickets": False}], ids=["no folder", "switched off"])
    def test_without_a_folder_or_switched_off_nothing_is_kept(
        self, cache: Cache, folder: Folder, off: dict[str, bool | None]
    ) -> None:
        one = replace(cache, **off)  # type: ignore[arg-type]
        put(one)
        assert one.ticket() is None
        assert folder.names() == []

    def test_another_identity_does_not_see_it_and_replaces_it(self, cache: Cache) -> None:
        """Another login, address or path: it is another ticket, even under the same variables."""
        other = replace(cache, ticket_key="j" * 16)
        put(cache)
        assert other.ticket() is None
        put(other, TICKET._replace(access_token=Secret("theirs")))
        assert cache.ticket() is None

    @pytest.mark.parametrize("change", [{"environment_key": "(e)"}, {"profile": "other"}])
    def test_other_variables_and_other_profiles_have_entries_of_their_own(
        self, cache: Cache, change: dict[str, str]
    ) -> None:
        other = replace(cache, **change)  # type: ignore[arg-type]
        put(cache)
        assert other.ticket() is None
        put(other)
        assert cache.ticket() is not None
        assert other.ticket() is not None

    def test_a_file_that_changed_leaves_the_entry_to_the_identity(self, cache: Cache) -> None:
        """A comment in the configuration is no reason to ask Vault."""
        put(cache)
        assert replace(cache, config_version="/etc/x 1 2 3").ticket() is not None

    @pytest.mark.parametrize("line", range(6))
    @pytest.mark.parametrize(
        "damage", ["", "x", "vault-ticket 2", "nan nan nan nan nan", "1 2 3", "null", "{}", "[" * 5000]
    )
    def test_an_entry_with_a_line_that_is_another_is_passed_over_and_replaced(
        self, cache: Cache, line: int, damage: str
    ) -> None:
        """Of the lines for the warm path (1 and 2) any may stand there."""
        put(cache)
        path = entry(cache)
        lines = path.read_text().split("\n")
        lines[line] = damage
        path.write_text("\n".join(lines))
        assert (cache.ticket() is None) is (line not in (1, 2))
        put(cache)
        assert cache.ticket() is not None

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null", '"soon"', "[]", "{}"])
    @pytest.mark.parametrize("name", ["issued_at", "expires_at"])
    def test_a_time_that_is_none_is_passed_over(self, cache: Cache, name: str, value: str) -> None:
        """A ticket that lasts for ever would never be refreshed."""
        put(cache)
        path = entry(cache)
        number = {"issued_at": TICKET.issued_at, "expires_at": TICKET.expires_at}[name]
        path.write_text(path.read_text().replace(f'"{name}": {number}', f'"{name}": {value}'))
        assert cache.ticket() is None

    @given(damage=st.binary(max_size=10), at=st.integers(0, 600), cut=st.booleans())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_damage_anywhere_is_a_miss_or_a_ticket_and_nothing_else(
        self, cache: Cache, damage: bytes, at: int, cut: bool
    ) -> None:
        put(cache)
        path = entry(cache)
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + damage + (b"" if cut else whole[at + len(damage) :]))
        found = cache.ticket()
        assert found is None or found.usable(cache.clock.monotonic()) in (True, False)
        put(cache)
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("how", ["world-readable", "foreign", "link", "fifo"])
    def test_a_file_that_is_not_safely_ours_is_passed_over_and_replaced(
        self, cache: Cache, tmp_path: Path, how: str
    ) -> None:
        if how == "foreign" and os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        put(cache)
        path = entry(cache)
        if how == "world-readable":
            path.chmod(0o644)
        elif how == "foreign":
            os.chown(path, NOBODY, NOBODY)
        elif how == "link":
            path.rename(tmp_path / "elsewhere")
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.unlink()
            os.mkfifo(path, 0o600)
        assert cache.ticket() is None
        put(cache)
        assert cache.ticket() is not None

    def test_a_folder_that_takes_nothing_ends_no_call(
        self, cache: Cache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        caplog.set_level(logging.INFO)
        monkeypatch.setattr(os, "write", full)
        put(cache)
        cache.remember(VaultUnreachable("no answer"))
        assert caplog.text.count("No space left on device") == 2
        assert (cache.ticket(), cache.failure()) == (None, None)

    def test_nothing_is_shown_of_the_ticket(self, cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        put(cache)
        entry(cache).write_text("m4rk3d")
        shown = f"{cache!r} {cache.ticket()!r} {TICKET!r} {caplog.text} {entry(cache).name}"
        assert "m4rk3d" not in shown


class TestClocks:
    def test_the_clock_that_went_further_counts(self, cache: Cache, clock: Simulated) -> None:
        """A ticket may be thought older than it is, never younger."""
        put(cache)
        clock.wall_time += 50
        clock.since_boot += 70
        assert (found := cache.ticket()) is not None
        assert found.vault_time(clock.monotonic()) == NOW + 70
        clock.wall_time += 950  # set forward
        assert (found := cache.ticket()) is not None
        assert found.vault_time(clock.monotonic()) == NOW + 1000

    @pytest.mark.parametrize(("wall", "boot"), [(-1.0, 10.0), (10.0, -1.0), (-1.0, -1.0)])
    def test_an_entry_from_the_future_is_passed_over(
        self, cache: Cache, clock: Simulated, wall: float, boot: float
    ) -> None:
        """The clock was set back, or the machine was started anew: nobody knows how old it is."""
        put(cache)
        cache.remember(VaultUnreachable("no answer"))
        clock.wall_time += wall
        clock.since_boot += boot
        assert (cache.ticket(), cache.failure()) == (None, None)
        put(cache)
        assert cache.ticket() is not None

    def test_a_clock_set_forward_ends_a_cooldown_early_and_never_lengthens_it(
        self, cache: Cache, clock: Simulated
    ) -> None:
        cache.remember(EndpointUnavailable("busy", retry_after=600))
        clock.wall_time += 601
        assert cache.failure() is None


class TestFailures:
    @pytest.mark.parametrize(
        "error",
        [
            VaultUnreachable("no answer", "Try again."),
            GrantRejected("dead", "Make another.", code="invalid_grant"),
            EndpointUnavailable("busy"),
            errors.ConfigError("wrong"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_failure_is_remembered_as_it_was(self, cache: Cache, error: VaultTicketError) -> None:
        cache.remember(error)
        found = cache.failure()
        assert found is not None
        assert type(found) is type(error)
        assert found.to_plain() == error.to_plain()
        assert found.hint == f"{error.hint} (This is remembered for 1 s more; --force asks now.)".lstrip()
        assert 0.5 <= cooldown(cache) <= 1.0

    def test_the_cooldown_is_over_when_its_time_is(self, cache: Cache, clock: Simulated) -> None:
        cache.remember(VaultUnreachable("no answer"))
        clock.sleep(cooldown(cache) - 0.01)
        assert cache.failure() is not None
        clock.sleep(0.02)
        assert cache.failure() is None

    def test_it_doubles_from_one_second_to_sixty_and_is_jittered(self, cache: Cache, clock: Simulated) -> None:
        spans = []
        for count in range(12):
            cache.remember(VaultUnreachable("no answer"))
            seconds = cooldown(cache)
            bound = min(60.0, 2.0**count)
            assert bound / 2 <= seconds <= bound
            spans.append(seconds / bound)
            clock.sleep(seconds + 1)
        assert len(set(spans)) == len(spans)

    def test_a_failure_long_after_the_last_begins_anew(self, cache: Cache, clock: Simulated) -> None:
        for _ in range(5):
            cache.remember(VaultUnreachable("no answer"))
        clock.sleep(16 + COOLDOWN_MAX + 1)
        cache.remember(VaultUnreachable("no answer"))
        assert cooldown(cache) <= 1.0

    def test_a_success_clears_it(self, cache: Cache) -> None:
        cache.remember(VaultUnreachable("no answer"))
        cache.clear_failure()
        assert cache.failure() is None
        cache.clear_failure()

    @pytest.mark.parametrize(("asked", "kept"), [(120.0, 120.0), (0.0, 1.0), (None, 1.0), (1e9, MAX_RETRY_AFTER)])
    def test_what_the_server_asks_for_is_kept_up_to_an_hour(
        self, cache: Cache, asked: float | None, kept: float
    ) -> None:
        cache.remember(EndpointUnavailable("busy", retry_after=asked))
        assert kept / 2 <= cooldown(cache) <= kept
        if asked and asked > 60:
            assert cooldown(cache) == kept

    def test_what_is_left_of_that_is_told(self, cache: Cache, clock: Simulated) -> None:
        cache.remember(EndpointUnavailable("busy", retry_after=120.0))
        clock.sleep(20)
        found = cache.failure()
        assert found is not None
        assert (found.retry_after, found.remembered_for) == (100.0, 100.0)

    def test_failures_are_shared_by_every_environment_of_one_identity(self, cache: Cache) -> None:
        cache.remember(VaultUnreachable("no answer"))
        assert replace(cache, environment_key="(e)").failure() is not None
        assert replace(cache, ticket_key="j" * 16).failure() is None

    def test_they_are_remembered_where_tickets_are_not(self, cache: Cache) -> None:
        """A caller without a cache would else ask hundreds of times a second."""
        replace(cache, tickets=False).remember(VaultUnreachable("no answer"))
        assert cache.failure() is not None

    @pytest.mark.parametrize(
        "damage",
        [
            *("", "null", "[]", "{", "5", "{}", "[" * 5000),
            *('"title": "ConfigError"', '"title": "annotations"', '"title": "Any"', '"title": 5', '"title": "__doc__"'),
            *(
                '"title": []',
                '"title": {',
                '"exit_code": 0',
                '"exit_code": 128',
                '"exit_code": true',
                '"exit_code": "75"',
            ),
            *('"detail": 5', '"hint": null', '"code": 5', '"retry_after": "soon"', '"retry_after": []'),
            *('"span": NaN', '"span": Infinity', '"span": 1e9', '"span": -1', '"span": "long"', '"span": null'),
            *('"count": NaN', '"count": Infinity', '"count": "x"', '"count": -1', '"wall": NaN', '"monotonic": null'),
            *('"error', '"title', '"detail', '"hint', '"exit_code'),
        ],
    )
    def test_a_damaged_one_is_no_failure_and_is_replaced(self, cache: Cache, damage: str) -> None:
        cache.remember(EndpointUnavailable("busy", code="server_error", retry_after=60))
        path = entry(cache, ".failure")
        text = path.read_text()
        key = damage.partition(":")[0]
        if key.startswith('"'):
            start = text.index(key)
            ends = [at for at in (text.find(",", start), text.find("}", start)) if at > 0]
            text = text[:start] + (damage if ":" in damage else '"gone": 1') + text[min(ends) :]
        else:
            text = damage
        path.write_text(text)
        found = cache.failure()
        if damage in UNDAMAGED:  # what is written is read: the other rows fail for their own reason
            assert found is not None
            assert (type(found), found.exit_code) == UNDAMAGED[damage]
        else:
            assert found is None
        cache.remember(EndpointUnavailable("busy"))
        assert cache.failure() is not None

    @given(damage=st.binary(max_size=10), at=st.integers(0, 250))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_damage_anywhere_raises_nothing_and_keeps_nobody_for_long(
        self, cache: Cache, damage: bytes, at: int
    ) -> None:
        cache.remember(VaultUnreachable("no answer"))
        path = entry(cache, ".failure")
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + damage + whole[at + len(damage) :])
        found = cache.failure()
        assert found is None or 0 < cooldown(cache) <= MAX_RETRY_AFTER
        cache.remember(VaultUnreachable("no answer"))
        cache.clear_failure()


def test_forgetting_takes_the_profiles_tickets_and_failures_under_any_login_and_nothing_else(
    cache: Cache, folder: Folder
) -> None:
    caches = [cache, replace(cache, ticket_key="j" * 16, environment_key="(e)")]
    others = [replace(cache, profile="support-2"), replace(cache, profile="sup")]
    for one in caches + others:
        put(one)
        one.remember(VaultUnreachable("no answer"))
    folder.write("support-0123456789abcdef.journal", "a token")
    folder.write("support-0123456789abcdef.lock", "")
    cache.forget()
    assert [(one.ticket(), one.failure()) for one in caches] == [(None, None)] * 2
    assert None not in [part for one in others for part in (one.ticket(), one.failure())]
    assert {"support-0123456789abcdef.journal", "support-0123456789abcdef.lock"} <= set(folder.names())


class TestRuntimeFolder:
    def test_it_is_made_where_it_is_missing(self, tmp_path: Path) -> None:
        folder = open_runtime({"XDG_RUNTIME_DIR": str(tmp_path)})
        assert folder is not None
        folder.close()
        assert (tmp_path / "vault-ticket").is_dir()

    def test_one_that_is_not_safe_is_not_used_and_that_is_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "vault-ticket").mkdir()
        (tmp_path / "vault-ticket").chmod(0o777)
        assert open_runtime({"XDG_RUNTIME_DIR": str(tmp_path)}) is None
        assert f"{tmp_path}/vault-ticket: is open to other users: mode 0777" in caplog.text

    def test_one_that_cant_be_made_is_done_without(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        (tmp_path / "file").touch()
        assert open_runtime({"XDG_RUNTIME_DIR": str(tmp_path / "file")}) is None
        assert "nothing is remembered between calls" in caplog.text


def test_the_name_of_an_entry_is_a_plain_file_name(cache: Cache) -> None:
    put(cache)
    assert entry(cache).name == warm.entry_name("support", "(d)") == "support-8a3cf885.ticket"
