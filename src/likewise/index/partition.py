"""The entries of one scope and category, searched alone, never filtered after a wider search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Vectors
from likewise.index.codes import Codes
from likewise.index.flat import Flat
from likewise.index.hnsw import Hnsw
from likewise.index.record import Record
from likewise.index.sketches import Sketches

CROSSOVER = 8_000
"""Entries above which the graph beats the scan; measured by ``likewise bench index``."""

_COMPACT_SHARE = 0.25
_COMPACT_LEAST = 64
_STEP = 50_000
"""Vectors that are moved at once."""

_FEW = 8
_MANY = 64
Match = tuple[Record, float]


class Captured(NamedTuple):
    """A partition as it was at one moment, but for its records and what is in a graph's file.

    A row that is removed later may be zeros in it.
    """

    rows: int
    removed: int
    flat: NDArray[np.float16] | None
    sketches: Codes | None
    missing: int


class Partition:
    """A vector index that is a flat scan while small and a graph above ``crossover`` entries.

    With ``sketched`` dimensions it also holds a coarse vector of each entry.

    Readers take no lock and see a consistent pair of vectors and records, published as one tuple.
    Writers must be serialised by the caller. Removed rows are compacted away when they are a
    quarter of all; a graph is built anew only when a quarter of its nodes is not used again.
    """

    def __init__(
        self, dimensions: int, crossover: int = CROSSOVER, *, sketched: int | None = None
    ) -> None:
        self._dimensions = dimensions
        self._crossover = crossover
        self._state: tuple[Flat | Hnsw, list[Record | None]] = (Flat(dimensions), [])
        self._sketches = None if sketched is None else Sketches(sketched)
        self._removed = 0

    def __len__(self) -> int:
        return len(self._state[1]) - self._removed

    @property
    def kind(self) -> str:
        """How the partition is searched now: ``flat`` or ``hnsw``."""
        return "flat" if isinstance(self._state[0], Flat) else "hnsw"

    @property
    def nbytes(self) -> int:
        """Bytes of vectors, graph and sketches."""
        sketches = self._sketches
        return self._state[0].nbytes + (0 if sketches is None else sketches.nbytes)

    def add(
        self, records: Sequence[Record], vectors: Vectors, sketches: Vectors | None = None
    ) -> None:
        """Add records with their unit vectors, float32 of shape ``(n, dimensions)``.

        ``sketches`` are their coarse vectors, float32 of shape ``(n, sketched)``.
        """
        index, rows = self._state
        if self._sketches is not None:
            self._sketches.add(sketches, len(records))
        if isinstance(index, Flat) and len(self) + len(records) > self._crossover:
            self._rebuild(extra=records, extra_vectors=vectors)
            return
        first = len(rows)
        # The row must be there before its vector can be found.
        rows.extend(records)
        index.add(vectors)
        for label, record in enumerate(records, start=first):
            record.label = label

    def remove(self, record: Record) -> None:
        """Remove a record; one that is not here is ignored."""
        rows = self._state[1]
        label = record.label
        if not (0 <= label < len(rows)) or rows[label] is not record:
            return
        rows[label] = None
        record.label = -1
        self._erase(record, label)
        if self._sketches is not None:
            self._sketches.remove(label)
        self._removed += 1
        if self._removed >= max(_COMPACT_LEAST, _COMPACT_SHARE * len(rows)):
            self._rebuild()

    def captured(self, graph: Callable[[], Path]) -> Captured:
        """Return what a snapshot needs; a graph is saved to the file that ``graph`` names."""
        index, rows = self._state
        if isinstance(index, Hnsw):
            index.save(graph())
        sketches = self._sketches
        return Captured(
            len(rows),
            self._removed,
            index.rows if isinstance(index, Flat) else None,
            None if sketches is None else sketches.rows,
            0 if sketches is None else sketches.missing,
        )

    def restore(self, was: Captured, graph: Any, records: list[Record | None]) -> None:
        """Make a new partition what another was; ``graph`` are the bytes of its file, if any.

        ``records`` are its rows.

        Raises:
            ValueError: The parts do not fit.
        """
        index: Flat | Hnsw
        if was.flat is None:
            index = Hnsw.mapped(self._dimensions, graph, was.rows)
        else:
            index = Flat(self._dimensions, capacity=was.rows)
            index.add(was.flat.astype(np.float32))
        self._state = (index, records)
        self._removed = was.removed
        if was.sketches is not None:
            self._sketches = Sketches.of(was.sketches, was.missing)
        if records.count(None) != was.removed:
            msg = "a partition has other rows than it had"
            raise ValueError(msg)

    def load(self) -> None:
        """Load a graph that is mapped, as the first writer else would."""
        index = self._state[0]
        if isinstance(index, Hnsw):
            index.load()

    def search(
        self, vector: Vectors, *, floor: float, usable: Callable[[Record, float], bool]
    ) -> list[Match]:
        """Return records near ``vector`` with their cosine, nearest first.

        The nearest is always among them; others only from ``floor`` up. When many near ones are not
        ``usable``, the search widens once, so that a crowd of stale ones cannot hide a good one.
        """
        matches = self._nearest(vector, _FEW, floor)
        crowded = len(matches) >= _FEW and not any(
            usable(record, cosine) for record, cosine in matches
        )
        return self._nearest(vector, _MANY, floor) if crowded else matches

    def within(self, vector: Vectors, *, floor: float, most: int) -> list[Match]:
        """Return up to ``most`` records of a cosine from ``floor`` up, nearest first."""
        found = self._nearest(vector, min(most, max(1, len(self))), floor)
        return [match for match in found if match[1] >= floor]

    def coarsely(self, sketch: Codes) -> float:
        """Return the greatest coarse cosine of any entry with a coded sketch, 1 when unknown."""
        sketches = self._sketches
        return 1.0 if sketches is None else sketches.nearest(sketch)

    def _erase(self, _record: Record, label: int) -> None:
        """Make a row that is gone impossible to find."""
        self._state[0].remove(label)

    def _nearest(self, vector: Vectors, k: int, floor: float) -> list[Match]:
        index, rows = self._state
        found = []
        for label, similarity in index.search(vector, k, floor):
            record = rows[label]
            if record is not None:
                found.append((record, similarity))
        return found

    def _rebuild(self, extra: Sequence[Record] = (), extra_vectors: Vectors | None = None) -> None:
        """Build the index anew from what is left and ``extra``, then publish it at once."""
        index, rows = self._state
        kept = [record for record in rows if record is not None]
        labels = [record.label for record in kept]
        records = [*kept, *extra]
        graphed = len(records) > self._crossover
        new: Flat | Hnsw
        if graphed and not extra and isinstance(index, Hnsw) and index.spare < _COMPACT_SHARE:
            # What came has taken the place of what went: only the labels have grown.
            new = index.relabelled(labels)
        else:
            new = Hnsw(self._dimensions) if graphed else Flat(self._dimensions, len(records))
            for start in range(0, len(labels), _STEP):
                new.add(index.vectors(labels[start : start + _STEP]))
            if extra_vectors is not None:
                new.add(extra_vectors)
        if self._sketches is not None:
            # Those of what is added are there already, behind the others.
            labels += range(len(rows), len(rows) + len(extra))
            self._sketches = self._sketches.kept(labels)
        self._state = (new, list(records))
        self._removed = 0
        for label, record in enumerate(records):
            record.label = label
