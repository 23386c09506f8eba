"""How long an answer stays right: volatility, learned from questions that were asked again.

When a question is asked again after a while and the model's answer differs, the answer has changed
some time in between. With changes that come at a constant rate (a Poisson process), each pair says
whether at least one fell into its gap; the rate is that of the largest likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_LEAST_REASKED = 20
"""Pairs below which a rate is a guess."""

_STEPS = 60
_SLOWEST, _FASTEST = 1e-9, 10.0
"""Changes a second between which a rate is looked for."""


@dataclass(frozen=True, slots=True)
class Volatility:
    """How fast answers change.

    Attributes:
        reasked: Pairs of the same question, asked again.
        changed: How many of them got another answer.
        rate: Changes a second, ``None`` when too few pairs were seen.
    """

    reasked: int
    changed: int
    rate: float | None

    def ttl_s(self, stale: float) -> float | None:
        """Return the time to live at which a share ``stale`` of the hits is expected to be stale.

        Hits are taken to come evenly over the time an answer lives, so that the share is
        ``1 - (1 - exp(-rate ttl)) / (rate ttl)``. ``None`` means that no limit is needed, or that
        nothing is known.
        """
        if self.rate is None or self.rate <= _SLOWEST:
            return None
        low, high = 0.0, 100.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if stale_share(middle) < stale else (low, middle)
        return low / self.rate


def stale_share(ages: float) -> float:
    """Return the expected share of stale hits over a life of ``ages`` mean times to a change."""
    return 1.0 + math.expm1(-ages) / ages if ages > 1e-6 else ages / 2


def volatility(gaps: Sequence[float], changed: Sequence[bool]) -> Volatility:
    """Return the rate at which answers change.

    Args:
        gaps: Seconds between two times the same question was asked, above 0.
        changed: Whether the second answer differed from the first.
    """
    count, changes = len(gaps), sum(changed)
    if count < _LEAST_REASKED:
        return Volatility(count, changes, None)
    if not changes:
        return Volatility(count, 0, _SLOWEST)
    pairs = list(zip(gaps, changed, strict=True))

    def slope(rate: float) -> float:
        """Return the derivative of the log likelihood by the rate."""
        return sum(
            gap * math.exp(-rate * gap) / -math.expm1(-rate * gap) if differs else -gap
            for gap, differs in pairs
        )

    low, high = math.log(_SLOWEST), math.log(_FASTEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    return Volatility(count, changes, math.exp(low))
