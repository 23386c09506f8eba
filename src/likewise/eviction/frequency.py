"""Policies that count how often entries are asked for: LFU, GDSF, W-TinyLFU."""

from __future__ import annotations

from likewise.eviction.base import Eviction, Heap, Queue, links

_WINDOW_SHARE = 0.01
_PROTECTED_SHARE = 0.8
_SAMPLE = 10

_WINDOW, _PROBATION, _PROTECTED = 1, 2, 3


class Lfu(Eviction):
    """The entry asked for least often goes; of several the one that waited longest."""

    def __init__(self) -> None:
        super().__init__()
        self._heap = Heap(self.columns)

    def _added(self, place: int) -> None:
        self._heap.put(place, 0.0)

    def _touched(self, place: int) -> None:
        self._heap.put(place, self._heap.key(place) + 1.0)

    def _blamed(self, place: int) -> None:
        self._heap.put(place, 0.0)

    def _removed(self, place: int) -> None:
        self._heap.remove(place)

    def _chosen(self) -> int:
        return self._heap.pop()


class Gdsf(Eviction):
    """The entry with the lowest ``H = L + F C / S`` goes: GreedyDual-Size-Frequency.

    L. Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching
    Policy", HP Labs 1998. F is how often it was asked for, C what it costs to make it again, S its
    bytes, and L the H of what went last: what was not asked for since long falls behind by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ranked = Ranked(self)

    def _added(self, place: int) -> None:
        self._ranked.add(place)

    def _touched(self, place: int) -> None:
        self._ranked.touch(place)

    def _resized(self, place: int, before: int) -> None:
        self._ranked.rank(place)

    def _blamed(self, place: int) -> None:
        self._ranked.blame(place)

    def _removed(self, place: int) -> None:
        self._ranked.remove(place)

    def _chosen(self) -> int:
        return self._ranked.pop()


class Ranked:
    """Some of a policy's entries by their H, see ``Gdsf``.

    ``power`` is that of ``C / S``: at 1 it is as published and saves the most cost, at 0 every
    entry counts alike and the most are hit.
    """

    def __init__(self, of: Eviction, power: float = 1.0) -> None:
        self._sizes, self._costs = of.sizes, of.costs
        self._power = power
        self._heap = Heap(of.columns)
        self._asked = of.columns.whole("I")
        self._level = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, place: int) -> None:
        """Let a new entry in."""
        self._asked[place] = 1
        self.rank(place)

    def touch(self, place: int, *, times: int = 1) -> None:
        """Count how often an entry was asked for."""
        if times:
            self._asked[place] += times
            self.rank(place)

    def blame(self, place: int) -> None:
        """Forget what an entry was asked for."""
        self._asked[place] = 0
        self.rank(place)

    def rank(self, place: int) -> None:
        """Put an entry where it belongs."""
        worth = (self._costs[place] / self._sizes[place]) ** self._power
        self._heap.put(place, self._level + self._asked[place] * worth)

    def remove(self, place: int) -> None:
        """Take an entry out."""
        self._heap.remove(place)

    def pop(self) -> int:
        """Take the lowest entry out and return it."""
        place = self._heap.pop()
        self._level = self._heap.key(place)
        return place


class WTinyLfu(Eviction):
    """A small window, then a main part that only what is asked for more often enters.

    G. Einziger, R. Friedman and B. Manes, "TinyLFU", ACM TOS 2017. The window is LRU, a hundredth
    of the bytes; the main part is a segmented LRU. Frequencies are counted also of what is gone,
    and halved after ten askings for each entry; the counts are exact, where the paper sketches.
    """

    def __init__(self) -> None:
        super().__init__()
        both = links(self.columns)
        self._window, self._probation, self._protected = Queue(both), Queue(both), Queue(both)
        self._part = self.columns.whole("b")
        self._window_bytes = 0
        self._newest = -1
        """What entered the main part last, and may have to leave it again."""
        self._counts: dict[int, int] = {}
        self._counted = 0

    def _added(self, place: int) -> None:
        self._count_one(place)
        self._put(_WINDOW, place)
        self._window_bytes += self.sizes[place]
        while len(self._window) > 1 and self._window_bytes > _WINDOW_SHARE * self.bytes:
            self._newest = self._window.pop()
            self._window_bytes -= self.sizes[self._newest]
            self._put(_PROBATION, self._newest)

    def _resized(self, place: int, before: int) -> None:
        if self._part[place] == _WINDOW:
            self._window_bytes += self.sizes[place] - before

    def _touched(self, place: int) -> None:
        self._count_one(place)
        part = self._part[place]
        if part == _PROBATION:
            self._probation.remove(place)
            self._put(_PROTECTED, place)
            if len(self._protected) > _PROTECTED_SHARE * len(self):
                self._put(_PROBATION, self._protected.pop())
        else:
            self._queue(part).renew(place)

    def _blamed(self, place: int) -> None:
        self._counts.pop(self.marks[place], None)

    def _removed(self, place: int) -> None:
        part = self._part[place]
        self._queue(part).remove(place)
        if part == _WINDOW:
            self._window_bytes -= self.sizes[place]
        if place == self._newest:
            self._newest = -1  # its place may be another's soon

    def _chosen(self) -> int:
        main = self._probation if len(self._probation) else self._protected
        if not len(main):
            place = self._window.pop()
            self._window_bytes -= self.sizes[place]
            return place
        victim, newest = main.first, self._newest
        if newest >= 0 and self._part[newest] == _PROBATION:
            self._newest = -1
            counts, marks = self._counts, self.marks
            if counts.get(marks[newest], 0) <= counts.get(marks[victim], 0):
                victim = newest
        if victim == self._newest:
            self._newest = -1
        main.remove(victim)
        return victim

    def _queue(self, part: int) -> Queue:
        return (self._window, self._probation, self._protected)[part - 1]

    def _put(self, part: int, place: int) -> None:
        self._part[place] = part
        self._queue(part).push(place)

    def _count_one(self, place: int) -> None:
        mark = self.marks[place]
        self._counts[mark] = self._counts.get(mark, 0) + 1
        self._counted += 1
        if self._counted >= _SAMPLE * max(len(self), 16):
            self._counts = {n: count // 2 for n, count in self._counts.items() if count > 1}
            self._counted //= 2
