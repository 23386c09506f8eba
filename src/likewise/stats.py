"""Counters per category: what was asked, served, refused, saved."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec

from likewise import ledger
from likewise.entry import UNKNOWN
from likewise.policy import Bypass, Decision, Hit, Miss, Reason, Tier
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
    "damped",
    "saved_s",
    "saved_tokens",
    "saved_usd",
    "lookup_s",
    *ledger.COUNTERS,
)
"""Names of the counters; those ending in ``_s`` are seconds, in ``_usd`` US dollars."""

_REASON = "reason."
_FAULT = "fault."
_HITS = ("exact_hits", "semantic_hits")
_MOST_TENANTS = 100
_SHOWN = 12
"""Characters of the digest that stands for a tenant."""

_DIGEST = re.compile(r"[0-9a-f]{32,}").fullmatch


class _Sum(msgspec.Struct, gc=False):
    """What decisions of one kind have come to since they were last counted under their names."""

    decisions: int = 0
    lookup_s: float = 0.0
    saved_s: float = 0.0
    saved_tokens: int = 0
    saved_usd: float = 0.0
    embedded: int = 0
    embedded_lookup_s: float = 0.0
    embed_s: float = 0.0
    embed_usd: float = 0.0

    def amounts(self, what: str, *, stale: bool) -> dict[str, float]:
        """Return them by the names of their counters."""
        found: dict[str, float] = {what: self.decisions}
        if what in _HITS:
            found |= {
                "hit_lookup_s": self.lookup_s,
                "saved_s": self.saved_s,
                "saved_tokens": self.saved_tokens,
                "saved_usd": self.saved_usd,
            }
            if stale:
                found["stale_hits"] = self.decisions
        elif what == "misses":
            found["miss_lookup_s"] = self.lookup_s
        if self.embedded:
            found["semantic_lookups"] = self.embedded
            found["semantic_lookup_s"] = self.embedded_lookup_s
            found["embed_s"] = self.embed_s
        if self.embed_usd:
            found["embed_usd"] = self.embed_usd
        return found


class Stats:
    """Counters that only grow, by category; safe to use from many threads.

    A decision adds to a sum of its kind; names are only dealt with when somebody reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tenants: dict[str, str] = {}
        self._sums: defaultdict[tuple[str, str, str, Reason, bool], _Sum] = defaultdict(_Sum)
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
        provenance, stale = UNKNOWN, False
        match decision:
            case Hit():
                what = "exact_hits" if decision.tier is Tier.EXACT else "semantic_hits"
                provenance, stale = decision.provenance, decision.stale_s > 0.0
            case Miss():
                what = "misses"
            case Bypass():
                what = "bypasses"
        prefix = self._prefix(tenant) if tenant else ""
        with self._lock:
            found = self._sums[decision.category, prefix, what, decision.reason, stale]
            found.decisions += 1
            found.lookup_s += lookup_s
            if provenance is not UNKNOWN:
                found.saved_s += max(0.0, (provenance.latency_s or 0.0) - lookup_s)
                found.saved_tokens += provenance.total_tokens
                found.saved_usd += provenance.cost_usd or 0.0
            if embed_s is not None:
                found.embedded += 1
                found.embedded_lookup_s += lookup_s
                found.embed_s += embed_s
                found.embed_usd += embed_usd

    def _settle(self) -> None:
        """Count what decisions have come to under the names of the counters; with the lock held."""
        sums, self._sums = self._sums, defaultdict(_Sum)
        for (category, prefix, what, reason, stale), found in sums.items():
            amounts = found.amounts(what, stale=stale)
            whole = {
                "requests": found.decisions,
                "lookup_s": found.lookup_s,
                _REASON + reason: found.decisions,
                **amounts,
            }
            if prefix:
                whole |= {prefix + name: amount for name, amount in amounts.items()}
            for name, amount in whole.items():
                self._values[category, name] += amount

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
            self._settle()
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
            self._settle()
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
