from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import Bypass, Category, Hit, Miss, Scope
from likewise.entry import Provenance
from likewise.guards import veto
from likewise.policy import Candidate, Decision, Reason, Tier, decide, threshold_of
from likewise.request import Controls, Request

NOW = 1000.0
POLICY = Category("code", similarity_threshold=0.9, ttl=100.0)
ASKED = Request("how to undo")


def candidate(similarity: float = 0.95, **changes: Any) -> Candidate:
    """A candidate that may be served unless ``changes`` say otherwise."""
    base = Candidate("e1", similarity, "how to revert", NOW - 10, NOW + 10, 0)
    return replace(base, **changes)


def ask(*candidates: Candidate, request: Request = ASKED, **changes: Any) -> Decision:
    """Decide under ``POLICY`` with ``changes``."""
    blocked, on_error = changes.pop("blocked", ()), changes.pop("on_error", False)
    policy = replace(POLICY, **changes)
    return decide(
        candidates, request=request, policy=policy, now=NOW, blocked=blocked, on_error=on_error
    )


def controls(**values: Any) -> Request:
    """``ASKED`` with something asked of the cache."""
    return replace(ASKED, controls=Controls(**values))


@pytest.mark.parametrize(
    ("decision", "kind", "reason"),
    [
        (ask(candidate(1.0, tier=Tier.EXACT)), Hit, Reason.EXACT),
        (ask(candidate()), Hit, Reason.SIMILAR),
        (ask(), Miss, Reason.NO_CANDIDATE),
        (ask(candidate(0.89)), Miss, Reason.BELOW_THRESHOLD),
        (ask(candidate(math.nan)), Miss, Reason.BELOW_THRESHOLD),
        (ask(candidate(expires_at=NOW)), Miss, Reason.STALE),
        (ask(candidate(expires_at=NOW - 1), stale_while_revalidate=5.0), Hit, Reason.REVALIDATING),
        (ask(candidate(expires_at=NOW - 5), stale_while_revalidate=5.0), Miss, Reason.STALE),
        (ask(candidate(expires_at=NOW - 1), stale_if_error=5.0), Miss, Reason.STALE),
        (
            # The category's time to live was longer when this was stored, or its caller chose it.
            ask(candidate(created_at=NOW - 150, expires_at=NOW - 10), ttl=200.0, calm=POLICY),
            Miss,
            Reason.STALE,
        ),
        (
            ask(candidate(created_at=NOW - 150, expires_at=NOW - 50), ttl=200.0, calm=POLICY),
            Hit,
            Reason.STRETCHED,
        ),
        (
            ask(candidate(created_at=NOW - 50, expires_at=NOW - 1), ttl=200.0, calm=POLICY),
            Miss,
            Reason.STALE,
        ),
        (
            ask(candidate(expires_at=NOW - 1), on_error=True, stale_if_error=5.0),
            Hit,
            Reason.STALE_IF_ERROR,
        ),
        (
            ask(candidate(outdated="handbook"), stale_if_error=5.0, on_error=True),
            Miss,
            Reason.STALE,
        ),
        (ask(candidate(epoch=1)), Miss, Reason.STALE),
        (ask(candidate(), epoch=1), Miss, Reason.STALE),
        (ask(candidate(), ttl=10.0), Miss, Reason.STALE),
        (ask(candidate(), request=controls(max_age_s=9.9)), Miss, Reason.STALE),
        (ask(candidate(0.4, tier=Tier.COARSE, gate=0.5)), Miss, Reason.GATED),
        (ask(candidate(question="how not to")), Miss, Reason.GUARD),
        (ask(candidate(), probability_threshold=0.8), Miss, Reason.IMPROBABLE),
        (ask(candidate(probability=1 - 1e-9), probability_threshold=1.0), Miss, Reason.UNCERTIFIED),
        (ask(candidate(probability=0.79), probability_threshold=0.8), Miss, Reason.IMPROBABLE),
        (ask(candidate(probability=math.nan), probability_threshold=0.8), Miss, Reason.IMPROBABLE),
        (ask(candidate(probability=0.8), probability_threshold=0.8), Hit, Reason.SIMILAR),
        (ask(candidate(), blocked=["e1"]), Miss, Reason.BLOCKED_PAIR),
        (ask(candidate(1.0, tier=Tier.EXACT), blocked=["e1"]), Miss, Reason.BLOCKED_PAIR),
        (ask(candidate(), exact_only=True), Miss, Reason.EXACT_ONLY),
        (ask(candidate(), request=replace(ASKED, exact_only="tools")), Miss, Reason.EXACT_ONLY),
        (ask(candidate(), request=replace(ASKED, turns=5)), Miss, Reason.EXACT_ONLY),
        (ask(candidate(), request=replace(ASKED, temperature=1.1)), Miss, Reason.EXACT_ONLY),
        (ask(candidate(), cacheable=False), Bypass, Reason.NOT_CACHEABLE),
        (ask(candidate(), request=Request(" \n")), Bypass, Reason.EMPTY),
        (ask(candidate(), request=replace(ASKED, stateful=True)), Bypass, Reason.STATEFUL),
        (ask(candidate(), request=controls(no_cache=True)), Bypass, Reason.NO_CACHE),
        (ask(candidate(), request=Request("4111111111111111")), Bypass, Reason.SENSITIVE),
    ],
)
def test_every_reason_is_reached(decision: Decision, kind: type, reason: Reason) -> None:
    """Each reason a decision may have comes out where it should."""
    assert type(decision) is kind
    assert decision.reason is reason
    assert decision.category == "code"


@pytest.mark.parametrize(
    "decision",
    [
        ask(candidate(0.9)),
        ask(candidate(expires_at=None), ttl=None),
        ask(candidate(created_at=NOW - 99.9)),
        ask(candidate(), request=controls(max_age_s=10.0)),
        ask(candidate(question="how not to"), guards=("numbers",)),
        ask(candidate(), request=replace(ASKED, turns=4, temperature=1.0)),
        ask(candidate(created_at=NOW + 5)),
    ],
)
def test_the_limits_themselves_are_allowed(decision: Decision) -> None:
    """A hit at exactly the threshold, the caller's age or the most turns is a hit."""
    assert isinstance(decision, Hit)
    assert decision.age_s >= 0


def test_the_nearest_acceptable_candidate_is_taken() -> None:
    """Not the first above the threshold, and not the nearest when that one may not be served."""
    decision = ask(
        candidate(0.91, entry_id="far"),
        candidate(0.99, entry_id="stale", expires_at=NOW - 1),
        candidate(0.93, entry_id="near"),
        candidate(0.98, entry_id="vetoed", question="never revert 3"),
        candidate(0.97, entry_id="blocked"),
        blocked=["blocked"],
    )
    assert isinstance(decision, Hit)
    assert decision.entry_id == "near"


def test_a_miss_gives_the_reason_of_the_nearest() -> None:
    """It says what stood in the way of a hit, with every number used."""
    decision = ask(candidate(0.5, entry_id="far"), candidate(0.95, entry_id="near", epoch=7))
    assert decision == Miss(
        "code", Reason.STALE, "of epoch 7, in force is 0", 0.95, "near", 0.9, semantic=True
    )


def test_an_exact_candidate_needs_neither_likeness_nor_guards() -> None:
    """Equality to the letter is served even where meaning would not be trusted."""
    exact = candidate(1.0, tier=Tier.EXACT, question="how not to 3")
    decision = ask(exact, exact_only=True, similarity_threshold=1.0)
    assert isinstance(decision, Hit)
    assert decision.tier is Tier.EXACT


@pytest.mark.parametrize(
    ("asked", "in_force"),
    [(None, 0.9), (0.0, 0.9), (0.5, 0.9), (0.97, 0.97), (1.0, 1.0), (math.nan, 0.9)],
)
def test_a_caller_tightens_and_never_loosens(asked: float | None, in_force: float) -> None:
    """The stricter of the two thresholds is in force."""
    assert threshold_of(controls(similarity_threshold=asked), POLICY) == in_force


def test_a_bypass_for_freshness_still_stores() -> None:
    """``no-cache`` skips the read only; with ``no-store`` nothing is kept either."""
    assert ask(request=controls(no_cache=True)) == Bypass("code", Reason.NO_CACHE, store=True)
    both = ask(request=controls(no_cache=True, no_store=True))
    assert both == Bypass("code", Reason.NO_CACHE, store=False)
    assert ask(cacheable=False) == Bypass("code", Reason.NOT_CACHEABLE, store=False)


def test_a_hit_shows_no_answer() -> None:
    """Answers stay out of ``repr``, and so do the questions of candidates."""
    hit = ask(candidate(question="how to CANARY"))
    assert isinstance(hit, Hit)
    assert "CANARY" not in repr(hit.with_answer("CANARY", Provenance()))
    assert "CANARY" not in repr(candidate(question="CANARY"))


NUMBERS = st.floats() | st.floats(0.8, 1.0) | st.floats(NOW - 200, NOW + 200)
TEXTS = st.text(max_size=5) | st.sampled_from(["how to undo", "how to undo 3", "how not to undo"])
CANDIDATES = st.builds(
    Candidate,
    entry_id=st.sampled_from("abcdef"),
    similarity=st.floats(0.8, 1.0) | st.floats(),
    question=TEXTS,
    created_at=NUMBERS,
    expires_at=st.none() | NUMBERS,
    epoch=st.integers(0, 2),
    tier=st.sampled_from(Tier),
)
POLICIES = st.builds(
    Category,
    name=st.just("code"),
    similarity_threshold=st.floats(0.5, 1.0),
    ttl=st.none() | st.floats(0.1, 1e6),
    cacheable=st.sampled_from([True, True, True, False]),
    exact_only=st.sampled_from([False, False, True]),
    guards=st.sampled_from([(), ("numbers",), ("numbers", "negation")]),
    epoch=st.integers(0, 1),
)
REQUESTS = st.builds(
    Request,
    question=TEXTS,
    scope=st.just(Scope()),
    controls=st.builds(
        Controls,
        no_cache=st.sampled_from([False, False, True]),
        no_store=st.booleans(),
        max_age_s=st.none() | st.floats(0, 300),
        similarity_threshold=st.none() | st.floats(0, 1),
    ),
    exact_only=st.sampled_from([None, None, "tools"]),
    turns=st.integers(1, 6),
    temperature=st.none() | st.floats(0, 2),
)


@given(
    st.lists(CANDIDATES, max_size=8), REQUESTS, POLICIES, st.frozensets(st.sampled_from("abcdef"))
)
def test_whatever_comes_a_hit_is_allowed_to_be_one(
    candidates: list[Candidate], request: Request, policy: Category, blocked: frozenset[str]
) -> None:
    """Any input gives a Hit, Miss or Bypass, always the same, and a Hit keeps every rule."""

    def run() -> Decision:
        return decide(candidates, request=request, policy=policy, now=NOW, blocked=blocked)

    decision = run()
    assert repr(decision) == repr(run())
    match decision:
        case Hit():
            served = [
                c
                for c in candidates
                if c.entry_id == decision.entry_id
                and c.tier is decision.tier
                and c.similarity == decision.similarity
                and acceptable(c, request, policy, blocked)
            ]
            assert served, "a hit on a candidate that breaks a rule"
            assert policy.cacheable
            assert request.question.strip()
            assert not request.controls.no_cache
            # What is equal to the letter goes before what is near.
            rank = decision.tier is Tier.EXACT, decision.similarity
            nearer = [c for c in candidates if (c.tier is Tier.EXACT, c.similarity) > rank]
            assert not any(acceptable(c, request, policy, blocked) for c in nearer)
        case Miss():
            assert not any(acceptable(c, request, policy, blocked) for c in candidates)
        case Bypass():
            assert not decision.store or not request.controls.no_store
        case _:
            assert_never(decision)


def acceptable(
    candidate: Candidate, request: Request, policy: Category, blocked: frozenset[str]
) -> bool:
    """The rules of a hit, written a second time and without regard for order or cost."""
    age = NOW - candidate.created_at
    fresh = (
        candidate.epoch == policy.epoch
        and age >= -60.0
        and not (candidate.expires_at is not None and candidate.expires_at <= NOW)
        and not (policy.ttl_s is not None and age >= policy.ttl_s)
        and not (request.controls.max_age_s is not None and age > request.controls.max_age_s)
    )
    if not fresh or candidate.entry_id in blocked:
        return False
    if candidate.tier is Tier.EXACT:
        return True
    exact_only = (
        policy.exact_only
        or request.exact_only is not None
        or request.turns > policy.max_turns
        or (request.temperature is not None and request.temperature > policy.max_temperature)
    )
    strictest = max(policy.similarity_threshold, request.controls.similarity_threshold or 0.0)
    return (
        not exact_only
        and candidate.similarity >= strictest
        and veto(policy.guards, request.question, candidate.question) is None
    )


def test_the_most_probable_candidate_is_taken() -> None:
    """Where a verifier judged, its probability ranks the candidates, not their cosine."""
    near, likely = candidate(0.99, probability=0.85), candidate(0.91, probability=0.95)
    likely = replace(likely, entry_id="e2")
    decision = ask(near, likely, probability_threshold=0.8)
    assert isinstance(decision, Hit)
    assert (decision.entry_id, decision.probability) == ("e2", 0.95)


def test_what_is_never_decided_here_is_known() -> None:
    """The reasons that only the cache around can find are these, so the list above is whole."""
    elsewhere = {
        Reason.AUDIT,
        Reason.GONE,
        Reason.EMBEDDER_FAULT,
        Reason.STORE_FAULT,
        Reason.INDEX_FAULT,
        Reason.INTERNAL_FAULT,
    }
    (cases,) = [
        mark.args[1]
        for mark in test_every_reason_is_reached.pytestmark  # type: ignore[attr-defined]
        if mark.name == "parametrize"
    ]
    assert {case[2] for case in cases} | elsewhere == set(Reason)


def test_an_entry_marked_wrong_is_held_to_a_higher_bar() -> None:
    """Each question it was wrong for halves what its neighbourhood may lack of certainty."""
    near = candidate(0.96, probability=0.96)
    assert isinstance(ask(near, similarity_threshold=0.95), Hit)
    once = ask(replace(near, strikes=1), similarity_threshold=0.95)
    assert (type(once), once.reason) == (Miss, Reason.BELOW_THRESHOLD)
    assert isinstance(ask(replace(near, strikes=1), similarity_threshold=0.9), Hit)
    doubted = ask(replace(near, strikes=2), probability_threshold=0.9, similarity_threshold=0.5)
    assert (type(doubted), doubted.reason) == (Miss, Reason.IMPROBABLE)
    assert isinstance(ask(replace(near, tier=Tier.EXACT, strikes=9)), Hit)
