"""What was met lately, bounded by bytes, read without a lock."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LARGEST = 1 / 8
"""Share of all bytes that one thing may take: more would push out too much of the rest."""


_PARTS = 64
"""Counts of what was dropped: many, so that few reads are in vain because of another key."""


class _Place(msgspec.Struct, Generic[V]):
    """What is held, the bytes it takes, and whether it was asked for since it was last spared."""

    value: V
    size: int
    asked: bool = False


class Recent(Generic[K, V]):
    """Holds the latest things, and of the older ones those that are asked for again.

    When there is no room, the oldest goes, unless it was asked for since it came or was last spared
    (FIFO with a second chance): asking moves nothing, and so takes no lock. Safe to use from many
    threads.

    Args:
        most_bytes: The most that all of it may take.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[K, _Place[V]] = OrderedDict()
        self._bytes = 0
        self._drops = [0] * _PARTS

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is held, as they were told."""
        return self._bytes

    def drops(self, key: K) -> int:
        """Return how often something was dropped that may have been this; see ``add``."""
        return self._drops[hash(key) % _PARTS]

    def of(self, key: K) -> V | None:
        """Return what is held under a key."""
        place = self._held.get(key)
        if place is None:
            return None
        place.asked = True
        return place.value

    def add(self, key: K, value: V, size: int, *, since: int | None = None) -> None:
        """Hold something, in the place of what was held under its key.

        Args:
            key: What it is asked for by.
            value: It.
            size: The bytes it takes; too much for it is not held.
            since: ``drops`` of its key from before it was read elsewhere: it is not held when
                something was dropped meanwhile that may have been the very same.
        """
        if size > self._most * _LARGEST:
            return
        with self._lock:
            if since is not None and since != self.drops(key):
                return
            self._let_go(key)
            self._held[key] = _Place(value, size)
            self._bytes += size
            while self._bytes > self._most:
                oldest, place = self._held.popitem(last=False)
                if place.asked:
                    place.asked = False
                    self._held[oldest] = place
                else:
                    self._bytes -= place.size

    def drop(self, keys: Iterable[K] | None) -> None:
        """Forget what is held under some keys; for ``None`` everything."""
        with self._lock:
            if keys is None:
                self._drops = [count + 1 for count in self._drops]
                self._held.clear()
                self._bytes = 0
                return
            for key in keys:
                self._drops[hash(key) % _PARTS] += 1
                self._let_go(key)

    def _let_go(self, key: K) -> None:
        place = self._held.pop(key, None)
        if place is not None:
            self._bytes -= place.size
