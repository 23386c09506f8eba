"""Prometheus metrics of the gateway; label sets are bounded."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from likewise.engine import Engine
from likewise.gateway.pool import Pool
from likewise.load import Load
from likewise.policy import Decision, Hit, Reason, Tier

_MOST_LABELS = 100
"""Categories, or models, that get a time series of their own; the rest is ``other``."""

_LOOKUP_BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)
_UPSTREAM_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


_MOST_SERIES = 1_000
"""Kinds of decisions for which it is held what counts them."""

_Kind = tuple[type[Decision], str, Reason, Tier | None, str]


class _Series(msgspec.Struct):
    """What counts the decisions of one kind."""

    decisions: Counter
    lookup_s: Histogram
    hits: Counter | None


class Metrics:
    """What the gateway counts, in a registry of its own."""

    def __init__(self, engine: Engine, pool: Pool) -> None:
        self.registry = CollectorRegistry()
        self._engine = engine
        self._names: dict[str, set[str]] = {}
        self._policies = engine.force.policies
        self._series: dict[_Kind, _Series] = {}
        self._decisions = Counter(
            "likewise_decisions",
            "Decisions by category, outcome and reason.",
            ["category", "outcome", "reason"],
            registry=self.registry,
        )
        self._hits = Counter(
            "likewise_cache_hits",
            "Requests answered from cache.",
            ["tier", "category", "model"],
            registry=self.registry,
        )
        self._lookup_s = Histogram(
            "likewise_lookup_seconds",
            "Time from reading a request to its decision.",
            ["outcome"],
            buckets=_LOOKUP_BUCKETS,
            registry=self.registry,
        )
        self._upstream_s = Histogram(
            "likewise_upstream_seconds",
            "Time of a call to the model, to the end of its answer.",
            buckets=_UPSTREAM_BUCKETS,
            registry=self.registry,
        )
        self._upstream_now = Gauge(
            "likewise_upstream_in_flight", "Calls to the model under way.", registry=self.registry
        )
        self._shared = Counter(
            "likewise_shared_calls",
            "Misses that joined a call to the model under way.",
            registry=self.registry,
        )
        self._refused = Counter(
            "likewise_answers_not_kept",
            "Answers of the model that were not whole and successful.",
            registry=self.registry,
        )
        self.registry.register(_EngineCollector(engine, self.bounded))
        self.registry.register(_LoadCollector(engine.load, pool, self.bounded))

    def page(self) -> str:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self.registry).decode()

    def decided(self, decision: Decision, lookup_s: float) -> None:
        """Count a decision."""
        policies = self._engine.force.policies
        if policies is not self._policies or len(self._series) >= _MOST_SERIES:
            # Other categories may be listed now.
            self._policies = policies
            self._series.clear()
        kind: _Kind = type(decision), decision.category, decision.reason, None, ""
        if isinstance(decision, Hit):
            kind = (*kind[:3], decision.tier, decision.provenance.model)
        series = self._series.get(kind)
        if series is None:
            series = self._series[kind] = self._series_of(decision)
        series.decisions.inc()
        series.lookup_s.observe(lookup_s)
        if series.hits is not None:
            series.hits.inc()

    def _series_of(self, decision: Decision) -> _Series:
        """Return what counts decisions like this one; to find it takes longer than to count."""
        category = self.bounded("category", decision.category)
        outcome = type(decision).__name__.lower()
        hits = None
        if isinstance(decision, Hit):
            model = self.bounded("model", decision.provenance.model)
            hits = self._hits.labels(decision.tier, category, model)
        return _Series(
            self._decisions.labels(category, outcome, decision.reason),
            self._lookup_s.labels(outcome),
            hits,
        )

    @contextmanager
    def upstream(self) -> Iterator[None]:
        """Time a call to the model."""
        started = time.perf_counter()
        self._upstream_now.inc()
        try:
            yield
        finally:
            self._upstream_now.dec()
            self._upstream_s.observe(time.perf_counter() - started)

    def shared(self) -> None:
        """Count a miss that joined a call under way."""
        self._shared.inc()

    def refused(self) -> None:
        """Count an answer that was not kept."""
        self._refused.inc()

    def bounded(self, label: str, value: str) -> str:
        """Return ``value`` as a label's value, or ``other`` when there are too many already.

        Categories that are listed keep their names however many callers have invented.
        """
        policies = self._engine.force.policies
        if label == "category" and (value in policies.categories or value == policies.default.name):
            return value
        known = self._names.setdefault(label, set())
        if value not in known:
            if len(known) >= _MOST_LABELS:
                return "other"
            known.add(value)
        return value


class _EngineCollector(Collector):
    """Reads the cache's own counters when Prometheus asks: nothing to do while requests run."""

    _COUNTERS = (
        ("stored", "likewise_stored", "Entries stored."),
        ("evicted", "likewise_evicted", "Entries evicted by a quota."),
        ("expired", "likewise_expired", "Entries deleted after their time to live."),
        ("damped", "likewise_damped", "Answers not kept because a tenant floods a category."),
        ("stale_hits", "likewise_stale_hits", "Hits served after their time to live."),
        ("refreshes", "likewise_refreshes", "Fresh answers fetched aside."),
        ("by_examples", "likewise_by_examples", "Questions whose category examples named."),
        ("in_doubt", "likewise_in_doubt", "Of these, under the strictest of several policies."),
        ("labels", "likewise_labels", "Labels: answers compared with those of the nearest."),
        ("audits", "likewise_audits", "Hits drawn for an audit."),
        ("audited_wrong", "likewise_audited_wrong", "Audited hits that were wrong."),
        ("drift_alarms", "likewise_drift_alarms", "Times a category went back to exact only."),
        ("saved_s", "likewise_saved_seconds", "Seconds of model time that hits saved."),
        ("saved_tokens", "likewise_saved_tokens", "Tokens that hits saved."),
        ("saved_usd", "likewise_saved_usd", "US dollars that hits saved."),
    )

    def __init__(self, engine: Engine, bounded: Callable[[str, str], str]) -> None:
        self._engine = engine
        self._bounded = bounded

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics as they are now."""
        categories = self._engine.statistics()["categories"]
        entries = GaugeMetricFamily("likewise_entries", "Entries held.", labels=["category"])
        faults = CounterMetricFamily(
            "likewise_faults", "Faults of the cache.", labels=["category", "kind"]
        )
        thresholds = GaugeMetricFamily(
            "likewise_probability_threshold",
            "Least probability of a hit that labels have certified; 1 while there is none.",
            labels=["category"],
        )
        break_even = GaugeMetricFamily(
            "likewise_break_even_hit_rate",
            "Hit rate from which on a category saves more seconds than its misses cost.",
            labels=["category"],
        )
        for category, values in categories.items():
            learning = values.get("learning")
            label = self._bounded("category", category)
            needed = values["ledger"]["break_even"]
            if needed is not None and label == category:
                break_even.add_metric([label], needed)
            if learning is not None and label == category:
                thresholds.add_metric([label], learning["threshold"] or 1.0)
        counters = {
            name: CounterMetricFamily(metric, text, labels=["category"])
            for name, metric, text in self._COUNTERS
        }
        totals: dict[str, Counts[str]] = {}
        kinds: Counts[tuple[str, str]] = Counts()
        for category, values in categories.items():
            label = self._bounded("category", category)
            totals.setdefault(label, Counts()).update(
                {name: values[name] for name in ("entries", *counters)}
            )
            kinds.update({(label, kind): count for kind, count in values["faults"].items()})
        for label, total in totals.items():
            entries.add_metric([label], total["entries"])
            for name, family in counters.items():
                family.add_metric([label], total[name])
        for labels, count in kinds.items():
            faults.add_metric(labels, count)
        yield entries
        yield thresholds
        yield break_even
        yield faults
        yield from counters.values()


class _LoadCollector(Collector):
    """Reads the load and the line when Prometheus asks."""

    def __init__(self, load: Load, pool: Pool, bounded: Callable[[str, str], str]) -> None:
        self._load = load
        self._pool = pool
        self._bounded = bounded

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics as they are now."""
        pressure = GaugeMetricFamily(
            "likewise_pressure", "Load of a model in force, 0 to 1.", labels=["model"]
        )
        highest: dict[str, float] = {}
        for model, gauge in self._load.report().items():
            label = self._bounded("model", model)
            highest[label] = max(highest.get(label, 0.0), gauge["pressure"])
        for label, value in highest.items():
            pressure.add_metric([label], value)
        yield pressure
        found = self._pool.report()
        yield GaugeMetricFamily(
            "likewise_waiting", "Requests that wait for their turn.", value=found["waiting"]
        )
        for name, text in (
            ("waited", "Requests that had to wait for their turn."),
            ("refused", "Requests that got no turn in time."),
            ("failovers", "Calls passed on to another replica."),
        ):
            yield CounterMetricFamily(f"likewise_{name}", text, value=found[name])
        replicas = GaugeMetricFamily(
            "likewise_replica_in_flight", "Calls under way by replica.", labels=["replica"]
        )
        closed = GaugeMetricFamily(
            "likewise_replica_open", "Whether a replica takes calls.", labels=["replica"]
        )
        for number, replica in enumerate(found["replicas"]):
            replicas.add_metric([str(number)], replica["in_flight"])
            closed.add_metric([str(number)], float(replica["breaker"] == "closed"))
        yield replicas
        yield closed
