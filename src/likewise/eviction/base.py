"""What every eviction policy promises, and what they are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Hashable
from hashlib import blake2b

_NOWHERE = -1


class Columns:
    """What is known of many entries, a column of numbers for each thing known.

    A row takes the bytes of its numbers, where an object in a dictionary takes hundreds. Rows of
    entries that are gone are used again.
    """

    def __init__(self) -> None:
        self._free = array("i")
        self.all: list[tuple[array[int] | array[float], int | float]] = []
        self.rows = 0

    def whole(self, typecode: str, empty: int = 0) -> array[int]:
        """Return a new column of whole numbers."""
        column = array(typecode, [empty]) * self.rows
        self.all.append((column, empty))
        return column

    def real(self) -> array[float]:
        """Return a new column of numbers in double precision."""
        column = array("d", [0.0]) * self.rows
        self.all.append((column, 0.0))
        return column

    def take(self) -> int:
        """Return a row in which every column is empty or left from an entry that is gone."""
        if self._free:
            return self._free.pop()
        for column, empty in self.all:
            column.append(empty)  # type: ignore[arg-type]
        self.rows += 1
        return self.rows - 1

    def give_back(self, row: int) -> None:
        """Let a row be used again."""
        self._free.append(row)


class Eviction(ABC):
    """Chooses what goes. Calls come one at a time.

    An entry is known by the place it is given when it is added, which is its own until it is gone.
    """

    def __init__(self) -> None:
        self.columns = Columns()
        self.names = self.columns.whole("i")
        """By place: what the caller knows the entry by."""
        self.sizes = self.columns.whole("q")
        self.costs = self.columns.real()
        self.marks = self.columns.whole("Q")
        """By place: what an entry is recognised by when it comes back."""
        self.bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, name: int, mark: int, size: int = 1, cost: float = 1.0) -> int:
        """Take note of a new entry; return its place.

        Args:
            name: What the caller knows it by, from 0 up.
            mark: 64 bits, by which it is recognised when it comes back.
            size: Bytes, at least 1.
            cost: Of making it again, in any unit, above 0.
        """
        place = self.columns.take()
        self.names[place], self.marks[place] = name, mark
        self.sizes[place], self.costs[place] = max(size, 1), cost
        self.enter(place)
        return place

    def enter(self, place: int) -> None:
        """Let an entry in that has its place and is not here."""
        self.bytes += self.sizes[place]
        self._count += 1
        self._added(place)

    def resize(self, place: int, size: int, cost: float) -> None:
        """Take note that an entry was made anew, and now has another size and cost."""
        before = self.sizes[place]
        self.sizes[place], self.costs[place] = max(size, 1), cost
        self.bytes += self.sizes[place] - before
        self._resized(place, before)

    def touch(self, place: int) -> None:
        """Take note that an entry was asked for."""
        self._touched(place)

    def blame(self, place: int) -> None:
        """Take note that an entry was found wrong: what it was asked for counts no more."""
        self._blamed(place)

    def remove(self, place: int) -> None:
        """Forget an entry that somebody else has taken away."""
        self.withdraw(place)
        self.columns.give_back(place)

    def withdraw(self, place: int) -> None:
        """Take an entry out that keeps its place."""
        self._removed(place)
        self._leave(place)

    def evict(self) -> int:
        """Choose the entry that goes, forget it, and return its name.

        Raises:
            LookupError: There is none.
        """
        place = self.choose()
        self.columns.give_back(place)
        return self.names[place]

    def choose(self) -> int:
        """Choose the entry that goes, take it out, and return its place, which it keeps.

        Raises:
            LookupError: There is none.
        """
        if not self._count:
            msg = "there is nothing to evict"
            raise LookupError(msg)
        place = self._chosen()
        self._leave(place)
        return place

    def _leave(self, place: int) -> None:
        self.bytes -= self.sizes[place]
        self._count -= 1

    @abstractmethod
    def _added(self, place: int) -> None:
        """Put a new entry in its order."""

    @abstractmethod
    def _touched(self, place: int) -> None:
        """Count that an entry was asked for."""

    def _resized(self, place: int, before: int) -> None:  # noqa: B027 - most do not look at sizes
        """Take note that an entry has another size or cost; its size was ``before``."""

    def _blamed(self, place: int) -> None:  # noqa: B027 - most policies count nothing
        """Forget what an entry was asked for."""

    @abstractmethod
    def _removed(self, place: int) -> None:
        """Take an entry out of its order."""

    @abstractmethod
    def _chosen(self) -> int:
        """Take the entry that goes out of its order and return it; there is one at least."""


class Queue:
    """Places in an order, linked through columns; a place is in one queue of its columns at most.

    ``links`` are two columns, of what is before and what is behind each place.
    """

    def __init__(self, links: tuple[array[int], array[int]]) -> None:
        self._before, self._after = links
        self.first = self.last = _NOWHERE
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, place: int) -> None:
        """Put a place at the end."""
        self._before[place], self._after[place] = self.last, _NOWHERE
        if self.last == _NOWHERE:
            self.first = place
        else:
            self._after[self.last] = place
        self.last = place
        self._count += 1

    def remove(self, place: int) -> None:
        """Take a place out, which must be here."""
        before, after = self._before[place], self._after[place]
        if before == _NOWHERE:
            self.first = after
        else:
            self._after[before] = after
        if after == _NOWHERE:
            self.last = before
        else:
            self._before[after] = before
        self._count -= 1

    def pop(self) -> int:
        """Take the first place out and return it."""
        place = self.first
        self.remove(place)
        return place

    def renew(self, place: int) -> None:
        """Move a place to the end."""
        self.remove(place)
        self.push(place)

    def behind(self, place: int) -> int:
        """Return the place behind one, or -1."""
        return self._after[place]


def links(columns: Columns) -> tuple[array[int], array[int]]:
    """Return two new columns for queues."""
    return columns.whole("i", _NOWHERE), columns.whole("i", _NOWHERE)


class Heap:
    """Places by a key; the lowest comes first, of equal ones the one that was put first."""

    def __init__(self, columns: Columns) -> None:
        self._keys = columns.real()
        self._turns = columns.whole("q")
        self._at = columns.whole("i", _NOWHERE)
        self._heap = array("i")
        self._turn = 0

    def __len__(self) -> int:
        return len(self._heap)

    def key(self, place: int) -> float:
        """Return the key of a place."""
        return self._keys[place]

    def put(self, place: int, key: float) -> None:
        """Put a place, or put it anew with another key."""
        self._turn += 1
        self._keys[place], self._turns[place] = key, self._turn
        if self._at[place] == _NOWHERE:
            self._at[place] = len(self._heap)
            self._heap.append(place)
        self._settle(place)

    def remove(self, place: int) -> None:
        """Take a place out, which must be here."""
        at, last = self._at[place], self._heap.pop()
        self._at[place] = _NOWHERE
        if last != place:
            self._heap[at], self._at[last] = last, at
            self._settle(last)

    def pop(self) -> int:
        """Take the lowest place out and return it."""
        place = self._heap[0]
        self.remove(place)
        return place

    def _below(self, a: int, b: int) -> bool:
        keys, turns = self._keys, self._turns
        return keys[a] < keys[b] or (keys[a] == keys[b] and turns[a] < turns[b])

    def _settle(self, place: int) -> None:
        """Move a place up or down to where it belongs."""
        heap, at, where = self._heap, self._at, self._at[place]
        while where and self._below(place, heap[(where - 1) // 2]):
            above = heap[(where - 1) // 2]
            heap[where], at[above] = above, where
            where = (where - 1) // 2
        while (child := 2 * where + 1) < len(heap):
            if child + 1 < len(heap) and self._below(heap[child + 1], heap[child]):
                child += 1
            if not self._below(heap[child], place):
                break
            heap[where], at[heap[child]] = heap[child], where
            where = child
        heap[where], at[place] = place, where


class Named:
    """A policy whose entries have names of any kind, for those who compare policies."""

    def __init__(self, policy: Eviction) -> None:
        self._policy = policy
        self.places: dict[Hashable, int] = {}
        self._names: dict[int, Hashable] = {}
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._policy)

    @property
    def bytes(self) -> int:
        """What is held."""
        return self._policy.bytes

    def add(self, name: Hashable, size: int = 1, cost: float = 1.0) -> None:
        """See ``Eviction.add``; a name is added once until it is gone."""
        mark = int.from_bytes(blake2b(repr(name).encode(), digest_size=8).digest(), "big")
        self._names[self._numbers] = name
        self.places[name] = self._policy.add(self._numbers, mark, size, cost)
        self._numbers += 1

    def touch(self, name: Hashable) -> None:
        """See ``Eviction.touch``; one that is gone is ignored."""
        if name in self.places:
            self._policy.touch(self.places[name])

    def blame(self, name: Hashable) -> None:
        """See ``Eviction.blame``; one that is gone is ignored."""
        if name in self.places:
            self._policy.blame(self.places[name])

    def remove(self, name: Hashable) -> None:
        """See ``Eviction.remove``; one that is gone is ignored."""
        if name in self.places:
            place = self.places.pop(name)
            del self._names[self._policy.names[place]]
            self._policy.remove(place)

    def evict(self) -> Hashable:
        """See ``Eviction.evict``."""
        name = self._names.pop(self._policy.evict())
        del self.places[name]
        return name
