from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise import Bypass, Cache, Category, Hit, Miss, Scope
from likewise.entry import Provenance
from likewise.errors import ConfigError, StoreError
from likewise.policy import Reason, Tier
from likewise.stores import MemoryStore
from likewise.testing import FakeClock, HashingEmbedder

Open = Callable[..., Cache]

ASKED = "how do I undo the last commit in git without losing my work"
ALIKE = "how do I undo the last commit in git without losing work"
LOOSE = Category("loose", similarity_threshold=0.9, guards=())


def hit(decision: object) -> Hit:
    """The decision, which must be a hit."""
    assert isinstance(decision, Hit), decision
    return decision


def miss(decision: object) -> str:
    """The reason of the decision, which must be a miss."""
    assert isinstance(decision, Miss), decision
    return decision.reason


# -- hits -----------------------------------------------------------------------------------------


def test_an_equal_question_is_an_exact_hit(cache: Cache, clock: FakeClock) -> None:
    """With everything a caller may want to know about it."""
    entry = cache.store(ASKED, {"text": "revert"}, category="code")
    assert entry is not None
    clock.advance(7)
    found = hit(cache.check(f" {ASKED}\n", category="code"))
    assert found.answer == {"text": "revert"}
    assert found.entry_id == entry.id
    assert (found.category, found.tier, found.reason) == ("code", Tier.EXACT, "exact")
    assert (found.similarity, found.age_s) == (1.0, 7.0)


def test_a_question_alike_is_a_semantic_hit(cache: Cache) -> None:
    """With its similarity and the threshold it passed."""
    cache.store(ASKED, "revert", category="loose")
    found = hit(cache.check(ALIKE, category="loose"))
    assert found.answer == "revert"
    assert (found.tier, found.reason, found.threshold) == (Tier.SEMANTIC, "similar", 0.9)
    assert 0.9 <= found.similarity < 1.0


def test_a_similarity_is_never_above_one(cache: Cache) -> None:
    """Half precision would sometimes say 1.0003 of two questions with equal vectors."""
    for i in range(30):
        question = f"word{i * 7919} other{i} and some more of them {'x' * i}"
        cache.store(question, "a", category="loose")
        found = hit(cache.check(question.upper() + "!", category="loose"))
        assert 0.99 < found.similarity <= 1.0


def test_thresholds_are_those_of_the_category(open_cache: Open) -> None:
    """The same pair is a hit in one category and a miss in another."""
    cache = open_cache(categories=[LOOSE, Category("strict", similarity_threshold=0.99, guards=())])
    for category in ("loose", "strict"):
        cache.store(ASKED, "revert", category=category)
    assert isinstance(cache.check(ALIKE, category="loose"), Hit)
    assert miss(cache.check(ALIKE, category="strict")) == "below-threshold"


def test_a_caller_may_tighten_and_never_loosen(cache: Cache) -> None:
    """A stricter threshold turns the hit into a miss; a laxer one changes nothing."""
    cache.store(ASKED, "revert", category="loose")
    cache.store(ASKED, "revert", category="sql")
    assert miss(cache.check(ALIKE, category="loose", similarity_threshold=0.99)) == (
        "below-threshold"
    )
    assert miss(cache.check(ALIKE, category="sql", similarity_threshold=0.1)) == "below-threshold"
    assert isinstance(cache.check(ASKED, category="loose", similarity_threshold=1.0), Hit)


def test_look_alikes_do_not_hit(open_cache: Open) -> None:
    """Other numbers and negations are told apart where likeness alone would serve them."""
    cache = open_cache(categories=[Category("guarded", similarity_threshold=0.6)])
    cache.store("how many days are 3 weeks of holiday in total", "21", category="guarded")
    for other in [
        "how many days are 4 weeks of holiday in total",
        "how many days are not 3 weeks of holiday in total",
    ]:
        assert miss(cache.check(other, category="guarded")) == "guard"
    same = "how many days are three weeks of holiday in total"
    assert isinstance(cache.check(same, category="guarded"), Hit)


def test_a_newer_answer_takes_the_place_of_the_older(cache: Cache) -> None:
    """One entry per question: nothing of the older one is served or counted."""
    first = cache.store(ASKED, "old", category="loose")
    second = cache.store(ASKED, "new", category="loose")
    assert first is not None
    assert second is not None
    assert hit(cache.check(ASKED, category="loose")).answer == "new"
    assert hit(cache.check(ALIKE, category="loose")).entry_id == second.id
    assert cache.stats()["entries"] == 1
    assert not cache.drop(first.id)


# -- freshness ------------------------------------------------------------------------------------


def test_an_answer_lives_as_long_as_its_category_says(cache: Cache, clock: FakeClock) -> None:
    """Two minutes for a price, to the second, in both tiers."""
    cache.store("what does gold cost", "a lot", category="prices")
    clock.advance(119.9)
    assert isinstance(cache.check("what does gold cost", category="prices"), Hit)
    assert isinstance(cache.check("What does gold cost?", category="prices"), Hit)
    clock.advance(0.1)
    assert miss(cache.check("what does gold cost", category="prices")) == "stale"
    assert isinstance(cache.check("What does gold cost?", category="prices"), Miss)


def test_a_hit_never_extends_a_life(cache: Cache, clock: FakeClock) -> None:
    """A popular answer expires as any other."""
    cache.store("what does gold cost", "a lot", category="prices")
    for _ in range(11):
        clock.advance(10)
        assert isinstance(cache.check("what does gold cost", category="prices"), Hit)
    clock.advance(10)
    assert isinstance(cache.check("what does gold cost", category="prices"), Miss)


def test_a_ttl_given_can_only_shorten(cache: Cache, clock: FakeClock) -> None:
    """Longer than the category's has no effect; shorter has."""
    longer = cache.store("one", "1", category="prices", ttl="1h")
    shorter = cache.store("two", "2", category="prices", ttl=30)
    assert longer is not None
    assert shorter is not None
    assert longer.expires_at == clock() + 120
    assert shorter.expires_at == clock() + 30
    clock.advance(30)
    assert isinstance(cache.check("one", category="prices"), Hit)
    assert isinstance(cache.check("two", category="prices"), Miss)


def test_a_ttl_bounds_what_would_live_for_ever(open_cache: Open, clock: FakeClock) -> None:
    """Without a ttl of its category an entry never expires, unless the caller says so."""
    cache = open_cache(categories=[Category("for-ever", ttl="never")])
    assert cache.store("a", 1, category="for-ever").expires_at is None  # type: ignore[union-attr]
    bounded = cache.store("b", 1, category="for-ever", ttl="1h")
    assert bounded is not None
    assert bounded.expires_at == clock() + 3600
    clock.advance(1e9)
    assert isinstance(cache.check("a", category="for-ever"), Hit)


def test_a_caller_may_ask_for_younger_answers(cache: Cache, clock: FakeClock) -> None:
    """``max_age`` holds for this lookup only."""
    cache.store(ASKED, "revert", category="loose")
    clock.advance(61)
    assert miss(cache.check(ASKED, category="loose", max_age="1m")) == "stale"
    assert miss(cache.check(ALIKE, category="loose", max_age=60)) == "stale"
    assert isinstance(cache.check(ALIKE, category="loose", max_age=61), Hit)
    assert isinstance(cache.check(ASKED, category="loose"), Hit)


def test_raising_the_epoch_revokes_everything_before(open_cache: Open) -> None:
    """At once, in both tiers, also for what a restart finds; new answers are served."""
    store = MemoryStore()
    first = open_cache(store=store, categories=[LOOSE])
    first.store(ASKED, "old", category="loose")
    raised = Category("loose", similarity_threshold=0.9, guards=(), epoch=1)
    second = open_cache(store=store, categories=[raised])
    assert miss(second.check(ASKED, category="loose")) == "stale"
    assert miss(second.check(ALIKE, category="loose")) == "stale"
    second.store(ASKED, "new", category="loose")
    assert hit(second.check(ALIKE, category="loose")).answer == "new"


def test_a_clock_that_is_turned_back_breaks_nothing(cache: Cache, clock: FakeClock) -> None:
    """An age is never negative, and an answer out of the future is stale: its age is not known."""
    cache.store(ASKED, "revert", category="code")
    clock.advance(-30)
    assert hit(cache.check(ASKED, category="code")).age_s == 0.0
    clock.advance(-3600)
    found = cache.check(ASKED, category="code")
    assert isinstance(found, Miss)
    assert found.reason is Reason.STALE


# -- bounds ---------------------------------------------------------------------------------------


def test_a_full_cache_lets_what_is_not_asked_for_go(open_cache: Open) -> None:
    """A hit keeps an entry; the bound is never exceeded."""
    cache = open_cache(categories=[Category("small", eviction="lru")], max_entries=3)
    for name in ("alpha", "beta", "gamma"):
        cache.store(name, name, category="small")
    hit(cache.check("alpha", category="small"))
    cache.store("delta", "delta", category="small")
    served = [
        name
        for name in ("alpha", "beta", "gamma", "delta")
        if isinstance(cache.check(name, category="small"), Hit)
    ]
    assert served == ["alpha", "gamma", "delta"]
    assert cache.stats()["categories"]["small"]["entries"] == 3
    assert cache.stats()["categories"]["small"]["evicted"] == 1


def test_the_whole_cache_has_a_bound(open_cache: Open) -> None:
    """Over all categories, whatever their quotas, in index and store alike."""
    store = MemoryStore()
    cache = open_cache(store=store, max_entries=10)
    for i in range(40):
        cache.store(f"question {i}", i, category=f"kind{i % 3}")
        assert cache.stats()["entries"] <= 10
    assert store.count() == 10


def test_a_lower_bound_holds_from_the_next_start(open_cache: Open) -> None:
    """However many categories share what is there."""
    store = MemoryStore()
    first = open_cache(store=store)
    for i in range(60):
        first.store(f"question {i}", i, category=f"kind{i % 3}")
    second = open_cache(store=store, max_entries=9)
    assert second.stats()["entries"] == store.count() == 9
    assert [second.stats()["categories"][f"kind{k}"]["entries"] for k in range(3)] == [3, 3, 3]


def test_max_entries_is_at_least_one() -> None:
    """A cache that can hold nothing is a mistake."""
    with pytest.raises(ConfigError, match="max_entries"):
        Cache(store="memory://", embedder=HashingEmbedder(), max_entries=0)


# -- categories -----------------------------------------------------------------------------------


def test_what_is_not_cacheable_is_neither_stored_nor_served(open_cache: Open) -> None:
    """The store stays empty, and the lookup is a bypass."""
    store = MemoryStore()
    cache = open_cache(store=store)
    assert cache.store("who am I", "you", category="personal") is None
    decision = cache.check("who am I", category="personal")
    assert decision == Bypass("personal", decision.reason, store=False)
    assert decision.reason == "not-cacheable"
    assert store.count() == 0


def test_an_unknown_category_takes_the_defaults_under_its_own_name(open_cache: Open) -> None:
    """In the policy, in the entry and in the statistics."""
    cache = open_cache(categories=[Category("default", ttl=5.0, similarity_threshold=0.9)])
    entry = cache.store(ASKED, "x", category="acme.special")
    assert entry is not None
    assert entry.category == "acme.special"
    assert entry.expires_at == entry.created_at + 5
    found = hit(cache.check(ALIKE, category="acme.special"))
    assert (found.category, found.threshold) == ("acme.special", 0.9)
    counted = cache.stats()["categories"]["acme.special"]
    assert (counted["requests"], counted["semantic_hits"], counted["entries"]) == (1, 1, 1)
    assert isinstance(cache.check(ASKED), Miss)


def test_without_a_category_rules_and_then_the_default_decide(open_cache: Open) -> None:
    """The built-in rules when none are given, and a classifier after them."""
    assert Cache(store="memory://", embedder=HashingEmbedder()).check("git rebase").category == (
        "code"
    )

    class Fixed:
        def classify(self, request: object) -> str | None:
            return "learned"

    assert open_cache().check("git rebase").category == "default"
    assert open_cache(classifier=Fixed()).check("git rebase").category == "learned"
    assert open_cache(classifier=Fixed()).check("git rebase", category="own").category == "own"


def test_an_exact_only_category_serves_only_equal_questions(cache: Cache) -> None:
    """And embeds nothing."""
    entry = cache.store(ASKED, "poem", category="creative")
    assert entry is not None
    assert entry.vector is None
    assert isinstance(cache.check(ASKED, category="creative"), Hit)
    assert miss(cache.check(ALIKE, category="creative")) == "exact-only"


def test_a_text_longer_than_the_embedder_reads_is_never_served_by_meaning(
    open_cache: Open, compass: Any
) -> None:
    """Cut at the window two different texts would look equal; to the letter they still hit."""
    long = "x" * 101
    cache = open_cache(embedder=compass({long: 1.0, "y": 1.0, "z": 1.0}), categories=[LOOSE])
    short = cache.store("y", "short", category="loose")
    assert short is not None
    assert miss(cache.check(long, category="loose")) == "exact-only"
    entry = cache.store(long, "long", category="loose")
    assert entry is not None
    assert entry.vector is None
    assert hit(cache.check(long, category="loose")).tier is Tier.EXACT
    assert hit(cache.check("z", category="loose")).answer == "short"
    cache.drop(short.id)
    assert isinstance(cache.check("z", category="loose"), Miss)


def test_an_empty_question_is_neither_stored_nor_served(cache: Cache) -> None:
    """There is nothing to compare."""
    assert cache.store("  \n", "x") is None
    assert cache.check("  \n").reason == "empty-question"


# -- scopes ---------------------------------------------------------------------------------------


WORDS = st.sampled_from(["alpha", "alpha.", "Alpha", "beta gamma", "beta, gamma"])
SCOPES = st.builds(Scope, tenant=st.sampled_from(["", "a", "b"]), model=st.sampled_from(["", "m"]))
STEPS = st.lists(
    st.tuples(st.booleans(), WORDS, SCOPES, st.sampled_from(["loose", "code", "acme"])),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_answers_never_cross_scopes_or_categories(
    steps: list[tuple[bool, str, Scope, str]],
) -> None:
    """Whatever is stored and asked where: an answer is served only where it was stored."""
    with Cache(store="memory://", embedder=HashingEmbedder(), rules=(), categories=[LOOSE]) as c:
        stored: set[tuple[Scope, str]] = set()
        for write, question, scope, category in steps:
            if write:
                c.store(question, [scope.digest().hex(), category], scope=scope, category=category)
                stored.add((scope, category))
            else:
                decision = c.check(question, scope=scope, category=category)
                if isinstance(decision, Hit):
                    assert decision.answer == [scope.digest().hex(), category]
                if (scope, category) not in stored:
                    assert isinstance(decision, Miss)


def test_clearing_takes_what_was_chosen(cache: Cache) -> None:
    """A category, a scope, both or all; what is left is still served."""
    a, b = Scope(tenant="a"), Scope(tenant="b")
    for scope in (a, b):
        for category in ("code", "sql"):
            cache.store(ASKED, "x", category=category, scope=scope)
    assert cache.clear(category="code", scope=a) == 1
    assert isinstance(cache.check(ASKED, category="code", scope=a), Miss)
    assert isinstance(cache.check(ASKED, category="code", scope=b), Hit)
    assert cache.clear(scope=a) == 1
    assert cache.clear(category="sql") == 1
    assert cache.clear() == 1
    assert cache.clear() == 0
    assert cache.stats()["entries"] == 0


def test_dropping_takes_one_entry(cache: Cache) -> None:
    """Out of both tiers, once."""
    entry = cache.store(ASKED, "x", category="loose")
    cache.store("something quite different", "y", category="loose")
    assert entry is not None
    assert cache.drop(entry.id)
    assert not cache.drop(entry.id)
    assert isinstance(cache.check(ASKED, category="loose"), Miss)
    assert isinstance(cache.check(ALIKE, category="loose"), Miss)
    assert isinstance(cache.check("something quite different", category="loose"), Hit)


# -- feedback -------------------------------------------------------------------------------------


def test_a_pair_marked_wrong_is_never_served_again(tmp_path: Path) -> None:
    """That pair only, without naming the question, and after a restart too."""

    def opened() -> Cache:
        return Cache(
            store=f"sqlite:///{tmp_path}/a.db", embedder=HashingEmbedder(), categories=[LOOSE]
        )

    with opened() as cache:
        cache.store(ASKED, "revert", category="loose")
        entry_id = hit(cache.check(ALIKE, category="loose")).entry_id
        assert cache.feedback(entry_id, correct=False)
        assert miss(cache.check(ALIKE, category="loose")) == "blocked-pair"
    with opened() as cache:
        assert miss(cache.check(ALIKE, category="loose")) == "blocked-pair"
        assert isinstance(cache.check(ASKED, category="loose"), Hit)
        assert isinstance(cache.check(ASKED + "!", category="loose"), Hit)
        assert cache.feedback(entry_id, correct=True, question=ALIKE)
        assert isinstance(cache.check(ALIKE, category="loose"), Hit)


def test_an_answer_wrong_for_its_own_question_is_dropped(cache: Cache) -> None:
    """Then nobody gets it again."""
    cache.store(ASKED, "nonsense", category="loose")
    entry_id = hit(cache.check(ASKED, category="loose")).entry_id
    assert cache.feedback(entry_id, correct=False)
    assert isinstance(cache.check(ASKED, category="loose"), Miss)
    assert isinstance(cache.check(ALIKE, category="loose"), Miss)
    assert not cache.feedback(entry_id, correct=False)


def test_feedback_is_counted(cache: Cache) -> None:
    """In the entry's category; on what is not known there is nothing to count."""
    entry = cache.store(ASKED, "revert", category="loose")
    assert entry is not None
    cache.feedback(entry.id, correct=True)
    cache.feedback(entry.id, correct=False, question=ALIKE)
    assert not cache.feedback("unknown", correct=False)
    counted = cache.stats()["categories"]["loose"]
    assert (counted["feedback_right"], counted["feedback_wrong"]) == (1, 1)


# -- restart --------------------------------------------------------------------------------------


def test_a_restart_changes_no_decision(tmp_path: Path, clock: FakeClock) -> None:
    """Every question gets the same decision with the same numbers before and after."""

    def opened() -> Cache:
        return Cache(
            store=f"sqlite:///{tmp_path}/a.db",
            embedder=HashingEmbedder(),
            categories=[LOOSE],
            rules=(),
            clock=clock,
        )

    asked = [
        (ASKED, "loose"), (ALIKE, "loose"), (ALIKE, "sql"), ("how can I undo it", "loose"),
        ("what does gold cost", "prices"), ("poem", "creative"), ("nothing like it", "acme"),
    ]  # fmt: skip

    def decisions(cache: Cache) -> list[object]:
        return [cache.check(question, category=category) for question, category in asked]

    with opened() as cache:
        for question, category in asked[::2]:
            cache.store(question, {"q": question}, category=category, provenance=Provenance("m"))
        cache.store("soon stale", 1, category="prices")
        before = decisions(cache)
    with opened() as cache:
        assert decisions(cache) == before
        assert any(isinstance(d, Hit) and d.tier is Tier.SEMANTIC for d in before)
        clock.advance(120)
    with opened() as cache:
        assert isinstance(cache.check("what does gold cost", category="prices"), Miss)
        assert cache.stats()["categories"].get("prices", {"entries": 0})["entries"] == 0


def test_entries_of_another_embedder_are_served_to_equal_questions_only(
    open_cache: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Their vectors mean nothing here; asked anew, they are as any other."""
    store = MemoryStore()
    open_cache(store=store, categories=[LOOSE]).store(ASKED, "revert", category="loose")
    with caplog.at_level(logging.WARNING):
        other = open_cache(store=store, embedder=HashingEmbedder(64), categories=[LOOSE])
    assert len(caplog.messages) == 1
    assert isinstance(other.check(ASKED, category="loose"), Hit)
    assert isinstance(other.check(ALIKE, category="loose"), Miss)
    other.store(ASKED, "revert", category="loose")
    assert isinstance(other.check(ALIKE, category="loose"), Hit)


def test_a_cache_that_cannot_open_leaves_its_store_closed(tmp_path: Path) -> None:
    """Nothing is left behind that a warning would be about."""

    class Broken(MemoryStore):
        closed = False

        def scan(self) -> Any:
            raise StoreError("cannot read")

        def close(self) -> None:
            self.closed = True
            super().close()

    store = Broken()
    with pytest.raises(StoreError):
        Cache(store=store, embedder=HashingEmbedder())
    assert store.closed


# -- answer ---------------------------------------------------------------------------------------


def test_an_answer_is_computed_once_and_then_served(cache: Cache) -> None:
    """Also to a question alike."""
    calls: list[int] = []

    def compute() -> str:
        calls.append(1)
        return "revert"

    for question in (ASKED, ASKED, ALIKE):
        assert cache.answer(question, compute, category="loose") == "revert"
    assert len(calls) == 1
    assert hit(cache.check(ASKED, category="loose")).provenance.latency_s is not None


def test_threads_that_ask_the_same_share_one_computation(cache: Cache) -> None:
    """However they arrive, one of them computes and all get its answer."""
    for round_ in range(20):
        calls: list[int] = []

        def compute(calls: list[int] = calls) -> list[int]:
            calls.append(1)
            time.sleep(0.002)
            return [len(calls)]

        with ThreadPoolExecutor(8) as pool:
            asking = [
                pool.submit(cache.answer, f"q{round_} {'x' * round_}", compute, category="sql")
                for _ in range(8)
            ]
            assert [done.result() for done in asking] == [[1]] * 8
        assert len(calls) == 1


def test_a_thread_between_lookup_and_flight_does_not_compute_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was stored after its lookup is found before it computes."""
    lookup = Cache.lookup

    def late(self: Cache, request: Any) -> Any:
        decision = lookup(self, request)
        if isinstance(decision, Miss):
            cache.store(request.question, "theirs", category="code")
        return decision

    monkeypatch.setattr(Cache, "lookup", late)
    assert cache.answer(ASKED, lambda: "mine", category="code") == "theirs"


def test_an_exception_reaches_everyone_who_waits(cache: Cache) -> None:
    """And is not remembered: the next one computes anew."""
    entered, release = threading.Event(), threading.Event()

    def fail() -> str:
        entered.set()
        assert release.wait(10)
        raise ZeroDivisionError("CANARY")

    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(cache.answer, ASKED, fail, category="code")
        assert entered.wait(10)
        others = [
            pool.submit(cache.answer, ASKED, lambda: "mine", category="code") for _ in range(3)
        ]
        while cache.stats()["categories"]["code"]["misses"] < 4:
            time.sleep(0.001)
        release.set()
        for waiting in (leader, *others):
            assert isinstance(waiting.exception(10), ZeroDivisionError | None)
    assert isinstance(leader.exception(), ZeroDivisionError)
    assert sum(isinstance(o.exception(), ZeroDivisionError) for o in others) >= 1
    assert cache.answer(ASKED, lambda: "again", category="code") in {"again", "mine"}


def test_what_may_not_be_cached_is_computed_each_time(cache: Cache) -> None:
    """By everyone for themselves."""
    calls: list[int] = []
    for _ in range(2):
        cache.answer("who am I", lambda: calls.append(1), category="personal")
    assert len(calls) == 2


def test_a_store_that_fails_costs_only_the_reuse(open_cache: Open) -> None:
    """``answer`` returns what was computed, also when it is no JSON value."""

    class Full(MemoryStore):
        def put(self, entry: object, *, keep_s: float | None = None) -> list[str]:
            raise StoreError("disk full")

    cache = open_cache(store=Full())
    assert cache.answer(ASKED, lambda: "fine", category="code") == "fine"
    odd = object()
    assert cache.answer("odd", lambda: odd, category="code") is odd
    assert cache.stats()["categories"]["code"]["faults"] == {"store": 2}


# -- arguments, reports, privacy ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"category": "Bad Name"}, "category name"),
        ({"category": 5}, "category name"),
        ({"similarity_threshold": 1.5}, "similarity_threshold"),
        ({"similarity_threshold": float("nan")}, "similarity_threshold"),
        ({"max_age": "soon"}, "max_age"),
        ({"max_age": 0}, "max_age"),
    ],
)
def test_wrong_arguments_are_named(cache: Cache, arguments: dict[str, Any], said: str) -> None:
    """In one line, at once."""
    with pytest.raises(ConfigError, match=said) as caught:
        cache.check(ASKED, **arguments)
    assert "\n" not in str(caught.value)
    assert ASKED not in str(caught.value)


@pytest.mark.parametrize("question", [None, 5, b"bytes", ["list"], {"role": "user"}])
def test_a_question_is_a_text(cache: Cache, question: Any) -> None:
    """Anything else is refused by its type, without being shown."""
    for call in (cache.check, lambda q: cache.store(q, "x"), lambda q: cache.answer(q, str)):
        with pytest.raises(ConfigError, match="question: expected a text"):
            call(question)
    with pytest.raises(ConfigError, match="ttl"):
        cache.store("q", "x", ttl="soon")


def test_statistics_are_ready_for_json_and_add_up(cache: Cache) -> None:
    """Entries, index and categories, as the documentation names them."""
    cache.store(ASKED, "x", category="loose", provenance=Provenance("m", 3, 4, 2.0, 0.01))
    cache.check(ASKED, category="loose")
    cache.check("other", category="loose")
    stats = cache.stats()
    assert stats["entries"] == 1
    assert stats["store"] == "memory://"
    assert stats["embedder"] == "hashing/256"
    assert stats["index"]["flat_partitions"] == 1
    loose = stats["categories"]["loose"]
    assert (loose["requests"], loose["exact_hits"], loose["misses"]) == (2, 1, 1)
    assert (loose["saved_tokens"], loose["saved_usd"], loose["stored"]) == (7, 0.01, 1)
    assert 1.9 < loose["saved_s"] <= 2.0


def test_statistics_survive_in_the_store(tmp_path: Path) -> None:
    """Closing hands them over; two runs add up."""
    for _ in range(2):
        with Cache(store=f"sqlite:///{tmp_path}/a.db", embedder=HashingEmbedder()) as cache:
            cache.check("question", category="code")
    with Cache(store=f"sqlite:///{tmp_path}/a.db", embedder=HashingEmbedder()) as cache:
        assert cache._engine.store.counters()["code", "requests"] == 2


def test_an_explanation_shows_candidates_and_counts_nothing(cache: Cache) -> None:
    """Whatever their similarity, with what a guard objects to."""
    cache.store("add 2 and 3 please", "5", category="math")
    told = cache.explain("add 2 and 4 please", category="math")
    assert isinstance(told.decision, Miss)
    assert told.threshold == 0.97
    assert told.vetoes == ["numbers: 4 against 3"]
    assert told.candidates[0].question == "add 2 and 3 please"
    assert "please" not in repr(told)
    assert told.to_dict()["decision"] == "miss"
    assert cache.stats()["categories"]["math"]["requests"] == 0
    assert cache.explain("who am I", category="personal").candidates == []


def test_no_text_reaches_a_log_a_repr_or_an_error(
    open_cache: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither question, answer, tenant nor system prompt, in anything that might be printed."""
    store = MemoryStore()
    cache = open_cache(store=store, categories=[LOOSE])
    scope = Scope(tenant="CANARY", context="CANARY")
    shown: list[object] = []
    with caplog.at_level(logging.DEBUG):
        entry = cache.store("CANARY question", {"a": "CANARY"}, category="loose", scope=scope)
        shown.append(entry)
        shown.append(cache.check("CANARY question", category="loose", scope=scope))
        shown.append(cache.check("CANARY question!", category="loose", scope=scope))
        shown.append(cache.check("CANARY not", category="loose", scope=scope))
        shown.append(cache.explain("CANARY question", category="loose", scope=scope))
        shown.append(cache.stats())
        with pytest.raises(StoreError) as caught:
            cache.store("CANARY question", {"CANARY": object()}, category="loose")
        shown.append(caught.value)
        cache.answer("CANARY answer", object, category="loose")
        store.close()
        shown.append(cache.check("CANARY question", category="loose", scope=scope))
    assert isinstance(shown[-1], Miss)
    for thing in shown:
        text = f"{thing!r} {thing}"
        assert "CANARY" not in text.replace("tenant='CANARY'", ""), text[:80]
    assert "CANARY" not in caplog.text


def test_a_closed_cache_misses(cache: Cache) -> None:
    """Closing twice is fine; a lookup afterwards is a miss, not an error."""
    cache.store(ASKED, "x", category="code")
    cache.close()
    cache.close()
    assert miss(cache.check(ASKED, category="code")) == "store-fault"
    with pytest.raises(StoreError, match="closed"):
        cache.store(ASKED, "x", category="code")


def test_what_was_marked_wrong_is_the_first_to_go(open_cache: Open) -> None:
    """Being asked for counts no more once an answer was found wrong."""
    cache = open_cache(categories=[Category("small", eviction="lfu", guards=())], max_entries=3)
    ids = {}
    for name in ("alpha", "beta", "gamma"):
        entry = cache.store(name, name, category="small")
        assert entry is not None
        ids[name] = entry.id
    for name in ("alpha", "alpha", "beta", "beta", "gamma"):
        cache.check(name, category="small")
    cache.feedback(ids["alpha"], correct=False, question="another question")
    cache.store("delta", "delta", category="small")
    held = [name for name in ids if isinstance(cache.check(name, category="small"), Hit)]
    assert held == ["beta", "gamma"]
