"""Policies that follow the load of the model behind: pure.

Under pressure p, 0 to 1, a category's threshold goes from its base towards its floor and its time
to live is stretched towards its limit:

    threshold = base - (base - floor) p        ttl = min(limit, ttl (1 + stretch p))

Where labels have certified a probability threshold, the floor is one that they certify for the
``pressure_budget``; every threshold between the two is certified for it as well, for thresholds are
certified from strict to loose. Without labels the floor of the similarity is what the operator
allows. Low priority categories feel the pressure first, those of high priority last, and strict
ones never.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from likewise.category import Category


@dataclass(frozen=True, slots=True)
class Adapting:
    """How far policies follow the load.

    Attributes:
        relax: What full pressure takes off a similarity threshold, where no label has certified
            another and the category sets no floor of its own.
        stretch: What full pressure adds to a time to live, as a multiple of it.
        stale_above: Pressure from which on ``stale_under_pressure`` holds.
    """

    relax: float = 0.0
    stretch: float = 0.0
    stale_above: float = 0.8


STEADY = Adapting()
"""Follows the load only where a category says how far."""


def felt(priority: str, pressure: float) -> float:
    """Return how much of a pressure the categories of a priority feel, 0 to 1.

    >>> [felt(name, 0.5) for name in ("low", "normal", "high")]
    [1.0, 0.5, 0.0]
    """
    if priority == "low":
        return min(1.0, 2.0 * pressure)
    if priority == "high":
        return max(0.0, 2.0 * pressure - 1.0)
    return pressure


def under_pressure(policy: Category, pressure: float, terms: Adapting) -> Category:
    """Return a policy as it is in force while the model is under ``pressure``."""
    share = 0.0 if policy.strict else felt(policy.priority, pressure)
    if share <= 0.0:
        return policy
    similarity, probability = policy.similarity_threshold, policy.probability_threshold
    if probability is None:
        similarity -= (similarity - _floor(policy, terms)) * share
    elif policy.probability_floor is not None:
        probability -= (probability - policy.probability_floor) * share
    ttl_s = policy.ttl_s
    if ttl_s is not None:
        ttl_s = _stretched(policy, ttl_s, share, terms)
    return replace(
        policy,
        similarity_threshold=similarity,
        similarity_floor=None,
        probability_threshold=probability,
        probability_floor=None,
        ttl=ttl_s,
        calm=policy,
    )


def _floor(policy: Category, terms: Adapting) -> float:
    """Return the similarity threshold under full pressure."""
    relaxed, floor = max(policy.similarity_threshold - terms.relax, 0.0), policy.similarity_floor
    if floor is None:
        return relaxed
    return max(relaxed, floor) if terms.relax else floor


def longest_delay_s(policy: Category, terms: Adapting) -> float:
    """Return for how many seconds after its time load may keep an answer in service at most."""
    if policy.strict or policy.ttl_s is None:
        return 0.0
    return _stretched(policy, policy.ttl_s, 1.0, terms) - policy.ttl_s


def _stretched(policy: Category, ttl_s: float, share: float, terms: Adapting) -> float:
    longest = ttl_s * (1.0 + terms.stretch * share)
    if policy.ttl_limit is not None:
        longest = min(max(float(policy.ttl_limit), ttl_s), longest)
    if policy.stale_under_pressure is not None and share >= terms.stale_above:
        longest += float(policy.stale_under_pressure)
    return longest
