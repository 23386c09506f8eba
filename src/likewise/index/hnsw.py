"""Approximate search by a navigable small-world graph (usearch), for large partitions.

Yu. A. Malkov and D. A. Yashunin, "Efficient and robust approximate nearest neighbor search using
Hierarchical Navigable Small World graphs", arXiv 1603.09320. M, efConstruction and ef are named as
there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from likewise.embed import Vectors

_M = 20
_EF_CONSTRUCTION, _EF_CONSTRUCTION_LARGE, _LARGE = 64, 128, 50_000
"""Breadth of the search for links, and the size from which on it must be the larger one: what was
added first is else found less and less."""

_EF = 96
"""Least breadth of a search: recall@1 of 0.99 on sentence vectors (see docs/performance.md)."""

_NARROW, _SMALL, _GROWTH, _CLEAR = 16, 8_000, 0.35, 0.9
"""Breadth of a first, short search in a small graph, which grows with this power of the size; and
how near its nearest must be to do without the other: what is so near is found 998 times in 1,000.
"""

_THREADS, _MANY = min(2, os.cpu_count() or 1), 1_000
"""How many add so many vectors and more. More of them build faster and lose vectors: at 8 threads
0.35 % of 9,000 were found no more."""

_FREE = 2**64 - 1
"""The label usearch shows for a vector that is removed while a search has it in hand."""


class Hnsw:
    """A graph over float16 unit vectors, labelled by the caller in ascending order.

    Readers take no lock. usearch allows adding beside searching, except while it grows; so growth
    happens on a copy, which is published when it is done. Writers must be serialised by the caller.
    """

    def __init__(self, dimensions: int) -> None:
        self._graph = _new_graph(dimensions)
        self._added = 0
        self._narrow = _NARROW

    @property
    def nbytes(self) -> int:
        """Bytes the graph occupies."""
        return int(self._graph.memory_usage)

    def add(self, vectors: Vectors) -> int:
        """Add ``(n, dimensions)`` vectors; return the label of the first."""
        first = self._added
        graph = self._graph
        # Slots of removed vectors are used again: it is the live ones that fill the graph.
        if first and len(graph) + len(vectors) > graph.capacity:
            graph = graph.copy()
        if first + len(vectors) > _LARGE:
            graph.expansion_add = _EF_CONSTRUCTION_LARGE
        labels = np.arange(first, first + len(vectors), dtype=np.uint64)
        graph.add(labels, vectors, threads=_THREADS if len(vectors) >= _MANY else 1)
        self._added += len(vectors)
        self._narrow = round(_NARROW * (max(self._added, _SMALL) / _SMALL) ** _GROWTH)
        self._graph = graph
        return first

    def remove(self, label: int) -> None:
        """Take a vector out; its node stays in the graph until the partition is compacted."""
        self._graph.remove(label)

    def vectors(self, labels: Sequence[int]) -> Vectors:
        """Return the vectors of ``labels``, float32 of shape ``(n, dimensions)``."""
        found = self._graph.get(np.asarray(labels, dtype=np.uint64))
        return np.asarray(found, dtype=np.float32).reshape(len(labels), self._graph.ndim)

    def search(self, vector: Vectors, k: int, floor: float) -> list[tuple[int, float]]:
        """Return ``(label, cosine)`` of up to ``k`` near vectors, nearest first.

        The nearest is always among them; further ones only from ``floor`` up.
        """
        # usearch searches as broadly as it is asked for matches.
        if floor >= _CLEAR:
            near = self._matches(vector, max(k, self._narrow), k, floor)
            if near and near[0][1] >= floor:
                return near
        return self._matches(vector, max(k, _EF, 2 * self._narrow), k, floor)

    def _matches(
        self, vector: Vectors, breadth: int, k: int, floor: float
    ) -> list[tuple[int, float]]:
        matches = self._graph.search(vector, breadth)
        near: list[tuple[int, float]] = []
        labels, distances = matches.keys.tolist(), matches.distances.tolist()
        for label, distance in zip(labels, distances, strict=True):
            if near and (len(near) == k or 1.0 - distance < floor):
                break
            if label != _FREE:
                near.append((label, 1.0 - distance))
        return near


def _new_graph(dimensions: int) -> Any:
    # usearch exports the C++ library it was linked with; an onnxruntime loaded after it crashes the
    # process (seen with usearch 2.26 and onnxruntime 1.31). So that one goes first.
    import onnxruntime  # noqa: F401, PLC0415  # isort: skip
    from usearch.index import Index  # noqa: PLC0415 - see above

    return Index(
        ndim=dimensions,
        metric="cos",
        dtype="f16",
        connectivity=_M,
        expansion_add=_EF_CONSTRUCTION,
        expansion_search=_NARROW,
    )
