"""What a store keeps at hand: the answers it was asked for lately, and nothing that has gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from likewise import Cache, Category, Entry
from likewise.entry import Provenance
from likewise.errors import StoreError
from likewise.policy import Hit
from likewise.stores import MemoryStore, Store, open_store
from likewise.stores.base import AtHand
from likewise.testing import FakeClock, HashingEmbedder

ENTRY = Entry("a", b"scope", "code", "q", {"n": 1}, 0.0, None, provenance=Provenance("m", 1, 2))
OTHER = replace(ENTRY, id="b", question="other")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, store_url: Callable[[str], str]) -> Iterator[Store]:
    """A new store of those that are in this process; what others have is never at hand."""
    with open_store(store_url(request.param)) as made:
        yield made


@pytest.fixture
def read(store: Store) -> Store:
    """A store in which two answers were asked for."""
    for entry in (ENTRY, OTHER):
        store.put(entry)
        assert store.at_hand(entry.id) is None, "nobody has asked for it yet"
        assert store.get(entry.id) is not None
    return store


def test_an_answer_asked_for_is_at_hand(read: Store) -> None:
    """As JSON, with its scope and where it came from."""
    held = read.at_hand("a")
    assert held is not None
    assert (held.scope, held.provenance, held.answer) == (b"scope", ENTRY.provenance, b'{"n":1}')
    assert read.at_hand("nothing") is None


@pytest.mark.parametrize(
    "gone",
    [
        lambda store: store.delete(["a"]),
        lambda store: store.clear(),
        lambda store: store.clear(category="code", scope=b"scope"),
        lambda store: store.put(replace(ENTRY, id="c")),
        lambda store: store.put(replace(ENTRY, answer=2)),
        lambda store: store.put(replace(ENTRY, question="another", answer=2)),
    ],
)
def test_what_has_gone_is_not_at_hand(read: Store, gone: object) -> None:
    """Deleted, cleared, replaced, put again, or let go."""
    assert callable(gone)
    gone(read)
    assert read.at_hand("a") is None


def test_the_others_stay_at_hand(read: Store) -> None:
    """What goes takes nothing else with it."""
    read.delete(["a"])
    read.put(replace(ENTRY, id="c", question="third"))
    assert read.at_hand("b") is not None


def test_nothing_is_at_hand_of_a_closed_store(read: Store) -> None:
    """It says so as it does of everything else."""
    read.close()
    with pytest.raises(StoreError, match="closed"):
        read.at_hand("a")


def test_the_answers_at_hand_are_bounded_by_their_bytes() -> None:
    """The oldest go."""
    at_hand = AtHand(80_000)
    for number in range(100):
        entry = replace(ENTRY, id=str(number))
        at_hand.add(entry, b"x" * 1_000, since=at_hand.drops(entry.id))
    assert at_hand.of("0") is None
    assert at_hand.of("99") is not None
    assert sum(at_hand.of(str(number)) is not None for number in range(100)) == 32


def test_deleters_and_readers_leave_nothing_behind(store: Store) -> None:
    """A read that ends after a deletion does not bring the answer back."""
    entries = [replace(ENTRY, id=str(n), question=str(n)) for n in range(40)]
    for entry in entries:
        store.put(entry)
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for entry in entries:
                store.get(entry.id)

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    for entry in entries:
        store.delete([entry.id])
        assert store.at_hand(entry.id) is None
    stop.set()
    for reader in readers:
        reader.join()
    assert [entry.id for entry in entries if store.at_hand(entry.id) is not None] == []


# -- through the cache ----------------------------------------------------------------------------

QUESTION = "How do I undo a commit?"


@pytest.fixture
def cache(store: Store, clock: FakeClock) -> Cache:
    """A cache with an answer that was served, and so is at hand."""
    policy = Category("code", ttl=100.0)
    made = Cache(store=store, embedder=HashingEmbedder(), categories=[policy], clock=clock)
    made.store(QUESTION, {"n": [1]}, category="code")
    for _ in range(2):
        hit = made.check(QUESTION, category="code")
        assert isinstance(hit, Hit)
        assert store.at_hand(hit.entry_id) is not None
    return made


def served(cache: Cache) -> object:
    """What the question gets: an answer, or the reason why there is none."""
    decision = cache.check(QUESTION, category="code")
    return decision.answer if isinstance(decision, Hit) else str(decision.reason)


def test_an_answer_at_hand_is_the_callers_own(cache: Cache) -> None:
    """What a caller does to it changes nothing for the next."""
    first = served(cache)
    assert isinstance(first, dict)
    first["n"].append(2)
    assert served(cache) == {"n": [1]}


def test_a_new_answer_is_served_at_once(cache: Cache) -> None:
    """The one before is at hand no more."""
    cache.store(QUESTION, "new", category="code")
    assert served(cache) == "new"
    assert served(cache) == "new"


def test_what_was_dropped_cleared_or_judged_wrong_is_not_served(cache: Cache) -> None:
    """By whatever door it went."""
    ways: list[Callable[[str], object]] = [
        cache.drop,
        lambda i: cache.clear(),
        lambda i: cache.clear(category="code"),
        lambda i: cache.feedback(i, correct=False),
        lambda i: cache._engine.store.delete([i]),
    ]
    for way in ways:
        entry = cache.store(QUESTION, "x", category="code")
        assert entry is not None
        assert served(cache) == "x"
        way(entry.id)
        assert served(cache) in {"gone", "no-candidate"}


def test_what_is_too_old_or_of_another_epoch_is_not_served(cache: Cache, clock: FakeClock) -> None:
    """That it is at hand says nothing of whether it may be served."""
    clock.advance(101)
    assert served(cache) == "stale"
    clock.advance(-101)
    assert served(cache) == {"n": [1]}
    engine = cache._engine
    newer = Category("code", ttl=100.0, epoch=1)
    engine.force.policies = type(engine.force.policies)(categories={"code": newer})
    assert served(cache) == "stale"


def test_the_scope_is_checked_in_what_is_at_hand(clock: FakeClock) -> None:
    """As it is in what the store returns."""

    class Mixed(MemoryStore):
        def at_hand(self, entry_id: str) -> object:  # type: ignore[override]
            held = super().at_hand(entry_id)
            return None if held is None else replace(held, scope=b"another", answer=b'"wrong"')

    cache = Cache(store=Mixed(), embedder=HashingEmbedder(), clock=clock)
    cache.store(QUESTION, "right", category="code")
    assert [served(cache) for _ in range(3)] == ["right"] * 3


def test_a_store_without_anything_at_hand_is_asked_each_time(clock: FakeClock) -> None:
    """As one of another maker may be; and one that fails when it looks is asked in earnest."""

    class Plain(MemoryStore):
        def at_hand(self, entry_id: str) -> None:
            raise StoreError(entry_id)

    cache = Cache(store=Plain(), embedder=HashingEmbedder(), clock=clock)
    cache.store(QUESTION, "right", category="code")
    assert [served(cache) for _ in range(3)] == ["right"] * 3
