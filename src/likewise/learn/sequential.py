"""Certificates and alarms that stay valid while labels keep arriving.

A label is the outcome W of reusing an answer whose score was s: 1 when that was, or would have
been, wrong. A miss gives it for free. A hit gives it when it is audited, which happens with a known
probability q. For each threshold t of a fixed grid the wealth of a bet against "the error per hit
above t is at least the budget alpha" is kept:

    M(t) = prod over labels with s >= t of 1 + l (alpha - xi W / q),  0 <= l < 1 / (1 / q - alpha)

xi is 1 when the label was drawn. If the bet's claim is false M is a supermartingale that starts at
1, so that it ever reaches C / delta with a probability of at most delta / C (Ville's inequality; I.
Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024).
Several l are bet on at once and their wealth is averaged. With l depending on q the argument needs
one thing more: that the error does not rise with the score.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# fmt: off
THRESHOLDS: NDArray[np.float64] = np.array([
    0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99,
    0.995,
])
# fmt: on
"""Probabilities that may become thresholds, ascending."""

_STARTS = tuple(np.searchsorted(THRESHOLDS, (0.99, 0.97, 0.92, 0.8)).tolist())
"""Places of the thresholds at which a walk from strict to loose may start."""

_BETS: NDArray[np.float64] = np.array([0.2, 0.4, 0.6, 0.8, 0.95])
"""Shares of the largest bet allowed."""

_ALARM_BETS: NDArray[np.float64] = np.array([0.05, 0.15, 0.4])
"""Shares of q / alpha: of the largest bet of an alarm, as far as labels are drawn."""

ALARM = 1_000.0
"""Hits between two false alarms, on average at least."""


class Wealth:
    """The bets of one category, or of several together, against too many errors per hit.

    Args:
        budget: Error per hit allowed, alpha.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self._log = np.zeros((len(THRESHOLDS), len(_BETS)))
        self._most = np.zeros(len(THRESHOLDS))
        self._labels = np.zeros(len(THRESHOLDS))
        self._wrong = np.zeros(len(THRESHOLDS))

    def add(
        self, score: float, *, wrong: bool, propensity: float = 1.0, drawn: bool = True
    ) -> None:
        """Take what became of a request whose best candidate had ``score``.

        Args:
            score: Its probability of being right, 0 to 1.
            wrong: Whether the label was drawn and reusing the answer wrong.
            propensity: With which probability the label was to be drawn, above 0.
            drawn: Whether it was.
        """
        count = int(np.searchsorted(THRESHOLDS, score, side="right"))
        loss = wrong / propensity
        bets = _BETS / (1.0 / propensity - self.budget)
        self._log[:count] += np.log1p(bets * (self.budget - loss))
        self._labels[:count] += drawn
        self._wrong[:count] += wrong
        wealth = np.logaddexp.reduce(self._log[:count], axis=1) - math.log(len(_BETS))
        np.maximum(self._most[:count], wealth, out=self._most[:count])

    def certified(self, risk: float) -> float | None:
        """Return the loosest threshold certified at ``risk``.

        Thresholds are tried from strict to loose, from each of a few fixed starts until the first
        that is not certified; the starts share the risk. So no choice is made among many tests.
        """
        reached = self._most >= math.log(len(_STARTS) / risk)
        found: float | None = None
        for start in _STARTS:
            for place in range(start, -1, -1):
                if not reached[place]:
                    break
                found = float(min(THRESHOLDS[place], 1.0 if found is None else found))
        return found

    def error(self, threshold: float) -> tuple[float, float]:
        """Return the labels drawn at or above a threshold of the grid and how many were wrong."""
        place = int(np.searchsorted(THRESHOLDS, threshold))
        if place == len(THRESHOLDS):  # stricter than the grid: of a policy, not of ours
            return 0.0, 0.0
        return float(self._labels[place]), float(self._wrong[place])

    def to_dict(self) -> dict[str, Any]:
        """Return the state ready for JSON."""
        return {
            "budget": self.budget,
            "log": self._log.tolist(),
            "most": self._most.tolist(),
            "labels": self._labels.tolist(),
            "wrong": self._wrong.tolist(),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Wealth:
        """Return the state that ``to_dict`` gave."""
        wealth = cls(state["budget"])
        wealth._log, wealth._most = np.array(state["log"]), np.array(state["most"])
        wealth._labels, wealth._wrong = np.array(state["labels"]), np.array(state["wrong"])
        return wealth


class Alarm:
    """Tells when the hits of a category are wrong more often than the budget allows.

    S <- max(1, S) (1 + l (xi W / q - alpha)) for every hit, l in [0, 1 / alpha]; averaged over
    several l, which are set in proportion to q. While the error is within the budget a false alarm
    takes ``ALARM`` hits on average or more (J. Shin, A. Ramdas and A. Rinaldo, "E-detectors: a
    nonparametric framework for sequential change detection", 2023).
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self._state = np.ones(len(_ALARM_BETS))

    @property
    def level(self) -> float:
        """How strong the evidence is; the alarm is raised at ``ALARM``."""
        return float(self._state.mean())

    @property
    def raised(self) -> bool:
        """Whether the hits are wrong too often."""
        return self.level >= ALARM

    def add(self, *, wrong: bool, propensity: float = 1.0) -> None:
        """Take a hit that was to be audited with ``propensity``.

        Args:
            wrong: Whether the audit was drawn and the hit wrong.
            propensity: With which probability it was to be drawn, above 0.
        """
        bets = _ALARM_BETS * propensity / self.budget
        factor = 1.0 + bets * (wrong / propensity - self.budget)
        self._state = np.maximum(self._state, 1.0) * factor

    def reset(self) -> None:
        """Begin anew."""
        self._state = np.ones(len(_ALARM_BETS))

    def to_dict(self) -> dict[str, Any]:
        """Return the state ready for JSON."""
        return {"budget": self.budget, "state": self._state.tolist()}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Alarm:
        """Return the state that ``to_dict`` gave."""
        alarm = cls(state["budget"])
        alarm._state = np.array(state["state"])
        return alarm
