"""What the daemon counts and measures, in Prometheus' text format. Labels are bounded: profiles, and names of ours."""

from __future__ import annotations

import os
import platform
import threading
from collections import Counter as Tally
from collections.abc import Iterable, Mapping

import prometheus_client as prometheus
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vault_ticket_plugin import __version__
from vault_ticket_plugin.daemon.keeper import State
from vault_ticket_plugin.events import Event, Kind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From a read that a Vault nearby answers from memory to the longest that any call of ours waits.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# What is counted from the start, so that the first one is seen as an increase.
OUTCOMES: Mapping[Kind, tuple[str, ...]] = {
    "claim": ("taken", "lost"),
    "save": ("saved", "kept", "overruled"),
    "publish": ("published", "failed", "overruled"),
    "rejection": ("latched", "overruled"),
    "hand-out": ("given", "failed", "denied"),
}
STANDINGS = ("new", "good", "failing", "dead")
# Far more kinds of calls than there are; should a path ever get in here, it counts as `other`.
MAX_CALLS = 32

# When each series began is a series more for each, and nobody's question.
prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Safe to use from several threads. `text` is what a scrape gets."""

    def __init__(self) -> None:
        self._registry = registry = prometheus.CollectorRegistry(auto_describe=False)
        self._lock = threading.Lock()  # of `text`, so that two scrapes don't mix
        self._profiles = _Profiles()
        prometheus.ProcessCollector(registry=registry)
        registry.register(self._profiles)

        def counter(name: str, about: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(f"vault_ticket_{name}", about, labels, registry=registry)

        def histogram(name: str, about: str, *labels: str) -> prometheus.Histogram:
            return prometheus.Histogram(f"vault_ticket_{name}", about, labels, buckets=BUCKETS, registry=registry)

        self._spends = counter(
            "refreshes_total", "Refresh requests to the token endpoint, by how they ended.", "profile", "outcome"
        )
        self._by_kind: Mapping[Kind, prometheus.Counter] = {
            "claim": counter("claims_total", "Claims on a grant: taken, or lost to another holder.", "outcome"),
            "save": counter("saves_total", "Rotated refresh tokens put into Vault or the journal.", "outcome"),
            "publish": counter("publishes_total", "Tickets written to the leased path.", "outcome"),
            "rejection": counter("rejections_total", "Refresh tokens found dead for good.", "outcome"),
            "hand-out": counter("hand_outs_total", "Tickets asked of this daemon, by how that ended.", "outcome"),
        }
        self._hooks = counter("hooks_total", "Hooks, by what they were told and how they ended.", "event", "outcome")
        self._audit = counter("audit_dropped_total", "Events that the audit could not keep.")
        self._vault = histogram("vault_request_duration_seconds", "How long requests to Vault take.", "call", "outcome")
        self._endpoint = histogram(
            "endpoint_request_duration_seconds", "How long requests to the token endpoint take.", "outcome"
        )
        self._children = {
            (kind, outcome): self._by_kind[kind].labels(outcome) for kind in OUTCOMES for outcome in OUTCOMES[kind]
        }
        self._calls: set[str] = set()

    def emit(self, event: Event) -> None:
        if event.kind == "spend":
            self._spends.labels(event.profile, event.outcome).inc()
            return
        child = self._children.get((event.kind, event.outcome))
        if child is None:
            child = self._children[event.kind, event.outcome] = self._by_kind[event.kind].labels(event.outcome)
        child.inc()

    def vault_seconds(self, call: str, seconds: float, ok: bool) -> None:
        """`call`: what kind of request, never a path."""
        self._vault.labels(self._named(call), _outcome(ok)).observe(seconds)

    def endpoint_seconds(self, seconds: float, ok: bool) -> None:
        self._endpoint.labels(_outcome(ok)).observe(seconds)

    def hook(self, what: str, outcome: str) -> None:
        self._hooks.labels(what, outcome).inc()

    def audit_dropped(self, count: int) -> None:
        self._audit.inc(count)

    def text(self, states: Mapping[str, State], journal_waiting: int) -> bytes:
        with self._lock:
            self._forget(states)
            self._profiles.now(states, journal_waiting)
            return prometheus.generate_latest(self._registry)

    def _named(self, call: str) -> str:
        if call not in self._calls:
            if len(self._calls) >= MAX_CALLS:
                return "other"
            self._calls.add(call)
        return call

    def _forget(self, states: Mapping[str, State]) -> None:
        """What was counted of profiles that are no more."""
        for family in self._spends.collect():
            for sample in family.samples:
                if sample.labels["profile"] not in states:
                    self._spends.remove(sample.labels["profile"], sample.labels["outcome"])


class _Profiles(Collector):
    """How each profile is at the moment of the scrape, and what else is read then."""

    def __init__(self) -> None:
        self._states: Mapping[str, State] = {}
        self._journal_waiting = 0

    def now(self, states: Mapping[str, State], journal_waiting: int) -> None:
        self._states, self._journal_waiting = states, journal_waiting

    def collect(self) -> Iterable[Metric]:
        left = _gauge("ticket_left_seconds", "How long the profile's ticket is good for, 0 where there is none.")
        lifetime = _gauge("ticket_lifetime_seconds", "How long the profile's ticket was good for when it was new.")
        standing = _gauge("profile_standing", "1 for how the profile is: new, good, failing, dead.", "standing")
        for name, state in self._states.items():
            left.add_metric((name,), state.left)
            lifetime.add_metric((name,), state.lifetime)
            standing.add_metric((name, state.standing), 1)

        tally: Tally[str] = Tally(state.standing for state in self._states.values())
        profiles = GaugeMetricFamily("vault_ticket_profiles", "Profiles by how they are.", labels=("standing",))
        for each in STANDINGS:
            profiles.add_metric((each,), tally[each])

        build = GaugeMetricFamily("vault_ticket_build_info", "What is running.", labels=("version", "python"))
        build.add_metric((__version__, platform.python_version()), 1)
        yield from (build, profiles, standing, left, lifetime)

        waiting = "Rotated refresh tokens that wait in this host's journal for Vault to take them."
        yield GaugeMetricFamily("vault_ticket_journal_waiting", waiting, value=self._journal_waiting)
        yield GaugeMetricFamily("process_threads", "Number of OS threads in this process.", value=_threads())


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"vault_ticket_{name}", about, labels=("profile", *labels))


def _outcome(ok: bool) -> str:
    return "ok" if ok else "failed"


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()
