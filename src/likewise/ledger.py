"""What each category and each tenant costs and earns, from the counters of ``stats``.

Break-even is the hit rate at which what hits save pays for what misses cost:

    h* = c / (m - t)        c: cost of a lookup that misses, t: of one that hits, m: of a model call

once in seconds, once in US dollars. The semantic tier has an h* of its own, over the lookups that
went as far as embedding: below it a category is better served by the exact tier alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_LOOKUPS = 200
"""Lookups below which there is no verdict."""

TENANT = "tenant."
"""Beginning of the counters of a tenant; its name and another dot follow."""

COUNTERS = (
    "miss_lookup_s",
    "hit_lookup_s",
    "semantic_lookups",
    "semantic_lookup_s",
    "embed_s",
    "embed_usd",
    "model_calls",
    "model_s",
    "model_usd",
    "model_tokens",
)
"""Names of the counters that only the ledger reads; see ``stats.ADDITIVE`` for the others."""

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class LedgerTerms:
    """How the ledger weighs.

    Attributes:
        machine_usd_per_hour: What the processor time of lookups costs.
        window: Lookups by meaning after which a category is weighed.
        windows: How many windows in a row it may be below break-even before exact-only is proposed.
        switch: Whether to switch it there and then.
        retry_s: Seconds after which a category that was switched is given another chance.
    """

    machine_usd_per_hour: float = 0.0
    window: int = 1_000
    windows: int = 3
    switch: bool = False
    retry_s: float = 86_400.0


def account(counters: Mapping[str, float], terms: LedgerTerms) -> dict[str, Any]:
    """Return the account of a category, or of a tenant in it, ready for JSON.

    ``counters`` are those of ``stats``. Figures of which nothing is known are ``None``.
    """
    get = counters.get
    hits = get("exact_hits", 0.0) + get("semantic_hits", 0.0)
    misses, calls = get("misses", 0.0), get("model_calls", 0.0)
    second_usd = terms.machine_usd_per_hour / _SECONDS_PER_HOUR
    miss_s, hit_s = get("miss_lookup_s", 0.0), get("hit_lookup_s", 0.0)
    embeddings = get("semantic_lookups", 0.0)
    embedding_usd = _ratio(get("embed_usd", 0.0), embeddings)
    seconds = _balance(
        miss=_ratio(miss_s, misses),
        hit=_ratio(hit_s, hits),
        model=_ratio(get("model_s", 0.0), calls),
    )
    semantic = _balance(
        miss=_ratio(get("semantic_lookup_s", 0.0), embeddings),
        hit=0.0,
        model=_ratio(get("model_s", 0.0), calls),
    )
    model_usd = _ratio(get("model_usd", 0.0), calls)
    usd = _balance(
        miss=None
        if not misses
        else miss_s / misses * second_usd + get("embed_usd", 0.0) / (hits + misses),
        hit=_ratio(hit_s * second_usd, hits),
        model=model_usd or None,
    )
    rate, near_rate = _ratio(hits, hits + misses), _ratio(get("semantic_hits", 0.0), embeddings)
    net_s = get("saved_s", 0.0) - miss_s
    net_usd = get("saved_usd", 0.0) - get("embed_usd", 0.0) - (miss_s + hit_s) * second_usd
    return {
        "lookups": int(hits + misses),
        "exact_hits": int(get("exact_hits", 0.0)),
        "semantic_hits": int(get("semantic_hits", 0.0)),
        "hit_rate": rate,
        "audited_wrong": int(get("audited_wrong", 0.0)),
        "model_calls": int(calls),
        "lookup_ms": _milli(_ratio(miss_s, misses)),
        "hit_ms": _milli(_ratio(hit_s, hits)),
        "embed_ms": _milli(_ratio(get("embed_s", 0.0), embeddings)),
        "embedding_usd": embedding_usd,
        "model_s": _ratio(get("model_s", 0.0), calls),
        "model_usd": model_usd,
        "break_even": seconds,
        "break_even_usd": usd,
        "semantic_lookups": int(embeddings),
        "semantic_hit_rate": near_rate,
        "semantic_break_even": semantic,
        "saved_s": net_s,
        "saved_usd": net_usd,
        "verdict": verdict(rate, seconds, usd, lookups=hits + misses),
    }


def verdict(
    hit_rate: float | None, seconds: float | None, usd: float | None, *, lookups: float
) -> str:
    """Return ``earns``, ``loses``, or ``unknown`` while there is too little to go by.

    A category earns when it is above break-even in seconds or in money: either may be why it is
    cached.
    """
    known = [h for h in (seconds, usd) if h is not None]
    if hit_rate is None or not known or lookups < LEAST_LOOKUPS:
        return "unknown"
    return "earns" if any(hit_rate >= h for h in known) else "loses"


def by_tenant(counters: Mapping[str, float], terms: LedgerTerms) -> dict[str, dict[str, Any]]:
    """Return the accounts of a category's tenants, by the digest that stands for each."""
    found: dict[str, dict[str, float]] = {}
    for name, value in counters.items():
        if name.startswith(TENANT):
            tenant, _, counter = name.removeprefix(TENANT).partition(".")
            found.setdefault(tenant, {})[counter] = value
    return {tenant: account(values, terms) for tenant, values in sorted(found.items())}


def _balance(*, miss: float | None, hit: float | None, model: float | None) -> float | None:
    """Return the break-even hit rate; 1 when not even a hit is cheaper than the model."""
    if miss is None or model is None:
        return None
    gain = model - (hit or 0.0)
    return 1.0 if gain <= 0 else min(1.0, miss / gain)


def _ratio(amount: float, count: float) -> float | None:
    return amount / count if count else None


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else 1000.0 * seconds


@dataclass(slots=True)
class _Watched:
    """A category since its last window began."""

    lookups: float = 0.0
    hits: float = 0.0
    below: int = 0
    resting_since: float | None = None


class Ledger:
    """Watches which categories stay below break-even. Not safe to weigh from several threads.

    Args:
        terms: How to weigh.
    """

    def __init__(self, terms: LedgerTerms | None = None) -> None:
        self.terms = terms or LedgerTerms()
        self._watched: dict[str, _Watched] = {}

    def weigh(self, counters: Mapping[str, Mapping[str, float]], now: float) -> list[str]:
        """Weigh every category whose window is full; return those newly found below for long.

        Args:
            counters: Those of ``stats``, by category.
            now: Seconds of any fixed origin.
        """
        found: list[str] = []
        for name, values in counters.items():
            watched = self._watched.setdefault(name, _Watched())
            if watched.resting_since is not None:
                if now - watched.resting_since >= self.terms.retry_s:
                    self._watched[name] = _Watched(
                        values.get("semantic_lookups", 0.0), values.get("semantic_hits", 0.0)
                    )
                continue
            if self._window(watched, values):
                found.append(name)
                if self.terms.switch:
                    watched.resting_since = now
        return found

    @property
    def proposed(self) -> frozenset[str]:
        """The categories that are better served by the exact tier alone."""
        most = self.terms.windows
        return frozenset(name for name, found in self._watched.items() if found.below >= most)

    @property
    def resting(self) -> frozenset[str]:
        """Those of them that were switched to it."""
        return frozenset(n for n, found in self._watched.items() if found.resting_since is not None)

    def _window(self, watched: _Watched, values: Mapping[str, float]) -> bool:
        """Close a window that is full; return whether it is the last one that was needed."""
        lookups = values.get("semantic_lookups", 0.0) - watched.lookups
        if lookups < self.terms.window:
            return False
        hits = values.get("semantic_hits", 0.0) - watched.hits
        watched.lookups += lookups
        watched.hits += hits
        needed = account(values, self.terms)["semantic_break_even"]
        below = needed is not None and upper_share(hits, lookups) < needed
        watched.below = watched.below + 1 if below else 0
        return watched.below == self.terms.windows


def upper_share(count: float, total: float) -> float:
    """Return the upper end of Wilson's 95 % interval of a share.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = 1.645  # one-sided
    share = count / total
    middle = share + z * z / (2.0 * total)
    spread = z * math.sqrt((share * (1.0 - share) + z * z / (4.0 * total)) / total)
    return (middle + spread) / (1.0 + z * z / total)
