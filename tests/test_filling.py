"""How a cache starts: from its snapshot, from the store, beside requests, under a new embedder."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likewise import Cache, Category, Hit
from likewise.config import parse
from likewise.embed import Vectors
from likewise.engine import Engine
from likewise.errors import EmbedderError
from likewise.opening import from_config, snapshots_of
from likewise.snapshots import folder_of
from likewise.stores import open_store
from likewise.testing import HashingEmbedder

LONG_S = 30.0
LOOSE = Category("loose", similarity_threshold=0.5, guards=())


def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few entries are many here."""
    monkeypatch.setattr("likewise.filling._LEAST", 20)
    monkeypatch.setattr("likewise.filling._ASIDE_FROM", 20)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file of SQLite."""
    return f"sqlite:///{tmp_path / 'a.db'}"


def opened(url: str, **parts: Any) -> Cache:
    """A cache over it."""
    given = {"embedder": HashingEmbedder(), "categories": [LOOSE], "examples": {}, "rules": ()}
    return Cache(store=url, **{**given, **parts})


def engine(cache: Cache) -> Engine:
    """What is behind a cache."""
    return cache._engine


def fill(cache: Cache, count: int = 50, *, first: int = 0) -> None:
    """Store questions that are their own answers."""
    for i in range(first, first + count):
        cache.store(f"question number {i}", i, category="loose")


def serves(cache: Cache, number: int) -> bool:
    """Whether a question is answered, and rightly."""
    decision = cache.check(f"question number {number}", category="loose")
    return isinstance(decision, Hit) and decision.answer == number


def snapshots(tmp_path: Path) -> list[Path]:
    """The snapshots that are there."""
    return list((tmp_path / "a.db-index").glob("snapshot-*"))


def forbid_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody read the whole store."""

    def scan(_: object) -> Any:
        raise AssertionError

    monkeypatch.setattr("likewise.stores.sqlite.SQLiteStore.scan", scan)


def test_the_next_start_reads_the_snapshot(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what came and went since, but not the store."""
    with opened(url) as cache:
        fill(cache)
    assert len(snapshots(tmp_path)) == 1
    with opened(url, snapshots=None) as other:
        fill(other, 3, first=100)
        gone = other.store("goes", 1, category="loose")
        assert gone is not None
        other.drop(gone.id)
    with open_store(url) as store:
        [first] = [row.id for row in store.scan() if row.question == "question number 0"]
        store.delete([first])
        count = store.count()
    # That drop had the snapshot removed, by the memo that it left.
    with opened(url) as cache:
        assert all(serves(cache, i) for i in range(1, 50))
    assert len(snapshots(tmp_path)) == 1
    forbid_scans(monkeypatch)
    with opened(url) as cache:
        assert len(engine(cache).catalog) == count
        assert all(serves(cache, i) for i in range(1, 50))
        assert serves(cache, 101)
        assert not isinstance(cache.check("goes", category="loose"), Hit)
        decision = cache.check("question number 0", category="loose")
        assert not isinstance(decision, Hit) or decision.answer != 0


def test_what_changed_after_the_snapshot_is_followed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Added, replaced and deleted by whoever it was."""
    with opened(url) as cache:
        fill(cache)
    with open_store(url) as store:
        [row] = [row for row in store.scan() if row.question == "question number 7"]
        store.delete([row.id])
    with opened(url, snapshots=None) as other:
        fill(other, 2, first=100)
        other.store("question number 8", "newer", category="loose")
    forbid_scans(monkeypatch)
    with opened(url) as cache:
        assert len(engine(cache).catalog) == 51
        assert serves(cache, 101)
        decision = cache.check("question number 8", category="loose")
        assert isinstance(decision, Hit)
        assert decision.answer == "newer"
        assert engine(cache).catalog.record(row.id) is None


@pytest.mark.parametrize("how", ["all", "one", "elsewhere", "command"])
def test_a_purge_leaves_nothing_in_a_snapshot(url: str, tmp_path: Path, how: str) -> None:
    """By whomever, whoever has written the snapshot."""
    secret = "the secret question"  # noqa: S105 - no password
    with opened(url) as cache:
        fill(cache)
        kept = cache.store(secret, 1, category="loose")
    assert kept is not None

    def found() -> bool:
        return any(
            secret.encode() in path.read_bytes()
            for path in (tmp_path / "a.db-index").rglob("*")
            if path.is_file()
        )

    assert found()
    with opened(url) as cache:
        match how:
            case "all":
                cache.clear()
            case "one":
                cache.drop(kept.id)
            case "elsewhere":
                with opened(url, snapshots=None) as other:
                    other.drop(kept.id)
                eventually(lambda: not snapshots(tmp_path))
            case _:
                from likewise.cli.entries import purge  # noqa: PLC0415 - one case of four

                purge(entry=kept.id, yes=True, store=url)
                eventually(lambda: engine(cache).catalog.record(kept.id) is None)
        if how != "elsewhere":
            assert not snapshots(tmp_path)
    assert not found()


def test_a_snapshot_of_another_store_is_set_aside(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file was deleted and made anew: its identity is another."""
    with opened(url) as cache:
        fill(cache)
    for path in tmp_path.glob("a.db*"):
        if path.is_file():
            path.unlink()
    with opened(url) as cache:
        assert len(engine(cache).catalog) == 0
        fill(cache, 30)
    assert "set aside" in caplog.text
    with opened(url) as cache:
        assert len(engine(cache).catalog) == 30


def test_requests_are_served_while_the_index_fills(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From what is there; what is stored meanwhile is neither lost nor undone."""
    with opened(url, snapshots=None) as cache:
        fill(cache)
    go_on, half = threading.Event(), threading.Event()
    from likewise.stores.sqlite import SQLiteStore  # noqa: PLC0415 - its method is replaced

    right = SQLiteStore.scan

    def scan(store: SQLiteStore) -> Any:
        for number, row in enumerate(right(store)):
            if number == 25:
                half.set()
                assert go_on.wait(LONG_S)
            yield row

    monkeypatch.setattr(SQLiteStore, "scan", scan)
    told: list[tuple[int, int]] = []
    settings = {
        "store": url,
        "embedding": {"model": "hashing"},
        "index": {"snapshot": "off"},
        "categories": {"loose": {"similarity_threshold": 0.5, "guards": []}},
    }
    started = from_config(parse(settings), progress=lambda *at: told.append(at), aside=True)
    cache = Cache._over(started)
    with cache:
        assert half.wait(LONG_S)
        assert started.filling.share < 1.0
        cache.store("question number 40", "newer", category="loose")
        cache.store("question number 1", "newer", category="loose")
        decision = cache.check("question number 40", category="loose")
        assert isinstance(decision, Hit)
        assert decision.answer == "newer"
        go_on.set()
        started.filling.wait()
        assert started.filling.share == 1.0
        eventually(lambda: started.following.seq == started.store.mark().seq)
        assert len(started.catalog) == 50
        for number in (1, 40):
            decision = cache.check(f"question number {number}", category="loose")
            assert isinstance(decision, Hit)
            assert decision.answer == "newer"
        assert all(serves(cache, i) for i in range(50) if i not in (1, 40))
    assert told[-1][0] == told[-1][1]


def test_closing_ends_the_filling(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before it has noticed, and without a trace."""
    with opened(url, snapshots=None) as cache:
        fill(cache)
    from likewise.stores.sqlite import SQLiteStore  # noqa: PLC0415 - its method is replaced

    right = SQLiteStore.scan

    def scan(store: SQLiteStore) -> Any:
        for row in right(store):
            time.sleep(0.05)
            yield row

    monkeypatch.setattr(SQLiteStore, "scan", scan)
    settings = {"store": url, "embedding": {"model": "hashing"}, "index": {"snapshot": "off"}}
    cache = Cache._over(from_config(parse(settings), aside=True))
    cache.close()
    assert "likewise-filling" not in {thread.name for thread in threading.enumerate()}


def settings_of(url: str, dimensions: int) -> Any:
    """A configuration with one of two embedders."""
    return parse(
        {
            "store": url,
            "embedding": {"model": "hashing", "dimensions": dimensions},
            "index": {"snapshot": "off"},
            "categories": {"loose": {"similarity_threshold": 0.5, "guards": []}},
        }
    )


def test_another_embedder_embeds_anew_beside_requests(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Equal questions are answered all the time, similar ones again as soon as that is done."""
    caplog.set_level(logging.INFO, "likewise")
    with Cache.open(settings_of(url, 64)) as old:
        fill(old, 30)
        assert isinstance(old.check("the question number 3", category="loose"), Hit)
        with Cache.open(settings_of(url, 128)) as new:
            assert serves(new, 3)
            eventually(lambda: new.stats()["index"]["to_embed_anew"] == 0)
            eventually(lambda: "30 entries have been embedded anew" in caplog.text)
            decision = new.check("the question number 3", category="loose")
            assert isinstance(decision, Hit)
            with open_store(url) as store:
                assert {row.embedder for row in store.scan()} == {"hashing/128"}
            # Who runs on under the old one has its vectors in memory.
            eventually(lambda: engine(old).following.seq == engine(old).store.mark().seq)
            assert isinstance(old.check("the question number 3", category="loose"), Hit)


def test_what_is_purged_while_it_is_embedded_anew_stays_purged(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new vector does not bring it back."""
    with Cache.open(settings_of(url, 64)) as old:
        fill(old, 10)
        begun, go_on = threading.Event(), threading.Event()
        right = HashingEmbedder.embed

        def embed(embedder: HashingEmbedder, texts: Any) -> Vectors:
            if threading.current_thread().name == "likewise-reembedding":
                begun.set()
                assert go_on.wait(LONG_S)
            return right(embedder, texts)

        monkeypatch.setattr(HashingEmbedder, "embed", embed)
        with Cache.open(settings_of(url, 128)) as new:
            assert begun.wait(LONG_S)
            old.clear()
            go_on.set()
            eventually(lambda: new.stats()["index"]["to_embed_anew"] == 0)
            assert engine(new).store.count() == 0
            eventually(lambda: len(engine(new).catalog) == 0)


def test_an_embedder_that_fails_is_a_fault_that_is_counted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal questions are answered on."""
    with Cache.open(settings_of(url, 64)) as old:
        fill(old, 10)
    right = HashingEmbedder.embed

    def embed(embedder: HashingEmbedder, texts: Any) -> Vectors:
        if threading.current_thread().name == "likewise-reembedding":
            msg = "the server is down"
            raise EmbedderError(msg)
        return right(embedder, texts)

    monkeypatch.setattr(HashingEmbedder, "embed", embed)
    with Cache.open(settings_of(url, 128)) as new:
        eventually(
            lambda: new.stats()["categories"].get("default", {}).get("faults", {}).get("embedder")
        )
        assert serves(new, 3)


def test_where_snapshots_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a file, else in the cache folder by the address; for memory nowhere."""
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path))
    assert snapshots_of("auto", "memory://") is None
    assert snapshots_of("off", "sqlite:///a.db") is None
    assert snapshots_of(None, "sqlite:///a.db") is None
    assert snapshots_of("auto", "sqlite:///a.db") == Path("a.db-index")
    assert snapshots_of("elsewhere", "sqlite:///a.db") == Path("elsewhere")
    one, two = folder_of("redis://a/0"), folder_of("redis://a/1")
    assert one is not None
    assert two is not None
    assert one.parent == two.parent == tmp_path / "index"
    assert one != two
