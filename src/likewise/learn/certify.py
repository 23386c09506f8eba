"""Thresholds with a stated error bound, from a fixed sample of labels.

W is 1 when reusing the candidate would be wrong. A threshold t is certified for the error budget
alpha at risk delta when, of the n labels with a score of at least t, so few k are wrong that a true
rate above alpha would show at most k with a probability of at most delta: P(Bin(n, alpha) <= k) <=
delta, the exact binomial tail, which is Clopper and Pearson's upper bound turned round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POINT_ESTIMATE = 0.5
"""At this risk a bound is as likely to fail as to hold: a point estimate."""

POOL_RISK = 0.1
"""Risk at which the hits of all categories together are held to the budget in ``pooled``."""

POOL_SLACK = 1.5
"""How many times the budget ``pooled`` lets a single category err, as a point estimate."""

_STARTS = {1: 0.5, 2: 0.25, 4: 0.25}
"""How many times the labels of the most promising threshold each walk begins with, and its share of
the risk."""

_POOL_STEPS = 400
_STEP = 1.05
"""Each threshold tried admits about this many times the labels of the one before."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the labels of a category allow.

    Attributes:
        threshold: The loosest score certified; ``None`` when there is none.
        labels: Labels at or above it (without one: all labels).
        wrong: Those of them that were wrong.
        bound: Upper bound of the error per hit at the risk used; 1 without labels.
        missing: Labels without error still needed above the strictest threshold, 0 when certified.
    """

    threshold: float | None
    labels: int
    wrong: int
    bound: float
    missing: int


def labels_needed(budget: float, risk: float) -> int:
    """Return how many labels without an error certify ``budget`` at ``risk``.

    >>> labels_needed(0.02, 0.05), labels_needed(0.05, 0.05)
    (149, 59)
    """
    return math.ceil(math.log(risk) / math.log1p(-budget))


def tail(labels: int, wrong: int, budget: float) -> float:
    """Return P(Bin(labels, budget) <= wrong)."""
    from scipy.stats import binom  # noqa: PLC0415 - slow to import

    return float(binom.cdf(wrong, labels, budget))


def upper_bound(labels: int, wrong: int, risk: float) -> float:
    """Return Clopper and Pearson's upper bound of an error rate at ``risk``."""
    from scipy.stats import beta  # noqa: PLC0415 - slow to import

    return float(beta.ppf(1 - risk, wrong + 1, labels - wrong)) if labels > wrong else 1.0


def certify(
    scores: NDArray[np.float64], wrong: NDArray[np.bool_], *, budget: float, risk: float
) -> Certificate:
    """Certify the loosest threshold for one category.

    Thresholds are tried from strict to loose on a grid that depends on the scores alone, and the
    walk stops at the first that fails. It starts where the scores, taken as probabilities, promise
    the best chance to pass, and once more with ``_STARTS`` times as many labels, so that one early
    error need not spoil a category; the walks share the risk. At
    ``POINT_ESTIMATE`` the loosest threshold that passes is taken.

    Args:
        scores: Of the nearest acceptable candidate of each request, shape ``(n,)``.
        wrong: Whether serving it would have been wrong, shape ``(n,)``.
        budget: Error per hit allowed, alpha.
        risk: Probability with which this category's bound may fail, delta.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, errors = scores[order], np.cumsum(wrong[order], dtype=np.int_)
    # A threshold admits every label that has exactly its score.
    places: NDArray[np.intp] = np.flatnonzero(np.diff(ranked, append=-np.inf))
    if risk >= POINT_ESTIMATE:
        passed = [p for p in places if tail(p + 1, int(errors[p]), budget) <= risk]
        best = passed[-1] if passed else None
    else:
        best = _loosest(places, errors, np.cumsum(1.0 - ranked), budget=budget, risk=risk)
    if best is None:
        needed = labels_needed(budget, risk)
        total = int(errors[-1]) if len(errors) else 0
        return Certificate(None, len(ranked), total, upper_bound(len(ranked), total, risk), needed)
    labels, mistakes = int(best) + 1, int(errors[best])
    bound = upper_bound(labels, mistakes, risk)
    return Certificate(float(ranked[best]), labels, mistakes, bound, 0)


def pooled(
    samples: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]],
    *,
    budget: float,
    weights: Mapping[str, float],
) -> dict[str, Certificate]:
    """Give categories one threshold in common, so that all their hits together keep the budget.

    Where scores are probabilities a common threshold gives the most right hits for an overall error
    rate: no category's last hit is then worse than another's. A category that would show an error
    above ``POOL_SLACK`` times the budget has a stricter one of its own. The hits together pass the
    exact binomial test at ``POOL_RISK``; of a single category the bound is a point estimate.

    Args:
        samples: Scores and whether each is wrong, by category; see ``certify``.
        budget: Error per hit allowed over all.
        weights: How much a label of each category counts: its share of the traffic over its share
            of the labels.
    """
    ranked = {name: _ranked(*sample, limit=POOL_SLACK * budget) for name, sample in samples.items()}
    scores = np.concatenate([found.scores for found in ranked.values()])
    best, most = None, 0.0
    for threshold in np.unique(np.quantile(scores, np.linspace(0, 1, _POOL_STEPS))):
        places = {name: found.place(float(threshold)) for name, found in ranked.items()}
        hits = sum(weights[name] * place for name, place in places.items())
        wrong = sum(weights[name] * ranked[name].wrong(place) for name, place in places.items())
        passes = tail(round(hits), math.ceil(wrong), budget) <= POOL_RISK
        if passes and hits - wrong > most:
            best, most = places, hits - wrong
    found = {}
    for name, sample in ranked.items():
        count = 0 if best is None else best[name]
        wrong_here = sample.wrong(count or len(sample.scores))
        total = count or len(sample.scores)
        found[name] = Certificate(
            float(sample.scores[count - 1]) if count else None,
            total,
            wrong_here,
            upper_bound(total, wrong_here, POINT_ESTIMATE),
            0 if count else labels_needed(budget, POINT_ESTIMATE),
        )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Scores from high to low, errors up to each, and which places keep a limit."""

    scores: NDArray[np.float64]
    errors: NDArray[np.int_]
    passing: NDArray[np.intp]

    def place(self, threshold: float) -> int:
        """Return how many labels the loosest threshold that is no looser and passes admits."""
        admitted = int(np.searchsorted(-self.scores, -threshold, side="right"))
        found = int(np.searchsorted(self.passing, admitted, side="right"))
        return int(self.passing[found - 1]) if found else 0

    def wrong(self, count: int) -> int:
        """Return how many of the first ``count`` are wrong."""
        return int(self.errors[count - 1]) if count else 0


def _ranked(scores: NDArray[np.float64], wrong: NDArray[np.bool_], *, limit: float) -> _Ranked:
    order = np.argsort(-scores, kind="stable")
    ranked, errors = scores[order], np.cumsum(wrong[order], dtype=np.int_)
    places: NDArray[np.intp] = np.flatnonzero(np.diff(ranked, append=-np.inf)) + 1
    passing = places[errors[places - 1] <= limit * places] if len(places) else places
    return _Ranked(ranked, errors, passing)


def _loosest(
    places: NDArray[np.intp],
    errors: NDArray[np.int_],
    expected: NDArray[np.float64],
    *,
    budget: float,
    risk: float,
) -> int | None:
    """Return the loosest place that a walk from one of the starts reaches."""
    from scipy.stats import binom  # noqa: PLC0415 - slow to import

    places = places[places + 1 >= labels_needed(budget, risk * _STARTS[1])]
    if not len(places):
        return None
    promised = binom.cdf(np.round(expected[places]), places + 1, budget)
    first = int(places[np.argmin(promised)]) + 1
    reached = [
        _walk(places, errors, first * times, budget=budget, risk=risk * share)
        for times, share in _STARTS.items()
    ]
    return max((place for place in reached if place is not None), default=None)


def _walk(
    places: NDArray[np.intp], errors: NDArray[np.int_], count: int, *, budget: float, risk: float
) -> int | None:
    """Return the last place that passes on the way from ``count`` labels to all of them."""
    best: int | None = None
    while count <= places[-1] + 1:
        place = int(places[np.searchsorted(places, count - 1)])
        if tail(place + 1, int(errors[place]), budget) > risk:
            break
        best = place
        count = max(place + 2, int((place + 1) * _STEP))
    return best
