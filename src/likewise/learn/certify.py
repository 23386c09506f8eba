"""Thresholds with a stated error bound, from a fixed sample of labels.

W is 1 when reusing the candidate would be wrong. A threshold t is certified for the error budget
alpha at risk delta when, of the n labels with a score of at least t, so few k are wrong that a true
rate above alpha would show at most k with a probability of at most delta: P(Bin(n, alpha) <= k) <=
delta, the exact binomial tail, which is Clopper and Pearson's upper bound turned round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

POINT_ESTIMATE = 0.5
"""At this risk a bound is as likely to fail as to hold: a point estimate."""

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
