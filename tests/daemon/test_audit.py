"""The audit: what is written, when, and what happens where it can't be."""

import contextlib
import errno
import json
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.world import World
from vault_ticket_plugin.clock import Deadline, from_rfc3339
from vault_ticket_plugin.daemon import audit as audits
from vault_ticket_plugin.daemon.audit import Audit
from vault_ticket_plugin.errors import ConfigError, VaultTicketError
from vault_ticket_plugin.events import Event, Kind
from vault_ticket_plugin.model import ClientIdentity, Demand, TokenResponse
from vault_ticket_plugin.oauth import token_response
from vault_ticket_plugin.refresh import leased_path
from vault_ticket_plugin.refresh.carrier import Patient
from vault_ticket_plugin.secret import Secret

PRINT = "0123456789abcdef"
SAVED = Event("save", "support", "saved", "web-1 (pid 7)", PRINT)


def hand_out(number: int = 0) -> Event:
    return Event("hand-out", "support", "given", f"uid 1000 (pid {number})", PRINT)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for(reached: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < ends, what
        time.sleep(0.005)


class Dropped:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, count: int) -> None:
        self.count += count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def dropped() -> Dropped:
    return Dropped()


@pytest.fixture
def audit(path: Path, dropped: Dropped) -> Iterator[Audit]:
    made = Audit(str(path), dropped)
    yield made
    made.close()


def test_an_event_is_one_line_of_json_with_a_time(audit: Audit, path: Path) -> None:
    audit.emit(SAVED)
    audit.emit(Event("rejection", "support", "latched", "web-1 (pid 7)", PRINT, "invalid_grant"))
    audit.emit(Event("hand-out", "billing", "denied", "uid 33 (pid 9)"))
    audit.close()
    first, second, third = read(path)
    assert first.pop("time")[10:11] == "T"
    assert len(second.pop("time")) == len("2026-11-24T00:06:27.022Z")
    assert third.pop("time").endswith("Z")
    assert first == {
        "event": "save",
        "profile": "support",
        "outcome": "saved",
        "who": "web-1 (pid 7)",
        "fingerprint": PRINT,
    }
    assert second["detail"] == "invalid_grant"
    assert third == {"event": "hand-out", "profile": "billing", "outcome": "denied", "who": "uid 33 (pid 9)"}


def test_the_time_is_rfc_3339_in_milliseconds() -> None:
    assert json.loads(audits.line(1795478722.0625, SAVED))["time"] == "2026-11-24T00:05:22.062Z"
    assert json.loads(audits.line(1795478722, SAVED))["time"] == "2026-11-24T00:05:22.000Z"


def test_the_file_is_ours_alone_and_is_added_to(path: Path) -> None:
    for _ in range(2):
        audit = Audit(str(path))
        audit.emit(SAVED)
        audit.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read(path)) == 2


def test_what_is_no_hand_out_is_written_at_once(audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "FLUSH_SECONDS", 3600.0)
    audit.emit(SAVED)
    wait_for(lambda: len(read(path)) == 1, "it is not written")


def test_hand_outs_are_written_soon_and_together(audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    real = os.write

    def write(fd: int, text: bytes) -> int:
        writes.append(fd)
        return real(fd, text)

    monkeypatch.setattr(os, "write", write)
    for number in range(1000):
        audit.emit(hand_out(number))
    wait_for(lambda: path.read_bytes().count(b"\n") == 1000, "they are not written")
    assert [line["who"] for line in read(path)] == [f"uid 1000 (pid {number})" for number in range(1000)]
    assert len(writes) < 20


def test_nothing_told_by_several_threads_is_lost_or_mixed(audit: Audit, path: Path) -> None:
    def emit(first: int) -> None:
        for number in range(first, first + 500):
            audit.emit(hand_out(number) if number % 50 else SAVED)

    threads = [threading.Thread(target=emit, args=(first,)) for first in range(0, 4000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audit.close()
    found = read(path)
    assert len(found) == 4000
    assert len({line["who"] for line in found}) == 4000 - 80 + 1


@pytest.mark.parametrize("how", ["folder", "link", "fifo", "is a folder"])
def test_a_file_that_is_not_safe_to_write_is_refused_at_the_start(how: str, path: Path, tmp_path: Path) -> None:
    if how == "folder":
        path = tmp_path / "none" / "audit.log"
    elif how == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif how == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ConfigError, match=str(path)) as refused:
        Audit(str(path))
    assert refused.value.hint
    assert not (tmp_path / "elsewhere").exists()


# -- another file


def test_a_file_that_was_moved_away_is_followed_by_a_new_one(audit: Audit, path: Path) -> None:
    audit.emit(SAVED)
    wait_for(lambda: len(read(path)) == 1, "it is not written")
    old = path.rename(path.with_suffix(".1"))
    audit.emit(SAVED)
    wait_for(path.exists, "there is no new file")
    audit.close()
    assert [len(read(old)), len(read(path))] == [1, 1]


def test_reopen_makes_a_new_file_before_there_is_anything_to_write(audit: Audit, path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    audit.reopen()
    wait_for(path.exists, "there is no new file")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_that_was_put_in_its_place_is_not_followed(audit: Audit, path: Path, tmp_path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    path.symlink_to(tmp_path / "elsewhere")
    audit.emit(SAVED)
    audit.close()
    assert not (tmp_path / "elsewhere").exists()


# -- a disk that is full


class FullDisk:
    """os.write that fails, or writes a few bytes first, for as long as it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.room = 0
        self.asked = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, text: bytes) -> int:
        if not self.full:
            return self._write(fd, text)
        self.asked += 1
        if self.room:
            text, self.room = text[: self.room], 0
            return self._write(fd, text)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    monkeypatch.setattr(audits, "RETRY_SECONDS", 0.01)
    return FullDisk(monkeypatch)


def test_what_a_full_disk_does_not_take_is_written_later(
    audit: Audit, path: Path, disk: FullDisk, dropped: Dropped, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    audit.emit(SAVED)
    wait_for(lambda: disk.asked > 2, "it is not tried again")
    for number in range(100):
        audit.emit(hand_out(number))
    disk.full = False
    wait_for(lambda: path.read_bytes().count(b"\n") == 101, "they are not written")
    assert dropped.count == 0
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"the audit can't be written to {path}: No space left on device", "the audit is written again"]


def test_a_line_that_did_not_fit_is_not_left_in_half(audit: Audit, path: Path, disk: FullDisk) -> None:
    disk.room = 150
    for number in range(5):
        audit.emit(hand_out(number))
    wait_for(lambda: disk.asked > 2, "it is not tried again")
    assert all(line["event"] == "hand-out" for line in read(path))
    disk.full = False
    audit.close()
    assert [line["who"] for line in read(path)] == [f"uid 1000 (pid {number})" for number in range(5)]


def test_hand_outs_that_find_no_room_are_dropped_counted_and_told_of(
    audit: Audit, path: Path, disk: FullDisk, dropped: Dropped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is rare still has room; nobody waits for the disk."""
    monkeypatch.setattr(audits, "MAX_HAND_OUTS", 10)
    monkeypatch.setattr(audits, "MAX_WAITING", 20)
    audit.emit(SAVED)
    wait_for(lambda: disk.asked > 0, "it is not tried")
    for number in range(15):
        audit.emit(hand_out(number))
    for _ in range(12):
        audit.emit(SAVED)
    assert dropped.count == 5 + 2
    disk.full = False
    audit.close()
    found = read(path)
    assert [line["event"] for line in found] == ["save"] + 10 * ["hand-out"] + 10 * ["save"] + ["audit"]
    assert found[-1].pop("time")
    assert found[-1] == {"event": "audit", "outcome": "dropped", "count": 7}


def test_the_end_does_not_wait_for_a_disk_that_stays_full(
    audit: Audit, disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    audit.emit(SAVED)
    wait_for(lambda: disk.asked > 0, "it is not tried")
    audit.close()
    assert "1 events are lost" in caplog.text


# -- standard error


def test_to_standard_error_whole_lines_are_written_between_the_log_s() -> None:
    program = """
import sys
from vault_ticket_plugin.daemon.audit import Audit
from vault_ticket_plugin.events import Event
audit = Audit("-")
for number in range(3000):
    audit.emit(Event("hand-out", "support", "given", str(number)))
    if number % 100 == 0:
        print("a line of the log", file=sys.stderr, flush=True)
audit.close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stderr.splitlines()
    assert lines.count("a line of the log") == 30
    assert [json.loads(line)["who"] for line in lines if line.startswith("{")] == [str(each) for each in range(3000)]


def test_a_reader_of_standard_error_that_is_stuck_holds_nobody_up() -> None:
    program = """
import sys, time
from vault_ticket_plugin.daemon import audit as audits
from vault_ticket_plugin.events import Event
audits.CLOSE_SECONDS = 0.1
dropped = []
audit = audits.Audit("-", dropped.append)
for number in range(100_000):
    audit.emit(Event("hand-out", "support", "given", str(number)))
audit.close()
print(sum(dropped), flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 10_000
        process.kill()


# -- never a secret


TOKENS = st.text("abcdefghijkmnpqrstuvwxyz0123456789-_.~+/", min_size=12, max_size=60)


class Answering:
    """A token endpoint that gives one answer, read as the real one's is."""

    def __init__(self, status: int, plain: Mapping[str, object]) -> None:
        self._status, self._body = status, json.dumps(plain).encode()

    def refresh(
        self,
        refresh_token: Secret,  # noqa: ARG002
        client: ClientIdentity,  # noqa: ARG002
        send_by: Deadline,  # noqa: ARG002
        deadline: Deadline,
    ) -> TokenResponse:
        return token_response.read(self._status, {}, self._body, 3600.0, deadline.clock.wall())

    def revoke(self, access_token: Secret, client: ClientIdentity | None, deadline: Deadline) -> bool:  # noqa: ARG002
        raise AssertionError


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tokens=st.lists(TOKENS, min_size=3, max_size=3, unique=True),
    status=st.sampled_from([200, 302, 400, 401, 429, 500, 503]),
    type_=st.sampled_from(["Bearer", "refresh", None]),
    code=st.sampled_from(["invalid_grant", "invalid_client", "server_error", "refresh", "access"]),
)
def test_no_token_is_ever_written(
    tokens: list[str], status: int, type_: str | None, code: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However a spend ends, and whatever a server echoes, no token of it is in the audit."""
    old, new, access = tokens
    said = {"refresh": old, "access": access}
    plain = {
        "access_token": access,
        "refresh_token": new,
        "token_type": said.get(type_ or "", type_),
        "error": said.get(code, code),
        "error_description": f"{old} {new} {access}",
        "scope": old,
    }
    folder = tmp_path_factory.mktemp("audit")
    audit = Audit(str(folder / "audit.log"))
    world = World(folder / "world")
    try:
        world.seed(old)
        process = world.host("web-1").process()
        transaction = replace(process.transaction, endpoint=Answering(status, plain), emit=audit.emit)
        deadline = process.deadline()
        with contextlib.suppress(VaultTicketError):
            seen = leased_path.look(process.store, process.profile, deadline)
            transaction.refresh(seen, Demand(), deadline, True, Patient())
    finally:
        audit.close()
        world.close()
    text = (folder / "audit.log").read_text()
    assert {line["event"] for line in map(json.loads, text.splitlines())} >= {"claim", "spend"}
    assert not [token for token in tokens if token in text]


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(["claim", "spend", "save", "publish", "rejection", "hand-out"]),
    texts=st.tuples(*[st.text(max_size=400)] * 5),
    at=st.floats(0, 4e9),
)
def test_an_event_is_one_line_whatever_is_in_it(kind: Kind, texts: tuple[str, ...], at: float) -> None:
    profile, outcome, who, fingerprint, detail = texts
    line = audits.line(at, Event(kind, profile, outcome, who, fingerprint, detail))
    assert line.isascii()
    assert line.index("\n") == len(line) - 1
    found = json.loads(line)
    assert found["event"] == kind
    assert found.get("who", "") == who[:200]
    assert len(found.get("fingerprint", "")) in (0, 16)


def test_the_documentation_s_lines_are_the_audit_s() -> None:
    text = (Path(__file__).parents[2] / "docs" / "daemon.md").read_text().partition("\n## Audit")[2]
    example = json.loads(text.partition("```json\n")[2].partition("```")[0])
    event = Event("hand-out", "support", "given", "uid 1000 (pid 4711)", "9f86d081884c7d65")
    assert example == json.loads(audits.line(from_rfc3339(example["time"]), event))
    assert f"{audits.MAX_HAND_OUTS:,} hand-outs wait" in text
    assert f"within {audits.FLUSH_SECONDS:g} s" in text
