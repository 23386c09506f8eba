"""Which hits cause a fresh answer to be fetched aside, within a budget of calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from likewise.category import Category
from likewise.policy import Hit, Reason

_OFTEN = 3
"""Hits from which on an entry counts as asked for often."""

_REMEMBERED = 10_000


class Refreshes:
    """Counts hits and spends the budget. Lives in one event loop.

    Args:
        per_minute: Most calls a minute, which may also come all at once; 0 is none.
        clock: Seconds of any origin.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._filled_at = clock()
        self._served: OrderedDict[str, int] = OrderedDict()

    def due(self, hit: Hit, policy: Category) -> bool:
        """Return whether to fetch a fresh answer aside for this hit; if so, it is paid for."""
        return self._wanted(hit, policy) and self._paid()

    def _wanted(self, hit: Hit, policy: Category) -> bool:
        if hit.reason is Reason.REVALIDATING:
            return True
        if policy.refresh_ahead is None or policy.ttl_s is None:
            return False
        served = self._served.pop(hit.entry_id, 0) + 1
        self._served[hit.entry_id] = served
        if len(self._served) > _REMEMBERED:
            self._served.popitem(last=False)
        return served >= _OFTEN and hit.age_s >= (1.0 - policy.refresh_ahead) * policy.ttl_s

    def _paid(self) -> bool:
        now = self._clock()
        earned = (now - self._filled_at) * self._per_minute / 60.0
        self._left = min(float(self._per_minute), self._left + earned)
        self._filled_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
