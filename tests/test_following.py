"""Caches that share a store: what one does, all others know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from likewise import Cache, Category, Entry, Hit, Miss, Scope
from likewise.engine import Engine
from likewise.errors import ConfigError, StoreError
from likewise.policy import Reason
from likewise.stores import FeedLostError, Store, open_store
from likewise.testing import HashingEmbedder

LONG_S = 30.0
LOOSE = Category("loose", similarity_threshold=0.5, guards=())
OPEN = {"embedder": HashingEmbedder(), "categories": [LOOSE], "examples": {}, "rules": ()}

Fleet = Callable[[int], list[Cache]]


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def url(request: pytest.FixtureRequest, store_url: Callable[[str], str]) -> str:
    """A new store that can be shared."""
    return store_url(request.param)


@pytest.fixture
def fleet(url: str) -> Iterator[Fleet]:
    """Open several caches over one store."""
    opened: list[Cache] = []

    def make(count: int) -> list[Cache]:
        opened.extend(Cache(store=url, **OPEN) for _ in range(count))  # type: ignore[arg-type]
        return opened[-count:]

    yield make
    for cache in opened:
        cache.close()


def engine(cache: Cache) -> Engine:
    """What is behind a cache."""
    return cache._engine


def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.005)


def hit(cache: Cache, question: str, category: str = "loose") -> bool:
    """Whether a question is answered from a cache."""
    return isinstance(cache.check(question, category=category), Hit)


def known(cache: Cache) -> list[str]:
    """The entries that a cache knows of."""
    return sorted(engine(cache).catalog.select(lambda _: True))


def knows(cache: Cache, names: list[str]) -> bool:
    """Whether these are the entries that a cache knows of."""
    return known(cache) == names


def is_up_to_date(cache: Cache) -> bool:
    """Whether a cache has followed as far as there is anything to follow."""
    return engine(cache).following.seq == engine(cache).store.mark().seq


def test_what_one_stores_all_others_serve(fleet: Fleet) -> None:
    """To the letter and by nearness, with the answer."""
    one, two, three = fleet(3)
    one.store("how do I undo a git commit", "git revert", category="loose")
    for other in (two, three):
        eventually(partial(hit, other, "how do I undo a git commit"))
        decision = other.check("how do I undo the git commit", category="loose")
        assert isinstance(decision, Hit)
        assert decision.answer == "git revert"


@pytest.mark.parametrize("how", ["drop", "category", "scope", "all", "revoke"])
def test_what_is_purged_by_one_is_served_by_none(fleet: Fleet, how: str) -> None:
    """From the moment the purge has returned, before anybody has heard of it."""
    one, two, three = fleet(3)
    kept = one.store("q", "a", category="loose")
    assert kept is not None
    for other in (two, three):
        eventually(partial(hit, other, "q"))
        assert hit(other, "q"), "at hand, where a store keeps any"
    match how:
        case "drop":
            assert one.drop(kept.id)
        case "category":
            assert one.clear(category="loose") == 1
        case "scope":
            assert one.clear(scope=Scope()) == 1
        case "all":
            assert one.clear() == 1
        case _:
            assert engine(one).revoke("loose") == 1
    for other in (two, three):
        assert not hit(other, "q")
    for other in (one, two, three):
        eventually(partial(knows, other, []))


def test_an_answer_that_takes_the_place_of_another_does_so_everywhere(fleet: Fleet) -> None:
    """Whoever stored the one before."""
    one, two = fleet(2)
    one.store("q", "old", category="loose")
    eventually(lambda: hit(two, "q"))
    new = two.store("q", "new", category="loose")
    assert new is not None

    def answer(cache: Cache) -> object:
        decision = cache.check("q", category="loose")
        return decision.answer if isinstance(decision, Hit) else None

    eventually(lambda: answer(one) == "new")
    eventually(lambda: known(one) == known(two) == [new.id])


def test_feedback_reaches_everybody(fleet: Fleet) -> None:
    """A pair that one user marked wrong is served to nobody any more, until he takes it back."""
    one, two = fleet(2)
    kept = one.store("how do I undo a git commit", "git revert", category="loose")
    assert kept is not None
    near = "how do I undo the git commit"
    eventually(lambda: hit(two, near))
    assert hit(one, near)
    one.feedback(kept.id, correct=False, question=near)
    eventually(lambda: not hit(two, near))
    assert hit(two, "how do I undo a git commit")
    one.feedback(kept.id, correct=True, question=near)
    eventually(lambda: hit(two, near))


def test_policies_in_the_store_are_in_force_everywhere(fleet: Fleet) -> None:
    """From now on, for who opens it later, and until they are taken back."""
    one, two = fleet(2)
    near, stored = "how do I undo the git commit", "how do I undo a git commit"
    one.store(stored, "git revert", category="loose")
    eventually(lambda: hit(two, near))
    policy = engine(one).book.override("loose", {"similarity_threshold": 0.999})
    assert policy.similarity_threshold == 0.999
    eventually(lambda: not hit(two, near))
    assert not hit(one, near)
    (three,) = fleet(1)
    assert hit(three, stored)
    assert not hit(three, near)
    assert engine(one).book.override("loose", None) == LOOSE
    for cache in (one, two, three):
        eventually(partial(hit, cache, near))


def test_a_policy_that_is_wrong_is_refused(fleet: Fleet) -> None:
    """By name, and nothing changes anywhere."""
    (one,) = fleet(1)
    for settings, said in (
        ({"similarity_treshold": 0.9}, "similarity_threshold"),
        ({"similarity_threshold": 0.2}, "policies.loose.similarity_threshold"),
        ({"ttl": "soon"}, "soon"),
        ({"examples": ["a"]}, "configuration file"),
        ({"error_budget": 3.0}, "error_budget"),
    ):
        with pytest.raises(ConfigError, match=said):
            engine(one).book.override("loose", settings)
    with pytest.raises(ConfigError, match="category name"):
        engine(one).book.override("No Such", {})
    assert engine(one).force.policies.of("loose") == LOOSE
    assert engine(one).store.memo("policies") is None


def test_who_stores_under_an_epoch_that_was_revoked_is_not_served(fleet: Fleet) -> None:
    """Another may not have heard of it yet when it stores."""
    one, two = fleet(2)
    engine(two).following.stop()
    two.store("warm up", "x", category="loose")  # ends its waiting
    engine(two).following.join(LONG_S)
    engine(one).revoke("loose")
    two.store("q", "made under the old epoch", category="loose")
    eventually(lambda: len(known(one)) == 1)
    decision = one.check("q", category="loose")
    assert isinstance(decision, Miss)
    assert decision.reason is Reason.STALE


def test_who_was_away_catches_up(fleet: Fleet, url: str) -> None:
    """With everything that happened meanwhile, in its order."""
    one, two = fleet(2)
    with open_store(url) as other:
        for cache in (one, two):
            engine(cache).following.stop()
            other.put_memo("wake", b"")
            engine(cache).following.join(LONG_S)
    gone = one.store("gone", "x", category="loose")
    assert gone is not None
    for i in range(30):
        one.store(f"q{i}", "old", category="loose")
        one.store(f"q{i}", i, category="loose")
    one.drop(gone.id)
    assert engine(two).following.step() > 30
    assert known(two) == known(one)
    assert all(two.check(f"q{i}", category="loose").answer == i for i in range(30))  # type: ignore[union-attr]
    assert engine(two).following.step() == 0


def test_who_was_away_for_too_long_takes_stock(
    fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not told any more is compared: entries that came, went or changed, and verdicts."""
    one, two = fleet(2)
    stays = one.store("stays", "x", category="loose")
    goes = one.store("goes", "x", category="loose")
    assert stays is not None
    assert goes is not None
    eventually(lambda: len(known(two)) == 2)
    engine(two).following.stop()
    with open_store(url) as other:
        other.put_memo("wake", b"")
    engine(two).following.join(LONG_S)
    for module in ("sqlite", "redis", "postgres"):
        monkeypatch.setattr(f"likewise.stores.{module}.MOST_CHANGES", 10)
    one.drop(goes.id)
    one.feedback(stays.id, correct=False, question="stay")
    for i in range(300):
        one.store(f"q{i % 50}", i, category="loose")
    with pytest.raises(FeedLostError):
        engine(two).store.changes(after=engine(two).following.seq)
    engine(two).following.step()

    def alike() -> bool:
        # The one follows as well, and is told of its own so late that it takes stock, too.
        engine(two).following.step()
        return known(two) == known(one)

    eventually(alike)
    assert len(known(two)) == 51
    assert hit(two, "q49")
    assert not hit(two, "stay")


def test_a_store_that_is_away_is_followed_again_when_it_is_back(fleet: Fleet) -> None:
    """The fault is counted, and nothing is lost but time."""
    one, two = fleet(2)
    store = engine(two).store
    right, away = store.changes, threading.Event()

    def fails(*, after: int) -> object:
        if away.is_set():
            msg = "the store is away"
            raise StoreError(msg)
        return right(after=after)

    store.changes = fails  # type: ignore[method-assign, assignment]
    away.set()
    one.store("q", "a", category="loose")
    eventually(lambda: two.stats()["categories"].get("default", {}).get("faults"))
    assert not hit(two, "q")
    away.clear()
    eventually(lambda: hit(two, "q"))


def test_many_who_write_at_once_end_up_with_the_same(fleet: Fleet) -> None:
    """Every cache knows exactly what the store holds, and serves what it holds."""
    caches = fleet(3)
    rounds = 40

    def work(who: int) -> None:
        for i in range(rounds):
            mine = caches[who].store(f"q{i % 7}", f"{who} {i}", category="loose")
            caches[who].store(f"own {who} {i}", i, category="loose")
            if i % 5 == 0 and mine is not None:
                caches[who].drop(mine.id)
            with suppress(StoreError):
                caches[who].check(f"q{(i + 3) % 7}", category="loose")

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(work, who) for who in range(3)]:
            done.result()
    store: Store = engine(caches[0]).store
    for cache in caches:
        eventually(partial(is_up_to_date, cache))
    there = {row.id: row.question for row in store.scan()}
    assert len(there) >= 3 * rounds
    for cache in caches:
        assert known(cache) == sorted(there)
        for i in range(rounds):
            assert hit(cache, f"own 0 {i}")


def test_a_full_cache_evicts_only_for_what_it_stores_itself(url: str) -> None:
    """Else every follower would make room for the same entry once more."""
    caches = [Cache(store=url, max_entries=10, **OPEN) for _ in range(3)]  # type: ignore[arg-type]
    try:
        for i in range(40):
            caches[i % 3].store(f"q{i}", i, category="loose")
            for cache in caches:
                eventually(partial(is_up_to_date, cache))
        assert all(len(known(cache)) == 10 for cache in caches)
        assert engine(caches[0]).store.count() == 10
    finally:
        for cache in caches:
            cache.close()


def test_what_one_learns_others_take_over(url: str) -> None:
    """Labels come at once, not with the next tidying."""
    pytest.importorskip("sklearn")
    one = Cache(store=url, learning=True, **OPEN)  # type: ignore[arg-type]
    two = Cache(store=url, learning=True, **OPEN)  # type: ignore[arg-type]
    with one, two:
        one.store("how do I undo a git commit", "revert", category="loose")
        one.store("how do I undo the git commit", "revert", category="loose")
        learner = engine(one).learner
        other = engine(two).learner
        assert learner is not None
        assert other is not None
        assert learner.labels == 1
        learner.follow()
        eventually(lambda: other.labels == 1)


def test_closing_ends_the_following(url: str) -> None:
    """No thread is left."""
    with Cache(store=url, **OPEN) as one:  # type: ignore[arg-type]
        names = {thread.name for thread in threading.enumerate()}
        assert "likewise-following" in names
        one.store("q", "a", category="loose")
    assert "likewise-following" not in {thread.name for thread in threading.enumerate()}


def test_what_was_revoked_stays_revoked_whatever_else_is_put(fleet: Fleet) -> None:
    """Another policy, or the file's again, does not bring its epoch back."""
    (one,) = fleet(1)
    engine(one).book.override("loose", {"ttl": "2h"})
    engine(one).revoke("loose")
    assert engine(one).force.policies.of("loose").epoch == 1
    assert engine(one).force.policies.of("loose").ttl_s == 7200, "all else is as it was"
    assert engine(one).book.override("loose", {"ttl": "1h"}).epoch == 1
    assert engine(one).book.override("loose", None).epoch == 1
    engine(one).revoke("loose")
    (two,) = fleet(1)
    assert engine(two).force.policies.of("loose").epoch == 2


def test_who_takes_stock_hears_of_policies_too(
    fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And lets go of what it remembers of entries that went."""
    one, two = fleet(2)
    kept = one.store("goes", "x", category="loose")
    assert kept is not None
    eventually(lambda: hit(two, "goes"))
    engine(two).following.stop()
    with open_store(url) as other:
        other.put_memo("wake", b"")
    engine(two).following.join(LONG_S)
    for module in ("sqlite", "redis", "postgres"):
        monkeypatch.setattr(f"likewise.stores.{module}.MOST_CHANGES", 10)
    engine(one).revoke("loose")
    for i in range(300):
        one.store(f"q{i % 20}", i, category="loose")
    engine(two).following.step()
    assert engine(two).force.policies.of("loose").epoch == 1


@pytest.mark.parametrize("how", ["purged", "replaced"])
def test_what_goes_between_store_and_index_is_not_indexed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whoever follows has seen it go already, and would not look again."""
    one, two = fleet(2)
    store = engine(one).store
    right = store.put

    def put(entry: Entry, *, keep_s: float | None = None) -> list[str]:
        replaced = right(entry, keep_s=keep_s)
        monkeypatch.undo()
        eventually(lambda: known(two) == [entry.id])
        if how == "purged":
            two.clear()
        else:
            two.store("q", "newer", category="loose")
        eventually(partial(is_up_to_date, one))
        return replaced

    monkeypatch.setattr(store, "put", put)
    one.store("q", "older", category="loose")
    eventually(lambda: known(one) == known(two))
    decision = one.check("q", category="loose")
    assert isinstance(decision, Hit) == (how == "replaced")
    assert getattr(decision, "answer", "newer") == "newer"


def test_a_very_long_life_is_no_matter(fleet: Fleet) -> None:
    """It is kept whole, and a purge finds it."""
    (one,) = fleet(1)
    engine(one).book.override("loose", {"ttl": None})
    kept = one.store("q", "a", category="loose", ttl=1e16)
    assert kept is not None
    assert hit(one, "q")
    assert one.clear() == 1
    assert engine(one).store.get(kept.id) is None
