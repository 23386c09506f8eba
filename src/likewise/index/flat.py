"""Exact search by one matrix-vector product: the fastest there is while a partition is small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from likewise.embed import Vectors

_FIRST_CAPACITY = 1


class _View(NamedTuple):
    """What a reader sees: never shrinks or moves under it, because growth makes a new one."""

    vectors: Vectors
    used: int


class Flat:
    """Rows of unit vectors, float32 ``(capacity, dimensions)``; a row's label is its place.

    Readers take no lock: a writer fills a row first and publishes the count after, growth copies,
    and a removed row becomes zeros, which are similar to nothing. Writers must be serialised by the
    caller.
    """

    def __init__(self, dimensions: int, capacity: int = _FIRST_CAPACITY) -> None:
        self._view = _View(np.zeros((max(capacity, 1), dimensions), np.float32), 0)

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors."""
        return self._view.vectors.nbytes

    def add(self, vectors: Vectors) -> int:
        """Append ``(n, dimensions)`` vectors; return the label of the first."""
        rows, first = self._view
        end = first + len(vectors)
        if end > len(rows):
            grown = np.zeros((max(end, 2 * len(rows)), rows.shape[1]), np.float32)
            grown[:first] = rows[:first]
            rows = grown
        rows[first:end] = vectors
        self._view = _View(rows, end)
        return first

    def remove(self, label: int) -> None:
        """Make a row similar to nothing."""
        self._view.vectors[label] = 0.0

    def vectors(self, labels: Sequence[int]) -> Vectors:
        """Return the vectors of ``labels``, float32 of shape ``(n, dimensions)``."""
        return self._view.vectors[list(labels)]

    def search(self, vector: Vectors, k: int, floor: float) -> list[tuple[int, float]]:
        """Return ``(label, cosine)`` of the nearest rows, nearest first.

        The nearest is always among them; further ones, up to ``k``, only from ``floor`` up.
        """
        rows, count = self._view
        if count == 0:
            return []
        similarities = rows[:count] @ vector
        best = int(similarities.argmax())
        if similarities[best] < floor:
            return [(best, float(similarities[best]))]
        labels = np.flatnonzero(similarities >= floor)
        if len(labels) > k:
            labels = labels[np.argpartition(similarities[labels], len(labels) - k)[-k:]]
        order = labels[np.argsort(-similarities[labels], kind="stable")]
        return [(int(label), float(similarities[label])) for label in order]
