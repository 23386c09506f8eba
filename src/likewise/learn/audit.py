"""Which hits to audit: those whose label tells most, within a budget of labels."""

from __future__ import annotations

import math
import random

_LEAST_SHARE = 0.25
"""Least probability of an audit, as a share of the mean one: bounds what a single label weighs."""

_SMOOTHING = 0.01


class Auditor:
    """Draws audits with a probability proportional to sqrt(p (1 - p)).

    p is the probability that the hit is right: a label tells most where that is least certain. The
    mean over all hits is ``rate``, followed by a running average of sqrt(p (1 - p)).

    Args:
        rate: Share of the hits audited, 0 to 1; 1 audits all. 0 audits none, and nothing is
            certified by hits.
        chance: Draws.
    """

    def __init__(self, rate: float, chance: random.Random) -> None:
        self._rate, self._chance = rate, chance
        self._mean = 0.1

    def draw(self, probability: float) -> tuple[float, bool]:
        """Return with which probability a hit is audited, above 0, and whether it is."""
        if self._rate <= 0:
            return 1e-9, False
        if self._rate >= 1:
            return 1.0, True
        doubt = math.sqrt(max(0.0, probability * (1.0 - probability)))
        self._mean += _SMOOTHING * (doubt - self._mean)
        wanted = self._rate * doubt / max(self._mean, 1e-6)
        propensity = min(1.0, max(_LEAST_SHARE * self._rate, wanted))
        return propensity, self._chance.random() < propensity
