from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import Cache, Category
from likewise.dashboard import browsing, labelled
from likewise.dashboard.history import OTHER, SPANS, History, series
from likewise.dashboard.whatif import together, what_if
from likewise.engine import Engine
from likewise.errors import RequestError
from likewise.policy import Hit, decide
from likewise.testing import FakeClock

NOW = 1_700_000_005.0
ASKED = {"near": 0.99, "middling": 0.93, "far": 0.8}


def engine_of(cache: Cache) -> Engine:
    """The engine of a cache."""
    return cache._engine


@pytest.fixture
def cache(clock: FakeClock, compass: Any) -> Any:
    """A cache in which one entry is at known distances from some questions."""
    embedder = compass({"stored": 1.0, **ASKED})
    policies = [Category("loose", similarity_threshold=0.9, guards=())]
    with Cache(store="memory://", embedder=embedder, categories=policies, clock=clock) as cache:
        cache.store("stored", "answer", category="loose")
        yield cache


# -- history --------------------------------------------------------------------------------------


def test_growth_falls_into_the_steps_of_the_clock() -> None:
    """What was counted between two samples is in the step of the later one."""
    history = History()
    history.sample({"a": {"requests": 5.0}}, pressure=0.0, now=NOW)
    history.sample({"a": {"requests": 8.0}}, pressure=0.5, now=NOW + 10)
    history.sample({"a": {"requests": 8.0}, "b": {"misses": 2.0}}, pressure=0.25, now=NOW + 20)
    found = series("1h", [history.steps("1h")], now=NOW + 20)
    assert len(found["times"]) == len(found["pressure"]) == SPANS["1h"][1]
    assert found["times"][-1] == 1_700_000_020
    assert found["categories"]["a"]["requests"][-3:] == [0.0, 3.0, 0.0]
    assert found["categories"]["b"]["misses"][-3:] == [0.0, 0.0, 2.0]
    assert found["pressure"][-3:] == [None, 0.5, 0.25]
    # A day's step holds all of it, and the greatest pressure.
    day = series("24h", [history.steps("24h")], now=NOW + 20)
    assert day["categories"]["a"]["requests"][-1] == 3.0
    assert day["pressure"][-1] == 0.5


def test_workers_are_added() -> None:
    """The steps of several workers are one; the greatest pressure is that of all."""
    histories = [History(), History()]
    for number, history in enumerate(histories):
        history.sample({}, pressure=0.0, now=NOW)
        history.sample({"a": {"requests": 1.0 + number}}, pressure=number / 2, now=NOW + 10)
    found = series("1h", [history.steps("1h") for history in histories], now=NOW + 10)
    assert found["categories"]["a"]["requests"][-1] == 3.0
    assert found["pressure"][-1] == 0.5


def test_audits_have_an_interval_that_holds_their_share() -> None:
    """Wrong hits are those of all audits since the span began."""
    history = History()
    history.sample({}, pressure=0.0, now=NOW)
    history.sample({"a": {"audits": 10.0, "audited_wrong": 1.0}}, pressure=0.0, now=NOW + 10)
    history.sample({"a": {"audits": 40.0, "audited_wrong": 2.0}}, pressure=0.0, now=NOW + 20)
    wrong = series("1h", [history.steps("1h")], now=NOW + 20)["categories"]["a"]["wrong"]
    assert wrong[-3] is None
    assert wrong[-2][0] == 0.1
    assert wrong[-1][0] == 0.05
    assert all(low <= rate <= high for rate, low, high in wrong[-2:])


def test_a_history_does_not_grow_for_ever() -> None:
    """Steps beyond the span go, and categories beyond a bound are counted together."""
    history = History()
    history.sample({}, pressure=0.0, now=NOW)
    many = {f"c{number}": {"requests": 1.0} for number in range(150)}
    history.sample(many, pressure=0.0, now=NOW)
    for place in range(500):
        history.sample(many, pressure=0.0, now=NOW + 10 * place)
    assert len(history.steps("1h")) == SPANS["1h"][1]
    step = next(iter(history.steps("30d").values()))
    assert step[OTHER]["requests"] == 50.0
    assert len(step) == 102
    with pytest.raises(RequestError, match="1h, 24h, 30d"):
        history.steps("2h")


# -- labels ---------------------------------------------------------------------------------------


@given(st.floats(0.01, 1e6), st.floats(0, 1))
def test_an_interval_holds_the_share(labels: float, share: float) -> None:
    """Bounds lie in 0 to 1 around the share, and are narrower the more labels there are."""
    bounds = labelled.interval(share * labels, labels)
    assert bounds is not None
    low, high = bounds
    assert 0.0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1.0
    wider = labelled.interval(share * labels / 4, labels / 4)
    assert wider is not None
    assert wider[1] - wider[0] >= high - low - 1e-9


def test_an_interval_is_that_of_wilson() -> None:
    """It solves the equation it comes from: |p - share| = z sqrt(p (1 - p) / n)."""
    found = labelled.interval(7, 90)
    assert found is not None
    for bound in found:
        spread = 1.959964 * math.sqrt(bound * (1 - bound) / 90)
        assert abs(bound - 7 / 90) == pytest.approx(spread, rel=1e-6)
    assert labelled.interval(0, 0) is None


def test_similarities_of_recent_decisions(cache: Cache) -> None:
    """Hits and misses by meaning are counted where they are; equal questions are not."""
    for question in ("stored", *ASKED):
        cache.check(question, category="loose")
    found = labelled.similarities(engine_of(cache), "loose")
    edges = np.array(found["edges"])
    assert len(found["hits"]) == len(edges) - 1
    assert sum(found["hits"]) == 2
    assert sum(found["misses"]) == 1
    place = int(np.flatnonzero(found["misses"])[0])
    assert edges[place] <= 0.8 <= edges[place + 1]
    assert found["similarity_threshold"] == 0.9
    assert found["wrong_rate"]["rate"] is None
    assert set(labelled.wrong_rates(engine_of(cache))) >= {"loose", "default"}


# -- what if --------------------------------------------------------------------------------------


def test_what_if_decides_again_by_the_policy(cache: Cache) -> None:
    """At a lower threshold more are hits, at a higher one fewer; each is named."""
    engine = engine_of(cache)
    for question in ASKED:
        cache.check(question, category="loose")
    receipts = engine.receipts.latest()
    same = what_if(receipts, "loose", similarity=0.9)
    assert (same["decisions"], same["hits_then"], same["hits_now"]) == (3, 2, 2)
    assert same["gained"] == same["lost"] == []
    low = what_if(receipts, "loose", similarity=0.7)
    assert low["hits_now"] == 3
    assert [one["question"] for one in low["gained"]] == ["far"]
    assert low["gained"][0]["candidate"] == "stored"
    high = what_if(receipts, "loose", similarity=0.95)
    assert [one["question"] for one in high["lost"]] == ["middling"]
    assert what_if(receipts, "other", similarity=0.5)["decisions"] == 0
    both = together([low, high])
    assert both["decisions"] == 6
    assert both["gained"] == low["gained"]


@pytest.mark.parametrize("threshold", [0.5, 0.85, 0.93, 0.95, 1.0])
def test_what_if_is_what_the_cache_would_have_done(cache: Cache, threshold: float) -> None:
    """The policy at that threshold decides as the slider says."""
    engine = engine_of(cache)
    for question in ASKED:
        cache.check(question, category="loose")
    told = what_if(engine.receipts.latest(), "loose", similarity=threshold)
    policy = Category("loose", similarity_threshold=threshold, guards=())
    hits = 0
    for receipt in engine.receipts.latest():
        found = decide(receipt.candidates, request=receipt.request, policy=policy, now=receipt.now)
        hits += isinstance(found, Hit)
    assert told["hits_now"] == hits


# -- entries --------------------------------------------------------------------------------------


def test_entries_by_text_and_by_meaning(cache: Cache, clock: FakeClock) -> None:
    """Text finds whatever the case, the newest first; meaning finds the nearest of all scopes."""
    engine = engine_of(cache)
    clock.advance(1)
    cache.store("near", "another", category="strict")
    found = browsing.by_text(engine, "STOR", category="", limit=10)
    assert [one["question"] for one in found["entries"]] == ["stored"]
    newest = browsing.by_text(engine, "", category="", limit=1)
    assert newest["total"] == 2
    assert [one["question"] for one in newest["entries"]] == ["near"]
    meant = browsing.by_meaning(engine, "middling", category="", limit=10)["entries"]
    assert {one["question"] for one in meant} == {"stored", "near"}
    assert meant[0]["similarity"] >= meant[1]["similarity"]
    only = browsing.by_meaning(engine, "middling", category="strict", limit=10)["entries"]
    assert [one["question"] for one in only] == ["near"]
    for wrong in ("", " ", "x" * 200):
        with pytest.raises(RequestError):
            browsing.by_meaning(engine, wrong, category="", limit=10)


def test_an_entry_in_full_and_those_near_it(cache: Cache) -> None:
    """The vector of the entry itself is what others are near to, in its category."""
    engine = engine_of(cache)
    cache.store("near", "another", category="loose")
    cache.store("far", "a third", category="loose")
    cache.store("middling", "elsewhere", category="strict")
    entry_id = browsing.by_text(engine, "stored", category="", limit=1)["entries"][0]["id"]
    full = browsing.in_full(engine, entry_id)
    assert (full["question"], full["answer"], full["indexed"]) == ("stored", "answer", True)
    near = [record.question for record, _ in browsing.near(engine, entry_id, 0.95)]
    assert near == ["stored", "near"]
    assert len(browsing.near(engine, entry_id, 0.5)) == 3
    with pytest.raises(RequestError, match="no such entry"):
        browsing.in_full(engine, "nothing")
