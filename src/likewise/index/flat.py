"""Exact search by one matrix-vector product: the fastest there is while a partition is small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Vectors
from likewise.index.codes import Codes, coded, products

_FIRST_CAPACITY = 1
_GROWTH = 1.25
"""Of a partition that is full; many small ones would otherwise be half empty."""

_CODED_FROM = 2_000
"""Rows from which on int8 codes say first which rows are worth an exact product."""

_BLOCK = 64
_ROUNDING = 1e-4
"""More than float32 sums of products of unit vectors may be off."""


class _View(NamedTuple):
    """What a reader sees: never shrinks or moves under it, because growth makes a new one."""

    vectors: NDArray[np.float16]
    used: int
    codes: Codes | None = None
    scales: NDArray[np.float32] | None = None
    lost: float = 0.0


class Flat:
    """Rows of unit vectors, float16 ``(capacity, dimensions)``; a row's label is its place.

    A large partition also has its rows in int8. Their products say within proven bounds what the
    exact ones are, so that only rows that may be among the result are multiplied out: it is the
    same result as without them.

    Readers take no lock: a writer fills a row first and publishes the count after, growth copies,
    and a removed row becomes zeros, which are similar to nothing. Writers must be serialised by the
    caller.
    """

    def __init__(self, dimensions: int, capacity: int = _FIRST_CAPACITY) -> None:
        self._view = _View(np.zeros((max(capacity, 1), dimensions), np.float16), 0)

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors."""
        view = self._view
        coded_bytes = 0 if view.codes is None else view.codes.nbytes + 4 * len(view.codes)
        return view.vectors.nbytes + coded_bytes

    @property
    def rows(self) -> NDArray[np.float16]:
        """Every row as it is kept."""
        view = self._view
        return view.vectors[: view.used]

    def add(self, vectors: Vectors) -> int:
        """Append ``(n, dimensions)`` vectors; return the label of the first."""
        view = self._view
        first, rows = view.used, view.vectors
        end = first + len(vectors)
        grown = end > len(rows)
        if grown:
            rows = np.zeros((max(end, int(_GROWTH * len(rows)) + 1), rows.shape[1]), np.float16)
            rows[:first] = view.vectors[:first]
        # What is not a number would hide everything else.
        rows[first:end] = np.where(np.isfinite(vectors), vectors, 0.0)
        if end < _CODED_FROM:
            self._view = _View(rows, end)
            return first
        codes, scales, lost = view.codes, view.scales, view.lost
        done = first
        if grown or codes is None or scales is None:
            whole = np.zeros(rows.shape, np.int8)
            factors = np.zeros(len(rows), np.float32)
            if codes is None or scales is None:
                done = 0
            else:
                whole[:first], factors[:first] = codes[:first], scales[:first]
            codes, scales = whole, factors
        fresh, factors, differences = coded(rows[done:end].astype(np.float32))
        codes[done:end], scales[done:end] = fresh, factors
        lost = max(lost, float(differences.max(initial=0.0)))
        self._view = _View(rows, end, codes, scales, lost)
        return first

    def remove(self, label: int) -> None:
        """Make a row similar to nothing."""
        view = self._view
        view.vectors[label] = 0.0
        if view.codes is not None:
            view.codes[label] = 0

    def vectors(self, labels: Sequence[int]) -> Vectors:
        """Return the vectors of ``labels``, float32 of shape ``(n, dimensions)``."""
        return self._view.vectors[list(labels)].astype(np.float32)

    def search(self, vector: Vectors, k: int, floor: float) -> list[tuple[int, float]]:
        """Return ``(label, cosine)`` of the nearest rows, nearest first.

        The nearest is always among them; further ones, up to ``k``, only from ``floor`` up.
        """
        view = self._view
        if view.used == 0:
            return []
        if not np.isfinite(vector).all():
            return [(0, math.nan)]  # as near to one as to another
        if view.codes is None or view.scales is None:
            found = products(vector.astype(np.float16), view.vectors[: view.used])
            return _best(np.arange(view.used), found, k, floor)
        rows = _promising(*_approximate(view, view.codes, view.scales, vector), k, floor)
        return _best(rows, view.vectors[rows].astype(np.float32) @ vector, k, floor)


def _best(
    rows: NDArray[np.intp], found: NDArray[np.floating[Any]], k: int, floor: float
) -> list[tuple[int, float]]:
    """Return the rows with the ``k`` greatest products from ``floor`` up, or the greatest alone."""
    first = int(found.argmax())
    if not found[first] >= floor or k == 1:
        return [(int(rows[first]), float(found[first]))]
    if floor > found.min():
        near = np.flatnonzero(found >= floor)
        rows, found = rows[near], found[near]
    if len(found) > k:
        near = np.argpartition(found, len(found) - k)[-k:]
        rows, found = rows[near], found[near]
    order = np.argsort(-found, kind="stable")
    return list(zip(rows[order].tolist(), found[order].tolist(), strict=True))


def _approximate(
    view: _View, codes: Codes, scales: NDArray[np.float32], vector: Vectors
) -> tuple[NDArray[np.float64], float]:
    """Return about the products of a vector with every row, and how far each may be off.

    A product of codes differs from that of the vectors by ``|q - q'| |x'| + |q| |x - x'|`` at most
    (Cauchy and Schwarz), with ``|q| = 1`` and ``|x'| <= 1 + |x - x'|``.
    """
    query, factor, missed = coded(vector[None])
    found = products(query[0], codes[: view.used])
    found *= scales[: view.used] * factor[0]
    return found, float(missed[0]) * (1.0 + view.lost) + view.lost


def _promising(found: NDArray[np.float64], off: float, k: int, floor: float) -> NDArray[np.intp]:
    """Return the rows that may be among the ``k`` nearest when ``found`` may be ``off`` by so much.

    The ``k``-th greatest of the blocks' maxima is no more than the ``k``-th greatest of all: so
    nothing among the first ``k`` is below it, and nothing needs to be sorted.
    """
    count = len(found)
    whole = count - count % _BLOCK
    maxima = found[:whole].reshape(-1, _BLOCK).max(axis=1)
    if whole < count:
        maxima = np.append(maxima, found[whole:].max())
    best = maxima.max()
    some = maxima if len(maxima) >= k else found
    kth = np.partition(some, len(some) - k)[-k] if len(some) > k else some.min()
    bound = min(max(kth, floor + off), best) - 2.0 * off - _ROUNDING
    return np.flatnonzero(found >= bound)
