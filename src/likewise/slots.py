"""Numbers found by a hash, in four bytes a cell: where a dictionary would take a hundred."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

_EMPTY, _GONE = -1, -2
_FIRST = 16
_FULL, _ROOMY = 0.6, 0.4
"""Share of the cells from which on there are to be more, and what is in use of those at most."""


class Slots:
    """An open-addressing table of numbers from 0 up, with linear probing.

    It holds neither keys nor hashes: ``hash_of`` gives a number's hash when the table grows, and
    whoever looks for one says which of those with a like hash is meant.

    Readers take no lock: a cell changes at once, growth publishes a new table, and a number that is
    gone leaves a mark, so that what is behind it is still found. Writers must be serialised by the
    caller.
    """

    def __init__(self, hash_of: Callable[[int], int]) -> None:
        self._hash_of = hash_of
        self.cells = array("i", [_EMPTY]) * _FIRST
        self.live = 0
        self.used = 0
        """Cells with a number or with the mark of one that is gone."""

    def like(self, hashed: int) -> Iterator[int]:
        """Yield every number of this hash, and a few of others."""
        cells = self.cells
        mask = len(cells) - 1
        at = hashed & mask
        while (number := cells[at]) != _EMPTY:
            if number >= 0:
                yield number
            at = (at + 1) & mask

    def find(self, hashed: int, same: Callable[[int], bool]) -> int:
        """Return the number of this hash for which ``same`` holds, or -1."""
        return next((number for number in self.like(hashed) if same(number)), -1)

    def add(self, hashed: int, number: int) -> None:
        """Add a number, which must not be there."""
        if self.used + 1 > _FULL * len(self.cells):
            self._grow()
        if _put(self.cells, hashed, number) == _EMPTY:
            self.used += 1
        self.live += 1

    def remove(self, hashed: int, number: int) -> None:
        """Remove a number, which must be there."""
        cells = self.cells
        mask = len(cells) - 1
        at = hashed & mask
        while cells[at] != number:
            at = (at + 1) & mask
        cells[at] = _GONE
        self.live -= 1

    def copy(self) -> array[int]:
        """Return the cells as they are."""
        return self.cells[:]

    def restore(self, cells: bytes) -> None:
        """Take up the cells of another table.

        Raises:
            ValueError: They are not that.
        """
        read = array("i")
        read.frombytes(cells)
        if len(read) < _FIRST or len(read) & (len(read) - 1):
            msg = f"a table has {len(read)} cells, which is no power of two"
            raise ValueError(msg)
        self.cells = read
        self.live = sum(1 for number in read if number >= 0)
        self.used = len(read) - read.count(_EMPTY)

    def _grow(self) -> None:
        """Publish a new table, without the marks of what is gone."""
        size = _FIRST
        while self.live + 1 > _ROOMY * size:
            size *= 2
        cells = array("i", [_EMPTY]) * size
        for number in self.cells:
            if number >= 0:
                _put(cells, self._hash_of(number), number)
        self.cells = cells
        self.used = self.live


def _put(cells: array[int], hashed: int, number: int) -> int:
    """Write a number to its first free cell; return what was there."""
    mask = len(cells) - 1
    at = hashed & mask
    while (before := cells[at]) >= 0:
        at = (at + 1) & mask
    cells[at] = number
    return before
