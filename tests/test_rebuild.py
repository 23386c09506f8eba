from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from likewise import Entry
from likewise.catalog import Catalog
from likewise.entry import exact_key
from likewise.rebuild import rebuild
from likewise.stores import MemoryStore, Store

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
    """Done counts up by one to the total."""
    for i in range(5):
        store.put(entry(str(i)))
    told: list[tuple[int, int]] = []
    rebuild(Catalog(2), store, embedder="e", now=NOW, progress=lambda *args: told.append(args))
    assert told == [(i, 5) for i in range(1, 6)]
