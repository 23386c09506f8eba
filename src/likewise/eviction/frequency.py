"""Policies that count how often entries are asked for: LFU, GDSF, W-TinyLFU."""

from __future__ import annotations

import heapq
from collections import OrderedDict

from likewise.eviction.base import Eviction, Item, Name

_WINDOW_SHARE = 0.01
_PROTECTED_SHARE = 0.8
_SAMPLE = 10
_STALE_SHARE = 4


class _Heaped(Eviction):
    """Entries by a key that may rise; the lowest goes. Old keys stay in the heap until met."""

    def __init__(self) -> None:
        super().__init__()
        self._heap: list[tuple[float, int, Name]] = []
        self._key: dict[Name, tuple[float, int]] = {}
        self._turn = 0

    def _put(self, name: Name, key: float) -> None:
        self._turn += 1
        self._key[name] = (key, self._turn)
        heapq.heappush(self._heap, (key, self._turn, name))
        if len(self._heap) > _STALE_SHARE * len(self._key) + 64:
            self._heap = [(key, turn, name) for name, (key, turn) in self._key.items()]
            heapq.heapify(self._heap)

    def _removed(self, name: Name) -> None:
        del self._key[name]

    def _lowest(self) -> tuple[Name, float]:
        while True:
            key, turn, name = heapq.heappop(self._heap)
            if self._key.get(name) == (key, turn):
                del self._key[name]
                return name, key


class Lfu(_Heaped):
    """The entry asked for least often goes; of several the one that waited longest."""

    def _added(self, name: Name) -> None:
        self._put(name, 0.0)

    def _touched(self, name: Name) -> None:
        self._put(name, self._key[name][0] + 1.0)

    def _blamed(self, name: Name) -> None:
        self._put(name, 0.0)

    def _chosen(self) -> Name:
        return self._lowest()[0]


class Gdsf(_Heaped):
    """The entry with the lowest ``H = L + F C / S`` goes: GreedyDual-Size-Frequency.

    L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching
    Policy", HP Labs 1998. F is how often it was asked for, C what it costs to make it again, S its
    bytes, and L the H of what went last: what was not asked for since long falls behind by itself.

    ``power`` is that of ``C / S``: at 1 it is as published and saves the most cost, at 0 every
    entry counts alike and the most are hit.
    """

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self._power = power
        self._asked: dict[Name, int] = {}
        self._level = 0.0

    def _added(self, name: Name) -> None:
        self._asked[name] = 1
        self._rank(name)

    def touch(self, name: Name, *, times: int = 1) -> None:
        """See ``Eviction.touch``; for so many times at once."""
        if name in self.items and times:
            self._asked[name] += times
            self._rank(name)

    def _touched(self, name: Name) -> None:
        self.touch(name)

    def _resized(self, name: Name, before: Item) -> None:
        self._rank(name)

    def _blamed(self, name: Name) -> None:
        self._asked[name] = 0
        self._rank(name)

    def _removed(self, name: Name) -> None:
        super()._removed(name)
        del self._asked[name]

    def _chosen(self) -> Name:
        name, self._level = self._lowest()
        del self._asked[name]
        return name

    def _rank(self, name: Name) -> None:
        item = self.items[name]
        self._put(name, self._level + self._asked[name] * (item.cost / item.size) ** self._power)


class WTinyLfu(Eviction):
    """A small window, then a main part that only what is asked for more often enters.

    G. Einziger, R. Friedman and B. Manes, "TinyLFU", ACM TOS 2017. The window is LRU, a hundredth
    of the bytes; the main part is a segmented LRU. Frequencies are counted also of what is gone,
    and halved after ten askings for each entry; the counts are exact, where the paper sketches.
    """

    def __init__(self) -> None:
        super().__init__()
        self._window: OrderedDict[Name, None] = OrderedDict()
        self._probation: OrderedDict[Name, None] = OrderedDict()
        self._protected: OrderedDict[Name, None] = OrderedDict()
        self._window_bytes = 0
        self._newest: Name | None = None
        """What entered the main part last, and may have to leave it again."""
        self._counts: dict[Name, int] = {}
        self._counted = 0

    def _added(self, name: Name) -> None:
        self._count(name)
        self._window[name] = None
        self._window_bytes += self.items[name].size
        while len(self._window) > 1 and self._window_bytes > _WINDOW_SHARE * self.bytes:
            self._newest, _ = self._window.popitem(last=False)
            self._window_bytes -= self.items[self._newest].size
            self._probation[self._newest] = None

    def _resized(self, name: Name, before: Item) -> None:
        if name in self._window:
            self._window_bytes += self.items[name].size - before.size

    def _touched(self, name: Name) -> None:
        self._count(name)
        if name in self._window:
            self._window.move_to_end(name)
        elif name in self._protected:
            self._protected.move_to_end(name)
        else:
            del self._probation[name]
            self._protected[name] = None
            if len(self._protected) > _PROTECTED_SHARE * len(self.items):
                self._probation[self._protected.popitem(last=False)[0]] = None

    def _blamed(self, name: Name) -> None:
        self._counts.pop(name, None)

    def _removed(self, name: Name) -> None:
        if name in self._window:
            del self._window[name]
            self._window_bytes -= self.items[name].size
        elif name in self._probation:
            del self._probation[name]
        else:
            del self._protected[name]

    def _chosen(self) -> Name:
        if not self._probation and not self._protected:
            name, _ = self._window.popitem(last=False)
            self._window_bytes -= self.items[name].size
            return name
        main = self._probation or self._protected
        victim, newest = next(iter(main)), self._newest
        if newest is not None and newest in self._probation:
            self._newest = None
            if self._counts.get(newest, 0) <= self._counts.get(victim, 0):
                victim = newest
        del main[victim]
        return victim

    def _count(self, name: Name) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1
        self._counted += 1
        if self._counted >= _SAMPLE * max(len(self.items), 16):
            self._counts = {n: count // 2 for n, count in self._counts.items() if count > 1}
            self._counted //= 2
