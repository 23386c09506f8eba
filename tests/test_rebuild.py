from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from likewise import Entry
from likewise.catalog import Catalog
from likewise.entry import exact_key
from likewise.index import Record
from likewise.rebuild import rebuild
from likewise.stores import IndexRow, MemoryStore, Store

NOW = 1000.0
VECTOR = np.array([1.0, 0.0], np.float16)


def entry(name: str, **changes: object) -> Entry:
    """A stored entry that is fresh and made by the embedder ``e``."""
    base = Entry(name, b"s", "code", f"question {name}", "answer", 0.0, None, VECTOR, "e")
    return replace(base, **changes)  # type: ignore[arg-type]


def rebuilt(store: Store) -> Catalog:
    """A catalog filled from ``store`` for the embedder ``e``."""
    catalog = Catalog(2)
    rebuild(catalog, store, embedder="e", now=NOW)
    return catalog


def near(catalog: Catalog) -> list[str]:
    """The entries found by nearness."""
    vector = VECTOR.astype(np.float32)
    found = catalog.nearest(b"s", "code", vector, floor=0.5, usable=lambda _, __: True)
    return [record.entry_id for record, _ in found]


def test_every_entry_is_found_again(store: Store) -> None:
    """By key and by nearness, with the times and the epoch it was stored with."""
    store.put(entry("a", created_at=5.0, expires_at=NOW + 1, epoch=3))
    store.put(entry("b", vector=None))
    catalog = rebuilt(store)
    a = catalog.exact(exact_key(b"s", "code", "question a"))
    assert a is not None
    assert (a.entry_id, a.created_at, a.expires_at, a.epoch) == ("a", 5.0, NOW + 1, 3)
    assert catalog.exact(exact_key(b"s", "code", "question b")) is not None
    assert near(catalog) == ["a"]


def test_what_has_expired_is_deleted(store: Store) -> None:
    """From the store too: it would be read at every start."""
    store.put(entry("a", expires_at=NOW))
    store.put(entry("b", expires_at=NOW + 0.1))
    catalog = rebuilt(store)
    assert len(catalog) == 1
    assert store.get("a") is None
    assert store.get("b") is not None


def test_vectors_of_another_embedder_are_not_compared(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Equal questions are still answered, and one line says how many are concerned."""
    store.put(entry("a", embedder="other", question="CANARY"))
    store.put(entry("b", embedder="other"))
    with caplog.at_level(logging.WARNING, "likewise"):
        catalog = rebuilt(store)
    assert near(catalog) == []
    assert catalog.exact(exact_key(b"s", "code", "CANARY")) is not None
    (line,) = caplog.messages
    assert line.startswith("2 entries")
    assert "CANARY" not in line


@pytest.mark.parametrize(
    "vector", [np.ones(3, np.float16), np.array([np.nan, 0], np.float16), np.zeros(0, np.float16)]
)
def test_a_damaged_vector_does_not_stop_the_start(vector: np.ndarray) -> None:
    """Its entry is served to equal questions only, and the others as ever."""
    store = MemoryStore()
    store.put(entry("bad", vector=vector))
    store.put(entry("good"))
    catalog = rebuilt(store)
    assert near(catalog) == ["good"]
    assert catalog.exact(exact_key(b"s", "code", "question bad")) is not None


def test_progress_is_told_to_the_end(store: Store) -> None:
    """Done goes up to the total, what has expired and what has no vector included."""
    for i in range(5):
        store.put(entry(str(i), expires_at=NOW if i == 1 else None))
    store.put(entry("none", vector=None))
    told: list[tuple[int, int]] = []
    rebuild(Catalog(2), store, embedder="e", now=NOW, progress=lambda *args: told.append(args))
    assert told == sorted(told)
    assert told[-1] == (6, 6)


def test_it_ends_where_it_is_when_it_is_told_to(store: Store) -> None:
    """What is there by then can be found."""
    for i in range(5):
        store.put(entry(str(i)))
    catalog, asked = Catalog(2), iter([False, False, True])
    rebuild(catalog, store, embedder="e", now=NOW, stop=lambda: next(asked))
    assert len(catalog) == 2


class Meddling(MemoryStore):
    """Does something while its rows are read, before some of them are told."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[str, Callable[[], object]] = {}

    def scan(self) -> Iterator[IndexRow]:
        """See ``Store.scan``."""
        for row in list(super().scan()):
            self.at.get(row.id, lambda: None)()
            yield row


def newer(name: str) -> Record:
    """What the engine adds when a question is answered anew."""
    key = exact_key(b"s", "code", f"question {name}")
    return Record.of(f"{name}.new", key, b"s", "code", "", 1.0, None, 0)


@pytest.mark.parametrize("removed", [False, True])
def test_what_is_stored_meanwhile_is_not_undone_by_an_older_row(removed: bool) -> None:
    """Neither while it is there nor when it has gone again."""
    store, catalog = Meddling(), Catalog(2)
    store.put(entry("a"))
    store.put(entry("b"))

    def meddle() -> None:
        catalog.add(newer("a"), VECTOR.astype(np.float32))
        if removed:
            catalog.remove(["a.new"])

    store.at["b"] = meddle
    rebuild(catalog, store, embedder="e", now=NOW)
    assert catalog.record("a") is None
    assert sorted(near(catalog)) == (["b"] if removed else ["a.new", "b"])
    assert len(catalog) == (1 if removed else 2)


def test_what_is_removed_meanwhile_stays_away() -> None:
    """Its row was read before it was deleted."""
    store, catalog = Meddling(), Catalog(2)
    store.put(entry("a"))
    store.put(entry("b"))
    store.at["b"] = lambda: catalog.remove(["a"])
    rebuild(catalog, store, embedder="e", now=NOW)
    assert near(catalog) == ["b"]
    # Afterwards it may come again.
    store.at.clear()
    rebuild(catalog, store, embedder="e", now=NOW)
    assert len(catalog) == 2


def test_readers_and_writers_go_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """In other threads: what is found is true, and at the end everything is as it was stored."""
    monkeypatch.setattr("likewise.catalog._CHUNK", 50)
    store, catalog = MemoryStore(), Catalog(16, crossover=500)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(3_000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    for number, vector in enumerate(vectors):
        store.put(entry(str(number), vector=vector))
    wrong: list[object] = []

    def read() -> None:
        while builder.is_alive():
            number = int(np.random.default_rng().integers(len(vectors)))
            asked = vectors[number].astype(np.float32)
            for record, cosine in catalog.nearest(
                b"s", "code", asked, floor=0.5, usable=lambda _, __: True
            ):
                true = float(vectors[int(record.entry_id.split(".")[0])].astype(np.float32) @ asked)
                if abs(true - cosine) > 0.01:
                    wrong.append((record, cosine, true))

    def write() -> None:
        for number in range(0, 3_000, 60):
            catalog.add(newer(str(number)), vectors[number].astype(np.float32))
            catalog.remove([str(number + 1)])

    builder = threading.Thread(
        target=lambda: rebuild(catalog, store, embedder="e", now=NOW), name="builder"
    )
    others = [threading.Thread(target=work) for work in (read, write)]
    builder.start()
    for other in others:
        other.start()
    for thread in (builder, *others):
        thread.join()
    assert wrong == []
    for number in range(3_000):
        there = catalog.exact(exact_key(b"s", "code", f"question {number}"))
        if number % 60 == 1:
            continue  # came before it was removed, or the other way round
        assert there is not None
        assert there.entry_id == (f"{number}.new" if number % 60 == 0 else str(number))
