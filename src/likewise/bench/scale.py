"""Very many entries in one process: memory, both ways to start, and lookups.

Entries are made up: questions of invented words, vectors in random clusters as in ``lookups``, and
sketches of the same length as the embedder's own. Everything that is measured has a process of its
own, so that what one has used is not counted for the other.
"""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from likewise.bench.crossover import clustered
from likewise.bench.lookups import DIMENSIONS, resident
from likewise.cache import Cache
from likewise.category import Category
from likewise.embed import Vectors
from likewise.embed.sketch import SKETCH_DIMENSIONS
from likewise.entry import Entry, new_entry_id
from likewise.policy import Hit, Miss
from likewise.rebuild import Progress, rebuild
from likewise.request import Request
from likewise.snapshots import Snapshots
from likewise.stores import IndexRow, open_store
from likewise.stores.sqlite import SQLiteStore

ENTRIES = 1_000_000

_NAME, _EMBEDDER, _SKETCHER, _STORE = "bench", "asked", "words", "bench"
_POLICY = Category(_NAME, similarity_threshold=0.9, ttl=None, guards=())
_ANSWER = "This is an answer of a usual length, which no lookup reads before it is a hit. " * 4
_CHUNK = 10_000
_QUERIES, _ROUNDS = 200, 5
_NOISE = 0.2
"""Length of what is added to a stored vector to ask for it: a cosine of about 0.98."""

_PAUSE_S = 0.02
"""Between lookups while the index is built, which are to share the processor with it."""

Told = Callable[[str], Progress]
"""Given what is about to be measured: who is told of its progress."""


def measure(told: Told, *, entries: int = ENTRIES) -> dict[str, float]:
    """Make a store of so many entries in a folder of its own, and start from it both ways.

    A lookup is the whole of ``Cache.check`` with an embedder that knows the vectors. Half of the
    questions are stored ones moved by a little, half are further ones of the same clusters; all are
    of what was stored first, which a graph finds the least well.

    Returns:
        ``bytes_per_entry``: by how much a process has grown that has built its index, beside one
        with an empty store; ``warm_start_s``: from the start of a process to the answer of its
        first lookup, with a snapshot; ``cold_start_s``: until the index is built from the store;
        ``lookup_ms``: median after a warm start. Of the cold start also ``cold_lookups``, how many
        were answered meanwhile, their median and longest time; ``snapshot_s`` and
        ``snapshot_bytes``, with the longest lookup while it is written; ``settle_s``, in which the
        graphs that were mapped are loaded, and ``warm_bytes_per_entry`` after it; ``hit_rate`` and
        ``recall_at_1`` of the lookups.
    """
    with tempfile.TemporaryDirectory(prefix="likewise-bench-") as name:
        folder = Path(name)
        truth = _stored(folder / "full.db", entries, told("storing"))
        open_store(f"sqlite:///{folder / 'empty.db'}").close()
        quiet: Progress = lambda _done, _of: None  # noqa: E731 - one line
        empty = _apart(_empty, folder, entries, quiet)
        cold = _apart(_cold, folder, entries, told("building the index"))
        warm = _apart(partial(_warm, truth, time.time()), folder, entries, quiet)
    return {
        "entries": entries,
        "bytes_per_entry": (cold["resident"] - empty["resident"]) / entries,
        "warm_start_s": warm["start_s"],
        "cold_start_s": cold["start_s"],
        "lookup_ms": warm["lookup_ms"],
        "cold_lookups": cold["lookups"],
        "cold_lookup_ms": cold["lookup_ms"],
        "cold_lookup_most_ms": cold["lookup_most_ms"],
        "snapshot_s": cold["snapshot_s"],
        "snapshot_bytes": cold["snapshot_bytes"],
        "snapshot_lookup_most_ms": cold["snapshot_lookup_most_ms"],
        "settle_s": warm["settle_s"],
        "warm_bytes_per_entry": (warm["resident"] - empty["resident"]) / entries,
        "hit_rate": warm["hit_rate"],
        "recall_at_1": warm["recall_at_1"],
    }


def questions(count: int, *, first: int) -> list[str]:
    """Return questions of invented words, each with its number, about 60 characters long."""
    rng = np.random.default_rng(first)
    words = _vocabulary()
    picked = rng.zipf(1.3, size=(count, 8)) % len(words)
    return [
        f"{' '.join(words[word] for word in row)} {first + number}"
        for number, row in enumerate(picked)
    ]


class Asked:
    """An embedder of texts that are numbers, each of which stands for a vector to ask for."""

    name = _EMBEDDER
    dimensions = DIMENSIONS

    def __init__(self, rows: Vectors) -> None:
        self._rows = rows

    def fits(self, _text: str) -> bool:
        """Every text is read whole."""
        return True

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder.embed``; there are as many texts of one vector as are asked for."""
        return self._rows[[int(text) % len(self._rows) for text in texts]]


class Unscanned(SQLiteStore):
    """A store that seems empty to who opens a cache with it, until ``shown``."""

    shown = False

    def scan(self) -> Iterator[IndexRow]:
        """See ``Store.scan``."""
        return super().scan() if self.shown else iter(())


def _vocabulary() -> list[str]:
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
    lengths = rng.integers(1, 5, size=2_000)
    return ["".join(rng.choice(syllables, size=length)) for length in lengths]


def _sketches() -> Callable[[Sequence[str]], Vectors]:
    """Return what adds up a random vector for each word of a text."""
    words = _vocabulary()
    table = np.random.default_rng(1).normal(size=(len(words) + 1, SKETCH_DIMENSIONS))
    places = {word: number for number, word in enumerate(words)}

    def sketch(texts: Sequence[str]) -> Vectors:
        split = [[places.get(word, len(words)) for word in text.split()] for text in texts]
        sums = np.stack([table[row].sum(axis=0) for row in split])
        return _unit(sums)

    return sketch


def _asked(first: Vectors) -> Vectors:
    """Return the vectors to ask for, given the first chunk and further ones of its clusters."""
    half = _QUERIES // 2
    known, further = first[:-half], first[-half:]
    targets = np.linspace(0, len(known) - 1, half).astype(int)
    noise = np.random.default_rng(1).normal(size=(half, DIMENSIONS))
    rows = np.concatenate([_unit(known[targets] + _NOISE * _unit(noise)), further])
    return rows.astype(np.float16).astype(np.float32)


def _first(entries: int) -> Vectors:
    return clustered(min(entries, _CHUNK) + _QUERIES // 2, seed=0)


def _stored(path: Path, entries: int, progress: Progress) -> list[str]:
    """Store the entries; return the nearest one to each question."""
    asked = _asked(_first(entries))
    best, nearest = np.full(len(asked), -1.0), [""] * len(asked)
    scope = Request("").scope.digest()
    with SQLiteStore(path) as store:
        # What a power cut would lose is made again.
        store._writer.execute("PRAGMA synchronous = OFF")
        for start in range(0, entries, _CHUNK):
            count = min(_CHUNK, entries - start)
            rows = _first(entries)[:count] if not start else clustered(count, seed=start)
            ids = [new_entry_id() for _ in range(count)]
            texts, kept = questions(count, first=start), rows.astype(np.float16)
            for entry_id, text, row in zip(ids, texts, kept, strict=True):
                store.put(Entry(entry_id, scope, _NAME, text, _ANSWER, 0.0, None, row, _EMBEDDER))
            cosines = kept.astype(np.float32) @ asked.T
            for question, row in enumerate(cosines.argmax(axis=0).tolist()):
                if cosines[row, question] > best[question]:
                    best[question], nearest[question] = cosines[row, question], ids[row]
            progress(start + count, entries)
    return nearest


def _apart(
    work: Callable[[Path, int, Progress], dict[str, float]],
    folder: Path,
    entries: int,
    progress: Progress,
) -> dict[str, float]:
    """Return what some work finds in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, folder, entries, theirs))
    process.start()
    theirs.close()
    try:
        while True:
            told = ours.recv()
            if isinstance(told, dict):
                return told
            progress(*told)
    except EOFError as error:
        msg = f"the process that was to measure ended with {process.exitcode}"
        raise RuntimeError(msg) from error
    finally:
        process.join()


def _work(
    work: Callable[[Path, int, Progress], dict[str, float]],
    folder: Path,
    entries: int,
    tell: Connection,
) -> None:
    with threadpool_limits(1, user_api="blas"):
        tell.send(work(folder, entries, lambda done, of: tell.send((done, of))))


def _opened(path: Path, entries: int) -> tuple[Cache, Unscanned]:
    store = Unscanned(path)
    cache = Cache(
        store=store,
        embedder=Asked(_asked(_first(entries))),
        categories=[_POLICY],
        examples={},
        max_entries=entries + 1,
    )
    # The gate would spare most searches; what it needs is held all the same.
    cache._engine.catalog._sketched = SKETCH_DIMENSIONS
    return cache, store


def _empty(folder: Path, entries: int, _progress: Progress) -> dict[str, float]:
    cache, _ = _opened(folder / "empty.db", entries)
    with cache:
        cache.check("0", category=_NAME)
        gc.collect()
        return {"resident": resident()}


def _cold(folder: Path, entries: int, progress: Progress) -> dict[str, float]:
    began = time.perf_counter()
    cache, store = _opened(folder / "full.db", entries)
    with cache:
        store.shown = True
        catalog, taken_s = cache._engine.catalog, 0.0

        def build() -> None:
            nonlocal taken_s
            rebuild(
                catalog,
                store,
                embedder=_EMBEDDER,
                sketches=_sketches(),
                now=time.time(),
                progress=progress,
            )
            taken_s = time.perf_counter() - began

        meanwhile = _while(build, cache)
        gc.collect()
        held = resident()
        kept = Snapshots(folder / "index", embedder=_EMBEDDER, sketcher=_SKETCHER)
        start = time.perf_counter()
        beside = _while(lambda: kept.write(catalog, store=_STORE, seq=0), cache)
        written_s = time.perf_counter() - start
    size = sum(path.stat().st_size for path in (folder / "index").rglob("*") if path.is_file())
    return {
        "resident": held,
        "start_s": taken_s,
        "lookups": len(meanwhile),
        "lookup_ms": 1e3 * median(meanwhile),
        "lookup_most_ms": 1e3 * max(meanwhile),
        "snapshot_s": written_s,
        "snapshot_bytes": size,
        "snapshot_lookup_most_ms": 1e3 * max(beside),
    }


def _while(work: Callable[[], object], cache: Cache) -> list[float]:
    """Return the seconds of lookups while some work is done in another thread."""
    worker = threading.Thread(target=work)
    worker.start()
    taken: list[float] = []
    number = 0
    while worker.is_alive() or not taken:
        start = time.perf_counter()
        cache.check(str(number), category=_NAME)
        taken.append(time.perf_counter() - start)
        number += 1
        time.sleep(_PAUSE_S)
    worker.join()
    cache._engine._vectors.forget()
    return taken


def _warm(
    truth: Sequence[str], began: float, folder: Path, entries: int, _progress: Progress
) -> dict[str, float]:
    cache, _ = _opened(folder / "full.db", entries)
    with cache:
        catalog = cache._engine.catalog
        kept = Snapshots(folder / "index", embedder=_EMBEDDER, sketcher=_SKETCHER)
        if kept.read(catalog, store=_STORE, seq=0) is None or len(catalog) != entries:
            msg = "the snapshot that was written a moment ago cannot be read"
            raise RuntimeError(msg)
        cache.check("0", category=_NAME)
        started_s = time.time() - began
        start = time.perf_counter()
        catalog.settle()
        settled_s = time.perf_counter() - start
        gc.collect()
        held = resident()
        taken: list[float] = []
        hits = right = 0
        for number in range(_ROUNDS * len(truth)):
            # A text of its own in each round: what was asked is remembered.
            start = time.perf_counter()
            decision = cache.check(str(len(truth) + number), category=_NAME)
            taken.append(time.perf_counter() - start)
            seen = decision.entry_id if isinstance(decision, Hit) else None
            if isinstance(decision, Miss):
                seen = decision.nearest_id
            hits += isinstance(decision, Hit)
            right += seen == truth[number % len(truth)]
    return {
        "start_s": started_s,
        "settle_s": settled_s,
        "resident": held,
        "lookup_ms": 1e3 * median(taken),
        "hit_rate": hits / len(taken),
        "recall_at_1": right / len(taken),
    }


def _unit(vectors: NDArray[Any]) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
