"""How long answers live: volatility, cues, grace, sources; by a clock that the test moves."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import Cache, Category, Hit, Miss
from likewise.config import Policies, parse
from likewise.errors import ConfigError
from likewise.freshness import _CUE, Changes, Volatility, has_cue, stale_share, volatility
from likewise.front import request_of
from likewise.opening import from_config
from likewise.policy import Reason
from likewise.sources import check_source, outdated, written
from likewise.stores import MemoryStore
from likewise.testing import FakeClock, HashingEmbedder

Open = Callable[..., Cache]

GIT = "How do I undo a commit in git?"
LIKE = "How do I undo a commit in git, please?"


def one(**policy: object) -> list[Category]:
    """A single category, by default with an hour to live."""
    values: dict[str, object] = {"ttl": 3600.0, "similarity_threshold": 0.7, "guards": ()}
    return [Category("git", **{**values, **policy})]  # type: ignore[arg-type]


@pytest.mark.parametrize("per_day", [0.1, 2.0, 50.0])
def test_the_rate_of_change_is_found(per_day: float) -> None:
    """From gaps of all lengths, within a quarter of the truth."""
    rng = random.Random(1)  # noqa: S311 - a simulation
    rate = per_day / 86400
    gaps = [rng.expovariate(rate) * rng.choice((0.2, 1.0, 3.0)) for _ in range(3_000)]
    changed = [rng.random() < 1 - pow(2.718281828, -rate * gap) for gap in gaps]
    found = volatility(gaps, changed)
    assert found.rate is not None
    assert found.rate == pytest.approx(rate, rel=0.25)
    ttl_s = found.ttl_s(0.05)
    assert ttl_s is not None
    assert stale_share(found.rate * ttl_s) == pytest.approx(0.05, abs=1e-6)


def test_few_pairs_tell_no_rate_and_no_change_needs_no_limit() -> None:
    """Below twenty nothing is said; without a change there is no time to live to propose."""
    assert volatility([60.0] * 19, [True] * 19) == Volatility(19, 19, None)
    steady = volatility([60.0] * 40, [False] * 40)
    assert steady.rate is not None
    assert steady.ttl_s(0.05) is None


@given(st.floats(0, 50), st.floats(0, 50))
def test_more_life_is_more_stale(one_age: float, other: float) -> None:
    """The share of stale hits rises with the life, from 0 towards 1."""
    low, high = sorted((one_age, other))
    assert 0 <= stale_share(low) <= stale_share(high) + 1e-9 < 1


def test_changes_survive_and_are_bounded() -> None:
    """What was seen comes back from its bytes; damaged bytes are passed over."""
    changes = Changes(most=30)
    assert changes.take() is None
    for number in range(100):
        changes.add("git", 60.0, changed=number % 2 == 0)
    changes.add("git", 0.0, changed=True)
    data = changes.take()
    assert data is not None
    assert changes.take() is None
    again = Changes()
    again.load(data)
    again.load(b"damaged")
    assert again.of("git") == changes.of("git")
    assert again.of("git").reasked == 30


@pytest.mark.parametrize(
    ("question", "cue"),
    [
        ("What is the weather today?", True),
        ("latest version of pip", True),
        ("Who plays on Monday?", True),
        ("what should I do now", True),
        ("Wie ist das Wetter heute?", True),
        ("How do I know a word?", False),
        ("What does nowhere mean?", False),
        ("How do I undo a commit?", False),
    ],
)
def test_cues_of_haste(question: str, cue: bool) -> None:
    """Words that say that an answer will not be right for long; not parts of other words."""
    assert has_cue(question) is cue


@given(st.from_regex(re.compile(_CUE.pattern, re.IGNORECASE | re.ASCII)) | st.text())
def test_no_needle_of_a_cue_is_missing(text: str) -> None:
    """A cue is found wherever ignoring case would find it, and nowhere else."""
    assert has_cue(text) == bool(re.search(_CUE.pattern, text, re.IGNORECASE))


def test_a_cue_shortens_the_life(open_cache: Open, clock: FakeClock) -> None:
    """Of questions with a cue only; a category may switch it off."""
    cache = open_cache(categories=[*one(cue_ttl=60.0), Category("off", cue_ttl=None)])
    asked = (
        ("plain question", "git"),
        ("latest git release", "git"),
        ("latest git release", "off"),
    )
    for question, category in asked:
        cache.store(question, "x", category=category)
    clock.advance(61)
    served = [isinstance(cache.check(q, category=c), Hit) for q, c in asked]
    assert served == [True, False, True]


def test_a_hit_never_moves_the_expiry(open_cache: Open, clock: FakeClock) -> None:
    """However often it is asked for, an answer ends when it was to end."""
    cache = open_cache(categories=one())
    cache.store(GIT, "x", category="git")
    for _ in range(6):
        clock.advance(599)
        assert isinstance(cache.check(GIT, category="git"), Hit)
    clock.advance(7)
    assert isinstance(cache.check(GIT, category="git"), Miss)


@pytest.mark.parametrize("question", [GIT, LIKE])
def test_stale_while_revalidate(open_cache: Open, clock: FakeClock, question: str) -> None:
    """For as long as the category says an old answer is served, and says so; then no more."""
    cache = open_cache(categories=one(stale_while_revalidate="10m"))
    cache.store(GIT, "x", category="git")
    clock.advance(3599)
    fresh = cache.check(question, category="git")
    assert isinstance(fresh, Hit)
    assert fresh.stale_s == 0
    clock.advance(600)
    stale = cache.check(question, category="git")
    assert isinstance(stale, Hit)
    assert (stale.reason, stale.stale_s) == (Reason.REVALIDATING, 599)
    assert cache.stats()["categories"]["git"]["stale_hits"] == 1
    clock.advance(1)
    assert isinstance(cache.check(question, category="git"), Miss)


def test_a_fresh_answer_goes_before_a_stale_one(open_cache: Open, clock: FakeClock) -> None:
    """Even when the stale one is nearer."""
    cache = open_cache(categories=one(stale_while_revalidate="1d"))
    cache.store(LIKE + " now", "old", category="git")
    clock.advance(3601)
    cache.store(GIT, "new", category="git")
    hit = cache.check(LIKE, category="git")
    assert isinstance(hit, Hit)
    assert hit.answer == "new"


def test_grace_moves_no_other_limit(open_cache: Open, clock: FakeClock) -> None:
    """Neither the caller's max-age, nor an epoch."""
    cache = open_cache(categories=one(stale_while_revalidate="1d"))
    cache.store(GIT, "x", category="git")
    clock.advance(3700)
    assert isinstance(cache.check(GIT, category="git"), Hit)
    assert isinstance(cache.check(GIT, category="git", max_age=3600), Miss)
    cache._engine.force.policies = Policies(categories={"git": one(epoch=1)[0]})
    assert isinstance(cache.check(GIT, category="git"), Miss)


def test_a_stale_candidate_never_touches_the_store(open_cache: Open, clock: FakeClock) -> None:
    """Past its time and grace, of another epoch or source: decided without a read."""
    store = MemoryStore()
    cache = open_cache(store=store, categories=one(stale_while_revalidate="1m"))
    cache.store(GIT, "x", category="git", sources=["handbook"])
    store.get = None  # type: ignore[method-assign,assignment]
    clock.advance(3661)
    for question in (GIT, LIKE):
        miss = cache.check(question, category="git")
        assert isinstance(miss, Miss)
        assert miss.reason is Reason.STALE
    clock.advance(-3660)
    cache._engine.force.sources = {"handbook": "2"}
    for question in (GIT, LIKE):
        miss = cache.check(question, category="git")
        assert isinstance(miss, Miss)
        assert "handbook" in miss.detail


def test_entries_in_grace_are_kept_and_then_deleted(open_cache: Open, clock: FakeClock) -> None:
    """By tidying and by a restart alike."""
    store = MemoryStore()
    cache = open_cache(store=store, categories=one(stale_if_error="1h"))
    cache.store(GIT, "x", category="git")
    clock.advance(3600 + 1800)
    cache._engine.tidy()
    assert store.count() == 1
    again = open_cache(store=store, categories=one(stale_if_error="1h"))
    assert store.count() == again.stats()["entries"] == 1
    clock.advance(1800)
    again._engine.tidy()
    assert store.count() == 0


def test_answer_serves_stale_and_refreshes_aside(open_cache: Open, clock: FakeClock) -> None:
    """The caller does not wait; the next one gets the fresh answer."""
    cache = open_cache(categories=one(stale_while_revalidate="1d"))
    assert cache.answer(GIT, lambda: "old", category="git") == "old"
    clock.advance(3700)
    assert cache.answer(GIT, lambda: "new", category="git") == "old"
    for thread in threading.enumerate():
        if thread.name == "likewise-refresh":
            thread.join()
    hit = cache.check(GIT, category="git")
    assert isinstance(hit, Hit)
    assert hit.answer == "new"


def test_answer_serves_stale_when_the_model_fails(open_cache: Open, clock: FakeClock) -> None:
    """Only while the category allows it; else the error comes out."""

    def fail() -> str:
        raise RuntimeError("no model")

    cache = open_cache(categories=one(stale_if_error="1h"))
    cache.answer(GIT, lambda: "old", category="git")
    clock.advance(3700)
    assert isinstance(cache.check(GIT, category="git"), Miss)
    assert cache.answer(GIT, fail, category="git") == "old"
    assert cache.answer(LIKE, fail, category="git") == "old"
    clock.advance(3600)
    with pytest.raises(RuntimeError, match="no model"):
        cache.answer(GIT, fail, category="git")


def test_a_new_version_of_a_source_revokes_at_once(open_cache: Open) -> None:
    """Only what was made of it; an unknown source has no version until it gets one."""
    cache = open_cache(categories=one())
    cache._engine.force.sources = {"handbook": "1", "prices": "7"}
    cache.store("made of both", "x", category="git", sources=["prices", "handbook"])
    cache.store("made of prices", "x", category="git", sources=["prices"])
    cache.store("made of wiki", "x", category="git", sources=["wiki"])
    cache.store("made of nothing", "x", category="git")

    def served() -> list[bool]:
        names = ("both", "prices", "wiki", "nothing")
        return [isinstance(cache.check(f"made of {n}", category="git"), Hit) for n in names]

    assert served() == [True] * 4
    cache._engine.force.sources = {"handbook": "2", "prices": "7"}
    assert served() == [False, True, True, True]
    cache._engine.force.sources = {"handbook": "2", "prices": "7", "wiki": "1"}
    assert served() == [False, True, False, True]


def test_sources_survive_a_restart(tmp_path: Path) -> None:
    """In the file, with the versions of when the answer was stored."""
    config = parse({"store": f"sqlite:///{tmp_path / 'a.db'}", "sources": {"handbook": 1}})
    with Cache._over(from_config(config, embedder=HashingEmbedder())) as cache:
        cache.store(GIT, "x", category="code", sources=["handbook"])
    for version, kind in ((1, Hit), (2, Miss)):
        config.settings.sources["handbook"] = version
        with Cache._over(from_config(config, embedder=HashingEmbedder())) as cache:
            assert isinstance(cache.check(GIT, category="code"), kind)


def test_sources_are_written_and_compared_by_name() -> None:
    """In any order; the first that differs is named."""
    kept = written(["b", "a", "b"], {"a": "1"})
    assert kept == written(["a", "b"], {"a": "1"})
    assert outdated(kept, {"a": "1"}) == ""
    assert outdated(kept, {"a": "1", "b": "x"}) == "b"
    assert outdated("", {"a": "1"}) == ""
    for wrong in ("", "a=b", "a\nb", " a", "x" * 65):
        with pytest.raises(ConfigError, match="source"):
            check_source(wrong)


def test_what_is_asked_again_teaches_how_fast_answers_change(
    open_cache: Open, clock: FakeClock
) -> None:
    """Every answer that takes the place of an older one counts; it is kept over a restart."""
    store = MemoryStore()
    cache = open_cache(store=store, categories=one(stale_if_error="30d"))
    for number in range(40):
        cache.store(GIT, f"answer {number // 2}", category="git")
        clock.advance(3600)
    found = cache.stats()["categories"]["git"]["freshness"]
    assert (found["reasked"], found["changed"]) == (39, 19)
    assert 8 < found["changes_per_day"] < 24
    assert found["expected_stale"] > 0.05
    assert found["proposed_ttl_s"] < 3600
    cache._engine.tidy()
    again = open_cache(store=store, categories=one(stale_if_error="30d"))
    assert again.stats()["categories"]["git"]["freshness"]["reasked"] == 39


@pytest.mark.parametrize(
    "wrong",
    [
        {"stale_if_error": "soon"},
        {"stale_while_revalidate": 0},
        {"cue_ttl": -1},
        {"refresh_ahead": 1.0},
        {"refresh_ahead": 0},
    ],
)
def test_wrong_times_are_named(wrong: dict[str, object]) -> None:
    """The message names category and key."""
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"'git': {name}"):
        one(**wrong)


def test_a_fresh_answer_in_other_words_goes_before_a_stale_equal_one(
    open_cache: Open, clock: FakeClock
) -> None:
    """The equal one is what is left when there is none, also of a category that is exact only."""
    cache = open_cache(categories=one(stale_while_revalidate="1d"))
    cache.store(GIT, "old", category="git")
    clock.advance(3700)
    stale = cache.check(GIT, category="git")
    assert isinstance(stale, Hit)
    assert (stale.tier, stale.reason) == ("exact", Reason.REVALIDATING)
    cache.store(LIKE, "new", category="git")
    hit = cache.check(GIT, category="git")
    assert isinstance(hit, Hit)
    assert (hit.answer, hit.stale_s) == ("new", 0)
    strict = open_cache(categories=one(stale_while_revalidate="1d", exact_only=True))
    strict.store(GIT, "old", category="git")
    clock.advance(3700)
    assert isinstance(strict.check(GIT, category="git"), Hit)


def test_stale_hits_start_one_refresh_and_count_once(open_cache: Open, clock: FakeClock) -> None:
    """However many ask while the fresh answer is on its way."""
    cache = open_cache(categories=one(stale_while_revalidate="1d"))
    cache.answer(GIT, lambda: "old", category="git")
    clock.advance(3700)
    calls, begun, go = [], threading.Event(), threading.Event()

    def compute() -> str:
        calls.append(1)
        begun.set()
        go.wait(30)
        return "new"

    for _ in range(20):
        assert cache.answer(GIT, compute, category="git") == "old"
        assert begun.wait(30)
    threads = [t for t in threading.enumerate() if t.name == "likewise-refresh"]
    go.set()
    for thread in threads:
        thread.join()
    assert (len(threads), len(calls)) == (1, 1)
    row = cache.stats()["categories"]["git"]
    assert (row["requests"], row["stale_hits"]) == (21, 20)


def test_a_cue_far_into_a_text_costs_nothing() -> None:
    """Only the beginning of a question is read."""
    assert not has_cue("word " * 3_000 + "today")
    assert has_cue("today " + "word " * 3_000)


def test_sources_are_those_of_when_the_question_was_asked(open_cache: Open) -> None:
    """An answer that was under way when a new version came is of the old one."""
    cache = open_cache(categories=one())
    engine = cache._engine
    engine.force.sources = {"handbook": "1"}
    request = request_of(GIT, category="git", sources=["handbook"])
    kept = written(request.controls.sources, engine.force.sources)
    engine.force.sources = {"handbook": "2"}
    engine.keep(request, "x", sources=kept)
    assert isinstance(cache.check(GIT, category="git"), Miss)


def test_a_source_that_nobody_can_name_is_refused() -> None:
    """With what a name is made of."""
    with pytest.raises(ConfigError, match="sources: 'hand book': a source's name"):
        parse({"sources": {"hand book": "7"}})
