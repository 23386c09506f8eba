"""The index on a server: a real PostgreSQL with pgvector, which is also stopped and killed."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psycopg
import pytest

from likewise import AsyncCache, Cache
from likewise.bench.breakeven import private_server
from likewise.catalog import Catalog
from likewise.config import Config, parse
from likewise.embed import Vectors
from likewise.errors import ConfigError, StoreError
from likewise.index import Record
from likewise.index import remote as remotely
from likewise.index.remote import Remote, RemoteIndex, place_of
from likewise.policy import Hit, Miss, Reason
from likewise.stores import PgvectorIndex, open_store, pgvector
from likewise.testing import HashingEmbedder

D = 32


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a database with pgvector."""
    given = os.environ.get("LIKEWISE_TEST_PGVECTOR")
    if given is not None:
        yield given
        return
    if find_spec("pgserver") is None:
        assert not os.environ.get("CI"), "CI has a PostgreSQL with pgvector: likewise[bench]"
        pytest.skip("likewise[bench] is not installed")
    with private_server() as url:
        yield url


@pytest.fixture
def address(server: str) -> Iterator[str]:
    """The address of an index that is not there yet, and that nothing is left of."""
    name = f"test_{secrets.token_hex(6)}"
    yield f"{server}{'&' if '?' in server else '?'}schema={name}"
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def raised(error: Exception) -> None:
    """A fault that no test expects."""
    raise error


@pytest.fixture
def remote(address: str) -> Iterator[Remote]:
    """An index of few dimensions."""
    index = PgvectorIndex(address, timeout_s=5.0)
    index.prepare(store="s", embedder="e", dimensions=D)
    made = Remote(index, raised)
    yield made
    made.close()


def record(name: str, *, scope: bytes = b"s", category: str = "code") -> Record:
    """A record with a key of its own."""
    key = scope + category.encode() + name.encode()
    return Record.of(name, key, scope, category, name, 0.0, None, 0)


def rows(count: int, *, seed: int = 0) -> Vectors:
    """Unit vectors, as float16 has them."""
    vectors = np.random.default_rng(seed).normal(size=(count, D))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rounded: Vectors = unit.astype(np.float16).astype(np.float32)
    return rounded


def first(
    catalog: Catalog, vector: Vectors, *, scope: bytes = b"s", category: str = "code"
) -> str | None:
    """The nearest entry."""
    found = catalog.nearest(scope, category, vector, floor=-1.0, usable=lambda _, __: True)
    assert [cosine for _, cosine in found] == sorted((c for _, c in found), reverse=True)
    return found[0][0].entry_id if found else None


@pytest.mark.parametrize("graphed", [False, True])
def test_a_server_finds_what_the_process_finds(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, address: str, *, graphed: bool
) -> None:
    """Row by row the same nearest entry, by a graph nearly always."""
    monkeypatch.setattr(pgvector, "GRAPH_FROM", 500 if graphed else 10_000)
    here, there = Catalog(D), Catalog(D, remote=remote)
    vectors = rows(1_500)
    for catalog in (here, there):
        catalog.load((record(str(n)), vector) for n, vector in enumerate(vectors))
        catalog.load((record(f"o{n}", scope=b"t"), v) for n, v in enumerate(rows(50, seed=9)))
    assert remote.wait(60.0)
    with psycopg.connect(address.partition("schema=")[0].rstrip("?&")) as db:
        query = "SELECT count(*) FROM pg_indexes WHERE schemaname = %s AND indexname LIKE 'graph%%'"
        found = db.execute(query, (address.rpartition("=")[2],)).fetchone()
    assert found == (int(graphed),)
    asked = rows(200, seed=1)
    same = [first(here, vector) == first(there, vector) for vector in asked]
    assert np.mean(same) >= (0.95 if graphed else 0.995)
    assert there.sizes()["remote_partitions"] == 2
    assert there.sizes()["vector_bytes"] == 0


def test_a_search_leaves_neither_scope_nor_category(remote: Remote) -> None:
    """However near an entry elsewhere is."""
    catalog = Catalog(D, remote=remote)
    [vector, other] = rows(2)
    catalog.add(record("a", scope=b"t"), vector)
    catalog.add(record("b", category="sql"), vector)
    catalog.add(record("c"), other)
    assert remote.wait(10.0)
    assert first(catalog, vector) == "c"
    assert first(catalog, vector, scope=b"t") == "a"
    assert first(catalog, vector, category="sql") == "b"
    assert first(catalog, vector, scope=b"u") is None


class Slow(RemoteIndex):
    """A server that takes only what it is let take."""

    url = "slow://"

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.done: list[str] = []

    def prepare(self, *, store: str, embedder: str, dimensions: int) -> None:
        """Nothing to do."""

    def add(self, place: bytes, entry_ids: Sequence[str], vectors: Vectors) -> None:
        """Take them when it may."""
        self.let.acquire()
        assert len(entry_ids) == len(vectors)
        self.done += entry_ids

    def remove(self, place: bytes, entry_ids: Sequence[str]) -> None:
        """Note them, too."""
        self.done += [f"-{name}" for name in entry_ids]

    def search(self, place: bytes, vector: Vectors, k: int) -> list[tuple[str, float]]:
        """Find nothing."""
        return []

    def held(self) -> Iterator[tuple[bytes, str]]:
        """Hold nothing."""
        return iter(())

    def settle(self) -> None:
        """Note it."""
        self.done.append("settled")

    def close(self) -> None:
        """Let everything go."""
        self.let.release(1_000_000)


def test_loading_waits_for_a_server_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dropped, all comes in its order, and nothing is settled before the end."""
    monkeypatch.setattr(remotely, "_MOST", 100)
    monkeypatch.setattr(remotely, "_MOST_RETRY_S", 0.2)
    monkeypatch.setattr(remotely, "_AT_ONCE", 50)
    index = Slow()
    remote = Remote(index, raised)
    catalog = Catalog(D, remote=remote)

    def fill() -> None:
        with catalog.loading():
            for start in range(0, 1_000, 50):
                rows_ = rows(50, seed=start)
                catalog.load((record(str(start + n)), v) for n, v in enumerate(rows_))
        catalog.remove(["0"])

    worker = threading.Thread(target=fill)
    worker.start()
    for _ in range(20):
        time.sleep(0.02)
        index.let.release()
    worker.join(10.0)
    assert remote.wait(10.0)
    assert index.done == [*map(str, range(1_000)), "-0", "settled"]
    remote.close()


def test_a_server_that_takes_nothing_does_not_hold_up_the_rest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it cannot be sent is found by equality, and said once."""
    monkeypatch.setattr(remotely, "_MOST", 100)
    monkeypatch.setattr(remotely, "_MOST_RETRY_S", 0.05)
    index = Slow()
    remote = Remote(index, raised)
    catalog = Catalog(D, remote=remote)
    for start in range(0, 600, 50):
        catalog.load((record(str(start + n)), v) for n, v in enumerate(rows(50)))
    assert len(catalog) == 600
    assert caplog.text.count("further ones are found by equality only") == 1
    index.let.release(1_000)
    assert remote.wait(10.0)
    assert 200 <= len(index.done) < 600
    remote.close()


def test_what_is_removed_is_gone_there_too(remote: Remote) -> None:
    """Also while the server still has it, and when many are removed."""
    catalog, vectors = Catalog(D, remote=remote, sketched=4), rows(300)
    coarse = np.ones((300, 4), np.float32)
    for number, vector in enumerate(vectors):
        catalog.add(record(str(number)), vector, coarse[number])
    assert remote.wait(30.0)
    catalog.remove([str(number) for number in range(200)])
    assert all(first(catalog, vector) != str(n) for n, vector in enumerate(vectors[:50]))
    assert remote.wait(30.0)
    assert catalog.size(b"s", "code") == 100
    assert [first(catalog, v) for v in vectors[200:]] == [str(n) for n in range(200, 300)]
    place = place_of(b"s", "code")
    assert len(remote.index.search(place, vectors[0], 300)) == 100


def test_processes_share_one_index(remote: Remote, address: str) -> None:
    """Each adds what is missing, and one that starts removes what no entry is known of."""
    catalog, vectors = Catalog(D, remote=remote), rows(10)
    catalog.load((record(str(n)), vector) for n, vector in enumerate(vectors))
    assert remote.wait(10.0)
    index = PgvectorIndex(address, timeout_s=5.0)
    index.prepare(store="s", embedder="e", dimensions=D)
    second = Remote(index, raised)
    try:
        other = Catalog(D, remote=second)
        other.load((record(str(n)), vector) for n, vector in enumerate(vectors) if n >= 3)
        catalog.add(record("new"), rows(1, seed=5)[0])
        assert remote.wait(10.0)
        assert second.reconcile(lambda name: other.record(name) is not None) == 3
        assert second.wait(10.0)
        found = {name for name, _ in index.search(place_of(b"s", "code"), vectors[0], 100)}
        assert found == {"new", *map(str, range(3, 10))}
    finally:
        second.close()


@pytest.mark.parametrize("other", [{"store": "t"}, {"embedder": "f"}, {"dimensions": 8}])
def test_an_index_of_something_else_is_refused(
    remote: Remote, address: str, other: dict[str, object]
) -> None:
    """With what differs, and what to do."""
    assert remote.wait(10.0)
    index = PgvectorIndex(address)
    facts = {"store": "s", "embedder": "e", "dimensions": D, **other}
    with pytest.raises(ConfigError, match=rf"another {next(iter(other))}.*schema=NAME.*DROP"):
        index.prepare(**facts)  # type: ignore[arg-type]
    index.close()


def test_a_server_that_does_not_answer_is_named() -> None:
    """Without the password."""
    index = PgvectorIndex("postgresql://me:secret@127.0.0.1:9/none")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9/none") as error:
        index.prepare(store="s", embedder="e", dimensions=D)
    assert "secret" not in str(error.value)
    index.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "pgvector"}, "needs url"),
        ({"url": "postgresql://h/d"}, "kind: pgvector"),
        ({"kind": "pgvector", "url": "postgresql://h/d", "timeout": 0}, "index.timeout"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict[str, object], said: str) -> None:
    """With the remedy."""
    with pytest.raises(ConfigError, match=said):
        parse({"index": given})


def test_a_store_in_memory_is_refused() -> None:
    """Its entries would be gone at the next start, and their vectors would not."""
    with pytest.raises(ConfigError, match="outlives the process"):
        parse({"store": "memory://", "index": {"kind": "pgvector", "url": "postgresql://h/d"}})


Open = Callable[[str], Cache]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open caches over one store and the index at an address."""
    caches: list[Cache] = []

    def make(address: str) -> Cache:
        caches.append(Cache.open(configured(tmp_path, address), embedder=HashingEmbedder()))
        return caches[-1]

    yield make
    for cache in caches:
        cache.close()


def configured(folder: Path, address: str) -> Config:
    """A configuration with a remote index and a category that compares by words alone."""
    return parse(
        {
            "store": f"sqlite:///{folder / 'a.db'}",
            "index": {"kind": "pgvector", "url": address, "timeout": "1s"},
            "embedding": {"gate": False},
            "categories": {"loose": {"similarity_threshold": 0.6, "guards": []}},
            "classification": {"enabled": False},
        }
    )


STORED = "how do I reset the password of my account"
NEAR = "how do I reset the password of my account please"


def sent(cache: Cache | AsyncCache) -> None:
    """Wait until the server has everything."""
    remote = cache._engine.remote
    assert remote is not None
    assert remote.wait(20.0)


def test_a_cache_answers_by_meaning_and_starts_again(address: str, opened: Open) -> None:
    """From the vectors that are there; what was deleted meanwhile is gone at the next start."""
    cache = opened(address)
    cache.store(STORED, "so", category="loose")
    gone = cache.store("what is the capital of France", "Paris", category="loose")
    assert gone is not None
    sent(cache)
    hit = cache.check(NEAR, category="loose")
    assert isinstance(hit, Hit)
    assert hit.answer == "so"
    cache.close()
    with open_store(cache._engine.store.url) as store:
        store.delete([gone.id])
    again = opened(address)
    sent(again)
    assert isinstance(again.check(NEAR, category="loose"), Hit)
    assert isinstance(again.check("the capital of France", category="loose"), Miss)
    remote = again._engine.remote
    assert remote is not None
    assert [name for _, name in remote.index.held()] == [hit.entry_id]


def test_a_purge_reaches_the_server(address: str, opened: Open) -> None:
    """Nothing of it is left there."""
    cache = opened(address)
    cache.store(STORED, "so", category="loose")
    sent(cache)
    assert cache.clear(category="loose") == 1
    sent(cache)
    index = PgvectorIndex(address)
    identity = cache._engine.store.mark().store
    index.prepare(
        store=identity,
        embedder=HashingEmbedder().name,
        dimensions=cache._engine.embedder.dimensions,
    )
    assert list(index.held()) == []
    index.close()


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGSTOP])
async def test_a_server_that_is_gone_or_hangs_costs_the_hit_only(
    tmp_path: Path, how: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a miss that is counted, at once after a few; equal questions are answered still."""
    if find_spec("pgserver") is None:
        pytest.skip("likewise[bench] is not installed")
    with private_server() as url:
        running = Path(url.partition("host=")[2]) / "postmaster.pid"
        process = int(running.read_text("ascii").split()[0])
        config = configured(tmp_path, url)
        async with AsyncCache.open(config, embedder=HashingEmbedder()) as cache:
            await cache.store(STORED, "so", category="loose")
            sent(cache)
            assert isinstance(await cache.check(NEAR, category="loose"), Hit)
            backends = children(process) if how is signal.SIGSTOP else []
            stop(running, [process, *backends], how)
            try:
                for number in range(4):
                    began = time.monotonic()
                    found = await cache.check(f"{NEAR} {number}", category="loose")
                    assert isinstance(found, Miss)
                    assert found.reason is Reason.INDEX_FAULT
                assert time.monotonic() - began < 0.2  # the last: it is left alone by now
                assert isinstance(await cache.check(STORED, category="loose"), Hit)
                assert await cache.store("another question", "yes", category="loose")
                assert isinstance(await cache.check("another question", category="loose"), Hit)
                faults = cache.stats()["categories"]["loose"]["faults"]
                assert faults == {"index": 4}
                assert "cache fault (index)" in caplog.text
            finally:
                for stopped in (process, *backends):
                    with suppress(ProcessLookupError):
                        os.kill(stopped, signal.SIGCONT)


def stop(running: Path, processes: Sequence[int], how: signal.Signals) -> None:
    """Send a signal to a server, and wait for its end where it means that."""
    for process in processes:
        os.kill(process, how)
    while how is signal.SIGQUIT and running.exists():
        time.sleep(0.01)


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text("ascii")
    return [int(number) for number in listed.split()]
