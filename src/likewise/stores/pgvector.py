"""The vectors of an index in PostgreSQL with pgvector.

One table; each place (scope and category) is compared row by row while it is small, and has an HNSW
index of its own when it is large, so that a filter never thins out what a graph finds. The local
index does the same.
"""

from __future__ import annotations

import re
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from likewise.embed import Vectors
from likewise.errors import ConfigError, StoreError
from likewise.index.remote import RemoteIndex
from likewise.stores.postgres_lines import Lines, driver, remedy
from likewise.stores.remote import Address, Guard

GRAPH_FROM = 1_000
"""Entries of one place from which on it has a graph; measured by ``likewise bench index``."""

_SCHEMA = "likewise_index"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_PAGE = 5_000
_WRITE_S = 60.0
"""How long a write may take: hundreds of vectors into a large graph."""

_BUILD_S = 3600.0
_BUILD_MEMORY = "512MB"
"""Of the server's, while it builds a graph: one that does not fit is built ten times as slowly."""

_EF_SEARCH = 64
"""Nodes that a search keeps in mind: the most that is ever asked for."""


class PgvectorIndex(RemoteIndex):
    """A database of PostgreSQL 12 or newer with pgvector 0.5 or newer.

    The address is as that of ``PostgresStore``; ``?schema=NAME`` tells indexes in one database
    apart. Vectors are float16 from pgvector 0.7 on.

    Args:
        url: The address.
        timeout_s: Seconds that a search may take.

    Raises:
        ConfigError: The address is wrong, or psycopg is missing.
    """

    def __init__(self, url: str, *, timeout_s: float = 0.25) -> None:
        self._driver = driver("index")
        address = Address(url, ("schema",), what="index.url")
        self._url = address.shown
        self._schema = address.option("schema", _SCHEMA)
        if not _NAME.fullmatch(self._schema):
            msg = f"index.url: schema={self._schema!r} is not a plain name; use a-z, 0-9 and _"
            raise ConfigError(msg)
        self._timeout_s = timeout_s
        self._vector: Any = None
        self._type = "vector"
        self._iterates = False
        self._prepared_at: Any = None
        self._dimensions = 0
        self._counts: Counter[bytes] = Counter()
        """By place, of those that entries were added to: at least as many as there are."""
        self._graphs: set[bytes] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._guard = self._new_guard()
        self._writing = self._new_guard()
        where = (self._driver, address.for_driver, self._url)
        self._reads = Lines(*where, answer_s=timeout_s, prepared=self._ready_to_read)
        self._writes = Lines(*where, answer_s=_WRITE_S, prepared=self._ready)
        self._builds = Lines(*where, answer_s=_BUILD_S)

    @property
    def url(self) -> str:
        """See ``RemoteIndex.url``."""
        return self._url

    def prepare(self, *, store: str, embedder: str, dimensions: int) -> None:
        """See ``RemoteIndex.prepare``."""
        self._dimensions = dimensions
        facts = {"store": store, "embedder": embedder, "dimensions": str(dimensions)}
        with self._writing.faults("open"), self._builds.connect() as db, db.transaction():
            # One after the other: what is made if it does not exist is not made twice.
            db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
            try:
                with db.transaction():
                    db.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except self._driver.Error as error:
                raise self._without_pgvector(error) from error
            self._iterates = _version(db) >= (0, 8)
            self._make(db, facts)
            self._vector = _type_of(self._driver, db)
            (self._prepared_at,) = db.execute("SELECT clock_timestamp()").fetchone()
        for lines in (self._reads, self._writes):
            lines.watch()

    def add(self, place: bytes, entry_ids: Sequence[str], vectors: Vectors) -> None:
        """See ``RemoteIndex.add``."""
        names, where = list(entry_ids), uuid.UUID(bytes=place)

        def write(db: Any) -> int:
            there = db.execute(
                f"SELECT id FROM {self._schema}.vectors WHERE place = %s AND id = ANY (%s)",  # noqa: S608
                (where, names),
            ).fetchall()
            known = {name for (name,) in there}
            new = [
                (where, name, vector)
                for name, vector in zip(names, vectors, strict=True)
                if name not in known
            ]
            with db.cursor() as cursor:
                # In a pipeline: one answer is not waited for before the next is sent.
                cursor.executemany(
                    f"INSERT INTO {self._schema}.vectors (place, id, v) "  # noqa: S608
                    f"VALUES (%s, %s, %b::{self._type}) ON CONFLICT DO NOTHING",
                    new,
                )
            if place in self._counts:
                return self._counts[place] + len(new)
            return self._count(db, place)

        with self._writing.faults("write"):
            self._counts[place] = self._writes.run(write)

    def remove(self, place: bytes, entry_ids: Sequence[str]) -> None:
        """See ``RemoteIndex.remove``."""
        query = f"DELETE FROM {self._schema}.vectors WHERE place = %s AND id = ANY (%s)"  # noqa: S608
        values = (uuid.UUID(bytes=place), list(entry_ids))
        with self._writing.faults("write"):
            self._writes.run(lambda db: db.execute(query, values))

    def search(self, place: bytes, vector: Vectors, k: int) -> list[tuple[str, float]]:
        """See ``RemoteIndex.search``."""
        # The place is written into the query: only so is its own graph used.
        query = (
            f"SELECT id, -(v <#> %(v)b::{self._type}) FROM {self._schema}.vectors "  # noqa: S608
            f"WHERE place = '{uuid.UUID(bytes=place)}' ORDER BY v <#> %(v)b::{self._type} LIMIT {k}"
        )
        with self._guard.faults("search"):
            found: list[tuple[str, float]] = self._reads.run(
                lambda db: db.execute(query, {"v": vector}, binary=True).fetchall()
            )
        return found

    def held(self) -> Iterator[tuple[bytes, str]]:
        """See ``RemoteIndex.held``."""
        query = (
            f"SELECT place, id FROM {self._schema}.vectors "  # noqa: S608
            f"WHERE (place, id) > (%s, %s) AND at < %s ORDER BY place, id LIMIT {_PAGE}"
        )
        last: tuple[Any, str] = (uuid.UUID(int=0), "")
        while True:
            values = (*last, self._prepared_at)
            rows = self._fetched(query, values)
            for place, name in rows:
                yield place.bytes, name
            if len(rows) < _PAGE:
                return
            last = rows[-1]

    def settle(self) -> None:
        """Build the graphs of places that have become large; see ``RemoteIndex.settle``."""
        for place, count in list(self._counts.items()):
            if count < GRAPH_FROM or place in self._graphs:
                continue
            with self._writing.faults("write"):
                self._builds.run(partial(self._build, place=place))
            if self._closed:
                return

    def close(self) -> None:
        """See ``RemoteIndex.close``."""
        self._closed = True
        for lines in (self._reads, self._writes, self._builds):
            lines.close()

    # -- inside -----------------------------------------------------------------------------------

    def _new_guard(self) -> Guard:
        return Guard(
            self._url,
            errors=(self._driver.Error, OSError, ValueError),
            gone=(self._driver.OperationalError, OSError),
            remedy=remedy,
        )

    def _make(self, db: Any, facts: dict[str, str]) -> None:
        """Make the tables, or check that they are ours."""
        schema = self._schema
        db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        db.execute(f"CREATE TABLE IF NOT EXISTS {schema}.meta (name text PRIMARY KEY, value text)")
        known = dict(db.execute(f"SELECT name, value FROM {schema}.meta").fetchall())  # noqa: S608
        for name, value in facts.items():
            if known.get(name, value) != value:
                msg = (
                    f"index.url: {self._url} holds vectors of another {name}; add ?schema=NAME "
                    f"for an index of its own, or drop it: DROP SCHEMA {schema} CASCADE"
                )
                raise ConfigError(msg)
        if not known:
            (half,) = db.execute("SELECT to_regtype('halfvec') IS NOT NULL").fetchone()
            kind = "halfvec" if half else "vector"
            known = {**facts, "type": f"{kind}({self._dimensions})"}
            db.execute(
                f"CREATE TABLE {schema}.vectors (place uuid, id text, "
                f"at timestamptz NOT NULL DEFAULT clock_timestamp(), v {known['type']} NOT NULL, "
                "PRIMARY KEY (place, id))"
            )
            with db.cursor() as cursor:
                cursor.executemany(
                    f"INSERT INTO {schema}.meta VALUES (%s, %s)",  # noqa: S608
                    list(known.items()),
                )
        self._type = known["type"]

    def _fetched(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, str]]:
        with self._writing.faults("read"):
            found: list[tuple[Any, str]] = self._writes.run(
                lambda db: db.execute(query, values).fetchall()
            )
        return found

    def _without_pgvector(self, error: BaseException) -> StoreError:
        said = " ".join(str(error).split())
        return StoreError(
            f"the index {self._url} has no pgvector: {said}; install pgvector there, and let an "
            "administrator run CREATE EXTENSION vector in this database"
        )

    def _ready(self, db: Any) -> None:
        """Let a new connection take vectors in their binary form."""
        _register(db, self._vector)

    def _ready_to_read(self, db: Any) -> None:
        self._ready(db)
        # The server stops, too, when nobody waits any more.
        db.execute(f"SET statement_timeout = {round(1000 * self._timeout_s)}")
        db.execute(f"SET hnsw.ef_search = {_EF_SEARCH}")
        if self._iterates:
            # Goes on behind rows that are deleted, however many they are.
            db.execute("SET hnsw.iterative_scan = strict_order")

    def _count(self, db: Any, place: bytes) -> int:
        query = f"SELECT count(*) FROM {self._schema}.vectors WHERE place = %s"  # noqa: S608
        (count,) = db.execute(query, (uuid.UUID(bytes=place),)).fetchone()
        return int(count)

    def _build(self, db: Any, *, place: bytes) -> None:
        """Build the graph of a place, unless it is there, or another process builds it."""
        self._counts[place] = self._count(db, place)
        if self._counts[place] < GRAPH_FROM:
            return
        name = f"graph_{place.hex()}"
        (mine,) = db.execute("SELECT pg_try_advisory_lock(hashtext(%s))", (name,)).fetchone()
        if not mine:
            return
        try:
            found = db.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
                (f"{self._schema}.{name}",),
            ).fetchone()
            if found is not None and not found[0]:
                # Somebody was interrupted.
                db.execute(f"DROP INDEX CONCURRENTLY {self._schema}.{name}")
                found = None
            if found is None:
                db.execute(f"SET maintenance_work_mem = '{_BUILD_MEMORY}'")
                # Several would share memory, of which a container has 64 MB by default.
                db.execute("SET max_parallel_maintenance_workers = 0")
                # Reads and writes go on meanwhile.
                db.execute(
                    f"CREATE INDEX CONCURRENTLY {name} ON {self._schema}.vectors USING hnsw "
                    f"(v {self._type.partition('(')[0]}_ip_ops) "
                    f"WHERE place = '{uuid.UUID(bytes=place)}'"
                )
                db.execute(f"ANALYZE {self._schema}.vectors")
            self._graphs.add(place)
        finally:
            with suppress(self._driver.Error):
                db.execute("SELECT pg_advisory_unlock(hashtext(%s))", (name,))


def _version(db: Any) -> tuple[int, int]:
    query = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    major, minor = db.execute(query).fetchone()[0].split(".")[:2]
    return int(major), int(minor)


def register(db: Any) -> None:
    """Let NumPy arrays go over a connection of psycopg in pgvector's binary form.

    Raises:
        psycopg.ProgrammingError: The database has no pgvector.
    """
    module = driver("index")
    _register(db, _type_of(module, db))


def _type_of(module: Any, db: Any) -> Any:
    found = module.types.TypeInfo.fetch(db, "vector")
    if found is None:
        msg = "the server does not know the type vector"
        raise module.ProgrammingError(msg)
    return found


def _register(db: Any, info: Any) -> None:
    from psycopg.adapt import Dumper  # noqa: PLC0415 - an optional dependency
    from psycopg.pq import Format  # noqa: PLC0415 - as above

    class VectorDumper(Dumper):
        format = Format.BINARY
        oid = info.oid

        def dump(self, obj: Any) -> bytes:
            return struct.pack(">HH", len(obj), 0) + np.asarray(obj, ">f4").tobytes()

    info.register(db)
    db.adapters.register_dumper(np.ndarray, VectorDumper)
