"""What every store promises, over every store there is; ``store`` comes from ``conftest.py``."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from likewise import Entry
from likewise.entry import Provenance
from likewise.errors import StoreError
from likewise.stores import (
    IndexRow,
    Kind,
    Mark,
    MemoryStore,
    Store,
    Verdict,
    open_store,
)
from likewise.stores.base import MOST_LABELS
from likewise.stores.sealed import SealedStore

KINDS = ("memory", "sqlite", "redis", "postgres")
FULL = Entry(
    id="lw-1",
    scope=b"\x00\xffscope",
    category="code",
    question="naïve “question” 🙂\nsecond line\x00",
    answer={"text": "answer", "list": [1, 2.5, None, True]},
    created_at=1_700_000_000.123456,
    expires_at=1_700_000_100.5,
    vector=np.array([0.5, -0.25, 1e-4], np.float16),
    embedder="model/3",
    epoch=7,
    tenant="t",
    namespace="n",
    provenance=Provenance("gpt", 10, 20, 1.5, 0.002),
)


def entry(name: str, **changes: Any) -> Entry:
    """An entry whose question is its name."""
    return replace(FULL, **{"id": name, "question": name, "answer": name, **changes})


def assert_equal(a: Entry | None, b: Entry | None) -> None:
    """Compare every field; vectors by value and type."""
    assert a is not None
    assert b is not None
    for one in fields(Entry):
        left, right = getattr(a, one.name), getattr(b, one.name)
        if one.name == "vector" and left is not None:
            np.testing.assert_array_equal(left, right)
            assert right.dtype == np.float16
        else:
            assert left == right, one.name


def test_every_field_comes_back(store: Store) -> None:
    """Texts, times to the microsecond, bytes, vector and provenance are what they were."""
    assert store.put(FULL) == []
    assert_equal(FULL, store.get("lw-1"))
    bare = Entry("lw-2", b"", "a", "", None, 0.0, None)
    store.put(bare)
    assert_equal(bare, store.get("lw-2"))


@pytest.mark.parametrize(
    "answer",
    [
        None, True, 0, -1.5, 2**63, "", "text", "汉字 🙂 \u2028 \x00", [], {},
        [[[[{"a": [None]}]]]],
        {"": {"nested": [1, {"deep": "é"}]}}, {"role": "assistant", "tool_calls": [{"id": "x"}]},
    ],
)  # fmt: skip
def test_any_json_value_may_be_an_answer(store: Store, answer: Any) -> None:
    """It comes back equal and of the same type."""
    store.put(entry("a", answer=answer))
    back = store.get("a")
    assert back is not None
    assert back.answer == answer
    assert type(back.answer) is type(answer)


def test_a_big_answer_comes_back_whole(store: Store) -> None:
    """Five megabytes are no matter."""
    answer = "0123456789é" * 500_000
    store.put(entry("a", answer=answer))
    back = store.get("a")
    assert back is not None
    assert back.answer == answer


def test_what_a_caller_does_to_an_answer_changes_nothing_here(store: Store) -> None:
    """Neither to the one put in nor to the one got out."""
    answer = {"list": [1]}
    store.put(entry("a", answer=answer))
    answer["list"].append(2)
    first = store.get("a")
    assert first is not None
    assert first.answer == {"list": [1]}
    first.answer["list"].append(3)
    second = store.get("a")
    assert second is not None
    assert second.answer == {"list": [1]}


def test_what_is_not_there_is_none(store: Store) -> None:
    """Asking for or deleting what never was is no error."""
    assert store.get("nothing") is None
    assert store.delete(["nothing"]) == 0
    assert store.delete([]) == 0
    assert store.count() == 0


def test_a_vector_is_made_anew_in_place(store: Store) -> None:
    """All else stays as it was; what has gone, or is of another question, does not come back."""
    for name in "ab":
        store.put(entry(name))
    new = entry("a", vector=np.array([1.0, 0.0], np.float16), embedder="other/2")
    mark = store.mark()
    assert store.revector(new)
    assert_equal(new, store.get("a"))
    assert [row.id for row in store.scan()] == ["a", "b"]
    [change] = store.changes(after=mark.seq)
    assert (change.kind, change.names) == (Kind.PUT, ("a",))
    assert not store.revector(entry("never"))
    assert not store.revector(replace(new, question="another"))
    store.delete(["b"])
    assert not store.revector(entry("b"))
    assert [row.id for row in store.scan()] == ["a"]
    store.put(entry("c"), keep_s=0.05)
    assert store.revector(entry("c", vector=None))
    time.sleep(0.1)
    assert store.get("c") is None, "its time to go stays"


def test_one_entry_exists_per_key(store: Store) -> None:
    """A newer answer takes the place of the older, and says so."""
    store.put(entry("old", question="q"))
    assert store.put(entry("new", question=" q ")) == ["old"]
    assert store.get("old") is None
    assert store.count() == 1
    other: list[dict[str, Any]] = [{"scope": b"x"}, {"category": "sql"}, {"question": "r"}]
    for i, change in enumerate(other):
        assert store.put(entry(f"e{i}", **{"question": "q", **change})) == []
    assert store.count() == 4


def test_an_entry_put_again_replaces_itself(store: Store) -> None:
    """Under the same identifier, whether its key is the same or another."""
    store.put(entry("a", question="one"))
    assert store.put(entry("a", question="one", answer="changed")) == []
    assert store.put(entry("a", question="two")) == []
    assert store.put(entry("b", question="one")) == []
    assert store.count() == 2
    assert {row.question for row in store.scan()} == {"one", "two"}


@pytest.mark.parametrize(
    ("chosen", "gone"),
    [
        ({}, {"a", "b", "c"}),
        ({"category": "code"}, {"a", "b"}),
        ({"scope": b"s"}, {"a", "c"}),
        ({"category": "code", "scope": b"s"}, {"a"}),
        ({"category": "none"}, set()),
    ],
)
def test_clearing_takes_exactly_what_was_chosen(
    store: Store, chosen: dict[str, Any], gone: set[str]
) -> None:
    """A category, a scope, both, or all; it tells which."""
    store.put(entry("a", category="code", scope=b"s"))
    store.put(entry("b", category="code", scope=b"t"))
    store.put(entry("c", category="sql", scope=b"s"))
    assert set(store.clear(**chosen)) == gone
    assert {row.id for row in store.scan()} == {"a", "b", "c"} - gone


def test_deleting_says_how_many_there_were(store: Store) -> None:
    """What is named twice or not there does not count."""
    for name in "abc":
        store.put(entry(name))
    assert store.delete(["a", "a", "b", "x"]) == 2
    assert [row.id for row in store.scan()] == ["c"]


def test_a_scan_has_everything_but_the_answer(store: Store) -> None:
    """Oldest first, with what an index is rebuilt from."""
    store.put(FULL)
    store.put(entry("b", vector=None))
    first, second = store.scan()
    for one in fields(IndexRow):
        if one.name == "size" and isinstance(store, SealedStore):
            assert first.size > FULL.size  # it takes what is written, and that is longer
        elif one.name != "vector":
            assert getattr(first, one.name) == getattr(FULL, one.name)
    np.testing.assert_array_equal(first.vector, FULL.vector)
    assert second.vector is None
    assert FULL.question not in repr(first)


def test_a_scan_is_in_order_over_many_pages(store: Store) -> None:
    """A replaced entry counts as new; none is seen twice or left out."""
    names = [f"e{i}" for i in range(2500)]
    for name in names:
        store.put(entry(name, answer=None, vector=None))
    store.put(entry("again", question="e0", vector=None))
    assert [row.id for row in store.scan()] == [*names[1:], "again"]
    assert store.count() == 2500
    assert store.counts() == {"code": 2500}


def test_counts_are_by_category(store: Store) -> None:
    """Only those that hold something."""
    assert store.counts() == {}
    store.put(entry("a"))
    store.put(entry("b", category="sql"))
    store.put(entry("c", category="sql"))
    store.delete(["a"])
    assert store.counts() == {"sql": 2}


def test_labels_are_kept_in_order(store: Store) -> None:
    """Each has a number above all before it; who has seen some asks for those after."""
    store.add_labels([b"one", b"two\x00"])
    store.add_labels([b"three"])
    store.add_labels([])
    numbers, labels = zip(*store.labels(), strict=True)
    assert labels == (b"one", b"two\x00", b"three")
    assert list(numbers) == sorted(numbers)
    assert [label for _, label in store.labels(after=numbers[1])] == [b"three"]
    assert list(store.labels(after=numbers[2])) == []


def test_only_the_latest_labels_are_kept(store: Store) -> None:
    """The log is bounded, and numbers go on."""
    many = [str(n).encode() for n in range(MOST_LABELS + 10)]
    store.add_labels(many)
    store.add_labels([b"last"])
    kept = [label for _, label in store.labels()]
    assert len(kept) == MOST_LABELS
    assert kept[-2:] == [many[-1], b"last"]


def test_a_memo_is_kept_under_its_name(store: Store) -> None:
    """The latest counts; an unknown name has none."""
    assert store.memo("a") is None
    store.put_memo("a", b"1")
    store.put_memo("a", b"2\x00")
    store.put_memo("b", b"")
    assert (store.memo("a"), store.memo("b")) == (b"2\x00", b"")


def test_the_latest_verdict_on_a_pair_is_kept(store: Store) -> None:
    """One per pair of exact keys, whether there is an entry or not."""
    store.add_verdict(Verdict(b"a", b"k1", correct=False))
    store.add_verdict(Verdict(b"a", b"k2", correct=False))
    store.add_verdict(Verdict(b"a", b"k1", correct=True))
    store.add_verdict(Verdict(b"b", b"k1", correct=False))
    assert set(store.verdicts()) == {
        Verdict(b"a", b"k1", correct=True),
        Verdict(b"a", b"k2", correct=False),
        Verdict(b"b", b"k1", correct=False),
    }


@pytest.mark.parametrize("how", ["delete", "clear", "replace"])
def test_verdicts_outlive_their_entry(store: Store, how: str) -> None:
    """However it went: the same answer may be stored again, and is as wrong for that question."""
    kept = entry("a", question="q")
    store.put(kept)
    verdict = Verdict(kept.key, b"k", correct=False)
    store.add_verdict(verdict)
    if how == "delete":
        store.delete(["a"])
    elif how == "clear":
        store.clear(category="code")
    else:
        store.put(entry("b", question="q"))
    assert list(store.verdicts()) == [verdict]


def test_counters_add_up(store: Store) -> None:
    """Amounts are added to what is there; fractions stay fractions."""
    assert store.counters() == {}
    store.add_counters({("code", "requests"): 2, ("code", "saved_s"): 0.25})
    store.add_counters({("code", "requests"): 3, ("sql", "requests"): 1})
    store.add_counters({})
    assert store.counters() == {
        ("code", "requests"): 5,
        ("code", "saved_s"): 0.25,
        ("sql", "requests"): 1,
    }


@pytest.mark.parametrize("answer", [object(), {"a": {1: object()}}, "\ud800"])
def test_a_refused_write_leaves_no_trace(store: Store, answer: object) -> None:
    """The entry that was there before is still there, and no text is in the message."""
    store.put(entry("old", question="CANARY"))
    with pytest.raises(StoreError) as caught:
        store.put(entry("new", question="CANARY", answer=answer))
    assert "CANARY" not in str(caught.value)
    assert_equal(entry("old", question="CANARY"), store.get("old"))
    assert store.count() == 1


def test_a_question_that_is_no_unicode_is_kept_or_refused(store: Store) -> None:
    """JSON can carry half a surrogate pair; either it comes back or it is a StoreError."""
    odd = entry("a", question="\ud800")
    try:
        store.put(odd)
    except StoreError:
        assert store.count() == 0
    else:
        assert_equal(odd, store.get("a"))


def test_a_closed_store_says_so(store: Store) -> None:
    """Every method raises StoreError; closing twice is fine."""
    store.put(entry("a"))
    store.close()
    store.close()
    for call in (
        lambda: store.put(entry("b")),
        lambda: store.get("a"),
        lambda: store.delete(["a"]),
        store.clear,
        lambda: list(store.scan()),
        store.count,
        store.counts,
        lambda: store.add_verdict(Verdict(b"a", b"k", correct=True)),
        lambda: list(store.verdicts()),
        lambda: store.add_counters({("a", "b"): 1}),
        store.counters,
        lambda: store.rows(["a"]),
        store.expire,
        store.mark,
        lambda: store.changes(after=0),
        lambda: store.wait(after=0, timeout_s=0.1),
        lambda: store.add_labels([b"x"]),
        lambda: list(store.labels()),
        lambda: store.put_memo("a", b""),
        lambda: store.memo("a"),
    ):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_the_address_opens_the_same_kind(store: Store) -> None:
    """``url`` names the kind."""
    store.put(FULL)
    if isinstance(store, MemoryStore):
        assert store.url == "memory://"
        return
    with open_store(store.url) as again:
        if isinstance(store, SealedStore):
            assert again.counts() == store.counts()
            return
        assert type(again) is type(store)
        assert_equal(FULL, again.get("lw-1"))


def test_threads_do_not_get_in_each_other_s_way(store: Store) -> None:
    """Writers, readers, deleters and counters at once: nothing is torn, lost or counted twice."""
    rounds, threads = 60, 6

    def work(who: int) -> None:
        for i in range(rounds):
            mine = entry(f"{who}-{i}", answer={"who": who, "i": i, "pad": "x" * 2000})
            store.put(mine)
            store.put(entry(f"shared-{who}-{i}", question="shared", answer=f"{who}-{i}"))
            back = store.get(mine.id)
            assert back is not None
            assert back.answer == mine.answer
            if i % 3 == 0:
                assert store.delete([mine.id]) == 1
            for row in list(store.scan())[-3:]:
                found = store.get(row.id)
                assert found is None or found.question == row.question
            store.add_counters({("code", "requests"): 1})

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, who) for who in range(threads)]:
            done.result()
    assert store.counters() == {("code", "requests"): rounds * threads}
    rows = list(store.scan())
    assert len(rows) == store.count() == threads * (rounds - rounds // 3) + 1
    assert Counter(row.question for row in rows)["shared"] == 1


def test_closing_under_readers_is_an_error_of_the_store_only(store: Store) -> None:
    """Threads that read while the store closes get an entry or a StoreError."""
    store.put(FULL)
    started, other = threading.Barrier(5), list[BaseException]()

    def read() -> None:
        started.wait()
        try:
            while True:
                assert store.get(FULL.id) is not None
        except StoreError:
            pass
        except BaseException as error:
            other.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    store.close()
    for thread in threads:
        thread.join()
    assert other == []


@dataclass
class Model:
    """What every store must do, as plainly as it can be written."""

    entries: dict[str, Entry] = field(default_factory=dict)
    """By identifier, in the order in which they came."""
    verdicts: dict[tuple[bytes, bytes], bool] = field(default_factory=dict)
    counters: dict[tuple[str, str], float] = field(default_factory=dict)
    memos: dict[str, bytes] = field(default_factory=dict)
    labels: list[bytes] = field(default_factory=list)

    def put(self, new: Entry) -> list[str]:
        """One entry for each key, and one for each identifier; the new one is the latest."""
        replaced = [e.id for e in self.entries.values() if e.key == new.key and e.id != new.id]
        for name in [*replaced, new.id]:
            self.entries.pop(name, None)
        self.entries[new.id] = new
        return replaced

    def delete(self, names: list[str]) -> int:
        """Count what was there."""
        return sum(self.entries.pop(name, None) is not None for name in names)

    def clear(self, category: str | None, scope: bytes | None) -> set[str]:
        """Choose by category and scope."""
        gone = {
            e.id
            for e in self.entries.values()
            if category in (None, e.category) and scope in (None, e.scope)
        }
        self.delete(list(gone))
        return gone


class AnyStore(RuleBasedStateMachine):
    """A store does as the model does, whatever happens in whatever order.

    A second object over the same store reads all that the first has written, and who follows the
    feed from the start knows at every step which entries there are.
    """

    kind: str
    make: Callable[[str], str]

    names = st.sampled_from("abcd")
    questions = st.sampled_from("qrs")
    categories = st.sampled_from(["code", "sql"])
    scopes = st.sampled_from([b"s", b"t"])

    def __init__(self) -> None:
        super().__init__()
        self.store = open_store(type(self).make(self.kind))
        # In memory there is no other: the same object is followed.
        self.other = self.store if self.kind == "memory" else open_store(self.store.url)
        self.model = Model()
        self.mark = self.store.mark()
        self.known: set[str] = set()

    def teardown(self) -> None:
        """Close both."""
        self.store.close()
        self.other.close()

    @rule(name=names, question=questions, category=categories, scope=scopes, answer=st.integers())
    def put(self, name: str, question: str, category: str, scope: bytes, answer: int) -> None:
        """Put an entry, maybe in the place of others."""
        new = entry(name, question=question, category=category, scope=scope, answer=answer)
        assert self.store.put(new) == self.model.put(new)

    @rule(chosen=st.lists(names, max_size=3))
    def delete(self, chosen: list[str]) -> None:
        """Delete some, there or not."""
        assert self.store.delete(chosen) == self.model.delete(chosen)

    @rule(category=st.none() | categories, scope=st.none() | scopes)
    def clear(self, category: str | None, scope: bytes | None) -> None:
        """Clear a part, or all."""
        gone = self.store.clear(category=category, scope=scope)
        assert set(gone) == self.model.clear(category, scope)
        assert len(gone) == len(set(gone))

    @rule(name=names, question=questions, correct=st.booleans())
    def judge(self, name: str, question: str, correct: bool) -> None:
        """Keep a verdict."""
        self.store.add_verdict(Verdict(name.encode(), question.encode(), correct))
        self.model.verdicts[name.encode(), question.encode()] = correct

    @rule(
        category=categories, name=st.sampled_from(["requests", "saved_s"]), more=st.integers(0, 9)
    )
    def count(self, category: str, name: str, more: int) -> None:
        """Add to a counter."""
        self.store.add_counters({(category, name): more})
        known = self.model.counters
        known[category, name] = known.get((category, name), 0.0) + more

    @rule(name=names, value=st.binary(max_size=5))
    def note(self, name: str, value: bytes) -> None:
        """Keep a memo."""
        self.store.put_memo(name, value)
        self.model.memos[name] = value

    @rule(labels=st.lists(st.binary(max_size=5), max_size=3))
    def label(self, labels: list[bytes]) -> None:
        """Append labels."""
        self.store.add_labels(labels)
        self.model.labels += labels

    @invariant()
    def all_is_there(self) -> None:
        """Whoever asks sees what the model has."""
        model = self.model
        rows = list(self.other.scan())
        assert [r.id for r in rows] == list(model.entries)
        assert [(r.question, r.category, r.scope) for r in rows] == [
            (e.question, e.category, e.scope) for e in model.entries.values()
        ]
        for name in "abcd":
            found = self.other.get(name)
            assert (found is None) == (name not in model.entries)
            if found is not None:
                assert_equal(found, model.entries[name])
        assert {r.id for r in self.other.rows(list("abcd"))} == set(model.entries)
        assert self.other.counts() == Counter(e.category for e in model.entries.values())
        assert {(v.entry_key, v.key): v.correct for v in self.other.verdicts()} == model.verdicts
        assert self.other.counters() == model.counters
        assert {n: self.other.memo(n) for n in "abcd"} == {n: model.memos.get(n) for n in "abcd"}
        assert [label for _, label in self.other.labels()] == model.labels

    @invariant()
    def who_follows_knows_it_too(self) -> None:
        """From the feed alone."""
        after = self.mark.seq
        while changes := self.other.changes(after=after):
            for change in changes:
                assert change.seq == after + 1
                after = change.seq
                if change.kind is Kind.PUT:
                    self.known |= set(change.names)
                elif change.kind is Kind.GONE:
                    self.known -= set(change.names)
        assert self.known == set(self.model.entries)
        assert self.store.mark() == Mark(self.mark.store, after)
        self.mark = Mark(self.mark.store, after)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_does_as_the_model_does(kind: str, store_url: Callable[[str], str]) -> None:
    """Hypothesis looks for a series of steps after which one does not."""
    machine = type(f"Any{kind}", (AnyStore,), {"kind": kind, "make": staticmethod(store_url)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=15, stateful_step_count=12, deadline=None)
    )
