"""Policies made of queues: LRU, SIEVE, S3-FIFO, and S3-FIFO's admission before GDSF."""

from __future__ import annotations

from collections import OrderedDict

from likewise.eviction.base import Eviction, Item, Name
from likewise.eviction.frequency import Gdsf

_SMALL_SHARE = 0.1
_MOST_COUNTED = 3
_MAIN_SMALL_SHARE, _MAIN_GHOSTS, _MAIN_POWER = 0.02, 0.5, 0.5
"""Of ``S3Gdsf``."""


class Lru(Eviction):
    """The entry asked for least recently goes."""

    def __init__(self) -> None:
        super().__init__()
        self._order: OrderedDict[Name, None] = OrderedDict()

    def _added(self, name: Name) -> None:
        self._order[name] = None

    def _touched(self, name: Name) -> None:
        self._order.move_to_end(name)

    def _removed(self, name: Name) -> None:
        del self._order[name]

    def _chosen(self) -> Name:
        return self._order.popitem(last=False)[0]


class Sieve(Eviction):
    """A hand moves from old to new and takes the first entry not asked for since it came by.

    Y. Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024. Entries never move; the hand goes on
    where it was, so that new entries are looked at soon.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[Name, Name | None] = {}
        self._after: dict[Name, Name | None] = {}
        self._oldest: Name | None = None
        self._newest: Name | None = None
        self._hand: Name | None = None
        self._visited: set[Name] = set()

    def _added(self, name: Name) -> None:
        self._before[name], self._after[name] = self._newest, None
        if self._newest is not None:
            self._after[self._newest] = name
        self._newest = name
        if self._oldest is None:
            self._oldest = name

    def _touched(self, name: Name) -> None:
        self._visited.add(name)

    def _blamed(self, name: Name) -> None:
        self._visited.discard(name)

    def _removed(self, name: Name) -> None:
        before, after = self._before.pop(name), self._after.pop(name)
        if before is None:
            self._oldest = after
        else:
            self._after[before] = after
        if after is None:
            self._newest = before
        else:
            self._before[after] = before
        if self._hand == name:
            self._hand = after
        self._visited.discard(name)

    def _chosen(self) -> Name:
        place = self._hand or self._oldest
        while place in self._visited:
            self._visited.discard(place)
            place = self._after[place] or self._oldest
        assert place is not None  # noqa: S101 - the base asks only while there are entries
        self._hand = place
        self._removed(place)
        return place


class Ghosts:
    """Names of entries that went without being asked for, at most as many as there are entries."""

    def __init__(self) -> None:
        self._names: OrderedDict[Name, None] = OrderedDict()

    def add(self, name: Name, *, most: int) -> None:
        """Remember a name, and forget the oldest beyond ``most``."""
        self._names[name] = None
        while len(self._names) > max(most, 1):
            self._names.popitem(last=False)

    def take(self, name: Name) -> bool:
        """Return whether a name is remembered, and forget it."""
        return self._names.pop(name, "") is None


class S3Fifo(Eviction):
    """Three queues: a small one that new entries must pass, a main one, and ghosts.

    J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023. An entry that was
    not asked for while it passed the small queue, a tenth of the bytes, goes; if it comes back
    soon, it enters the main queue at once, where entries asked for get another round.
    """

    def __init__(self) -> None:
        super().__init__()
        self._small: OrderedDict[Name, None] = OrderedDict()
        self._main: OrderedDict[Name, None] = OrderedDict()
        self._small_bytes = 0
        self._ghosts = Ghosts()
        self._asked: dict[Name, int] = {}

    def _added(self, name: Name) -> None:
        self._asked[name] = 0
        if self._ghosts.take(name):
            self._main[name] = None
        else:
            self._small[name] = None
            self._small_bytes += self.items[name].size

    def _resized(self, name: Name, before: Item) -> None:
        if name in self._small:
            self._small_bytes += self.items[name].size - before.size

    def _touched(self, name: Name) -> None:
        self._asked[name] = min(self._asked[name] + 1, _MOST_COUNTED)

    def _blamed(self, name: Name) -> None:
        self._asked[name] = 0

    def _removed(self, name: Name) -> None:
        del self._asked[name]
        if name in self._small:
            del self._small[name]
            self._small_bytes -= self.items[name].size
        else:
            del self._main[name]

    def _chosen(self) -> Name:
        while self._small and (self._small_bytes > _SMALL_SHARE * self.bytes or not self._main):
            name, _ = self._small.popitem(last=False)
            self._small_bytes -= self.items[name].size
            if not self._asked[name]:
                del self._asked[name]
                self._ghosts.add(name, most=len(self.items))
                return name
            self._main[name] = None
        while True:
            name, _ = self._main.popitem(last=False)
            if not self._asked[name]:
                del self._asked[name]
                return name
            self._asked[name] -= 1
            self._main[name] = None


class S3Gdsf(Eviction):
    """S3-FIFO's small queue and ghosts before a main part whose victims GDSF chooses.

    The queue is a fiftieth of the bytes, there are half as many ghosts as entries, and GDSF looks
    at the root of cost over size: on requests that repeat as people's do (``likewise bench
    eviction``) this gives up little of what each extreme saves, in hits or in cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self._small: OrderedDict[Name, int] = OrderedDict()
        self._small_bytes = 0
        self._main = Gdsf(power=_MAIN_POWER)
        self._ghosts = Ghosts()

    def _added(self, name: Name) -> None:
        if self._ghosts.take(name):
            self._main.add(name, *self.items[name])
        else:
            self._small[name] = 0
            self._small_bytes += self.items[name].size

    def _resized(self, name: Name, before: Item) -> None:
        if name in self._small:
            self._small_bytes += self.items[name].size - before.size
        else:
            self._main.resize(name, *self.items[name])

    def _touched(self, name: Name) -> None:
        if name in self._small:
            self._small[name] += 1
        else:
            self._main.touch(name)

    def _blamed(self, name: Name) -> None:
        if name in self._small:
            self._small[name] = 0
        else:
            self._main.blame(name)

    def _removed(self, name: Name) -> None:
        if name in self._small:
            del self._small[name]
            self._small_bytes -= self.items[name].size
        else:
            self._main.remove(name)

    def _chosen(self) -> Name:
        while self._small and (
            self._small_bytes > _MAIN_SMALL_SHARE * self.bytes or not self._main
        ):
            name, asked = self._small.popitem(last=False)
            item = self.items[name]
            self._small_bytes -= item.size
            if not asked:
                self._ghosts.add(name, most=int(_MAIN_GHOSTS * len(self.items)))
                return name
            self._main.add(name, *item)
            self._main.touch(name, times=asked)
        return self._main.evict()
