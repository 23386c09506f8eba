"""The four stores beside each other: what writing, hitting and starting from them cost.

Redis and PostgreSQL run as private servers on this machine, unless addresses of others are given:
what lies between two machines is to be added. Steps take turns between the stores, so that what
disturbs the machine disturbs all of them.
"""

from __future__ import annotations

import gc
import multiprocessing
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from likewise.bench.breakeven import private_server
from likewise.bench.crossover import clustered
from likewise.bench.lookups import Known, resident
from likewise.cache import Cache
from likewise.catalog import Catalog
from likewise.category import Category
from likewise.entry import Entry
from likewise.errors import ConfigError, StoreError
from likewise.policy import Hit, Miss
from likewise.rebuild import Progress, rebuild
from likewise.stores import MemoryStore, Store, open_store

ENTRIES = 10_000

_NAME = "bench"
_POLICY = Category(_NAME, similarity_threshold=0.95, ttl="1d", guards=())
_ANSWER = "This is an answer of a usual length, which is read from the store when it is a hit. " * 8
_ROUNDS = 10
_MISSES = 1_000
_STARTS = 3
_HEARD = 30
_PATIENCE_S = 20.0
_LEAST_SEEN = 3_000
"""Entries from which on the memory they take is more than pages that were free before."""

_GB = 1e9


def measure(
    progress: Progress,
    *,
    entries: int = ENTRIES,
    redis_url: str | None = None,
    postgres_url: str | None = None,
) -> dict[str, dict[str, float]]:
    """Fill each store with so many entries by ``Cache.store``, and look them up by ``Cache.check``.

    The embedder knows the vectors, 384 of them a question. Answers have about 700 bytes.

    Returns:
        By store: ``write_us``, median of storing an entry until it is kept and can be found;
        ``hit_us``, median of an exact hit whose answer is read from the store, ``hit_again_us`` of
        one that was asked for before; ``miss_us``, median of a lookup that finds nothing near
        enough, which never asks the store; ``rebuild_per_s``, entries a second when the index is
        built from the store; ``bytes_per_entry`` that the store takes, with ``entries_per_gb``;
        ``heard_ms``, median until what one cache has stored another serves (not in memory).

    Raises:
        ConfigError: A server is not installed.
        StoreError: A server does not start, or fails.
    """
    rows = clustered(entries + _MISSES, seed=5)
    embedder = Known(rows)
    with ExitStack() as stack:
        urls = {
            "memory": "memory://",
            "sqlite": f"sqlite:///{stack.enter_context(_folder()) / 'bench.db'}",
            "redis": redis_url or stack.enter_context(private_redis()),
            "postgres": postgres_url or stack.enter_context(_postgres()),
        }
        stores = {name: stack.enter_context(emptied(url)) for name, url in urls.items()}
        before = {name: _bytes(name, url) for name, url in urls.items()}
        caches = {name: stack.enter_context(_cache(s, embedder)) for name, s in stores.items()}
        stored = np.arange(entries)
        asked = np.random.default_rng(0).permutation(entries)
        missed = np.arange(entries, entries + _MISSES)
        writes = _in_turns(caches, stored, _store, progress)
        hits, again = (_in_turns(caches, asked, _hit) for _ in range(2))
        misses = _in_turns(caches, missed, _miss)
        found = {}
        for name, store in stores.items():
            held = (_bytes(name, urls[name]) - before[name]) / entries
            if name == "memory":
                held = _memory_bytes(entries)
            found[name] = {
                "write_us": writes[name],
                "hit_us": hits[name],
                "hit_again_us": again[name],
                "miss_us": misses[name],
                "rebuild_per_s": entries / _start_s(store, embedder),
                "bytes_per_entry": held,
                "entries_per_gb": _GB / held,
            }
            if store.shared:
                found[name]["heard_ms"] = _heard_ms(urls[name], embedder)
    return found


def _in_turns(
    caches: dict[str, Cache],
    numbers: NDArray[np.int64],
    step: Callable[[Cache, int], None],
    progress: Progress = lambda _done, _of: None,
) -> dict[str, float]:
    """Return the median microseconds of a step over each store, which take turns."""
    taken: dict[str, list[float]] = {name: [] for name in caches}
    done = 0
    for some in np.array_split(numbers, _ROUNDS):
        for name, cache in caches.items():
            taken[name] += [_timed(partial(step, cache, number)) for number in some.tolist()]
            done += len(some)
            progress(done, len(caches) * len(numbers))
    return {name: median(times) for name, times in taken.items()}


def _cache(store: Store, embedder: Known) -> Cache:
    return Cache(
        store=store,
        embedder=embedder,
        categories=[_POLICY],
        examples={},
        max_entries=1_000_000,
        snapshots=None,
    )


def _store(cache: Cache, number: int) -> None:
    if cache.store(str(number), _ANSWER, category=_NAME) is None:
        msg = "an entry was not stored"
        raise StoreError(msg)


def _hit(cache: Cache, number: int) -> None:
    if not isinstance(cache.check(str(number), category=_NAME), Hit):
        msg = "a stored answer was not served"
        raise StoreError(msg)


def _miss(cache: Cache, number: int) -> None:
    decision = cache.check(str(number), category=_NAME, similarity_threshold=0.9999)
    if not isinstance(decision, Miss):
        msg = "an answer was served that was never stored"
        raise StoreError(msg)


def _timed(step: Callable[[], None]) -> float:
    """Return the microseconds that a step takes."""
    began = time.perf_counter()
    step()
    return 1e6 * (time.perf_counter() - began)


def _start_s(store: Store, embedder: Known) -> float:
    """Return the seconds in which the index is built from a store, median of some times."""
    taken_s = []
    for _ in range(_STARTS):
        began = time.perf_counter()
        rebuild(Catalog(embedder.dimensions), store, embedder=embedder.name, now=time.time())
        taken_s.append(time.perf_counter() - began)
    return median(taken_s)


def _heard_ms(url: str, embedder: Known) -> float:
    """Return how long it takes until one cache serves what another has stored."""
    taken_ms = []
    with _cache(open_store(url), embedder) as one, _cache(open_store(url), embedder) as other:
        one.clear()
        for number in range(_HEARD):
            _store(one, number)
            began = time.perf_counter()
            while not isinstance(other.check(str(number), category=_NAME), Hit):
                if time.perf_counter() - began > _PATIENCE_S:
                    msg = f"a cache over {one.stats()['store']} never heard of an entry"
                    raise StoreError(msg)
                time.sleep(0.0005)
            taken_ms.append(1000 * (time.perf_counter() - began))
            time.sleep(0.01)
    return median(taken_ms)


@contextmanager
def emptied(url: str) -> Iterator[Store]:
    """Yield a store that holds nothing, and leave it so.

    Raises:
        ConfigError: It holds entries.
    """
    with open_store(url) as store:
        if store.count():
            msg = f"{store.url} holds entries; name a store that may be filled and emptied"
            raise ConfigError(msg)
        yield store
    # The cache over it has closed it.
    if store.shared:
        with open_store(url) as again:
            again.clear()


def _bytes(name: str, url: str) -> float:
    """Return the bytes that a store takes: of its file, of its server's memory, of its tables."""
    match name:
        case "sqlite":
            path = Path(url.removeprefix("sqlite:///"))
            return float(sum(p.stat().st_size for p in path.parent.glob(f"{path.name}*")))
        case "redis":
            import redis  # noqa: PLC0415 - an optional dependency

            with redis.Redis.from_url(url.partition("?")[0]) as server:
                return float(server.info("memory")["used_memory"])
        case "postgres":
            import psycopg  # noqa: PLC0415 - an optional dependency

            query = (
                "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n "
                "ON n.oid = c.relnamespace WHERE n.nspname = 'likewise' AND c.relkind = 'r'"
            )
            with psycopg.connect(url) as db:
                row = db.execute(query).fetchone()
            return 0.0 if row is None else float(row[0])
    return 0.0


def _memory_bytes(entries: int) -> float:
    """Return what an entry takes in a process that holds nothing else: of enough to be seen."""
    held = max(entries, _LEAST_SEEN)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(filled_bytes, (held,)) / held


def filled_bytes(entries: int) -> float:
    """Return by how many bytes a process grows whose memory store is filled."""
    rows = clustered(entries, seed=5).astype(np.float16)
    store = MemoryStore()
    gc.collect()
    before = resident()
    for number in range(entries):
        question, vector = str(number), rows[number].copy()
        answer = _ANSWER + question  # an answer of its own, as in service
        store.put(
            Entry(
                f"lw-{number:024}", b"s" * 16, _NAME, question, answer, 0.0, None, vector, "known"
            )
        )
    gc.collect()
    grown = resident() - before
    store.close()
    return float(grown)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="likewise-bench-") as name:
        yield Path(name)


@contextmanager
def private_redis(*options: str) -> Iterator[str]:
    """Run a Redis that keeps nothing on disk until the block ends; yields its URL.

    Args:
        options: Of its command line, such as ``--requirepass`` and a word.

    Raises:
        ConfigError: None is installed.
        StoreError: It does not start.
    """
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        msg = "redis-server is not installed; install it, or name a server by --redis URL"
        raise ConfigError(msg)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", *options, "--save", ""]
    with _folder() as folder:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        try:
            _await(port, process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()  # one that cannot save would not end otherwise
            process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    msg = "redis-server did not start; name one that runs by --redis URL"
    raise StoreError(msg)


@contextmanager
def _postgres() -> Iterator[str]:
    if find_spec("pgserver") is None:
        msg = (
            "no PostgreSQL to start: pip install 'likewise[bench]' (up to Python 3.12), or name a "
            "server by --postgres URL"
        )
        raise ConfigError(msg)
    with private_server() as url:
        yield url
