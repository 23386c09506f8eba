"""Approximate search by a navigable small-world graph (usearch), for large partitions.

Yu. A. Malkov and D. A. Yashunin, "Efficient and robust approximate nearest neighbor search using
Hierarchical Navigable Small World graphs", arXiv 1603.09320. M, efConstruction and ef are named as
there.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from likewise.embed import Vectors
from likewise.index.codes import LEVELS, Codes, coded

_M = 20
_EF_CONSTRUCTION, _EF_CONSTRUCTION_LARGE, _LARGE = 64, 128, 50_000
"""Breadth of the search for links, and the size from which on it must be the larger one: what was
added first is else found less and less."""

_EF = 96
"""Least breadth of a search: recall@1 of 0.99 on sentence vectors (see docs/performance.md)."""

_NARROW, _SMALL, _GROWTH, _BROAD, _CLEAR = 16, 8_000, 0.35, 3, 0.9
"""Breadth of a first, short search in a small graph, which grows with this power of the size; how
many times as broad the other one is; and how near its nearest must be to do without that: what is
so near is found 998 times in 1,000.
"""

_THREADS, _MANY = min(2, os.cpu_count() or 1), 1_000
"""How many add so many vectors and more. More of them build faster and lose vectors: at 8 threads
0.35 % of 9,000 were found no more."""

_BREATH = 1_000
"""Nodes after which other threads may run."""

_COUNTS, _DENSE_HEAD, _HEAD, _NODE_HEAD, _LINK = 8, 64, 40, 10, 4
"""Bytes of parts of a file that usearch writes."""

_BATCH = 128
"""Vectors that are added in one call: readers of the graph wait for it."""

_FREE = 2**64 - 1
"""The label usearch shows for a vector that is removed while a search has it in hand."""


_OFF, _SPARE = 0.005, 4
"""How far a cosine of codes may be from that of the vectors (ten times what it is as a rule),
and how many more than asked for are compared anew for it."""

_LEAST = 1e-30
"""So that zeros can be divided by."""

_STEP = 50_000
"""Vectors that are coded, and nodes that are looked at, at once."""


class Hnsw:
    """A graph over unit vectors in int8, labelled by the caller in ascending order.

    A row has a scale of its own, which a cosine does not depend on and which is not kept. What a
    search finds is compared with the vector itself, so that a cosine is off by one rounding and not
    by two: by 0.0004 as a rule for the sentence vectors of MiniLM, by 0.002 at most.

    Readers take no lock. usearch allows adding beside searching, except while it grows; so growth
    happens on a copy, which is published when it is done. Writers must be serialised by the caller.
    """

    def __init__(self, dimensions: int) -> None:
        self._graph = _new_graph(dimensions)
        self._data: Any = None
        """What the graph is mapped to, until it is loaded."""
        self._added = 0
        self._narrow = _NARROW

    @property
    def nbytes(self) -> int:
        """Bytes the graph occupies."""
        return int(self._graph.memory_usage)

    def add(self, vectors: Vectors) -> int:
        """Add ``(n, dimensions)`` vectors; return the label of the first."""
        first = self._added
        for start in range(0, len(vectors), _STEP):
            self._add(vectors[start : start + _STEP])
        return first

    def remove(self, label: int) -> None:
        """Take a vector out; its node stays in the graph until the partition is compacted."""
        self.load()
        self._graph.remove(label)

    def vectors(self, labels: Sequence[int]) -> Vectors:
        """Return the vectors of ``labels``, float32 of shape ``(n, dimensions)``.

        They are as they were rounded: added again they are rounded to the same.
        """
        found = self._graph.get(np.asarray(labels, dtype=np.uint64))
        rows = np.asarray(found, dtype=np.float32).reshape(len(labels), self._graph.ndim)
        return rows / _lengths(rows)[:, None]

    def search(self, vector: Vectors, k: int, floor: float) -> list[tuple[int, float]]:
        """Return ``(label, cosine)`` of up to ``k`` near vectors, nearest first.

        The nearest is always among them; further ones only from ``floor`` up. Below it, the cosine
        may be off by two roundings.
        """
        if not np.isfinite(vector).all():
            return [(0, math.nan)]  # as near to one as to another
        # usearch searches as broadly as it is asked for matches.
        scale = LEVELS / max(float(np.abs(vector).max()), _LEAST)
        codes = np.rint(vector * scale).astype(np.int8)
        if floor >= _CLEAR:
            near = self._matches(codes, vector, max(k, self._narrow), k, floor)
            if near and near[0][1] >= floor:
                return near
        return self._matches(codes, vector, max(k, _EF, _BROAD * self._narrow), k, floor)

    @property
    def spare(self) -> float:
        """Share of the nodes that are left from removed vectors. It takes a walk over all."""
        nodes = int(self._graph.stats.nodes)
        return 1.0 - len(self._graph) / nodes if nodes else 0.0

    def relabelled(self, labels: Sequence[int]) -> Hnsw:
        """Return a copy in which ``labels``, all there are in ascending order, count from 0."""
        self.load()
        new = Hnsw(self._graph.ndim)
        new._graph = self._graph.copy()
        fresh = np.arange(len(labels), dtype=np.uint64)
        # In this order no label is given while another vector has it.
        new._graph.rename(np.asarray(labels, dtype=np.uint64), fresh)
        new._added = len(labels)
        new._narrow = _narrow(new._added)
        return new

    def save(self, path: Path) -> int:
        """Write the graph to a file; return how many labels were given out.

        No writer may be at work. What was removed is still in it, see ``erase_removed``.

        Raises:
            OSError: It cannot be written.
        """
        try:
            self._graph.save(path, _let_others_go_on)
        except RuntimeError as error:
            msg = f"cannot write {path}: {error}"
            raise OSError(msg) from error
        return self._added

    @classmethod
    def mapped(cls, dimensions: int, data: Any, added: int) -> Hnsw:
        """Return a graph that was saved, from the bytes of its file, mapped to memory.

        They are read as searches need them, until the first writer loads them.

        Raises:
            ValueError: They are of something else.
        """
        graph = _new_graph(dimensions)
        try:
            graph.view(data)
        except RuntimeError as error:
            msg = f"the graph cannot be read: {error}"
            raise ValueError(msg) from error
        if graph.ndim != dimensions or len(graph) > added:
            msg = "the graph is of other vectors"
            raise ValueError(msg)
        graph.mapped_to = data  # it goes when the last reader has let go of the graph
        new = cls(dimensions)
        new._graph, new._data, new._added = graph, data, added
        new._narrow = _narrow(added)
        return new

    def load(self) -> None:
        """Load a graph that is mapped; else nothing happens."""
        if self._data is None:
            return
        graph = _new_graph(self._graph.ndim)
        graph.load(self._data, _let_others_go_on)
        self._graph, self._data = graph, None

    def _add(self, vectors: Vectors) -> None:
        self.load()
        first, graph = self._added, self._graph
        # Slots of removed vectors are used again: it is the live ones that fill the graph.
        if first and len(graph) + len(vectors) > graph.capacity:
            graph = graph.copy()
        if first + len(vectors) > _LARGE:
            graph.expansion_add = _EF_CONSTRUCTION_LARGE
        labels = np.arange(first, first + len(vectors), dtype=np.uint64)
        # What is not a number would hide everything else.
        codes, _, _ = coded(np.where(np.isfinite(vectors), vectors, np.float32(0)))
        threads = _THREADS if len(vectors) >= _MANY else 1
        for start in range(0, len(vectors), _BATCH):
            end = start + _BATCH
            graph.add(labels[start:end], codes[start:end], threads=threads)
        self._added += len(vectors)
        self._narrow = _narrow(self._added)
        self._graph = graph

    def _matches(
        self, codes: Codes, vector: Vectors, breadth: int, k: int, floor: float
    ) -> list[tuple[int, float]]:
        graph = self._graph
        matches = graph.search(codes, breadth)
        labels, distances = matches.keys[: k + _SPARE], matches.distances[: k + _SPARE]
        coarse = [
            (label, 1.0 - distance)
            for label, distance in zip(labels.tolist(), distances.tolist(), strict=True)
            if label != _FREE
        ]
        if not coarse or coarse[0][1] < floor - _OFF:
            return coarse[:1]
        least = min(floor, coarse[0][1]) - _OFF
        rows = graph.get(np.array([n for n, cosine in coarse if cosine >= least], np.uint64))
        # What was removed a moment ago has no vector any more.
        there = [(n, row) for (n, _), row in zip(coarse, rows, strict=False) if row is not None]
        found = np.array([row for _, row in there], np.float32).reshape(len(there), len(vector))
        cosines = (found @ vector / _lengths(found)).tolist()
        near = [(n, cosine) for (n, _), cosine in zip(there, cosines, strict=True)]
        near.sort(key=itemgetter(1), reverse=True)
        return [match for match in near[:k] if match is near[0] or match[1] >= floor]


def erase_removed(path: Path) -> None:
    """Overwrite the vectors of removed nodes in a file that a graph was saved to.

    usearch leaves them where they were until their slots are used again. Its file has the vectors
    first, with their number and size; then a header, the levels of the nodes, and the nodes, each
    of which begins with its label.
    """
    data = np.memmap(path, np.uint8, "r+")
    rows, width = (int(n) for n in data[:_COUNTS].view(np.uint32))
    if not rows:
        return
    vectors = data[_COUNTS : _COUNTS + rows * width].reshape(rows, width)
    header = _COUNTS + rows * width + _DENSE_HEAD
    _, links, links_base, _, _ = (int(n) for n in data[header : header + _HEAD].view(np.uint64))
    at = header + _HEAD
    levels = data[at : at + 2 * rows].view(np.int16).astype(np.int64)
    sizes = _NODE_HEAD + _LINK * (1 + links_base) + levels * _LINK * (1 + links)
    starts = at + 2 * rows + np.concatenate([[0], np.cumsum(sizes)])
    if starts[-1] != len(data):
        msg = f"usearch has written {len(data)} bytes for a graph, not {starts[-1]}"
        raise ValueError(msg)
    for first in range(0, rows, _STEP):
        heads = starts[first : min(first + _STEP, rows), None] + np.arange(8)
        labels = data[heads].view(np.uint64)[:, 0]
        vectors[first : first + len(labels)][labels == _FREE] = 0


def _let_others_go_on(done: int, _total: int) -> bool:
    """Let other threads run: usearch holds the interpreter while it reads and writes."""
    if done % _BREATH == 0:
        time.sleep(0)
    return True


# usearch wants to see types, and not their names.
_let_others_go_on.__annotations__ = {"done": int, "_total": int, "return": bool}


def _narrow(added: int) -> int:
    breadth: float = _NARROW * (max(added, _SMALL) / _SMALL) ** _GROWTH
    return round(breadth)


def _lengths(rows: Vectors) -> Vectors:
    """Return the lengths of rows, 1 for those that are zeros."""
    lengths: Vectors = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return np.where(lengths > 0, lengths, np.float32(1))


def _new_graph(dimensions: int) -> Any:
    # usearch exports the C++ library it was linked with; an onnxruntime loaded after it crashes the
    # process (seen with usearch 2.26 and onnxruntime 1.31). So that one goes first.
    import onnxruntime  # noqa: F401, PLC0415  # isort: skip
    from usearch.index import Index  # noqa: PLC0415 - see above

    return Index(
        ndim=dimensions,
        metric="cos",
        dtype="i8",
        connectivity=_M,
        expansion_add=_EF_CONSTRUCTION,
        expansion_search=_NARROW,
    )
