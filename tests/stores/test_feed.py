from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from likewise import Entry
from likewise.errors import StoreError
from likewise.stores import (
    Change,
    FeedLostError,
    Kind,
    MemoryStore,
    Store,
    Verdict,
    open_store,
)

LONG_S = 30.0
"""Far longer than anything here takes; a test that waits so long has failed."""


def entry(name: str, question: str | None = None) -> Entry:
    """An entry whose question is its name."""
    return Entry(name, b"s", "code", question or name, "answer", 1.0, None, np.ones(4, np.float16))


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """A second object over the same store; in memory the same."""
    if isinstance(store, MemoryStore):
        yield store
    else:
        with open_store(store.url) as second:
            yield second


def told(changes: list[Change]) -> list[tuple[Kind, tuple[str, ...]]]:
    """What changes say."""
    return [(c.kind, c.names) for c in changes]


def test_everything_is_told_in_order(store: Store, other: Store) -> None:
    """Entries that come, go and are replaced, verdicts, labels, memos; counters are not."""
    start = store.mark()
    verdict = Verdict(b"\x00a", b"\xffk", correct=False)
    store.put(entry("a"))
    store.put(entry("b", "a"))
    store.delete(["b", "never"])
    store.add_verdict(verdict)
    store.add_labels([b"x", b"y"])
    store.put_memo("m", b"1")
    store.add_counters({("code", "requests"): 1})
    changes = other.changes(after=start.seq)
    assert told(changes) == [
        (Kind.PUT, ("a",)),
        (Kind.GONE, ("a",)),
        (Kind.PUT, ("b",)),
        (Kind.GONE, ("b",)),
        (Kind.VERDICT, ()),
        (Kind.LABELS, ()),
        (Kind.MEMO, ("m",)),
    ]
    assert changes[4].verdict == verdict
    assert [c.seq for c in changes] == list(range(start.seq + 1, start.seq + 8))
    assert other.mark() == replace(start, seq=start.seq + 7)
    assert other.changes(after=start.seq + 7) == []
    assert told(other.changes(after=start.seq + 5)) == told(changes[5:])


def test_whose_change_it_was(store: Store, other: Store) -> None:
    """A follower need not fetch what it has put itself."""
    start = store.mark().seq
    store.put(entry("a"))
    other.put(entry("b"))
    mine = {c.names[0]: c.own for c in store.changes(after=start) if c.kind is Kind.PUT}
    assert mine == {"a": True, "b": isinstance(store, MemoryStore)}


def test_what_does_nothing_is_not_told(store: Store) -> None:
    """Deleting what is not there, no labels."""
    start = store.mark()
    store.delete(["never"])
    store.delete([])
    store.clear(category="none")
    store.add_labels([])
    store.expire()
    assert store.mark() == start


def test_a_purge_tells_of_every_entry(store: Store, other: Store) -> None:
    """In as many changes as it takes."""
    names = {f"e{i}" for i in range(1200)}
    for name in names:
        store.put(replace(entry(name), vector=None))
    after = store.mark().seq
    store.clear()
    gone: list[str] = []
    while changes := other.changes(after=after):
        after = changes[-1].seq
        gone += [name for c in changes for name in c.names]
    assert sorted(gone) == sorted(names)


def test_a_page_is_not_everything(store: Store) -> None:
    """Who asks on from the last gets the rest, none twice."""
    start = after = store.mark().seq
    for i in range(2300):
        store.put_memo("m", str(i).encode())
    seen: list[int] = []
    while changes := store.changes(after=after):
        seen += [c.seq for c in changes]
        after = seen[-1]
    assert seen == list(range(start + 1, start + 2301))


def test_what_is_not_kept_any_more_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a gap in silence; and a number that is still to come is of another history."""
    start = store.mark().seq
    if isinstance(store, MemoryStore):
        store._feed = type(store._feed)(maxlen=100)
    for module in ("sqlite", "redis", "postgres"):
        monkeypatch.setattr(f"likewise.stores.{module}.MOST_CHANGES", 100)
    for i in range(300):
        store.put_memo("m", str(i).encode())
    with pytest.raises(FeedLostError, match="not kept any more"):
        store.changes(after=start)
    head = store.mark().seq
    assert [c.seq for c in store.changes(after=head - 50)] == list(range(head - 49, head + 1))
    with pytest.raises(FeedLostError):
        store.changes(after=head + 1)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_waiting_ends_with_a_change(store: Store, other: Store, when: str) -> None:
    """Whether it came before or while somebody waits."""
    after = store.mark().seq
    started = threading.Event()
    done = threading.Event()

    def wait() -> None:
        started.set()
        other.wait(after=after, timeout_s=LONG_S)
        done.set()

    if when == "before":
        store.put(entry("a"))
    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    if when == "meanwhile":
        time.sleep(0.05)
        store.put(entry("a"))
    assert done.wait(LONG_S / 2)
    thread.join()


def test_waiting_ends_without_a_change(store: Store) -> None:
    """After the time it was given."""
    after = store.mark().seq
    began = time.monotonic()
    store.wait(after=after, timeout_s=0.1)
    assert time.monotonic() - began >= 0.09


def test_closing_ends_the_waiting(store: Store) -> None:
    """With an error of the store or without, but soon."""
    after, ended = store.mark().seq, threading.Event()

    def wait() -> None:
        with contextlib.suppress(StoreError):
            store.wait(after=after, timeout_s=LONG_S)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    store.close()
    assert ended.wait(LONG_S / 2)
    thread.join()


def test_an_identity_stays_and_is_of_one_store(
    store: Store, other: Store, store_url: Callable[[str], str]
) -> None:
    """Another store has another, so that nobody takes the one's history for the other's."""
    assert store.mark().store == other.mark().store
    kind = store.url.partition(":")[0].removesuffix("ql")
    with open_store(store_url(kind)) as third:
        assert third.mark().store != store.mark().store


def test_an_entry_past_its_time_is_given_out_no_more(store: Store, other: Store) -> None:
    """By nobody, whether anything deletes it or not; then it is deleted, and that is told."""
    store.put(entry("short"), keep_s=0.3)
    store.put(entry("long"), keep_s=1000.0)
    store.put(entry("always"))
    assert store.get("short") is not None
    assert {row.id for row in other.rows(["short", "long"])} == {"short", "long"}
    deadline = time.monotonic() + LONG_S
    while store.get("short") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert store.at_hand("short") is None
    assert other.get("short") is None
    assert [row.id for row in other.scan()] == ["long", "always"]
    assert [row.id for row in other.rows(["short", "long"])] == ["long"]
    after = store.mark().seq
    gone = other.expire()
    told_of = [c.names for c in store.changes(after=after) if c.kind is Kind.GONE]
    # Redis may have told of it before, when it cleared up after a scan.
    assert (gone, told_of) in [(1, [("short",)]), (0, [])]
    assert store.counts() == {"code": 2}
    assert store.expire() == 0


def test_an_entry_put_again_lives_anew(store: Store) -> None:
    """The time of the one before does not end it."""
    store.put(entry("a"), keep_s=0.05)
    store.put(entry("a"))
    store.put(entry("b", "q"), keep_s=0.05)
    store.put(entry("c", "q"), keep_s=1000.0)
    time.sleep(0.1)
    store.expire()
    assert [row.id for row in store.scan()] == ["a", "c"]
    assert store.get("a") is not None
    assert store.get("c") is not None


def test_rows_are_those_of_the_scan(store: Store) -> None:
    """In any number; what is not there is left out."""
    names = [f"e{i}" for i in range(1100)]
    for name in names:
        store.put(entry(name))
    found = {row.id: row for row in store.rows([*names, "never"])}
    assert sorted(found) == sorted(names)
    for row in store.scan():
        assert found[row.id].question == row.question
        assert found[row.id].size == row.size
    assert store.rows([]) == []


def test_writers_of_many_objects_leave_no_gap(store: Store, other: Store) -> None:
    """A number is visible only when all before it are: who follows misses nothing."""
    start = store.mark().seq
    rounds, seen, ended = 100, list[int](), threading.Event()

    def write(who: Store, name: str) -> None:
        for i in range(rounds):
            who.put(replace(entry(f"{name}{i}"), vector=None))

    def follow() -> None:
        after = start
        while not ended.is_set() or store.mark().seq != after:
            for change in store.changes(after=after):
                seen.append(change.seq)
                after = change.seq

    follower = threading.Thread(target=follow)
    writers = [
        threading.Thread(target=write, args=(who, name))
        for who, name in ((store, "a"), (other, "b"), (store, "c"))
    ]
    follower.start()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    follower.join()
    assert seen == list(range(start + 1, start + 1 + 3 * rounds))
