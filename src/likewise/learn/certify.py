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
"""Risk at which point estimates hold the hits of all categories together to the budget."""

_POOL_LABELS = 20
"""Fewest labels at or above its threshold with which a category takes part in ``pooled``."""

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
        together: Whether the bound is that of several categories' hits together.
    """

    threshold: float | None
    labels: int
    wrong: int
    bound: float
    missing: int
    together: bool = False


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
    the best chance to pass, so that one early error need not spoil a category. At
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
        best = _walk(places, errors, np.cumsum(1.0 - ranked), budget=budget, risk=risk)
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
    risk: float,
    most: float,
    weights: Mapping[str, float],
) -> dict[str, Certificate]:
    """Give categories one threshold in common, so that all their hits together keep the budget.

    Where scores are probabilities a common threshold gives the most right hits for an overall error
    rate: no category's last hit is then worse than another's. A category that would show an error
    above ``most`` has a stricter one of its own; of it alone this is a point estimate.

    Args:
        samples: Scores and whether each is wrong, by category; see ``certify``.
        budget: Error per hit allowed over all.
        risk: Probability with which the bound over all may fail.
        most: Error per hit that the labels of a single category may show.
        weights: How much a label of each category counts: its share of the traffic over its share
            of the labels.
    """
    ranked = {name: _ranked(*sample, limit=most) for name, sample in samples.items()}
    scores = np.concatenate([np.zeros(1), *(found.scores for found in ranked.values())])
    best = dict.fromkeys(ranked, 0)
    hits, wrong = 0.0, 0.0
    for threshold in np.unique(np.quantile(scores, np.linspace(0, 1, _POOL_STEPS))):
        places = {name: found.place(float(threshold)) for name, found in ranked.items()}
        count = sum(weights[name] * place for name, place in places.items())
        errors = sum(weights[name] * ranked[name].wrong(place) for name, place in places.items())
        passes = tail(round(count), math.ceil(errors), budget) <= risk
        if passes and count - errors > hits - wrong:
            best, hits, wrong = places, count, errors
    bound = upper_bound(round(hits), math.ceil(wrong), risk)
    return {name: ranked[name].certificate(best[name], bound, budget, risk) for name in ranked}


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

    def certificate(self, count: int, bound: float, budget: float, risk: float) -> Certificate:
        """Return what admitting the first ``count`` labels means."""
        if not count:
            total = len(self.scores)
            return Certificate(None, total, self.wrong(total), 1.0, labels_needed(budget, risk))
        threshold = float(self.scores[count - 1])
        return Certificate(threshold, count, self.wrong(count), bound, 0, together=True)

    def wrong(self, count: int) -> int:
        """Return how many of the first ``count`` are wrong."""
        return int(self.errors[count - 1]) if count else 0


def _ranked(scores: NDArray[np.float64], wrong: NDArray[np.bool_], *, limit: float) -> _Ranked:
    order = np.argsort(-scores, kind="stable")
    ranked, errors = scores[order], np.cumsum(wrong[order], dtype=np.int_)
    places: NDArray[np.intp] = np.flatnonzero(np.diff(ranked, append=-np.inf)) + 1
    places = places[places >= _POOL_LABELS]
    passing = places[errors[places - 1] <= limit * places]
    return _Ranked(ranked, errors, passing)


def _walk(
    places: NDArray[np.intp],
    errors: NDArray[np.int_],
    expected: NDArray[np.float64],
    *,
    budget: float,
    risk: float,
) -> int | None:
    """Return the last place that passes on the way from the most promising one to the loosest."""
    from scipy.stats import binom  # noqa: PLC0415 - slow to import

    places = places[places + 1 >= labels_needed(budget, risk)]
    if not len(places):
        return None
    promised = binom.cdf(np.round(expected[places]), places + 1, budget)
    best: int | None = None
    count = int(places[np.argmin(promised)]) + 1
    while count <= places[-1] + 1:
        place = int(places[np.searchsorted(places, count - 1)])
        if tail(place + 1, int(errors[place]), budget) > risk:
            break
        best = place
        count = max(place + 2, int((place + 1) * _STEP))
    return best
