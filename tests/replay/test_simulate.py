from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from likewise.replay import Outcome, Plan, Question, Setting, generate, simulate
from likewise.replay.outcome import Truth, Way
from likewise.replay.policy import Blind
from likewise.replay.trace import poisson
from likewise.service_time import ServiceTime

from .support import FREE, asked, embedded, policy, prompts, run

NARROW = ServiceTime(capacity=1, first_token_s=1.0, most_waiting=0)
BARE: dict[str, Any] = {"guards": [], "similarity_threshold": 0.6}


def ways(outcome: Outcome) -> list[Way]:
    """How each request was answered."""
    return [Way(code) for code in outcome.way.tolist()]


def test_an_answer_serves_from_the_moment_its_call_has_ended() -> None:
    """Before, the same question joins the call and waits for what is left of it."""
    outcome = run(asked((0.0, "a"), (0.4, "a"), (1.5, "a")), lookup_s=0.01)
    assert ways(outcome) == [Way.CALLED, Way.JOINED, Way.EXACT]
    assert outcome.latency_s.tolist() == pytest.approx([1.01, 0.61, 0.01])
    assert outcome.figures()["upstream"] == 1
    assert outcome.truth.tolist() == [Truth.NONE, Truth.NONE, Truth.RIGHT]


def test_the_caller_sees_the_lookup_measured_when_nothing_is_set() -> None:
    """It takes some time, and not the model's."""
    outcome = run(asked((0.0, "a"), (2.0, "a")), lookup_s=None)
    assert 0 < outcome.latency_s[1] < 1.0 < outcome.latency_s[0]


def test_near_questions_are_judged_by_their_answer_keys() -> None:
    """A semantic hit is right when the two may share an answer, else wrong."""
    workload = asked(
        (0.0, "how to undo a commit", "undo"),
        (2.0, "how to undo a commit please", "undo"),
        (3.0, "how to undo a commit twice", "twice"),
    )
    outcome = run(workload, policy(defaults=BARE))
    assert ways(outcome)[1:] == [Way.SEMANTIC, Way.SEMANTIC]
    assert outcome.truth[1:].tolist() == [Truth.RIGHT, Truth.WRONG]
    figures = outcome.figures()
    assert figures["wrong_per_hit"] == 0.5
    assert figures["wrong_per_request"] == pytest.approx(1 / 3)


def test_tenants_share_nothing() -> None:
    """What one has paid for serves no other."""
    workload = generate(prompts(1), poisson(0.1, 40, seed=1), tenants=2, zipf=0.0)
    alone = generate(prompts(1), poisson(0.1, 40, seed=1), zipf=0.0)
    assert run(workload).figures()["upstream"] == 2 * run(alone).figures()["upstream"]


def test_the_policy_of_the_config_is_the_one_that_decides() -> None:
    """Time to live, guards and what is not cacheable hold as in service, on the virtual clock."""
    workload = asked((0.0, "a"), (8.0, "a"), (30.0, "a"))
    assert ways(run(workload, policy(defaults={"ttl": "20s"})))[1:] == [Way.EXACT, Way.CALLED]
    assert ways(run(workload, policy(defaults={"cacheable": False}))) == [Way.CALLED] * 3
    numbers = asked((0.0, "undo 2 commits of mine"), (2.0, "undo 3 commits of mine"))
    loose = {**BARE, "guards": ["numbers"]}
    assert ways(run(numbers, policy(defaults=loose)))[1] is Way.CALLED
    assert ways(run(numbers, policy(defaults=BARE)))[1] is Way.SEMANTIC


def test_a_stale_answer_is_served_while_a_fresh_one_is_fetched_aside() -> None:
    """It counts as stale, costs a call, and the next one is fresh."""
    config = policy(defaults={"ttl": "10s", "stale_while_revalidate": "1m"})
    outcome = run(asked((0.0, "a"), (15.0, "a"), (15.5, "a"), (20.0, "a")), config)
    assert ways(outcome)[1:] == [Way.EXACT] * 3
    assert outcome.stale.tolist() == [False, True, True, False]
    assert outcome.refreshes == 1
    assert outcome.figures()["upstream"] == 2


def test_answers_that_changed_since_are_outdated() -> None:
    """By the truth of the workload, whatever the policy thinks."""
    requests = ((0.0, "a"), (50.0, "a"), (90.0, "b"), (99.0, "b"))
    quick = run(asked(*requests, lifetimes_s={"git": 0.5}))
    assert quick.outdated.tolist() == [False, True, False, True]
    assert run(asked(*requests, lifetimes_s={"git": 1e9})).outdated.sum() == 0
    assert run(asked(*requests)).outdated.sum() == 0
    assert quick.figures()["outdated_per_hit"] == 1.0


def test_a_refused_call_is_tried_again_until_the_wait_is_over() -> None:
    """After Retry-After each time, and who comes meanwhile waits without asking."""
    workload = asked((0.0, "a"), (0.0, "b"), (0.0, "c"))
    patient = run(workload, law=NARROW, most_wait_s=5.0, lookup_s=0.0)
    assert patient.latency_s.tolist() == pytest.approx([1.0, 2.0, 3.0])
    assert patient.figures()["upstream"] == 5
    assert patient.refused == 2
    brief = run(workload, law=NARROW, most_wait_s=1.5, lookup_s=0.0)
    assert ways(brief) == [Way.CALLED, Way.CALLED, Way.FAILED]
    hasty = run(workload, law=NARROW, most_wait_s=0.0, lookup_s=0.0)
    assert ways(hasty) == [Way.CALLED, Way.FAILED, Way.FAILED]
    assert hasty.figures()["wanted"] == patient.figures()["wanted"] == 3
    assert hasty.figures()["failed_share"] == pytest.approx(2 / 3)


def test_a_refusal_is_heard_of_after_the_round_trip() -> None:
    """The pause begins then."""
    workload = asked((0.0, "a"), (0.2, "b"))
    outcome = run(workload, law=NARROW, most_wait_s=5.0, round_trip_s=0.1, lookup_s=0.0)
    assert outcome.calls_s.tolist() == pytest.approx([0.0, 0.2, 1.3], abs=0.002)


def test_calls_beyond_the_policys_limit_wait_in_the_gateway() -> None:
    """In its own line: by priority, up to its wait, and the model sees no more than the limit."""
    workload = asked((0.0, "a"), (0.1, "b"), (0.2, "c"))
    config = policy(load={"max_in_flight": 1})
    outcome = run(workload, config, lookup_s=0.0)
    assert outcome.calls_s.tolist() == pytest.approx([0.0, 1.0, 2.0])
    assert outcome.latency_s.tolist() == pytest.approx([1.0, 1.9, 2.8])
    brief = run(workload, config, lookup_s=0.0, most_wait_s=1.5)
    assert ways(brief) == [Way.CALLED, Way.CALLED, Way.FAILED]
    assert brief.latency_s[2] == pytest.approx(1.5)
    assert brief.refused == 0
    short = policy(load={"max_in_flight": 1, "max_waiting": 1})
    assert ways(run(workload, short)) == [Way.CALLED, Way.CALLED, Way.FAILED]


def test_turns_go_by_priority() -> None:
    """Of those that wait the more urgent category goes first, as in the gateway."""
    one = asked((0.0, "a"), (0.1, "b"), (0.2, "c"))
    urgent = Question("sql", "c", "c")
    workload = replace(one, questions=[*one.questions[:2], urgent])
    config = policy(
        load={"max_in_flight": 1},
        categories={"git": {"priority": "low"}, "sql": {"priority": "high"}},
    )
    assert run(workload, config, lookup_s=0.0).latency_s.tolist() == pytest.approx([1.0, 2.9, 1.8])
    assert run(one, config, lookup_s=0.0).latency_s.tolist() == pytest.approx([1.0, 1.9, 2.8])


def test_a_refusal_concerns_whose_key_it_was() -> None:
    """With a key of the gateway's own all wait, else only the tenant that was refused."""
    one = asked((0.0, "a"), (0.1, "b"), (0.2, "c"))
    two = replace(one, tenants=["t", "u"], tenant_of=np.array([0, 0, 1]))
    law = ServiceTime(capacity=1, first_token_s=0.15, most_waiting=0)
    own = run(two, law=law, lookup_s=0.0)
    assert own.latency_s[2] == pytest.approx(0.15)  # sent, for its tenant was not refused
    shared = run(two, policy(upstream={"api_key": "k"}), law=law, lookup_s=0.0)
    assert shared.latency_s[2] > 0.9


def test_how_long_to_wait_is_the_policys_unless_it_is_set() -> None:
    """``load.max_wait`` of the configuration."""
    workload = asked((0.0, "a"), (0.0, "b"))
    config = policy(load={"max_wait": "500ms"})
    assert ways(run(workload, config, law=NARROW))[1] is Way.FAILED
    assert ways(run(workload, config, law=NARROW, most_wait_s=2.0))[1] is Way.CALLED
    config = policy(load={"max_wait": "2s"})
    assert ways(run(workload, config, law=NARROW))[1] is Way.CALLED


def test_who_joined_a_call_that_is_refused_fails_with_it() -> None:
    """And latency runs from each one's own beginning."""
    workload = asked((0.0, "a"), (0.1, "b"), (0.3, "b"))
    slow = replace(NARROW, first_token_s=3.0)
    outcome = run(workload, law=slow, most_wait_s=1.5, lookup_s=0.0)
    assert ways(outcome) == [Way.CALLED, Way.FAILED, Way.FAILED]
    assert outcome.latency_s.tolist() == pytest.approx([3.0, 1.0, 0.8], abs=0.002)
    assert outcome.figures()["wanted"] == 2
    late = run(asked((0.0, "a"), (0.1, "b"), (0.3, "b")), law=NARROW, most_wait_s=5.0, lookup_s=0.0)
    assert ways(late) == [Way.CALLED, Way.CALLED, Way.JOINED]
    assert late.latency_s.tolist() == pytest.approx([1.0, 2.0, 1.8], abs=0.002)


def test_a_stale_answer_in_place_of_a_refusal() -> None:
    """Where the policy allows it, and nowhere else."""
    workload = asked((0.0, "a"), (20.0, "b"), (20.1, "a"))
    kind = {"ttl": "10s", "stale_if_error": "1h", "stale_on_429": True}
    outcome = run(workload, policy(defaults=kind), law=NARROW, most_wait_s=0.0)
    assert ways(outcome) == [Way.CALLED, Way.CALLED, Way.RESCUED]
    assert outcome.stale.tolist() == [False, False, True]
    assert outcome.figures()["hit_rate"] == pytest.approx(1 / 3)
    strict = policy(defaults={**kind, "stale_on_429": False})
    assert ways(run(workload, strict, law=NARROW, most_wait_s=0.0))[2] is Way.FAILED


def test_a_full_model_is_slow_by_its_law() -> None:
    """The second of two at once is slowed down, the third waits for the first place."""
    law = ServiceTime(capacity=2, first_token_s=1.0, token_s=0.1, slowdown=1.0)
    outcome = run(asked((0.0, "a"), (0.0, "b"), (0.0, "c")), law=law, lookup_s=0.0)
    assert outcome.latency_s.tolist() == pytest.approx([2.0, 3.0, 2.0 + 3.0])


def test_the_queue_is_as_long_as_theory_says() -> None:
    """Poisson arrivals, equal service times, one place: Pollaczek and Khinchine's mean wait."""
    arrivals = poisson(0.7, 20_000, seed=2)
    workload = generate(prompts(1), arrivals)
    law = ServiceTime(capacity=1, first_token_s=1.0)
    outcome = run(workload, policy(defaults={"cacheable": False}), law=law, lookup_s=0.0)
    gaps = np.diff(arrivals.times_s)
    load = 1.0 / gaps.mean()
    assert outcome.latency_s.mean() == pytest.approx(1.0 + load / (2 * (1 - load)), rel=0.1)


def test_money_goes_by_the_price_of_the_model() -> None:
    """What was called is paid, what was not is saved, and a failure is neither."""
    config = policy(prices={"big": {"input": 1.0, "output": 3.0}})
    workload = asked((0.0, "a"), (0.5, "a"), (2.0, "a"), tokens=250_000, model="big")
    figures = run(workload, config).figures()
    assert figures["spent_usd"] == pytest.approx(1.0)
    assert figures["saved_usd"] == pytest.approx(2.0)
    assert run(workload).figures()["saved_usd"] == 0
    built_in = asked((0.0, "a"), tokens=1_000_000, model="gpt-4o-mini")
    assert run(built_in).figures()["spent_usd"] == pytest.approx(0.75)
    hasty = run(asked((0.0, "a"), (0.0, "b"), tokens=250_000), config, law=NARROW, most_wait_s=0.0)
    assert hasty.figures()["spent_usd"] == pytest.approx(1.0)
    assert hasty.figures()["saved_usd"] == 0


def test_the_engine_sees_the_load_and_its_policy_follows() -> None:
    """Under overload a policy that adapts sends less to the model than the same that does not."""
    workload = generate(prompts(200), poisson(8.0, 3_000, seed=4), zipf=0.8)
    law = ServiceTime(capacity=2, first_token_s=1.0, slowdown=1.0, most_waiting=8)
    near = {"similarity_threshold": 0.99, "guards": []}
    loads: dict[str, Any] = {"max_in_flight": 4}
    static = run(workload, policy(defaults=near, load=loads), law=law)
    adaptive = run(workload, policy(defaults=near, load={**loads, "relax": 0.2}), law=law)
    assert static.pressure.max() > 0.9
    assert static.figures()["semantic_hits"] == 0
    assert adaptive.figures()["semantic_hits"] > 100
    assert adaptive.figures()["upstream"] < static.figures()["upstream"]


def test_bounds_hold_and_answers_weigh_what_their_tokens_do() -> None:
    """Where bytes are bounded, long answers leave room for fewer entries than short ones."""
    config = policy(max_bytes="100kB")
    requests = [(float(n), f"question {n}") for n in range(60)]
    short, long = (run(asked(*requests, tokens=n), config).stored for n in (10, 2_000))
    assert short == 60
    assert 0 < long < 20
    few = run(asked(*requests), policy(max_entries=7))
    assert few.stored == 7


def test_hashed_questions_are_served_by_the_exact_tier_only() -> None:
    """Nothing is embedded, and a verifier or learning of the policy is left aside."""
    workload = asked((0.0, "00aa"), (5.0, "00aa"), (6.0, "00ab"))
    hashed = [
        Question(q.category, q.text, q.answer_key, "", hashed=True) for q in workload.questions
    ]
    workload.questions[:] = hashed  # type: ignore[index]
    config = policy(learning={"enabled": True}, defaults=BARE)
    plan = Plan("policy", config)
    outcome = simulate(workload, plan, Setting(law=FREE), embedder=Blind())
    assert ways(outcome) == [Way.CALLED, Way.EXACT, Way.CALLED]
    assert workload.texts == []


def test_what_a_log_does_not_tell_is_not_judged() -> None:
    """Without labels a semantic hit is unknown; a label that parts two answers makes it wrong."""
    requests = ((0.0, "undo a commit of mine", "one"), (2.0, "undo a commit of yours", "two"))
    parted = frozenset({("one", "two")})
    unknown = run(asked(*requests, labelled=False), policy(defaults=BARE))
    assert unknown.truth.tolist() == [Truth.NONE, Truth.UNKNOWN]
    assert unknown.figures()["unjudged"] == 1
    assert unknown.figures()["wrong_per_hit"] == 0
    wrong = run(asked(*requests, labelled=False, unlike=parted), policy(defaults=BARE))
    assert wrong.truth.tolist() == [Truth.NONE, Truth.WRONG]


def test_learning_in_service_takes_place_and_audits_reach_the_model() -> None:
    """A policy that learns is taught by the truth of the workload, with audits as extra calls."""
    workload = generate(prompts(350), poisson(2.0, 1_200, seed=6), zipf=0.0)
    config = policy(
        learning={"enabled": True, "audit_rate": 1.0},
        defaults={"guards": [], "error_budget": 0.3},
    )
    outcome = run(workload, config)
    figures = outcome.figures()
    assert figures["audits"] > 0
    assert figures["upstream"] == (outcome.way == Way.CALLED).sum() + figures["audits"]


def test_equal_runs_are_equal() -> None:
    """Nothing of the machine's own time gets into the figures."""
    workload = generate(prompts(), poisson(3.0, 400, seed=1))
    assert run(workload).figures() == run(workload).figures()


def test_parts_add_up_to_the_whole() -> None:
    """Categories and parts of the time partition requests and calls; shares are of each part."""
    both = [*prompts(20), *prompts(20, "sql")]
    workload = generate(both, poisson(3.0, 500, seed=1), lifetimes_s={"sql": 30.0})
    law = ServiceTime(capacity=1, first_token_s=1.0, most_waiting=2)
    outcome = run(workload, policy(defaults=BARE), law=law, most_wait_s=1.0)
    whole = outcome.figures()
    parts = (list(outcome.by_category().values()), outcome.over_time(13))
    assert len(parts[1]) == 13
    for rows in parts:
        for key in ("requests", "exact_hits", "right", "wrong", "outdated", "upstream", "failed"):
            assert sum(row[key] for row in rows) == whole[key], key
    assert whole["failed"] > 0
    assert whole["outdated"] > 0
    told = outcome.to_dict()
    assert told["requests_per_minute"] > 0
    assert {"by_category", "over_time", "p99_s", "within_slo"} <= told.keys()


def test_progress_is_told_to_the_end() -> None:
    """The last report is of all requests."""
    told: list[tuple[int, int]] = []
    workload = asked((0.0, "a"), (1.0, "b"))
    simulate(
        workload,
        Plan("policy", policy()),
        Setting(),
        embedder=embedded(workload.texts),
        progress=lambda done, of: told.append((done, of)),
    )
    assert told[-1] == (2, 2)
