"""What the process knows of its entries: exact keys, partitions, who goes first. No I/O.

Readers take no lock. Writers are serialised by one lock that is never held during I/O or embedding.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from likewise.archive import Place, Read, Taken, graph_name, read_taken, write_taken
from likewise.embed import Vectors
from likewise.eviction import DEFAULT_EVICTION, POLICIES, Eviction
from likewise.index import CROSSOVER, Match, Partition, Record
from likewise.index.codes import Codes
from likewise.index.records import Records
from likewise.index.remote import Remote, RemotePartition
from likewise.index.snapshot import DamagedError, Reader, Writer
from likewise.pools import Pools, Room

_MOST_TOUCHED = 100_000
"""Hits that are remembered until room is made; of more the oldest are forgotten."""

_CHUNK = 2_000
"""Entries that are loaded at once: in a graph of a million, writers wait a second for them."""


class _Overtaking(NamedTuple):
    """What was added and removed while older entries are loaded: keys, and identifiers."""

    came: set[bytes]
    gone: set[str]

    def has(self, record: Record) -> bool:
        """Return whether an entry is not to be loaded any more."""
        return record.key in self.came or record.entry_id in self.gone


class Catalog:
    """The in-memory side of the cache, rebuilt from the store at start.

    ``eviction`` gives a new eviction policy for the entries of a category. With a ``remote`` index
    the vectors are on its server: ``nearest`` asks it, and there is no snapshot to ``dump``.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        crossover: int = CROSSOVER,
        sketched: int | None = None,
        eviction: Callable[[str], Eviction] = lambda _: POLICIES[DEFAULT_EVICTION](),
        remote: Remote | None = None,
    ) -> None:
        self._dimensions = dimensions
        self._crossover = crossover
        self._sketched = sketched
        self._remote = remote
        self._lock = threading.RLock()
        self._records = Records()
        self._partitions: dict[Place, Partition] = {}
        self._categories: dict[bytes, tuple[str, ...]] = {}
        self._eviction = eviction
        self._pools = Pools(eviction)
        self._overtaking: _Overtaking | None = None
        self._touched: deque[Record] = deque(maxlen=_MOST_TOUCHED)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._dimensions

    def exact(self, key: bytes) -> Record | None:
        """Return the entry whose request is equal to the letter."""
        return self._records.exact(key)

    def record(self, entry_id: str) -> Record | None:
        """Return an entry's record."""
        return self._records.named(entry_id)

    def holds(self, scope: bytes, category: str) -> bool:
        """Return whether there is anything to compare with in one scope and category."""
        return (scope, category) in self._partitions

    def categories(self, scope: bytes) -> tuple[str, ...]:
        """Return the categories of which there is anything to compare with in one scope."""
        return self._categories.get(scope, ())

    def size(self, scope: bytes, category: str) -> int | None:
        """Return how many entries there are to compare with in one scope and category, if any."""
        partition = self._partitions.get((scope, category))
        return None if partition is None else len(partition)

    def coarsely(self, scope: bytes, category: str, sketch: Codes) -> float:
        """Return the greatest coarse cosine of one scope and category; see ``Partition.coarsely``.

        -1 when there is nothing.
        """
        partition = self._partitions.get((scope, category))
        return -1.0 if partition is None else partition.coarsely(sketch)

    def nearest(
        self,
        scope: bytes,
        category: str,
        vector: Vectors,
        *,
        floor: float,
        usable: Callable[[Record, float], bool],
    ) -> list[Match]:
        """Search one scope and category; see ``Partition.search``.

        Raises:
            StoreError: The server of a remote index failed.
        """
        partition = self._partitions.get((scope, category))
        return [] if partition is None else partition.search(vector, floor=floor, usable=usable)

    def records(self) -> list[Record]:
        """Return every entry's record, in no order that means anything."""
        return self._records.all()

    def questions(self) -> list[tuple[str, str]]:
        """Return the category and the question of every entry."""
        return [(record.category, record.question) for record in self._records.all()]

    def touch(self, record: Record) -> None:
        """Count an entry as asked for now."""
        # Readers take no lock: whoever makes room next counts it.
        self._touched.append(record)

    def blame(self, record: Record) -> None:
        """Count an entry as found wrong."""
        with self._lock:
            self._count_touches()
            slot = self._slot(record)
            if slot >= 0:
                self._pools.blame(slot)

    def add(
        self, record: Record, vector: Vectors | None, sketch: Vectors | None = None
    ) -> Record | None:
        """Add an entry; return the one it takes the place of, which is the caller's to delete."""
        with self._lock:
            if self._overtaking is not None:
                self._overtaking.came.add(record.key)
            replaced = self._enter(record)
            if vector is not None:
                self._partition(record.scope, record.category).add(
                    [record], vector[None], None if sketch is None else sketch[None]
                )
            return replaced

    @contextmanager
    def loading(self) -> Iterator[None]:
        """While it lasts, ``load`` passes over what is older than what came or went meanwhile."""
        with self._lock:
            self._overtaking = _Overtaking(set(), set())
        try:
            with nullcontext() if self._remote is None else self._remote.loading():
                yield
        finally:
            with self._lock:
                self._overtaking = None

    def load(
        self,
        rows: Iterable[tuple[Record, Vectors | None]],
        sketches: Callable[[Sequence[str]], Vectors] | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> int:
        """Add many entries, as at start; return how many there were.

        They can be found as they come; readers and writers go on meanwhile. ``sketches`` makes the
        coarse vectors of questions, ``progress`` is told how many more are done.
        """
        count = 0
        rows = iter(rows)
        while chunk := list(islice(rows, _CHUNK)):
            count += len(chunk)
            # Of one key only the last: the pieces are not in the order they came in.
            last = {record.key: (record, vector) for record, vector in chunk}
            by_place: dict[Place | None, list[tuple[Record, Vectors | None]]] = {}
            for record, vector in last.values():
                place = None if vector is None else (record.scope, record.category)
                by_place.setdefault(place, []).append((record, vector))
            progress(len(chunk) - len(last))
            for place, found in by_place.items():
                self._load(place, found, sketches)
                progress(len(found))
        return count

    def remove(self, entry_ids: Sequence[str]) -> int:
        """Forget entries; return how many were known."""
        with self._lock:
            count = 0
            for entry_id in entry_ids:
                # One by one: an entry may be named twice.
                record = self._records.named(entry_id)
                if record is not None:
                    self._forget(record)
                    count += 1
            if self._overtaking is not None:
                self._overtaking.gone.update(entry_ids)
            return count

    def victims(self, room: Room) -> list[str]:
        """Return the entries to evict so that what is held fits; the caller removes them."""
        with self._lock:
            self._count_touches()
            return [self._records[slot].entry_id for slot in self._pools.victims(room)]

    def expired(self, now: float, grace_of: Callable[[str], float] = lambda _: 0.0) -> list[str]:
        """Return the entries past their absolute expiry and their category's grace in seconds."""
        graces: dict[str, float] = {}
        found = []
        for record in self._records.all():
            expires_at = record.expires_at
            if expires_at is None or expires_at > now:
                continue
            grace = graces.get(record.category)
            if grace is None:
                grace = graces[record.category] = grace_of(record.category)
            if expires_at + grace <= now:
                found.append(record.entry_id)
        return found

    def select(self, wanted: Callable[[Record], bool]) -> list[str]:
        """Return the entries for which ``wanted`` holds."""
        return [r.entry_id for r in self._records.all() if wanted(r)]

    def around(
        self, vector: Vectors, *, floor: float, most: int, category: str = ""
    ) -> list[Match]:
        """Return up to ``most`` entries from ``floor`` up in all scopes, nearest first.

        Of one ``category``, or of all. It takes a search of every partition: not for requests.

        Raises:
            StoreError: The server of a remote index failed.
        """
        found: list[Match] = []
        for (_, name), partition in list(self._partitions.items()):
            if name == category or not category:
                found += partition.within(vector, floor=floor, most=most)
        found.sort(key=lambda match: match[1], reverse=True)
        return found[:most]

    def counts(self) -> dict[str, int]:
        """Return the number of entries of each category."""
        return dict(self._pools.entries)

    def byte_counts(self) -> dict[str, int]:
        """Return the bytes of each category: questions, answers and vectors."""
        return dict(self._pools.bytes)

    def sizes(self) -> dict[str, int]:
        """Return the number of partitions of each kind and the bytes of all vectors."""
        partitions = list(self._partitions.values())
        kinds = [p.kind for p in partitions]
        return {
            "flat_partitions": kinds.count("flat"),
            "hnsw_partitions": kinds.count("hnsw"),
            "remote_partitions": kinds.count("remote"),
            "vector_bytes": sum(p.nbytes for p in partitions),
        }

    def dump(self, writer: Writer) -> int:
        """Write everything to a snapshot; return how many entries it has.

        Readers go on, and writers wait for no more than the graphs.
        """
        if self._remote is not None:
            msg = "the vectors are on a server, which keeps them"
            raise ValueError(msg)
        graphs: list[Path] = []

        def graph(number: int) -> Path:
            graphs.append(writer.place(graph_name(number)))
            return graphs[-1]

        with self._lock:
            self._count_touches()
            rows = self._records.rows()
            taken = Taken(
                rows,
                array("i", [-1 if record is None else record.label for record in rows]),
                {name: table.copy() for name, table in self._records.tables().items()},
                self._pools.saved(),
                [
                    (place, partition.captured(partial(graph, number)))
                    for number, (place, partition) in enumerate(self._partitions.items())
                ],
                graphs,
            )
        return write_taken(writer, taken)

    def restore(self, reader: Reader) -> None:
        """Fill an empty catalog from a snapshot. Graphs are mapped until they are written to.

        Raises:
            DamagedError: It is not what was written.
            OSError: It cannot be read.
        """
        new = Catalog(
            self._dimensions,
            crossover=self._crossover,
            sketched=self._sketched,
            eviction=self._eviction,
        )
        try:
            new._fill(read_taken(reader, self._dimensions, self._sketched))
        except (ValueError, LookupError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            msg = f"its parts do not fit together ({type(error).__name__})"
            raise DamagedError(msg) from error
        with self._lock:
            self._records, self._pools = new._records, new._pools
            self._categories, self._partitions = new._categories, new._partitions

    def settle(self) -> None:
        """Load the graphs that are mapped, as the first writer else would have to."""
        for partition in list(self._partitions.values()):
            with self._lock:
                partition.load()

    def _fill(self, was: Read) -> None:
        for name, table in self._records.tables().items():
            table.restore(was.tables[name])
        self._records.restore(was.rows)
        self._pools.restore(was.eviction, self._records)
        for (scope, category), part, graph, records in was.parts:
            self._partition(scope, category).restore(part, graph, records)

    def _load(
        self,
        place: Place | None,
        found: Sequence[tuple[Record, Vectors | None]],
        sketches: Callable[[Sequence[str]], Vectors] | None,
    ) -> None:
        """Add some entries of one partition, or some that have no vector."""
        coarse = None
        if place is not None and sketches is not None:
            coarse = sketches([record.question for record, _ in found])
        if self._remote is not None:
            self._remote.wait_for_room()
        with self._lock:
            late = self._overtaking
            kept = [n for n, (r, _) in enumerate(found) if late is None or not late.has(r)]
            for number in kept:
                self._enter(found[number][0])
            if place is not None and kept:
                self._partition(*place).add(
                    [found[number][0] for number in kept],
                    np.stack([v for number in kept if (v := found[number][1]) is not None]),
                    None if coarse is None else coarse[kept],
                )

    def _count_touches(self) -> None:
        while self._touched:
            slot = self._slot(self._touched.popleft())
            if slot >= 0:
                self._pools.touch(slot)

    def _slot(self, record: Record) -> int:
        """Return where an entry is, or what has taken its place, of the same kind; else -1."""
        slot = self._records.slot(record.key)
        return slot if slot >= 0 and _kind(self._records[slot]) == _kind(record) else -1

    def _enter(self, record: Record) -> Record | None:
        """Take up an entry, but for its vector; return the one it takes the place of.

        One of the same kind takes over what eviction knows of the other.
        """
        slot = self._records.slot(record.key)
        if slot < 0:
            self._pools.add(self._records.add(record), record)
            return None
        replaced = self._records[slot]
        self._count_touches()
        self._leave(replaced)
        if _kind(replaced) != _kind(record):
            self._pools.remove(slot)
        self._records.replace(slot, record)
        self._pools.add(slot, record)
        return replaced

    def _forget(self, record: Record) -> None:
        """Forget an entry that is known."""
        slot = self._records.slot(record.key)
        self._pools.remove(slot)
        self._records.remove(slot)
        self._leave(record)

    def _leave(self, record: Record) -> None:
        """Take an entry out of its partition."""
        place = (record.scope, record.category)
        partition = self._partitions.get(place)
        if partition is not None:
            partition.remove(record)
            if not len(partition):
                del self._partitions[place]
                left = tuple(n for n in self._categories[record.scope] if n != record.category)
                if left:
                    self._categories[record.scope] = left
                else:
                    del self._categories[record.scope]

    def _partition(self, scope: bytes, category: str) -> Partition:
        place = (scope, category)
        partition = self._partitions.get(place)
        if partition is None:
            partition = self._partitions[place] = self._new_partition(scope, category)
            self._categories[scope] = (*self._categories.get(scope, ()), category)
        return partition

    def _new_partition(self, scope: bytes, category: str) -> Partition:
        if self._remote is None:
            return Partition(self._dimensions, self._crossover, sketched=self._sketched)
        return RemotePartition(
            scope,
            category,
            self._remote,
            self.record,
            sketched=self._sketched,
        )


def _kind(record: Record) -> tuple[str, str]:
    return record.category, record.tenant
