"""Other thresholds, weighed by the labels of a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from likewise.advise.estimate import Estimate, Floats, at, doubly_robust, ips, monotone, snips
from likewise.advise.events import Event, History

_GRID = 60
_LEAST_LABELS = 30
"""Labels at or above a threshold below which nothing is proposed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a threshold would do.

    Attributes:
        threshold: Least score of a hit by meaning.
        error: Wrong answers per such hit, self-normalised.
        right: Right hits by meaning per request, doubly robust.
        right_ips: The same by inverse propensities alone.
    """

    threshold: float
    error: Estimate
    right: Estimate
    right_ips: Estimate


@dataclass(frozen=True, slots=True)
class ThresholdAdvice:
    """What the labels of a category say of its threshold.

    Attributes:
        key: What it is called in a policy.
        current: The one in force in most requests.
        now: What it does.
        best: What would do better within the budget, ``None`` where nothing would.
        curve: Every threshold weighed.
        why: In words, when there is nothing to propose.
    """

    key: str
    current: float
    now: Choice
    best: Choice | None
    curve: list[Choice]
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "key": self.key,
            "current": self.current,
            "now": _told(self.now),
            "proposed": None if self.best is None else _told(self.best),
            "gain_right_per_request": None
            if self.best is None
            else self.best.right.value - self.now.right.value,
            "why": self.why,
        }


def advise_threshold(history: History, *, budget: float) -> ThresholdAdvice | None:
    """Weigh thresholds of a category; ``None`` when no request of it could be told by a score.

    Proposed is the loosest threshold whose error per hit, at the upper end of its interval, is
    within the budget, and that serves more right answers than the current one.
    """
    by_probability = any(event.probability is not None for event in history.requests)
    key = "probability_threshold" if by_probability else "similarity_threshold"
    kind = "probability" if by_probability else "similarity"
    scores = _scores(history.requests, kind)
    current = _current(history.requests, key)
    if current is None or not len(scores):
        return None
    labels = [e for e in history.labels if e.kind == kind and e.score is not None]
    weigh = _Weigher(scores, labels, len(history.requests))
    now = weigh.choice(current)
    curve = [weigh.choice(threshold) for threshold in weigh.grid(current)]
    allowed = [
        choice
        for choice in curve
        if choice.error.labels >= _LEAST_LABELS and choice.error.high <= budget
    ]
    best = min(allowed, key=lambda choice: choice.threshold, default=None)
    why = ""
    if best is None:
        why = _why_not(now, curve, budget)
    elif best.threshold >= current and now.error.high <= budget:
        best, why = None, "the threshold is as loose as the labels allow"
    elif best.threshold > current and now.error.low <= budget:
        best, why = None, "the labels neither show that its error is within the budget nor above it"
    return ThresholdAdvice(key, current, now, best, curve, why)


def _why_not(now: Choice, curve: list[Choice], budget: float) -> str:
    most = max((choice.error.labels for choice in curve), default=0.0)
    if most < _LEAST_LABELS:
        return f"{most:.0f} labels are too few; at least {_LEAST_LABELS} are needed"
    return (
        f"no threshold shows an error of at most {budget:.1%} yet; the current one shows "
        f"{now.error.value:.1%} ({now.error.low:.1%} to {now.error.high:.1%})"
    )


class _Weigher:
    """Estimates what thresholds do in one category."""

    def __init__(self, scores: Floats, labels: list[Event], total: int) -> None:
        self._scores, self._total = scores, total
        self._score = np.array([event.score for event in labels], np.float64)
        self._right = np.array([bool(event.right) for event in labels], np.float64)
        propensity = np.array([event.propensity for event in labels], np.float64)
        self._weight = 1.0 / propensity if len(labels) else np.zeros(0)
        self._fitted = monotone(self._score, self._right, self._weight)

    def grid(self, current: float) -> list[float]:
        """Return thresholds worth trying: quantiles of the labelled scores, and the current one."""
        if not len(self._score):
            return [current]
        found = np.quantile(self._score, np.linspace(0.0, 1.0, _GRID))
        return sorted({round(float(value), 4) for value in found} | {current})

    def choice(self, threshold: float) -> Choice:
        """Return what a threshold would do."""
        chosen = self._score >= threshold
        weights, right = self._weight[chosen], self._right[chosen]
        acts = self._scores[self._scores >= threshold]
        expected = at(self._fitted, self._score[chosen])
        return Choice(
            threshold,
            snips(1.0 - right, weights),
            doubly_robust(at(self._fitted, acts), right, expected, weights, self._total),
            ips(right, weights, self._total),
        )


def _scores(requests: list[Event], kind: str) -> Floats:
    """Return the scores of the requests that meaning could have answered."""
    found = [
        event.probability if kind == "probability" else event.similarity
        for event in requests
        if event.tier != "exact"
    ]
    return np.array([score for score in found if score is not None], np.float64)


def _current(requests: list[Event], key: str) -> float | None:
    """Return the threshold in force in most requests that were made without load."""
    found = [
        value for event in requests if not event.pressure and (value := getattr(event, key))
    ] or [value for event in requests if (value := getattr(event, key))]
    return max(set(found), key=found.count) if found else None


def _told(choice: Choice) -> dict[str, Any]:
    return {
        "threshold": choice.threshold,
        "wrong_per_hit": choice.error.to_dict(),
        "right_per_request": choice.right.to_dict(),
        "right_per_request_ips": choice.right_ips.to_dict(),
    }
