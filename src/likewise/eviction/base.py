"""What every eviction policy promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

Name = str | bytes
"""What an entry is known by. One that takes the place of another keeps its name, and its fame."""


class Item(NamedTuple):
    """What a policy knows of an entry: its size in bytes and what it costs to make it again."""

    size: int
    cost: float


class Eviction(ABC):
    """Chooses what goes. Calls come one at a time; a name is added once until it is gone."""

    def __init__(self) -> None:
        self.items: dict[Name, Item] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.items)

    def add(self, name: Name, size: int = 1, cost: float = 1.0) -> None:
        """Take note of a new entry.

        Args:
            name: Its identifier.
            size: Bytes, at least 1.
            cost: Of making it again, in any unit, above 0.
        """
        self.items[name] = Item(max(size, 1), cost)
        self.bytes += max(size, 1)
        self._added(name)

    def resize(self, name: Name, size: int, cost: float) -> None:
        """Take note that a known entry was made anew, and now has another size and cost."""
        before = self.items[name]
        self.items[name] = Item(max(size, 1), cost)
        self.bytes += self.items[name].size - before.size
        self._resized(name, before)

    def touch(self, name: Name) -> None:
        """Take note that an entry was asked for; one that is gone is ignored."""
        if name in self.items:
            self._touched(name)

    def blame(self, name: Name) -> None:
        """Take note that an entry was found wrong: what it was asked for counts no more."""
        if name in self.items:
            self._blamed(name)

    def remove(self, name: Name) -> None:
        """Forget an entry that somebody else has taken away; one that is gone is ignored."""
        if name in self.items:
            self._removed(name)
            self._drop(name)

    def evict(self) -> Name:
        """Choose the entry that goes, and forget it.

        Raises:
            LookupError: There is none.
        """
        if not self.items:
            msg = "there is nothing to evict"
            raise LookupError(msg)
        name = self._chosen()
        self._drop(name)
        return name

    def _drop(self, name: Name) -> None:
        self.bytes -= self.items.pop(name).size

    @abstractmethod
    def _added(self, name: Name) -> None:
        """Put a new entry in its place."""

    @abstractmethod
    def _touched(self, name: Name) -> None:
        """Count that a known entry was asked for."""

    def _resized(self, name: Name, before: Item) -> None:  # noqa: B027 - most do not look at sizes
        """Take note that a known entry has another size or cost than ``before``."""

    def _blamed(self, name: Name) -> None:  # noqa: B027 - most policies count nothing
        """Forget what a known entry was asked for."""

    @abstractmethod
    def _removed(self, name: Name) -> None:
        """Take a known entry out of its place."""

    @abstractmethod
    def _chosen(self) -> Name:
        """Take the entry that goes out of its place and return it; there is one at least."""
