"""A one-bit guess whether an entry will be asked for again; it may protect, never condemn."""

from __future__ import annotations

from likewise.eviction.base import Eviction, Item, Name

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
        self._now = 0
        self._asked: dict[Name, tuple[int, int, int]] = {}
        """First and last time, and how often, by name."""

    def _added(self, name: Name) -> None:
        self._now += 1
        self._asked[name] = (self._now, self._now, 1)
        self._inner.add(name, *self.items[name])

    def _resized(self, name: Name, before: Item) -> None:
        self._inner.resize(name, *self.items[name])

    def _touched(self, name: Name) -> None:
        self._now += 1
        first, _, count = self._asked[name]
        self._asked[name] = (first, self._now, count + 1)
        self._inner.touch(name)

    def _blamed(self, name: Name) -> None:
        self._asked[name] = (self._now, self._now, 1)
        self._inner.blame(name)

    def _removed(self, name: Name) -> None:
        del self._asked[name]
        self._inner.remove(name)

    def _chosen(self) -> Name:
        name = self._inner.evict()
        for _ in range(_MOST_SPARED):
            if not len(self._inner) or not self._returns(name):
                break
            spared, name = name, self._inner.evict()
            self._inner.add(spared, *self.items[spared])
            self._inner.touch(spared)
        del self._asked[name]
        return name

    def _returns(self, name: Name) -> bool:
        first, last, count = self._asked[name]
        if count < 3:
            return False
        return self._now - last < _PATIENCE * (last - first) / (count - 1)
