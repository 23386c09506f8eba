"""Faults, fakes and what happens inside; ``test_cache.py`` has what a caller sees."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise import Bypass, Cache, Category, Entry, Hit, Miss
from likewise.embed import Vectors
from likewise.errors import EmbedderError, StoreError
from likewise.policy import Reason
from likewise.request import Controls, Request
from likewise.stores import MemoryStore, Store
from likewise.testing import FakeClock, HashingEmbedder

Open = Callable[..., Cache]
LOOSE = Category("loose", similarity_threshold=0.9, guards=())


class SpyStore(MemoryStore):
    """A store that notes which of its methods are called, and fails when told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: type[Exception] | None = None
        super().__init__()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in Store.__abstractmethods__ or name == "count":
            if name != "url":
                self.calls.append(name)
            if self.failing is not None and name not in {"close", "url"}:
                raise self.failing("broken, and CANARY")
        return found


class FailingEmbedder(HashingEmbedder):
    """An embedder that fails while ``failing`` is set."""

    failing: type[Exception] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed, or fail."""
        if self.failing is not None:
            raise self.failing("down, and CANARY")
        return super().embed(texts)


def reason(decision: object) -> str:
    """The reason of a decision, after its kind."""
    assert isinstance(decision, Hit | Miss | Bypass)
    return f"{type(decision).__name__} {decision.reason}"


# -- what a lookup costs --------------------------------------------------------------------------


def test_a_miss_never_asks_the_store_and_a_hit_asks_once(open_cache: Open) -> None:
    """In every way a lookup can end."""
    store = SpyStore()
    cache = open_cache(
        store=store, categories=[LOOSE, Category("secret", cacheable=False)], embedder=NoWindow()
    )
    cache.store("how do I undo the last commit in git", "revert", category="loose")
    cache.store("write a poem", "rose", category="creative")
    store.calls.clear()
    for question, category in [
        ("what is the capital of France", "loose"),
        ("how do I undo the last thing", "loose"),
        ("anything", "empty"),
        ("write a poem about it", "creative"),
        ("anything", "secret"),
        ("x" * 500, "loose"),
        (" ", None),
    ]:
        assert not isinstance(cache.check(question, category=category), Hit)
    assert store.calls == []
    assert reason(cache.check("write a poem", category="creative")) == "Hit exact"
    assert store.calls == ["get"]
    question = "how do I undo the last commit in git?"
    assert reason(cache.check(question, category="loose")) == "Hit similar"
    assert store.calls == ["get", "get"]


class NoWindow(HashingEmbedder):
    """An embedder that reads a hundred characters."""

    def fits(self, text: str) -> bool:
        """Whether the whole text is read."""
        return len(text) <= 100


TRACED = """
    import sys, threading
    from likewise import Cache, Category, Hit, Scope
    from likewise.testing import HashingEmbedder
    categories = [Category("secret", cacheable=False), Category("loose", similarity_threshold=0.5)]
    url = "sqlite:///" + sys.argv[1]
    cache = Cache(store=url, embedder=HashingEmbedder(), categories=categories)
    for i in range(20):
        cache.store(f"how do I undo commit {i}", "revert", category="loose")
    events = []
    on = False
    def hook(event, args):
        if on and event.split(".")[0] in {"open", "socket", "sqlite3", "subprocess", "os"}:
            events.append((event, args))
    sys.addaudithook(hook)
    def misses():
        for i in range(50):
            decisions = [
                cache.check(f"what is the capital of land {i}", category="loose"),
                cache.check(f"how do I undo commit {i + 100}", category="loose"),
                cache.check(f"how do I undo commit {i}", category="other"),
                cache.check(f"how do I undo commit {i}", category="loose", scope=Scope(tenant="b")),
                cache.check("write a poem", category="creative"),
                cache.check("who am I", category="secret"),
                cache.check("which category is this, in python?"),
            ]
            assert not any(isinstance(d, Hit) for d in decisions)
    misses()
    on = True
    misses()
    thread = threading.Thread(target=misses)
    thread.start()
    thread.join()
    on = False
    assert events == [], events
    on = True
    open(sys.argv[1]).close()
    on = False
    assert events, "the trap does not work"
    cache.close()
"""


def test_a_miss_opens_no_file_and_no_socket(tmp_path: Path) -> None:
    """The interpreter itself is asked, by an audit hook, over the default store."""
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TRACED), str(tmp_path / "a.db")], check=True
    )


# -- faults ---------------------------------------------------------------------------------------


def test_a_store_that_fails_makes_a_hit_a_miss(
    open_cache: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted each time, logged once without any text, and over when the store is back."""
    store = SpyStore()
    cache = open_cache(store=store)
    cache.store("CANARY question", "CANARY answer", category="code")
    store.failing = StoreError
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            assert reason(cache.check("CANARY question", category="code")) == "Miss store-fault"
    assert len(caplog.messages) == 1
    assert "CANARY question" not in caplog.text
    assert cache.stats()["categories"]["code"]["faults"] == {"store": 3}
    store.failing = None
    assert reason(cache.check("CANARY question", category="code")) == "Hit exact"


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, OSError])
def test_a_store_that_breaks_its_promise_is_no_error_either(
    open_cache: Open, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    """Whatever a store of another maker raises, ``check`` is a miss; its message stays unlogged."""
    store = SpyStore()
    cache = open_cache(store=store)
    cache.store("question", "answer", category="code")
    store.failing = error
    assert reason(cache.check("question", category="code")) == "Miss internal-fault"
    assert "CANARY" not in caplog.text
    store.failing = None


@pytest.mark.parametrize(
    ("error", "expected"),
    [(EmbedderError, "Miss embedder-fault"), (RuntimeError, "Miss internal-fault")],
)
def test_an_embedder_that_fails_leaves_the_exact_tier(
    open_cache: Open, error: type[Exception], expected: str
) -> None:
    """Equal questions are answered, others miss, and new ones are stored without a vector."""
    embedder = FailingEmbedder()
    cache = open_cache(embedder=embedder)
    cache.store("first question", "one", category="code")
    embedder.failing = error
    assert reason(cache.check("first question", category="code")) == "Hit exact"
    assert reason(cache.check("second question", category="code")) == expected
    entry = cache.store("second question", "two", category="code")
    assert entry is not None
    assert entry.vector is None
    assert reason(cache.check("second question", category="code")) == "Hit exact"
    assert cache.stats()["categories"]["code"]["faults"]


def test_a_vector_of_no_numbers_is_never_a_hit(open_cache: Open) -> None:
    """An embedder that gives NaN, for stored or for asked questions, serves nothing by meaning."""

    class Broken(HashingEmbedder):
        broken = False

        def embed(self, texts: Sequence[str]) -> Vectors:
            vectors = super().embed(texts)
            return np.full_like(vectors, np.nan) if self.broken else vectors

    embedder = Broken()
    cache = open_cache(embedder=embedder, categories=[LOOSE])
    cache.store("good one", "good", category="loose")
    embedder.broken = True
    cache.store("bad one", "bad", category="loose")
    assert isinstance(cache.check("asked badly", category="loose"), Miss)
    embedder.broken = False
    assert isinstance(cache.check("another thing", category="loose"), Miss)
    assert reason(cache.check("good one.", category="loose")) == "Hit similar"


@pytest.mark.parametrize("named", [ValueError, "Not A Name", 5])
def test_a_classifier_that_fails_is_passed_over(open_cache: Open, named: Any) -> None:
    """It raises or names nonsense: the default's policy holds, and the fault is counted."""

    class Wrong:
        def classify(self, request: Request) -> str | None:
            if isinstance(named, type):
                raise named
            result: str = named
            return result

    cache = open_cache(classifier=Wrong())
    decision = cache.check("question")
    assert (decision.category, decision.reason) == ("default", "no-candidate")
    assert cache.store("question", "answer") is not None
    assert cache.stats()["categories"]["default"]["faults"]["classifier"] >= 1


def test_an_entry_that_is_gone_from_the_store_is_forgotten(open_cache: Open) -> None:
    """The first lookup misses as ``gone``, the next ones know nothing of it."""
    store = MemoryStore()
    cache = open_cache(store=store)
    entry = cache.store("question", "answer", category="code")
    assert entry is not None
    store.delete([entry.id])
    assert reason(cache.check("question", category="code")) == "Miss gone"
    assert reason(cache.check("question", category="code")) == "Miss no-candidate"
    assert cache.stats()["entries"] == 0


def test_an_entry_of_another_scope_is_not_served_even_then(open_cache: Open) -> None:
    """The scope is checked again in what the store returns."""

    class Mixed(MemoryStore):
        def get(self, entry_id: str) -> Entry | None:
            entry = super().get(entry_id)
            return (
                None
                if entry is None
                else Entry(
                    entry.id, b"other", entry.category, entry.question, entry.answer, 0.0, None
                )
            )

    cache = open_cache(store=Mixed())
    cache.store("question", "answer", category="code")
    assert reason(cache.check("question", category="code")) == "Miss gone"


def test_a_store_that_refuses_is_an_error_of_store_only(open_cache: Open) -> None:
    """``store`` raises, ``try_keep`` counts; neither leaves anything that would be served."""
    store = SpyStore()
    cache = open_cache(store=store)
    store.failing = StoreError
    with pytest.raises(StoreError):
        cache.store("question", "answer", category="code")
    request = Request("question", controls=Controls(category="code"))
    assert cache._engine.try_keep(request, "answer") is None
    assert cache._engine.try_keep(request, object()) is None
    store.failing = None
    assert reason(cache.check("question", category="code")) == "Miss no-candidate"
    assert cache.stats()["categories"]["code"]["faults"] == {"store": 2}


def test_counters_reach_the_store_even_after_it_failed(open_cache: Open, clock: FakeClock) -> None:
    """What it did not take is handed over the next time, once."""
    store = SpyStore()
    cache = open_cache(store=store)
    cache.check("question", category="code")
    store.failing = StoreError
    cache._engine.upkeep.tidy()
    store.failing = None
    clock.advance(100)
    cache.store("question", "answer", category="code")
    assert store.counters()["code", "requests"] == 1
    cache._engine.upkeep.tidy()
    assert store.counters()["code", "requests"] == 1


# -- storing --------------------------------------------------------------------------------------


def test_storing_after_a_miss_embeds_nothing_again(open_cache: Open) -> None:
    """The vector of the question just asked is remembered."""

    class Counting(HashingEmbedder):
        texts: list[str] = []  # noqa: RUF012 - a test's own

        def embed(self, texts: Sequence[str]) -> Vectors:
            self.texts.extend(texts)
            return super().embed(texts)

    embedder = Counting()
    cache = open_cache(embedder=embedder)
    cache.store("first", "1", category="code")
    cache.check("second", category="code")
    cache.store("second", "2", category="code")
    assert embedder.texts == ["first", "second"]


def test_evictions_are_counted_where_they_happened(open_cache: Open) -> None:
    """In the victim's category, not in that of the entry that came."""
    cache = open_cache(
        max_entries=3, categories=[Category("small", quota=1), Category("large", quota=2)]
    )
    for i in range(2):
        cache.store(f"small {i}", "x", category="small")
    for i in range(2):
        cache.store(f"large {i}", "x", category="large")
    categories = cache.stats()["categories"]
    assert (categories["small"]["evicted"], categories["large"]["evicted"]) == (1, 0)
    assert (categories["small"]["entries"], categories["large"]["entries"]) == (1, 2)


def test_what_has_expired_is_deleted_now_and_then(open_cache: Open, clock: FakeClock) -> None:
    """On the way of a later write, from the store too, counted in its own category."""
    store = MemoryStore()
    cache = open_cache(store=store)
    cache.store("price of gold", "1", category="prices")
    clock.advance(121)
    cache.store("anything", "2", category="code")
    assert store.counts() == {"code": 1}
    assert cache.stats()["categories"]["prices"]["expired"] == 1


def test_threads_that_store_one_question_agree_on_its_entry(open_cache: Open) -> None:
    """The entry the index knows is the one the store holds, however the writes interleave."""

    class Slow(MemoryStore):
        """A store that lets another thread in between its own write and the index's."""

        def put(self, entry: Entry, *, keep_s: float | None = None) -> list[str]:
            replaced = super().put(entry, keep_s=keep_s)
            threading.Event().wait(0.002)
            return replaced

    store = Slow()
    cache = open_cache(store=store)
    for _ in range(10):
        threads = [
            threading.Thread(target=cache.store, args=("question", i), kwargs={"category": "code"})
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert reason(cache.check("question", category="code")) == "Hit exact"
    assert store.count() == cache.stats()["entries"] == 1


def test_many_threads_at_once_serve_only_what_is_true(open_cache: Open) -> None:
    """Asking, storing, dropping, clearing and judging together: an answer is always its own."""
    cache = open_cache(max_entries=60, categories=[LOOSE])
    wrong: list[object] = []

    def work(who: int) -> None:
        rng = np.random.default_rng(who)
        for i in range(150):
            word = "abcdefghijklmnopqrstuvwxyz"[int(rng.integers(26))] * 9
            decision = cache.check(word, category="loose")
            if isinstance(decision, Hit):
                if decision.answer != word:
                    wrong.append(decision)
                if i % 7 == 0:
                    cache.feedback(decision.entry_id, correct=False)
                elif i % 11 == 0:
                    cache.drop(decision.entry_id)
            elif decision.reason not in {Reason.NO_CANDIDATE, Reason.BELOW_THRESHOLD, Reason.GONE}:
                wrong.append(decision)
            else:
                cache.store(word, word, category="loose")
            if i == 75 and who == 0:
                cache.clear(category="loose")

    threads = [threading.Thread(target=work, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.stats()["entries"] <= 60
    assert not cache.stats()["categories"]["loose"]["faults"]


# -- freshness ------------------------------------------------------------------------------------


def test_a_shorter_ttl_holds_for_what_is_stored_already(open_cache: Open, clock: FakeClock) -> None:
    """The fresh entry is found behind a dozen nearer ones that the new policy calls stale."""
    store = MemoryStore()
    words = "how do I undo the last commit in git without losing all of my work today"
    first = open_cache(store=store, categories=[LOOSE])
    for i in range(12):
        first.store(f"{words} {'!' * (i + 1)}", "stale", category="loose")
    clock.advance(100)
    first.store(f"{words} please", "fresh", category="loose")
    shorter = Category("loose", similarity_threshold=0.9, guards=(), ttl=50)
    second = open_cache(store=store, categories=[shorter])
    decision = second.check(f"{words}.", category="loose")
    assert isinstance(decision, Hit)
    assert decision.answer == "fresh"
