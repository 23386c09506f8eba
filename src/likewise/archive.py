"""What a catalog is made of, in the files of a snapshot."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from likewise.index import Record
from likewise.index.hnsw import erase_removed
from likewise.index.partition import Captured
from likewise.index.record import Shared
from likewise.index.snapshot import Reader, Writer

_AT_ONCE = 2_000
"""Records that are written at once."""

Place = tuple[bytes, str]
"""Where a partition is: the scope's digest and the category."""


class Taken(NamedTuple):
    """A catalog as it was at one moment.

    Attributes:
        rows: Records by slot.
        labels: Their rows in their partitions at that moment.
        tables: Cells of the tables that find slots, by name.
        eviction: What the pools know.
        parts: The partitions.
        graphs: Files that graphs were saved to, which are not sealed.
    """

    rows: Sequence[Record | None]
    labels: array[int]
    tables: Mapping[str, array[int]]
    eviction: Mapping[str, Any]
    parts: Sequence[tuple[Place, Captured]]
    graphs: Sequence[Path]


class Read(NamedTuple):
    """The same, as it is read: each partition with the bytes of its graph, if any, and its rows."""

    rows: list[Record | None]
    tables: dict[str, bytes]
    eviction: dict[str, Any]
    parts: list[tuple[Place, Captured, Any, list[Record | None]]]


def graph_name(number: int) -> str:
    """Return the name of the file of a partition's graph."""
    return f"graph-{number}"


def write_taken(writer: Writer, taken: Taken) -> int:
    """Write all but the manifest; return the number of entries."""
    for path in taken.graphs:
        erase_removed(path)
        writer.seal(path.name)
    writer.put("labels", [taken.labels])
    for name, cells in taken.tables.items():
        writer.put(name, [cells])
    writer.put("eviction", [msgspec.msgpack.encode(taken.eviction)])
    _write_records(writer, taken.rows)
    parts = [part for _, part in taken.parts]
    writer.put("vectors", [p.flat for p in parts if p.flat is not None])
    writer.put("sketches", [p.sketches for p in parts if p.sketches is not None])
    writer.facts["tables"] = list(taken.tables)
    writer.facts["partitions"] = [
        [scope.hex(), category, p.flat is None, p.rows, p.removed, p.missing]
        for (scope, category), p in taken.parts
    ]
    return sum(record is not None for record in taken.rows)


def read_taken(reader: Reader, dimensions: int, sketched: int | None) -> Read:
    """Return what was written, of vectors and coarse vectors of these lengths.

    Raises:
        DamagedError: A file is not what was written.
        ValueError, LookupError, TypeError, msgspec.MsgspecError: The files do not fit together.
        OSError: They cannot be read.
    """
    rows = _read_records(reader)
    tables = {name: bytes(reader.mapped(name)[:]) for name in reader.manifest.facts["tables"]}
    known = [(bytes.fromhex(p[0]), *p[1:]) for p in reader.manifest.facts["partitions"]]
    held: dict[Place, list[Record | None]] = {(p[0], p[1]): [None] * p[3] for p in known}
    for record in rows:
        if record is not None and record.label >= 0:
            held[record.scope, record.category][record.label] = record
    vectors = reader.array("vectors", np.float16).reshape(-1, dimensions)
    sketches = reader.array("sketches", np.int8).reshape(-1, sketched or 1)
    parts: list[tuple[Place, Captured, Any, list[Record | None]]] = []
    flat = coarse = 0
    for number, (scope, category, graphed, count, removed, missing) in enumerate(known):
        part = Captured(
            count,
            removed,
            None if graphed else vectors[flat : flat + count],
            # Copied: a row is overwritten when its entry goes.
            None if sketched is None else sketches[coarse : coarse + count].copy(),
            missing,
        )
        flat += 0 if graphed else count
        coarse += count
        graph = reader.mapped(graph_name(number)) if graphed else None
        parts.append(((scope, category), part, graph, held[scope, category]))
    eviction = msgspec.msgpack.decode(reader.mapped("eviction"))
    return Read(rows, tables, eviction, parts)


def _write_records(writer: Writer, rows: Sequence[Record | None]) -> None:
    """Write records, and once what many of them share."""
    lengths = array("I", [0 if record is None else len(record.packed) for record in rows])
    writer.put("lengths", [lengths])
    starts = range(0, len(rows), _AT_ONCE)
    writer.put(
        "records",
        (b"".join(r.packed for r in rows[at : at + _AT_ONCE] if r is not None) for at in starts),
    )
    shared: dict[Shared, int] = {}
    numbers = array("i")
    for record in rows:
        known = -1 if record is None else shared.setdefault(record.shared, len(shared))
        numbers.append(known)
    writer.put("shared", [numbers])
    writer.put("common", [msgspec.msgpack.encode(list(shared))])


def _read_records(reader: Reader) -> list[Record | None]:
    """Return the records that were written, by slot."""
    common = msgspec.msgpack.decode(reader.mapped("common"), type=list[Shared])
    data, ends = reader.mapped("records"), np.cumsum(reader.array("lengths", np.uint32))
    if (ends[-1] if len(ends) else 0) != len(data):
        msg = "the records are not as long as they were"
        raise ValueError(msg)
    numbers, labels = reader.array("shared", np.int32), reader.array("labels", np.int32)
    rows: list[Record | None] = []
    start = 0
    # Their numbers are made one by one: a list of millions would take a hundred megabytes.
    for end, number, label in zip(ends.data, numbers.data, labels.data, strict=True):
        rows.append(Record(data[start:end], common[number], label) if number >= 0 else None)
        start = end
    return rows
