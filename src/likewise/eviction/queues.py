"""Policies made of queues: LRU, SIEVE, S3-FIFO, and S3-FIFO's admission before GDSF."""

from __future__ import annotations

from array import array

from likewise.eviction.base import Eviction, Queue, links
from likewise.eviction.frequency import Ranked
from likewise.slots import Slots

_SMALL_SHARE = 0.1
_MOST_COUNTED = 3
_MAIN_SMALL_SHARE, _MAIN_GHOSTS, _MAIN_POWER = 0.02, 0.5, 0.5
"""Of ``S3Gdsf``."""

_SMALL, _MAIN = 1, 2

_SPARE_GHOSTS = 64
"""Beyond twice those remembered: how many marks are kept that are not."""


class Lru(Eviction):
    """The entry asked for least recently goes."""

    def __init__(self) -> None:
        super().__init__()
        self._order = Queue(links(self.columns))

    def _added(self, place: int) -> None:
        self._order.push(place)

    def _touched(self, place: int) -> None:
        self._order.renew(place)

    def _removed(self, place: int) -> None:
        self._order.remove(place)

    def _chosen(self) -> int:
        return self._order.pop()


class Sieve(Eviction):
    """A hand moves from old to new and takes the first entry not asked for since it came by.

    Y. Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024. Entries never move; the hand goes on
    where it was, so that new entries are looked at soon.
    """

    def __init__(self) -> None:
        super().__init__()
        self._order = Queue(links(self.columns))
        self._visited = self.columns.whole("b")
        self._hand = -1

    def _added(self, place: int) -> None:
        self._visited[place] = 0
        self._order.push(place)

    def _touched(self, place: int) -> None:
        self._visited[place] = 1

    def _blamed(self, place: int) -> None:
        self._visited[place] = 0

    def _removed(self, place: int) -> None:
        if self._hand == place:
            self._hand = self._order.behind(place)
        self._order.remove(place)

    def _chosen(self) -> int:
        place = self._order.first if self._hand < 0 else self._hand
        while self._visited[place]:
            self._visited[place] = 0
            behind = self._order.behind(place)
            place = self._order.first if behind < 0 else behind
        self._hand = place
        self._removed(place)
        return place


class Ghosts:
    """Marks of entries that went without being asked for, at most as many as there are entries."""

    def __init__(self) -> None:
        self._marks = array("Q")
        """Oldest first; of what was taken out or forgotten some are left, see ``_first``."""
        self._first = 0
        self._known = Slots(self._marks.__getitem__)

    def add(self, mark: int, *, most: int) -> None:
        """Remember a mark, and forget the oldest beyond ``most``."""
        if self._find(mark) >= 0:
            return
        self._known.add(mark, len(self._marks))
        self._marks.append(mark)
        while self._known.live > max(most, 1):
            oldest = self._marks[self._first]
            if self._find(oldest) == self._first:
                self._known.remove(oldest, self._first)
            self._first += 1
        if len(self._marks) > _SPARE_GHOSTS + 2 * self._known.live:
            self._compact()

    def take(self, mark: int) -> bool:
        """Return whether a mark is remembered, and forget it."""
        found = self._find(mark)
        if found >= 0:
            self._known.remove(mark, found)
        return found >= 0

    def _find(self, mark: int) -> int:
        marks = self._marks
        return self._known.find(mark, lambda number: marks[number] == mark)

    def _compact(self) -> None:
        """Leave out the marks that are not remembered any more."""
        left = array("Q", [m for n, m in enumerate(self._marks) if self._find(m) == n])
        del self._marks[:]
        self._marks.extend(left)
        self._first = 0
        self._known = Slots(self._marks.__getitem__)
        for number, mark in enumerate(left):
            self._known.add(mark, number)


class S3Fifo(Eviction):
    """Three queues: a small one that new entries must pass, a main one, and ghosts.

    J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023. An entry that was
    not asked for while it passed the small queue, a tenth of the bytes, goes; if it comes back
    soon, it enters the main queue at once, where entries asked for get another round.
    """

    def __init__(self) -> None:
        super().__init__()
        both = links(self.columns)
        self._small, self._main = Queue(both), Queue(both)
        self._part = self.columns.whole("b")
        self._asked = self.columns.whole("b")
        self._small_bytes = 0
        self._ghosts = Ghosts()

    def _added(self, place: int) -> None:
        self._asked[place] = 0
        if self._ghosts.take(self.marks[place]):
            self._part[place] = _MAIN
            self._main.push(place)
        else:
            self._part[place] = _SMALL
            self._small.push(place)
            self._small_bytes += self.sizes[place]

    def _resized(self, place: int, before: int) -> None:
        if self._part[place] == _SMALL:
            self._small_bytes += self.sizes[place] - before

    def _touched(self, place: int) -> None:
        self._asked[place] = min(self._asked[place] + 1, _MOST_COUNTED)

    def _blamed(self, place: int) -> None:
        self._asked[place] = 0

    def _removed(self, place: int) -> None:
        if self._part[place] == _SMALL:
            self._small.remove(place)
            self._small_bytes -= self.sizes[place]
        else:
            self._main.remove(place)

    def _chosen(self) -> int:
        while len(self._small) and (
            self._small_bytes > _SMALL_SHARE * self.bytes or not len(self._main)
        ):
            place = self._small.pop()
            self._small_bytes -= self.sizes[place]
            if not self._asked[place]:
                self._ghosts.add(self.marks[place], most=len(self))
                return place
            self._part[place] = _MAIN
            self._main.push(place)
        while True:
            place = self._main.pop()
            if not self._asked[place]:
                return place
            self._asked[place] -= 1
            self._main.push(place)


class S3Gdsf(Eviction):
    """S3-FIFO's small queue and ghosts before a main part whose victims GDSF chooses.

    The queue is a fiftieth of the bytes, there are half as many ghosts as entries, and GDSF looks
    at the root of cost over size: on requests that repeat as people's do (``likewise bench
    eviction``) this gives up little of what each extreme saves, in hits or in cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self._small = Queue(links(self.columns))
        self._part = self.columns.whole("b")
        self._asked = self.columns.whole("I")
        """Of those in the small queue."""
        self._small_bytes = 0
        self._main = Ranked(self, power=_MAIN_POWER)
        self._ghosts = Ghosts()

    def _added(self, place: int) -> None:
        if self._ghosts.take(self.marks[place]):
            self._part[place] = _MAIN
            self._main.add(place)
        else:
            self._part[place] = _SMALL
            self._asked[place] = 0
            self._small.push(place)
            self._small_bytes += self.sizes[place]

    def _resized(self, place: int, before: int) -> None:
        if self._part[place] == _SMALL:
            self._small_bytes += self.sizes[place] - before
        else:
            self._main.rank(place)

    def _touched(self, place: int) -> None:
        if self._part[place] == _SMALL:
            self._asked[place] += 1
        else:
            self._main.touch(place)

    def _blamed(self, place: int) -> None:
        if self._part[place] == _SMALL:
            self._asked[place] = 0
        else:
            self._main.blame(place)

    def _removed(self, place: int) -> None:
        if self._part[place] == _SMALL:
            self._small.remove(place)
            self._small_bytes -= self.sizes[place]
        else:
            self._main.remove(place)

    def _chosen(self) -> int:
        while len(self._small) and (
            self._small_bytes > _MAIN_SMALL_SHARE * self.bytes or not len(self._main)
        ):
            place = self._small.pop()
            self._small_bytes -= self.sizes[place]
            if not self._asked[place]:
                self._ghosts.add(self.marks[place], most=int(_MAIN_GHOSTS * len(self)))
                return place
            self._part[place] = _MAIN
            self._main.add(place)
            self._main.touch(place, times=self._asked[place])
        return self._main.pop()
