from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.catalog import Catalog
from likewise.index import Record
from likewise.pools import Room

D = 4


def record(
    name: str,
    *,
    category: str = "code",
    scope: bytes = b"s",
    expires: float | None = None,
    size: int = 1,
) -> Record:
    """A record whose key is made of its scope, category and first letter."""
    key = scope + category.encode() + name[:1].encode()
    return Record.of(name, key, scope, category, name, 0.0, expires, 0, size=size)


def axis(place: int) -> NDArray[np.float32]:
    """A unit vector along one axis."""
    vector: NDArray[np.float32] = np.eye(D, dtype=np.float32)[place]
    return vector


def names(
    catalog: Catalog, place: int, *, scope: bytes = b"s", category: str = "code"
) -> list[str]:
    """The entries found near an axis."""
    found = catalog.nearest(scope, category, axis(place), floor=0.5, usable=lambda _, __: True)
    return [r.entry_id for r, similarity in found if similarity >= 0.5]


def test_an_entry_is_found_by_key_identifier_and_nearness() -> None:
    """Until it is removed, and then by none of them."""
    catalog = Catalog(D)
    a = record("a")
    assert catalog.add(a, axis(0)) is None
    assert catalog.exact(a.key) is catalog.record("a") is a
    assert names(catalog, 0) == ["a"]
    assert catalog.remove(["a", "unknown", "a"]) == 1
    assert catalog.exact(a.key) is catalog.record("a") is None
    assert names(catalog, 0) == []
    assert not catalog.holds(b"s", "code")
    assert len(catalog) == 0


def test_a_newer_entry_takes_the_place_of_the_older() -> None:
    """The older one is gone from every way of finding it."""
    catalog = Catalog(D)
    old, new = record("a1"), record("a2")
    catalog.add(old, axis(0))
    assert catalog.add(new, axis(1)) is old
    assert catalog.exact(old.key) is new
    assert catalog.record("a1") is None
    assert names(catalog, 0) == []
    assert names(catalog, 1) == ["a2"]
    assert catalog.counts() == {"code": 1}


def test_scopes_and_categories_are_searched_alone() -> None:
    """Equal vectors in another scope or category are not found."""
    catalog = Catalog(D)
    catalog.add(record("a"), axis(0))
    catalog.add(record("b", scope=b"t"), axis(0))
    catalog.add(record("c", category="sql"), axis(0))
    assert names(catalog, 0) == ["a"]
    assert names(catalog, 0, scope=b"t") == ["b"]
    assert names(catalog, 0, category="sql") == ["c"]
    assert names(catalog, 0, scope=b"t", category="sql") == []


def test_an_entry_without_a_vector_is_exact_only() -> None:
    """It is found by its key, and makes no partition."""
    catalog = Catalog(D)
    a = record("a")
    catalog.add(a, None)
    assert catalog.exact(a.key) is a
    assert not catalog.holds(b"s", "code")


def test_loading_many_equals_adding_each() -> None:
    """Also when a key comes twice, with or without a vector: the later one stays."""
    catalog = Catalog(D)
    rows = [(record("a1"), axis(0)), (record("b"), axis(1)), (record("a2"), axis(2))]
    assert catalog.load(rows) == 3
    assert len(catalog) == 2
    assert (names(catalog, 0), names(catalog, 1), names(catalog, 2)) == ([], ["b"], ["a2"])
    only = Catalog(D)
    only.load([(record("a1"), axis(0)), (record("a2"), None)])
    assert only.exact(record("a").key).entry_id == "a2"  # type: ignore[union-attr]
    assert names(only, 0) == []


def test_expired_entries_are_listed() -> None:
    """At their expiry, not before; those that never expire, never."""
    catalog = Catalog(D)
    catalog.add(record("a", expires=10.0), None)
    catalog.add(record("b"), None)
    assert catalog.expired(9.9) == []
    assert catalog.expired(10.0) == ["a"]


def test_sizes_tell_what_the_index_is_made_of() -> None:
    """Kinds of partitions and the bytes of their vectors."""
    catalog = Catalog(D, crossover=2)
    for i in range(3):
        catalog.add(record(f"{i}"), axis(i))
    catalog.add(record("z", category="sql"), axis(0))
    sizes = catalog.sizes()
    assert (sizes["flat_partitions"], sizes["hnsw_partitions"]) == (1, 1)
    assert sizes["vector_bytes"] > 0


@pytest.mark.parametrize(
    ("held", "guaranteed", "total", "left"),
    [
        ({"a": 5, "b": 1}, {}, 4, {"a": 3, "b": 1}),
        ({"a": 50, "b": 50}, {"a": 5.0}, 20, {"a": 5, "b": 15}),
        ({"a": 3, "b": 30}, {"a": 2.0}, 12, {"a": 2, "b": 10}),
        ({"a": 2, "b": 2}, {}, 4, {"a": 2, "b": 2}),
        ({"a": 9, "b": 9, "c": 9}, {}, 12, {"a": 4, "b": 4, "c": 4}),
    ],
)
def test_victims_bring_everything_within_bounds(
    held: dict[str, int], guaranteed: dict[str, float], total: int, left: dict[str, int]
) -> None:
    """From whoever is the farthest above its share."""
    catalog = Catalog(D)
    for category, count in held.items():
        for i in range(count):
            catalog.add(record(chr(97 + i) + category, category=category), None)
    room = Room(total, None, guaranteed)
    catalog.remove(catalog.victims(room))
    assert catalog.counts() == left
    assert len(catalog) <= total
    assert catalog.victims(room) == []


def test_a_hit_saves_an_entry() -> None:
    """A touch counts when room is made; touching one that is gone changes nothing."""
    catalog = Catalog(D)
    for name in "abcd":
        catalog.add(record(name), None)
    known = catalog.record("a")
    assert known is not None
    catalog.touch(known)
    catalog.touch(record("gone", category="unknown"))
    assert catalog.victims(Room(1)) == ["b", "c", "d"]


def test_bytes_are_bounded_too() -> None:
    """Bytes of all entries together, by category."""
    catalog = Catalog(D)
    for name in "abcd":
        catalog.add(record(name, size=100), None)
    assert catalog.byte_counts() == {"code": 400}
    catalog.remove(catalog.victims(Room(100, 250)))
    assert catalog.byte_counts() == {"code": 200}
