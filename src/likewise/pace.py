"""How often somebody may do something."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST = 10_000
"""Those who are remembered; of more the longest silent are forgotten."""


class Pace:
    """How often somebody may do something: a bucket for each, filled anew over a minute.

    Args:
        per_minute: How often.
        clock: Seconds that only grow.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, who: str) -> float:
        """Return the seconds until ``who`` may, 0 when now."""
        left = self._left(who)
        return 0.0 if left >= 1.0 else (1.0 - left) * 60.0 / self._per_minute

    def count(self, who: str) -> None:
        """Count one time."""
        left = self._left(who)
        self._buckets[who] = (left - 1.0, self._clock())
        self._buckets.move_to_end(who)
        while len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)

    def _left(self, who: str) -> float:
        known = self._buckets.get(who)
        if known is None:
            return float(self._per_minute)
        left, since = known
        gained = (self._clock() - since) * self._per_minute / 60.0
        return min(float(self._per_minute), left + gained)
