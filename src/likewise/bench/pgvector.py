"""A table of pgvector as a cache would have it, and its nearest entry as fast as it goes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from likewise.embed import Vectors

Search = Callable[[Vectors], tuple[str, float]]
"""Returns the answer of the nearest entry and its cosine similarity."""

_TABLE = "likewise_peers"


@contextmanager
def filled(
    url: str, texts: Sequence[str], vectors: Vectors, answer: str
) -> Iterator[tuple[Search, str]]:
    """Yield a search in a new table with an HNSW index, and the versions of both programs.

    Args:
        url: A server that holds nothing else.
        texts: The questions.
        vectors: Theirs, float32 of shape ``(n, dimensions)``, each row of length 1.
        answer: Of each.

    Raises:
        psycopg.Error: The server has no pgvector, or refuses.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        connection.execute("create extension if not exists vector")
        _register(connection)
        cursor = stack.enter_context(connection.cursor())
        cursor.execute("set maintenance_work_mem = '512MB'")
        cursor.execute(f"drop table if exists {_TABLE}")
        cursor.execute(
            f"create table {_TABLE} (question text, answer text, v vector({vectors.shape[1]}))"
        )
        with cursor.copy(f"copy {_TABLE} from stdin (format binary)") as copy:
            copy.set_types(["text", "text", "vector"])
            for text, vector in zip(texts, vectors, strict=True):
                copy.write_row((text, answer, vector))
        cursor.execute(f"create index on {_TABLE} using hnsw (v vector_cosine_ops)")
        cursor.execute(f"vacuum analyze {_TABLE}")
        row = cursor.execute(
            "select extversion, current_setting('server_version') from pg_extension "
            "where extname = 'vector'"
        ).fetchone()
        query = f"select answer, 1 - (v <=> %(v)b) from {_TABLE} order by v <=> %(v)b limit 1"  # noqa: S608 - the name is ours

        def search(vector: Vectors) -> tuple[str, float]:
            found = cursor.execute(query, {"v": vector}, prepare=True, binary=True).fetchone()
            return ("", 0.0) if found is None else (str(found[0]), float(found[1]))

        yield search, "" if row is None else f"{row[0]} on PostgreSQL {row[1]}"


def _register(connection: psycopg.Connection[Any]) -> None:
    """Let vectors go over the wire in pgvector's binary form."""
    info = TypeInfo.fetch(connection, "vector")
    if info is None:
        msg = "the server does not know the type vector"
        raise psycopg.ProgrammingError(msg)

    type_oid = info.oid

    class VectorDumper(Dumper):
        format = Format.BINARY
        oid = type_oid

        def dump(self, obj: Any) -> bytes:
            return struct.pack(">HH", len(obj), 0) + np.asarray(obj, ">f4").tobytes()

    info.register(connection)
    connection.adapters.register_dumper(np.ndarray, VectorDumper)
