"""A one-bit guess whether an entry will be asked for again; it may protect, never condemn."""

from __future__ import annotations

from likewise.eviction.base import Eviction

_MOST_SPARED = 4
_PATIENCE = 2.0
"""How many of its usual gaps an entry may be silent and still be expected back."""


class Protecting(Eviction):
    """Spares a few of the entries another policy would let go, when they are expected back.

    Time is counted in calls. An entry that was asked for twice or more is expected back while it
    has been silent for less than twice its mean gap. At most four are spared in a row, so that
    something goes.
    """

    def __init__(self, inner: Eviction) -> None:
        super().__init__()
        self._inner = inner
        # An entry has one place, the inner policy's.
        self.columns = inner.columns
        self.names, self.marks = inner.names, inner.marks
        self.sizes, self.costs = inner.sizes, inner.costs
        self._now = 0
        self._first, self._last = self.columns.whole("q"), self.columns.whole("q")
        self._times = self.columns.whole("I")

    def _added(self, place: int) -> None:
        self._forget(place, self._now + 1)
        self._inner.enter(place)

    def resize(self, place: int, size: int, cost: float) -> None:
        """See ``Eviction.resize``."""
        self._inner.resize(place, size, cost)
        self.bytes = self._inner.bytes

    def _touched(self, place: int) -> None:
        self._now += 1
        self._last[place] = self._now
        self._times[place] += 1
        self._inner.touch(place)

    def _blamed(self, place: int) -> None:
        self._forget(place, self._now)
        self._inner.blame(place)

    def _removed(self, place: int) -> None:
        self._inner.withdraw(place)

    def _chosen(self) -> int:
        place = self._inner.choose()
        for _ in range(_MOST_SPARED):
            if not len(self._inner) or not self._returns(place):
                break
            spared, place = place, self._inner.choose()
            self._inner.enter(spared)
            self._inner.touch(spared)
        return place

    def _forget(self, place: int, now: int) -> None:
        self._now = now
        self._first[place] = self._last[place] = now
        self._times[place] = 1

    def _returns(self, place: int) -> bool:
        first, last, times = self._first[place], self._last[place], self._times[place]
        if times < 3:
            return False
        return self._now - last < _PATIENCE * (last - first) / (times - 1)
