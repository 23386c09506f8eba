"""What labels say of a category: how similar right and wrong pairs are, and how often hits err."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from likewise.engine import Engine
from likewise.learn.learner import LEAST_SIMILARITY
from likewise.policy import Bypass, Hit, Tier

_BINS = 60
_Z = 1.959964
"""Of a two-sided interval of 95 %."""

_LOW = 0.4


def interval(wrong: float, labels: float) -> tuple[float, float] | None:
    """Return Wilson's interval of 95 % for a share, ``None`` without labels.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927. It
    takes counts that are not whole, as weighted audits give.

    >>> tuple(round(bound, 4) for bound in interval(2, 100))
    (0.0055, 0.07)
    """
    if labels <= 0:
        return None
    share = min(1.0, max(0.0, wrong / labels))
    square = _Z * _Z
    middle = (share + square / (2 * labels)) / (1 + square / labels)
    spread = math.sqrt(share * (1 - share) / labels + square / (4 * labels * labels))
    half = _Z * spread / (1 + square / labels)
    return max(0.0, middle - half), min(1.0, middle + half)


def wrong_rate(engine: Engine, category: str) -> dict[str, Any]:
    """Return what is known of a category's wrong hits, ready for JSON.

    ``rate`` and its ``interval`` of 95 %, from ``labels`` with ``wrong`` among them at or above the
    threshold in force, weighted by how likely each was to be drawn; all ``None`` or 0 when nothing
    learns or nothing is certified. ``budget`` is what the policy allows.
    """
    policy = engine.force.policies.of(category)
    labels = wrong = 0.0
    by = "nothing learns"
    if engine.learner is not None:
        standing = engine.learner.standing(policy)
        labels, wrong, by = standing.labels, standing.wrong, standing.by
    bounds = interval(wrong, labels)
    return {
        "rate": wrong / labels if labels > 0 else None,
        "interval": bounds,
        "labels": round(labels, 1),
        "wrong": round(wrong, 1),
        "by": by,
        "budget": policy.error_budget,
    }


def wrong_rates(engine: Engine) -> dict[str, dict[str, Any]]:
    """Return ``wrong_rate`` of every category that is listed or was asked for."""
    policies = engine.force.policies
    names = {policies.default.name, *policies.categories, *engine.stats.by_category()}
    return {name: wrong_rate(engine, name) for name in sorted(names)}


def similarities(engine: Engine, category: str) -> dict[str, Any]:
    """Return how similar a category's pairs were, ready for JSON.

    Returns:
        ``edges`` of bins, n + 1 cosines, and in each bin how many labelled pairs were ``right`` and
        ``wrong``, and how many of the latest decisions found their nearest there and were
        ``hits`` or ``misses`` by meaning; with the thresholds in force.
    """
    edges = np.linspace(_LOW, 1.0, _BINS + 1)
    policy = engine.force.policies.of(category)
    cosines, right = np.zeros(0, np.float32), np.zeros(0, np.bool_)
    probability = policy.probability_threshold
    threshold = policy.similarity_threshold
    if engine.learner is not None:
        cosines, right = engine.learner.pairs(category)
        probability = engine.learner.standing(policy).threshold
    if probability is not None:
        threshold = min(threshold, LEAST_SIMILARITY)
    hits: list[float] = []
    misses: list[float] = []
    for receipt in engine.receipts.latest():
        found = receipt.final
        if found.category != category or isinstance(found, Bypass) or found.similarity is None:
            continue
        if any(c.tier is not Tier.SEMANTIC for c in receipt.candidates):
            continue
        (hits if isinstance(found, Hit) else misses).append(found.similarity)
    return {
        "category": category,
        "edges": [round(float(edge), 4) for edge in edges],
        "right": _counts(cosines[right], edges),
        "wrong": _counts(cosines[~right], edges),
        "hits": _counts(np.array(hits), edges),
        "misses": _counts(np.array(misses), edges),
        "similarity_threshold": threshold,
        "probability_threshold": probability,
        "wrong_rate": wrong_rate(engine, category),
    }


def labels_from(engine: Engine, category: str, threshold: float) -> dict[str, Any]:
    """Return how many labelled pairs of a category are at or above a cosine, and how many wrong."""
    labels = wrong = 0
    if engine.learner is not None:
        cosines, right = engine.learner.pairs(category)
        above = cosines >= threshold
        labels, wrong = int(above.sum()), int((above & ~right).sum())
    return {
        "labels": labels,
        "wrong": wrong,
        "rate": wrong / labels if labels else None,
        "interval": interval(wrong, labels),
    }


def _counts(values: Any, edges: Any) -> list[int]:
    # What is below the first bin counts in it: nothing is left out.
    clipped = np.clip(np.asarray(values, np.float64), edges[0], edges[-1])
    return [int(count) for count in np.histogram(clipped, edges)[0]]
