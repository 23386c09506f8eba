"""``bench load``: real processes, few requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from likewise.bench import load
from likewise.bench.drive import Answered
from likewise.bench.prompts import Embedded, Prompt
from likewise.testing import HashingEmbedder

BASE = {"embedding": {"model": "hashing", "dimensions": 64}, "builtin_categories": False}
PROMPTS = [
    Prompt(category, f"{category} question number {number}, please", f"{category}/{number}")
    for category in ("sql", "code")
    for number in range(30)
]


def quiet(_done: int, _of: int) -> None:
    """Tell nobody."""


def scenario(seconds: float = 4.0, **changes: Any) -> load.Scenario:
    """A few seconds of traffic over the prompts above."""
    arrivals = load.arrivals_for(None, seconds=seconds, compress=20.0, seed=1)
    law = replace(load.LAW, **changes)
    return load.scenario(PROMPTS, arrivals, base=BASE, law=law, seed=1)


def test_the_two_policies_differ_only_in_whether_they_follow_the_load() -> None:
    """Everything else is equal, down to the times to live."""
    found = scenario()
    static, adaptive = found.configs["static"], found.configs["adaptive"]
    assert {**static, "load": None} == {**adaptive, "load": None}
    assert set(adaptive["load"]) - set(static["load"]) == {"stretch", "rise", "fall"}
    assert static["categories"]["sql"]["ttl"] == pytest.approx(6.0)


def test_the_workload_warms_the_cache_first() -> None:
    """With short answers, and then asks with the mix that is wanted."""
    found = scenario()
    measured = found.workload.times_s >= found.warm_s
    assert measured.sum() == (~measured).sum()
    assert (found.workload.output_tokens[~measured] == 1).all()
    assert found.workload.output_tokens[measured].mean() > 100
    names = [found.workload.questions[place].category for place in found.workload.question_of]
    assert 0.4 < np.mean([name == "sql" for name in names]) < 0.6


def test_the_capacity_is_a_little_too_small() -> None:
    """A model that takes ten times as long needs about ten times of it."""
    found = scenario(seconds=40.0)
    known = Embedded(HashingEmbedder(64), found.workload.texts, quiet)
    slow = replace(found, law=replace(found.law, first_token_s=2.0, token_s=0.04))
    assert load.overloaded(slow, known) >= 5 * load.overloaded(found, known)


def test_hits_are_judged_by_what_stored_them() -> None:
    """Another question's answer is wrong, one that has changed since is outdated."""
    found = scenario()
    workload = found.workload
    first = int(np.flatnonzero(workload.times_s >= found.warm_s)[0])
    answers = [
        Answered(float(at), 0.01, 200, "MISS", "", f"e{place}")
        for place, at in enumerate(workload.times_s)
    ]
    keys = [workload.questions[place].answer_key for place in workload.question_of]
    same = next(n for n in range(first) if keys[n] == keys[first])
    other = next(n for n in range(first) if keys[n] != keys[first + 1])
    answers[first] = replace(answers[first], outcome="HIT", entry_id=f"e{same}")
    answers[first + 1] = replace(answers[first + 1], outcome="STALE", entry_id=f"e{other}")
    row = load._judged(found, answers, 7)
    assert row["upstream"] == 7
    assert row["wrong_per_hit"] == 0.5
    assert row["stale_per_hit"] == 0.5
    assert row["requests"] == len(workload) // 2


@pytest.mark.slow
def test_both_runs_are_real_and_both_are_predicted() -> None:
    """Model, gateway and clients are processes and sockets; the simulator sees the same traffic."""
    found = scenario(capacity=2)
    known = Embedded(HashingEmbedder(64), found.workload.texts, quiet)
    result = load.measure(found, known, progress=lambda _: quiet, folder=None)
    for name in ("static", "adaptive"):
        real, predicted = result[name], result["simulated"][name]
        assert real["requests"] == predicted["requests"] == len(found.workload) // 2
        assert real["failed"] == 0
        assert 0 < real["upstream"] < real["requests"]
        assert real["p99_s"] >= real["p50_s"] > 0.0
        assert 0.5 < predicted["upstream"] / real["upstream"] < 2.0
    assert result["traffic_reduction"] == pytest.approx(
        1.0 - result["adaptive"]["upstream"] / result["static"]["upstream"]
    )
