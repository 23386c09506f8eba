"""The local index beside pgvector: what a search takes, and what an entry costs of memory."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from statistics import median, quantiles
from typing import Any

import numpy as np

from likewise.bench.breakeven import private_server, require_postgres
from likewise.bench.crossover import DIMENSIONS, clustered
from likewise.bench.lookups import resident
from likewise.catalog import Catalog
from likewise.embed import Vectors
from likewise.index import Record
from likewise.index.remote import Remote
from likewise.rebuild import Progress
from likewise.stores import PgvectorIndex
from likewise.stores.postgres_lines import driver

SIZES = (20_000, 100_000)
_SKETCHED = 128
"""Of the default embedder."""

_QUERIES, _ROUNDS = 200, 5
_NOISE = 0.2
"""Length of what is added to a stored vector to ask for it: a cosine of about 0.98."""

_FIRST = 1_000
"""Entries after which the memory of the others is counted: drivers and buffers are there then."""

_FLOOR = 0.9
_CHUNK = 10_000
_SCHEMA = "likewise_bench_index"
_PLACE = (b"bench" * 3 + b".", "bench")
_PATIENCE_S = 1800.0


def measure(
    told: Callable[[str], Progress],
    *,
    postgres: str | None = None,
    sizes: Sequence[int] = SIZES,
) -> dict[str, Any]:
    """Fill one scope and category and search it, each size and side in a process of its own.

    Half of the questions are stored ones moved by a little, half are in clusters of their own.

    Args:
        told: Makes who is told of the entries.
        postgres: A server with pgvector; without one a private one is started here.
        sizes: How many entries.

    Returns:
        ``version`` of the server, and ``sizes``: by number of entries for ``local`` and
        ``pgvector`` the medians ``search_us``, ``search_p99_us``, ``recall_at_1`` of the stored
        ones that are asked for, ``bytes_per_entry`` of this process, ``fill_s``, and of the server
        ``disk_bytes_per_entry``.

    Raises:
        ConfigError: A package is missing.
        StoreError: The server fails.
    """
    require_postgres(postgres)
    context = multiprocessing.get_context("spawn")
    found: dict[str, Any] = {"sizes": {}}
    with ExitStack() as stack:
        url = postgres or stack.enter_context(private_server())
        tell = told("filled and searched")
        for number, size in enumerate(sizes):
            row = found["sizes"][str(size)] = {}
            for place, (name, given) in enumerate((("local", None), ("pgvector", url))):
                with context.Pool(1) as pool:
                    row[name] = pool.apply(_side, (given, size))
                tell(2 * number + place + 1, 2 * len(sizes))
        found["version"] = _version(url)
    return found


def _side(url: str | None, size: int) -> dict[str, float]:
    """Fill and search one side."""
    queries, truth = _questions(size)
    if url is None:
        return _measured(Catalog(DIMENSIONS, sketched=_SKETCHED), size, queries, truth)
    _drop(url)
    index = PgvectorIndex(f"{url}{'&' if '?' in url else '?'}schema={_SCHEMA}", timeout_s=60.0)
    index.prepare(store="bench", embedder="bench", dimensions=DIMENSIONS)
    remote = Remote(index, _raised)
    try:
        catalog = Catalog(DIMENSIONS, sketched=_SKETCHED, remote=remote)
        row = _measured(catalog, size, queries, truth, remote)
    finally:
        remote.close()
    row["disk_bytes_per_entry"] = _disk_bytes(url) / size
    _drop(url)
    return row


def _measured(
    catalog: Catalog,
    size: int,
    queries: Vectors,
    truth: Sequence[int],
    remote: Remote | None = None,
) -> dict[str, float]:
    before = 0
    began = time.perf_counter()
    with catalog.loading():
        for first, end in ((0, _FIRST), (_FIRST, size)):
            before = _held()
            catalog.load(_rows(first, end), _sketches)
    if remote is not None and not remote.wait(_PATIENCE_S):
        msg = f"the server has not taken {size} entries in {_PATIENCE_S:.0f} s"
        raise TimeoutError(msg)
    fill_s = time.perf_counter() - began
    held = _held() - before
    taken_us: list[float] = []
    right = 0
    for _ in range(_ROUNDS):
        for number, query in enumerate(queries):
            start = time.perf_counter()
            near = catalog.nearest(*_PLACE, query, floor=_FLOOR, usable=lambda _r, _c: True)
            taken_us.append(1e6 * (time.perf_counter() - start))
            if number < len(truth):
                right += near[0][0].entry_id == str(truth[number])
    return {
        "search_us": median(taken_us),
        "search_p99_us": quantiles(taken_us, n=100)[98],
        "recall_at_1": right / (_ROUNDS * len(truth)),
        "bytes_per_entry": held / max(size - _FIRST, 1),
        "fill_s": fill_s,
    }


def _held() -> int:
    """Return the bytes that this process holds, without those that it only has not given back."""
    gc.collect()
    with suppress(AttributeError, OSError):  # the C library may be another than GNU's
        ctypes.CDLL(None).malloc_trim(0)
    return resident()


def _sketches(texts: Sequence[str]) -> Vectors:
    return np.full((len(texts), _SKETCHED), 0.1, np.float32)


def _questions(size: int) -> tuple[Vectors, list[int]]:
    """Return vectors to ask for, and which entries the first of them are near to."""
    rng = np.random.default_rng(1)
    truth = np.linspace(0, _FIRST - 1, _QUERIES // 2).astype(int)
    noise = rng.normal(size=(len(truth), DIMENSIONS))
    noise *= _NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
    moved = clustered(_FIRST, seed=0)[truth] + noise
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    far = clustered(_QUERIES // 2, seed=size + 1)
    return np.concatenate([moved, far]).astype(np.float32), truth.tolist()


def _rows(first: int, end: int) -> Iterator[tuple[Record, Vectors]]:
    for start in range(first, end, _CHUNK):
        vectors = clustered(min(_CHUNK, end - start), seed=start)
        for number, vector in enumerate(vectors, start):
            key = number.to_bytes(16, "big")
            question = f"a question of about forty characters {number}"
            yield Record.of(str(number), key, *_PLACE, question, time.time(), None, 0), vector


def _raised(error: Exception) -> None:
    raise error


def _drop(url: str) -> None:
    with driver("--postgres").connect(url, autocommit=True) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")


def _disk_bytes(url: str) -> int:
    with driver("--postgres").connect(url) as db:
        query = "SELECT pg_total_relation_size(%s::regclass)"
        (size,) = db.execute(query, (f"{_SCHEMA}.vectors",)).fetchone()
    return int(size)


def _version(url: str) -> str:
    with driver("--postgres").connect(url) as db:
        query = (
            "SELECT extversion, current_setting('server_version') FROM pg_extension "
            "WHERE extname = 'vector'"
        )
        vector, server = db.execute(query).fetchone()
    return f"pgvector {vector} on PostgreSQL {server}"
