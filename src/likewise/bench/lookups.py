"""Lookups without embedding as a scope grows, beside a plain matrix-vector product."""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from likewise.bench.crossover import clustered
from likewise.cache import Cache
from likewise.category import Category
from likewise.embed import Vectors
from likewise.index import Record
from likewise.policy import Hit, Miss
from likewise.rebuild import Progress
from likewise.request import Request
from likewise.scope import Scope

DIMENSIONS = 384
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SCOPES, PER_SCOPE = 10_000, 20

_NAME = "bench"
_POLICY = Category(_NAME, similarity_threshold=0.9, ttl=None, guards=())
_QUERIES = 200
_ROUNDS = 5
_SCANS = 5
_NOISE = 0.2
"""Length of what is added to a stored vector to ask for it: a cosine of about 0.98."""

_CHUNK = 50_000
_INSERTED = 5_000


class Known:
    """An embedder of texts that are numbers of rows: it knows their vectors."""

    name = "known"
    dimensions = DIMENSIONS

    def __init__(self, rows: Vectors) -> None:
        self._rows = rows

    def fits(self, _text: str) -> bool:
        """Every text is read whole."""
        return True

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder.embed``."""
        return self._rows[[int(text) for text in texts]]


def grow(progress: Progress, *, sizes: Sequence[int] = SIZES) -> dict[str, dict[str, float]]:
    """Look up in one scope and category as it grows, without what embedding costs.

    A lookup is the whole of ``Cache.check`` with an embedder that knows the vectors: the identity
    of the request, the exact tier, the search, the decision, and of a hit the answer. Half of the
    questions are stored ones moved by a little, half are further ones of the same clusters, of
    which about half again are hits; each is asked once in each of some rounds, which take turns
    with plain products of all rows with a question, by NumPy in float32.

    Args:
        progress: Told of the entries.
        sizes: Entries at which to measure, ascending.

    Returns:
        By size: ``lookup_us``, the median over all questions, ``hit_us`` and ``miss_us`` apart,
        ``scan_us``, ``recall_at_1``, the share of the questions whose nearest entry was found,
        ``recall_at_1_far``, the same of questions that nothing resembles, for which it does not
        matter, and ``bytes_per_entry``, what the process has grown by for each since the first
        size.
    """
    most = sizes[-1]
    # The further ones of the clusters that are there from the first size on.
    first = clustered(sizes[0] + _QUERIES // 2, seed=0)
    rows = np.concatenate(
        [
            first[: sizes[0]],
            *(clustered(min(_CHUNK, most - at), seed=at) for at in range(sizes[0], most, _CHUNK)),
        ]
    )
    targets = np.linspace(0, sizes[0] - 1, _QUERIES // 2).astype(int)
    rng = np.random.default_rng(1)
    moved = rows[targets] + _NOISE * _unit(rng.normal(size=(len(targets), DIMENSIONS)))
    far = clustered(_QUERIES, seed=most + 1)
    queries = np.concatenate([_unit(moved), first[sizes[0] :]])
    queries = queries.astype(np.float16).astype(np.float32)
    found: dict[str, dict[str, float]] = {}
    cache = Cache(
        store="memory://",
        embedder=Known(np.concatenate([rows[: sizes[0]], *[queries] * _ROUNDS])),
        categories=[_POLICY],
        examples={},
        max_entries=most + 1,
    )
    with cache:
        # What may be hit is in the store as well.
        ids = dict(enumerate(_stored(cache, sizes[0])))
        size, base = sizes[0], resident()
        for wanted in sizes:
            for start in range(size, wanted, _CHUNK):
                end = min(start + _CHUNK, wanted)
                _fill(cache, rows, range(start, end), ids)
                progress(end, most)
            size = wanted
            grown = (resident() - base) / max(size - sizes[0], 1)
            found[str(size)] = _looked_up(cache, rows[:size], queries, ids, sizes[0])
            found[str(size)]["recall_at_1_far"] = _recall(cache, rows[:size], far, ids)
            found[str(size)]["bytes_per_entry"] = grown if size > sizes[0] else 0.0
    return found


def scopes(*, many: int = SCOPES, each: int = PER_SCOPE) -> dict[str, int]:
    """Return the bytes that many small scopes take, and those of one with as many entries.

    Each is filled in a process of its own; what it grows by is counted.
    """
    context = multiprocessing.get_context("spawn")
    found = {}
    for name, count in (("many_bytes", many), ("one_bytes", 1)):
        with context.Pool(1) as pool:
            found[name] = pool.apply(filled_bytes, (count, many * each // count))
    return found


def filled_bytes(count: int, each: int) -> int:
    """Return by how many bytes a process grows that holds ``count`` scopes of ``each`` entries."""
    rows = clustered(min(each * count, _CHUNK), seed=1)
    cache = Cache(
        store="memory://",
        embedder=Known(rows),
        categories=[_POLICY],
        examples={},
        max_entries=count * each + 1,
    )
    gc.collect()
    before = resident()
    for number in range(count):
        scope = Scope(namespace=str(number)).digest()
        for start in range(0, each, _CHUNK):
            places = range(number * each + start, number * each + min(start + _CHUNK, each))
            records = [_record(place, scope) for place in places]
            cache._engine.catalog.load(
                (record, rows[place % len(rows)])
                for record, place in zip(records, places, strict=True)
            )
    gc.collect()
    return resident() - before


def inserts(progress: Progress, *, count: int = _INSERTED) -> float:
    """Return how many entries are stored a second, without what embedding costs.

    One thread stores one entry after the other in a file of SQLite, which holds 20,000 in memory
    already; each is durable and searchable when ``store`` returns.
    """
    rows = clustered(count, seed=3)
    with tempfile.TemporaryDirectory(prefix="likewise-bench-") as folder:
        cache = Cache(
            store=f"sqlite:///{Path(folder) / 'likewise.db'}",
            embedder=Known(rows),
            categories=[_POLICY],
            examples={},
        )
        with cache:
            held = clustered(20_000, seed=4)
            _fill(cache, held, range(len(held)), {})
            began = time.perf_counter()
            for number in range(count):
                cache.store(str(number), "an answer", category=_NAME)
                if number % 100 == 0:
                    progress(number, count)
            taken_s = time.perf_counter() - began
            progress(count, count)
    return count / taken_s


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _looked_up(
    cache: Cache, rows: Vectors, queries: Vectors, ids: dict[int, str], near: int
) -> dict[str, float]:
    """Return the figures of one size."""
    truth = [int((rows @ query).argmax()) for query in queries]
    hits_us: list[float] = []
    misses_us: list[float] = []
    scans_us: list[float] = []
    right = 0
    for turn in range(_ROUNDS):
        for number, nearest in enumerate(truth):
            # A text of its own in each round: what was asked is remembered.
            text = str(near + turn * len(queries) + number)
            began = time.perf_counter()
            decision = cache.check(text, category=_NAME)
            taken_us = 1e6 * (time.perf_counter() - began)
            (hits_us if isinstance(decision, Hit) else misses_us).append(taken_us)
            seen = decision.entry_id if isinstance(decision, Hit) else None
            if isinstance(decision, Miss):
                seen = decision.nearest_id
            right += seen == ids.get(nearest, str(nearest))
        for query in queries[:_SCANS]:
            began = time.perf_counter()
            rows @ query
            scans_us.append(1e6 * (time.perf_counter() - began))
    cache._engine._vectors.forget()
    return {
        "lookup_us": median(hits_us + misses_us),
        "hit_us": median(hits_us),
        "miss_us": median(misses_us),
        "scan_us": median(scans_us),
        "recall_at_1": right / (_ROUNDS * len(queries)),
    }


def _recall(cache: Cache, rows: Vectors, queries: Vectors, ids: dict[int, str]) -> float:
    """Return the share of some vectors whose nearest entry the index finds."""
    scope, right = Request("").scope.digest(), 0
    for query in queries:
        nearest = int((rows @ query).argmax())
        found = cache._engine.catalog.nearest(
            scope, _NAME, query, floor=-1.0, usable=lambda _record, _cosine: True
        )
        right += bool(found) and found[0][0].entry_id == ids.get(nearest, str(nearest))
    return right / len(queries)


def _stored(cache: Cache, count: int) -> list[str]:
    """Store the entries that will be hit, and return their names."""
    entries = [cache.store(str(number), "an answer", category=_NAME) for number in range(count)]
    return [entry.id for entry in entries if entry is not None]


def _fill(cache: Cache, rows: Vectors, places: range, known: dict[int, str]) -> None:
    """Index rows as the rebuilding at start does; those that are ``known`` are there."""
    scope = Request("").scope.digest()
    new = [place for place in places if place not in known]
    cache._engine.catalog.load((_record(place, scope), rows[place]) for place in new)


def _record(place: int, scope: bytes) -> Record:
    name = str(place)
    key = scope[:16] + place.to_bytes(16, "big")
    return Record.of(name, key, scope, _NAME, f"question {name}", time.time(), None, 0)


def _unit(vectors: Any) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
