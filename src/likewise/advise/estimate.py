"""What another policy would have been worth, from what was logged under this one.

Each observation has a reward r and the propensity p with which it was observed at all; pi is 1
where the other policy would act, else 0, and w = pi / p. Over n requests:

    IPS     sum(w r) / n            unbiased; its variance grows as propensities shrink
    SNIPS   sum(w r) / sum(w)       a mean over the acts, self-normalised
    DR      mean[pi m] + sum(w (r - m)) / n,  m: a model of the reward

D. Horvitz and D. Thompson, JASA 1952; A. Swaminathan and T. Joachims, "The self-normalized
estimator for counterfactual learning", NeurIPS 2015; M. Dudik et al., "Doubly robust policy
evaluation and learning", ICML 2011. All intervals are of 95 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated mean with its interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        labels: Observations it rests on, as many as would tell as much with equal weights.
    """

    value: float
    low: float
    high: float
    labels: float

    def to_dict(self) -> dict[str, float]:
        """Return it ready for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "labels": self.labels}


def ips(rewards: Floats, weights: Floats, total: int) -> Estimate:
    """Return the mean reward per request by inverse propensities.

    Args:
        rewards: Of the observations, shape ``(k,)``.
        weights: pi / p of each, shape ``(k,)``.
        total: Requests there were, observed or not; at least ``k``.
    """
    if not total:
        return Estimate(0.0, 0.0, 0.0, 0.0)
    terms = rewards * weights
    value = float(terms.sum()) / total
    # The requests that were not observed contribute zeros.
    variance = (float((terms**2).sum()) / total - value**2) / max(total - 1, 1)
    spread = _Z * math.sqrt(max(variance, 0.0))
    return Estimate(value, value - spread, value + spread, effective(weights))


def snips(rewards: Floats, weights: Floats) -> Estimate:
    """Return the mean reward per act, 0 to 1, self-normalised, with Wilson's interval.

    The interval takes as many observations as the weights are worth, so that it does not shrink to
    a point where no error has been seen. Shapes are those of ``ips``.
    """
    worth = effective(weights)
    if not worth:
        return Estimate(0.0, 0.0, 1.0, 0.0)
    value = float((rewards * weights).sum() / weights.sum())
    middle = value + _Z * _Z / (2.0 * worth)
    spread = _Z * math.sqrt(max(value * (1.0 - value), 0.0) / worth + (_Z / (2.0 * worth)) ** 2)
    scale = 1.0 + _Z * _Z / worth
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return Estimate(value, max(0.0, low), min(1.0, high), worth)


def doubly_robust(
    modelled: Floats, rewards: Floats, expected: Floats, weights: Floats, total: int
) -> Estimate:
    """Return the mean reward per request: a model's, put right by what was observed.

    Args:
        modelled: The model's reward of every request on which the policy would act, shape ``(a,)``.
        rewards: Of the observations, shape ``(k,)``.
        expected: The model's reward of each observation, shape ``(k,)``.
        weights: pi / p of each observation, shape ``(k,)``.
        total: Requests there were.
    """
    if not total:
        return Estimate(0.0, 0.0, 0.0, 0.0)
    model = float(modelled.sum()) / total
    residuals = ips(rewards - expected, weights, total)
    variance = (float((modelled**2).sum()) / total - model**2) / max(total - 1, 1)
    half = (residuals.high - residuals.low) / 2.0
    spread = math.sqrt(half**2 + _Z**2 * max(variance, 0.0))
    value = model + residuals.value
    return Estimate(value, value - spread, value + spread, effective(weights))


def effective(weights: Floats) -> float:
    """Return how many observations of equal weight would tell as much (L. Kish, 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def monotone(scores: Floats, rewards: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Fit a reward that does not fall as the score rises (pool adjacent violators).

    M. Ayer et al., "An empirical distribution function for sampling with incomplete information",
    Annals of Mathematical Statistics 1955.

    Returns:
        Ascending scores and the fitted reward from each of them on; see ``at``.
    """
    order = np.argsort(scores, kind="stable")
    blocks: list[list[float]] = []  # score, weighted reward, weight
    for place in order.tolist():
        weight = float(weights[place])
        if not weight:
            continue
        blocks.append([float(scores[place]), float(rewards[place]) * weight, weight])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            _, reward, more = blocks.pop()
            blocks[-1][1] += reward
            blocks[-1][2] += more
    starts = np.array([block[0] for block in blocks])
    return starts, np.array([block[1] / block[2] for block in blocks])


def at(fitted: tuple[Floats, Floats], scores: Floats) -> Floats:
    """Return the fitted reward at some scores, shape ``(k,)``; 0 where nothing was fitted."""
    starts, values = fitted
    if not len(starts):
        return np.zeros(len(scores))
    places = np.clip(np.searchsorted(starts, scores, side="right") - 1, 0, len(values) - 1)
    found: Floats = values[places]
    return found
