"""Counters per category: what was asked, served, refused, saved."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from likewise import ledger
from likewise.policy import Bypass, Decision, Hit, Miss, Tier
from likewise.scope import digest_of

ADDITIVE = (
    "requests",
    "exact_hits",
    "semantic_hits",
    "misses",
    "bypasses",
    "stored",
    "evicted",
    "expired",
    "stale_hits",
    "refreshes",
    "by_examples",
    "in_doubt",
    "feedback_right",
    "feedback_wrong",
    "labels",
    "labels_wrong",
    "audits",
    "audited_wrong",
    "drift_alarms",
    "gate_lost",
    "saved_s",
    "saved_tokens",
    "saved_usd",
    "lookup_s",
    *ledger.COUNTERS,
)
"""Names of the counters; those ending in ``_s`` are seconds, in ``_usd`` US dollars."""

_REASON = "reason."
_FAULT = "fault."
_MOST_TENANTS = 100
_SHOWN = 12
"""Characters of the digest that stands for a tenant."""

_DIGEST = re.compile(r"[0-9a-f]{32,}").fullmatch


class Stats:
    """Counters that only grow, by category; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tenants: dict[str, str] = {}
        self._values: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._flushed: dict[tuple[str, str], float] = {}

    def add(self, category: str, **amounts: float) -> None:
        """Add to counters of ``category``."""
        with self._lock:
            for name, amount in amounts.items():
                self._values[category, name] += amount

    def count(
        self,
        decision: Decision,
        *,
        lookup_s: float,
        tenant: str = "",
        embed_s: float | None = None,
        embed_usd: float = 0.0,
    ) -> None:
        """Count a decision that took ``lookup_s`` seconds.

        Args:
            decision: What was decided.
            lookup_s: Seconds it took.
            tenant: Who asked, ``""`` for nobody in particular.
            embed_s: Seconds of it that embedding took; ``None`` when nothing was embedded.
            embed_usd: US dollars that embedding cost.
        """
        saved: dict[str, float] = {}
        match decision:
            case Hit():
                what = "exact_hits" if decision.tier is Tier.EXACT else "semantic_hits"
                saved["hit_lookup_s"] = lookup_s
                if decision.stale_s:
                    saved["stale_hits"] = 1.0
                provenance = decision.provenance
                saved |= {
                    "saved_s": max(0.0, (provenance.latency_s or 0.0) - lookup_s),
                    "saved_tokens": float(provenance.total_tokens),
                    "saved_usd": provenance.cost_usd or 0.0,
                }
            case Miss():
                what = "misses"
                saved["miss_lookup_s"] = lookup_s
            case Bypass():
                what = "bypasses"
        if embed_s is not None:
            saved |= {"semantic_lookups": 1, "semantic_lookup_s": lookup_s, "embed_s": embed_s}
            if embed_usd:
                saved["embed_usd"] = embed_usd
        saved[what] = 1
        self.add(
            decision.category,
            requests=1,
            lookup_s=lookup_s,
            **{_REASON + decision.reason: 1},
            **saved,
        )
        if tenant:
            prefix = self._prefix(tenant)
            self.add(decision.category, **{prefix + name: value for name, value in saved.items()})

    def model(
        self, category: str, *, tenant: str, seconds: float, usd: float | None, tokens: int
    ) -> None:
        """Count a call to the model that a miss has cost."""
        amounts = {"model_calls": 1, "model_s": seconds, "model_tokens": tokens}
        amounts["model_usd"] = usd or 0.0
        self.add(category, **amounts)
        if tenant:
            prefix = self._prefix(tenant)
            self.add(category, **{prefix + name: value for name, value in amounts.items()})

    def _prefix(self, tenant: str) -> str:
        """Return how the counters of a tenant begin; those who come late share them."""
        prefix = self._tenants.get(tenant)
        if prefix is None:
            if len(self._tenants) >= _MOST_TENANTS:
                return f"{ledger.TENANT}other."
            digest = tenant if _DIGEST(tenant) else digest_of("tenant", tenant).hex()
            prefix = self._tenants[tenant] = f"{ledger.TENANT}{digest[:_SHOWN]}."
        return prefix

    def fault(self, category: str, kind: str) -> None:
        """Count a fault of the cache."""
        self.add(category, **{_FAULT + kind: 1})

    def unflushed(self) -> dict[tuple[str, str], float]:
        """Return what was added since the last call, for the store to keep."""
        with self._lock:
            now = dict(self._values)
            new = {
                name: value - self._flushed.get(name, 0.0)
                for name, value in now.items()
                if value != self._flushed.get(name, 0.0)
            }
            self._flushed = now
            return new

    def unflush(self, amounts: Mapping[tuple[str, str], float]) -> None:
        """Count ``amounts`` among the unflushed again: the store did not take them."""
        with self._lock:
            for name, amount in amounts.items():
                self._flushed[name] -= amount

    def by_category(self) -> dict[str, dict[str, float]]:
        """Return every counter by category and name."""
        with self._lock:
            values = dict(self._values)
        return nested(values)


def nested(values: dict[tuple[str, str], float]) -> dict[str, dict[str, float]]:
    """Return counters keyed by category and name as a dictionary of dictionaries."""
    result: dict[str, dict[str, float]] = {}
    for (category, name), value in values.items():
        result.setdefault(category, {})[name] = value
    return result


def report(
    values: dict[str, dict[str, float]], entries: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Return the statistics of each category that was asked for or holds entries.

    Each has ``entries``, every counter of ``ADDITIVE``, ``hit_rate``, and its decisions by
    ``reasons`` and faults by ``faults``.
    """
    result: dict[str, dict[str, Any]] = {}
    for category in sorted({*values, *entries}):
        found = values.get(category, {})
        counters = {name: _number(name, found.get(name, 0.0)) for name in ADDITIVE}
        hits = counters["exact_hits"] + counters["semantic_hits"]
        result[category] = {
            "entries": entries.get(category, 0),
            **counters,
            "hit_rate": hits / counters["requests"] if counters["requests"] else 0.0,
            "reasons": _prefixed(found, _REASON),
            "faults": _prefixed(found, _FAULT),
        }
    return result


def _number(name: str, value: float) -> float:
    return value if name.endswith(("_s", "_usd")) else int(value)


def _prefixed(values: dict[str, float], prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): int(value)
        for name, value in sorted(values.items())
        if name.startswith(prefix)
    }
