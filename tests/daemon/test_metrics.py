"""What a scrape gets: valid text, bounded labels, everything that was told."""

import re
import time
import tracemalloc
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from vault_ticket_plugin import __version__
from vault_ticket_plugin.daemon.keeper import State
from vault_ticket_plugin.daemon.metrics import BUCKETS, MAX_CALLS, OUTCOMES, Metrics
from vault_ticket_plugin.events import Event

DOCS = Path(__file__).parents[2] / "docs" / "daemon.md"
GOOD = State("good", 1234.5, 3600.0, None)


def told(kind: str, outcome: str, profile: str = "support") -> Event:
    return Event(kind, profile, outcome, "web-1 (pid 7)", "0123456789abcdef")  # type: ignore[arg-type]


def families(metrics: Metrics, states: dict[str, State] | None = None, waiting: int = 0) -> dict[str, Metric]:
    text = metrics.text({"support": GOOD} if states is None else states, waiting).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Metric, suffix: str = "") -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for sample in family.samples
        if suffix == "" or sample.name == family.name + suffix
    }


def test_each_event_is_counted_by_its_outcome() -> None:
    metrics = Metrics()
    for kind, outcomes in OUTCOMES.items():
        for outcome in outcomes:
            metrics.emit(told(kind, outcome))
    metrics.emit(told("hand-out", "given"))
    found = families(metrics)
    for name, kind in (
        *(("claims", "claim"), ("saves", "save"), ("publishes", "publish")),
        *(("rejections", "rejection"), ("hand_outs", "hand-out")),
    ):
        wanted = {(outcome,): 1.0 for outcome in OUTCOMES[kind]}
        if kind == "hand-out":
            wanted["given",] = 2.0
        assert values(found[f"vault_ticket_{name}"]) == wanted


def test_what_never_happened_is_zero_and_not_missing() -> None:
    found = families(Metrics())
    assert values(found["vault_ticket_saves"]) == {("saved",): 0, ("kept",): 0, ("overruled",): 0}
    assert values(found["vault_ticket_audit_dropped"]) == {(): 0}


def test_refreshes_are_counted_by_profile_and_forgotten_with_it() -> None:
    metrics = Metrics()
    metrics.emit(told("spend", "answered"))
    metrics.emit(told("spend", "answered"))
    metrics.emit(told("spend", "unavailable", "billing"))
    both = {"support": GOOD, "billing": GOOD}
    found = values(families(metrics, both)["vault_ticket_refreshes"])
    assert found == {("answered", "support"): 2, ("unavailable", "billing"): 1}
    assert values(families(metrics)["vault_ticket_refreshes"]) == {("answered", "support"): 2}


def test_each_profile_s_ticket_and_how_it_stands() -> None:
    states = {"support": GOOD, "billing": State("dead", 0.0, 0.0, None), "new": State("new", 0.0, 0.0, None)}
    found = families(Metrics(), states, waiting=3)
    assert values(found["vault_ticket_ticket_left_seconds"])["support",] == 1234.5
    assert values(found["vault_ticket_ticket_left_seconds"])["billing",] == 0
    assert values(found["vault_ticket_ticket_lifetime_seconds"])["support",] == 3600
    assert values(found["vault_ticket_profile_standing"]) == {
        ("support", "good"): 1,
        ("billing", "dead"): 1,
        ("new", "new"): 1,
    }
    wanted = {("new",): 1, ("good",): 1, ("failing",): 0, ("dead",): 1}
    assert values(found["vault_ticket_profiles"]) == wanted
    assert values(found["vault_ticket_journal_waiting"]) == {(): 3}


def test_times_of_calls_to_vault_and_to_the_token_endpoint() -> None:
    metrics = Metrics()
    metrics.vault_seconds("read", 0.004, True)
    metrics.vault_seconds("read", 20.0, False)
    metrics.endpoint_seconds(0.3, True)
    found = families(metrics)
    vault = found["vault_ticket_vault_request_duration_seconds"]
    assert values(vault, "_count") == {("read", "ok"): 1, ("read", "failed"): 1}
    assert values(vault, "_sum") == {("read", "ok"): 0.004, ("read", "failed"): 20}
    below = [sample for sample in vault.samples if sample.labels.get("le") == "0.005"]
    assert {(sample.labels["outcome"], sample.value) for sample in below} == {("ok", 1), ("failed", 0)}
    assert values(found["vault_ticket_endpoint_request_duration_seconds"], "_sum") == {("ok",): 0.3}
    assert list(BUCKETS) == sorted(BUCKETS)


def test_calls_of_unbounded_names_become_one_series() -> None:
    metrics = Metrics()
    for number in range(10 * MAX_CALLS):
        metrics.vault_seconds(f"secret/{number}", 0.01, True)
    counts = values(families(metrics)["vault_ticket_vault_request_duration_seconds"], "_count")
    assert len(counts) == MAX_CALLS + 1
    assert counts["other", "ok"] == 9 * MAX_CALLS


def test_the_process_is_described_and_the_version_told() -> None:
    found = families(Metrics())
    assert values(found["process_resident_memory_bytes"])[()] > 1 << 20
    assert values(found["process_open_fds"])[()] > 2
    assert values(found["process_threads"])[()] >= 1
    assert [sample.labels["version"] for sample in found["vault_ticket_build_info"].samples] == [__version__]


def test_names_keep_prometheus_rules() -> None:
    """Counters end in _total, times are in seconds; HELP and TYPE once each, before the samples."""
    metrics = Metrics()
    metrics.emit(told("spend", "answered"))
    metrics.vault_seconds("read", 0.1, True)
    metrics.hook("dead", "done")
    text = metrics.text({"support": GOOD}, 0).decode()
    assert text.endswith("\n")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert set(kinds) == set(helps)
    assert all(about[0].isupper() or about[0].isdigit() for about in helps.values())
    assert len(re.findall("^# TYPE", text, re.MULTILINE)) == len(kinds)
    for name, kind in kinds.items():
        assert re.fullmatch(r"(vault_ticket|process)_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"milli|micro|minutes|hours", name)
    for line in text.splitlines():
        name = re.split(r"[{ ]", line)[0]
        if not line.startswith("#"):
            assert name in kinds or re.sub(r"_(bucket|sum|count)$", "", name) in kinds, line
            assert not name.endswith("_created")


def test_the_documentation_has_each_metric_with_its_labels() -> None:
    metrics = Metrics()
    metrics.emit(told("spend", "answered"))
    metrics.vault_seconds("read", 0.1, True)
    metrics.endpoint_seconds(0.1, True)
    metrics.hook("dead", "done")
    text = metrics.text({"support": GOOD}, 0).decode()
    wanted = {}
    for name in re.findall(r"^# TYPE (vault_ticket_\S+)", text, re.MULTILINE):
        found = re.search(rf"^{name}(?:_count)?(?:{{(.*)}})? ", text, re.MULTILINE)
        assert found is not None, name
        wanted[name] = set(re.findall(r'(\w+)="', found[1] or ""))
    rows = re.findall(r"^\| `(vault_ticket_\w+)` \| ([\w, ]*)\|", DOCS.read_text(), re.MULTILINE)
    assert {name: set(re.findall(r"\w+", labels)) for name, labels in rows} == wanted
    assert set(re.findall(r"expr: '?(\w+)", DOCS.read_text())) <= set(wanted)


def test_a_profile_s_name_can_break_no_line() -> None:
    """Names are checked where the configuration is read; here they are escaped all the same."""
    left = families(Metrics(), {'a"b\\c\nd': GOOD})["vault_ticket_ticket_left_seconds"]
    assert values(left) == {('a"b\\c\nd',): 1234.5}


def test_a_thousand_profiles_cost_little_and_nothing_grows() -> None:
    metrics = Metrics()
    states = {f"profile-{number}": GOOD for number in range(1000)}
    for name in states:
        metrics.emit(told("spend", "answered", name))
    metrics.text(states, 0)
    before = time.thread_time()
    metrics.text(states, 0)
    # 30 ms where it was measured. The bound is for a machine that is ten times slower.
    assert time.thread_time() - before < 0.5
    tracemalloc.start()
    try:
        metrics.text(states, 0)
        size = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            metrics.text(states, 0)
        assert tracemalloc.get_traced_memory()[0] - size < 100_000
    finally:
        tracemalloc.stop()
