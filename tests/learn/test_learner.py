import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise import Cache, Category, Hit, Miss
from likewise.config import parse
from likewise.errors import ConfigError, StoreError
from likewise.learn.audit import Auditor
from likewise.learn.evidence import NO_TOKENS
from likewise.learn.features import NAMES
from likewise.learn.judging import Judging
from likewise.learn.learner import Learner, Terms
from likewise.learn.lessons import Lesson, Lessons, pack, unpack
from likewise.policy import Reason
from likewise.stores import MemoryStore, open_store
from likewise.testing import HashingEmbedder

EMBEDDER = HashingEmbedder(64)
VERBS = ("undo", "rename", "delete", "squash", "amend", "revert", "merge", "tag", "stash", "list")
THINGS = ("commit", "branch", "remote", "file", "submodule", "hook", "config", "worktree")
FORMS = (
    "How do I {verb} a {thing} in repo {n}?",
    "how can I {verb} a {thing} in repo {n}",
    "please tell me how to {verb} a {thing} in repo {n}",
    "what is the way to {verb} a {thing} in repo {n}",
    "I want to {verb} a {thing} in repo {n}, how?",
    "steps to {verb} a {thing} in repo {n}",
    "{verb} a {thing} in repo {n}: how is it done?",
    "in repo {n}, show me how to {verb} a {thing}",
    "is there a command to {verb} a {thing} in repo {n}",
    "explain how to {verb} a {thing} in repo {n}, please",
    "quick help: {verb} a {thing} in repo {n}",
    "need to {verb} a {thing} in repo {n} now",
)


def traffic(count: int, *, seed: int) -> list[tuple[str, str]]:
    """Questions in several wordings with their answers, and look-alikes with others."""
    chance = random.Random(seed)  # noqa: S311 - a sample
    asked = []
    for _ in range(count):
        verb, thing, n = chance.choice(VERBS), chance.choice(THINGS), chance.randint(1, 5)
        text = chance.choice(FORMS).format(verb=verb, thing=thing, n=n)
        asked.append((text, f"{verb} {thing} {n}"))
    return asked


def settings(store: str = "memory://", **learning: Any) -> dict[str, Any]:
    """A configuration that learns."""
    return {
        "store": store,
        "embedding": {"model": "hashing", "dimensions": 64},
        "builtin_categories": False,
        "defaults": {"error_budget": 0.05, "ttl": "never"},
        "learning": {"enabled": True, **learning},
    }


def serve(cache: Cache, asked: list[tuple[str, str]], category: str = "git") -> list[Hit]:
    """Ask everything once; return the hits."""
    hits = []
    for text, answer in asked:
        decision = cache.check(text, category=category)
        if isinstance(decision, Hit):
            hits.append(decision)
        else:
            cache.store(text, answer, category=category)
    return hits


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose cache has learned to serve."""
    path = tmp_path_factory.mktemp("learned") / "x.db"
    with Cache.open(parse(settings(f"sqlite:///{path}"))) as cache:
        serve(cache, traffic(2_500, seed=2))
    return path


@pytest.fixture
def taught(lessons: Path, tmp_path: Path) -> str:
    """The URL of a copy of that store."""
    return f"sqlite:///{shutil.copy(lessons, tmp_path / 'copy.db')}"


def wrong_of(cache: Cache, asked: list[tuple[str, str]]) -> tuple[int, int]:
    """Ask everything once; return how many hits there were by meaning, and how many wrong."""
    hits = wrong = 0
    for text, answer in asked:
        decision = cache.check(text, category="git")
        if not isinstance(decision, Hit):
            cache.store(text, answer, category="git")
        elif decision.probability is not None:
            hits += 1
            wrong += decision.answer != answer
    return hits, wrong


def test_a_cold_cache_learns_to_serve() -> None:
    """It serves nothing by meaning until labels certify it; then much, and within its budget."""
    with Cache.open(parse(settings())) as cache:
        early = [h for h in serve(cache, traffic(150, seed=1)) if h.probability is not None]
        hits, wrong = wrong_of(cache, traffic(2_500, seed=2))
        found = cache.stats()["categories"]["git"]
    assert early == []
    assert hits > 50
    assert wrong / hits < 0.08
    assert found["learning"]["certified_by"] in {"own", "shared"}
    assert found["labels"] > 500
    assert found["reasons"]["uncertified"] > 0


def test_what_was_learned_survives_a_restart(taught: str) -> None:
    """A new process serves by meaning at once, on what the one before has learned."""
    with Cache.open(parse(settings(taught))) as cache:
        serve(cache, traffic(1, seed=9))
        found = cache.stats()["categories"]["git"]["learning"]
        hits = serve(cache, traffic(100, seed=5))
    assert found["threshold"] is not None
    assert found["labels"] > 50
    assert any(hit.probability is not None for hit in hits)


def test_two_workers_share_their_labels(tmp_path: Path) -> None:
    """What one has learned the other knows after its next look."""
    store = f"sqlite:///{tmp_path / 'x.db'}"
    with Cache.open(parse(settings(store))) as one, Cache.open(parse(settings(store))) as other:
        serve(one, traffic(400, seed=1))
        first, second = one._engine.learner, other._engine.learner
        assert first is not None
        assert second is not None
        first.follow()
        second.follow()
        assert second.labels == first.labels > 100
        second.follow()
        first.follow()
        assert second.labels == first.labels


def test_labels_of_another_embedder_are_left_alone(taught: str) -> None:
    """Its cosines mean something else: the cache begins anew."""
    other = settings(taught) | {"embedding": {"model": "hashing", "dimensions": 32}}
    with Cache.open(parse(other)) as cache:
        learner = cache._engine.learner
        assert learner is not None
        assert learner.labels == 0
        assert learner.judging.verifier is None


def test_an_audit_in_the_library_is_a_miss_with_that_reason(taught: str) -> None:
    """With every hit audited nothing is served by meaning, and each audit brings a label."""
    with Cache.open(parse(settings(taught, audit_rate=1.0))) as cache:
        reasons = []
        for text, answer in traffic(300, seed=3):
            decision = cache.check(text, category="git")
            reasons.append(decision.reason)
            if not isinstance(decision, Hit):
                cache.store(text, answer, category="git")
        found = cache.stats()["categories"]["git"]
    assert Reason.SIMILAR not in reasons
    assert reasons.count(Reason.AUDIT) == found["audits"] > 10
    assert found["labels"] >= found["audits"]


def test_a_drift_sends_a_category_back(taught: str) -> None:
    """When hits turn wrong the alarm is counted, and the threshold is gone."""
    with Cache.open(parse(settings(taught, audit_rate=0.5))) as cache:
        for number, (text, _) in enumerate(traffic(600, seed=3)):
            if not isinstance(cache.check(text, category="git"), Hit):
                cache.store(text, f"different now: {number}", category="git")
            if cache.stats()["categories"]["git"]["drift_alarms"]:
                break
        found = cache.stats()["categories"]["git"]
    assert found["drift_alarms"] == 1
    assert found["learning"]["certified_by"] == "alarm"
    assert found["learning"]["threshold"] is None


def test_a_pair_marked_wrong_is_learned_from_and_never_served(taught: str) -> None:
    """Feedback blocks the pair, and the pair's words speak against the next like it."""
    with Cache.open(parse(settings(taught, audit_rate=0.0))) as cache:
        learner = cache._engine.learner
        assert learner is not None
        text, hit = next(
            (text, decision)
            for text, _ in traffic(300, seed=3)
            if isinstance(decision := cache.check(text, category="git"), Hit)
            and decision.probability is not None
        )
        before = learner.labels
        assert cache.feedback(hit.entry_id, correct=False, question=text)
        again = cache.check(text, category="git")
        assert learner.labels == before + 1
    assert not (isinstance(again, Hit) and again.entry_id == hit.entry_id)


def test_a_hit_that_is_stored_anew_is_no_audit(taught: str) -> None:
    """Who refreshes an answer that was served brings no label of an audit that was not drawn."""
    with Cache.open(parse(settings(taught, audit_rate=1e-6))) as cache:
        learner = cache._engine.learner
        assert learner is not None
        for text, _ in traffic(200, seed=3):
            decision = cache.check(text, category="git")
            if isinstance(decision, Hit) and decision.probability is not None:
                cache.store(text, "another answer", category="git")
        found = cache.stats()["categories"]["git"]
    assert (found["audits"], found["audited_wrong"], found["drift_alarms"]) == (0, 0, 0)
    assert found["learning"]["alarm_level"] <= 1.0


def test_a_damaged_memo_or_label_costs_only_itself(taught: str) -> None:
    """The cache opens, and learns from the labels that can be read."""
    with open_store(taught) as store:
        store.put_memo("learner", b"damaged")
        store.add_labels([b"damaged"])
    with Cache.open(parse(settings(taught))) as cache:
        learner = cache._engine.learner
        assert learner is not None
        assert learner.labels > 500
        serve(cache, traffic(5, seed=3))
        assert cache.stats()["categories"]["default"]["faults"] == {"memo": 1, "store": 1}


def test_a_fault_of_learning_fails_no_request() -> None:
    """A store that keeps no labels costs the labels, not the answers."""

    class Forgetful(MemoryStore):
        def add_labels(self, labels: object) -> None:
            raise StoreError("no")

        def put_memo(self, name: str, value: bytes) -> None:
            raise StoreError("no")

    from likewise.opening import from_config  # noqa: PLC0415

    engine = from_config(parse(settings()))
    assert engine.learner is not None
    engine.learner._store = Forgetful()
    cache = Cache._over(engine)
    serve(cache, traffic(700, seed=2))
    found = cache.stats()["categories"]
    cache.close()
    assert found["git"]["stored"] > 400
    assert found["default"]["faults"]["store"] > 0


def test_a_strict_category_learns_nothing() -> None:
    """One that is exact only, or not cacheable, is left as it is."""
    config = settings() | {"categories": {"creative": {"exact_only": True}}}
    with Cache.open(parse(config)) as cache:
        serve(cache, traffic(50, seed=1), category="creative")
        learner = cache._engine.learner
        assert learner is not None
        assert learner.labels == 0


def test_a_question_that_was_never_checked_teaches_as_well() -> None:
    """Warming a cache by storing alone labels its pairs."""
    with Cache.open(parse(settings())) as cache:
        for text, answer in traffic(300, seed=1):
            cache.store(text, answer, category="git")
        learner = cache._engine.learner
        assert learner is not None
        assert learner.labels > 200


def test_explaining_leaves_no_trace(taught: str) -> None:
    """However often a question is explained, nothing is counted, audited or remembered."""
    with Cache.open(parse(settings(taught, audit_rate=1.0))) as cache:
        serve(cache, traffic(1, seed=3))
        before = cache.stats()["categories"]["git"]
        for text, _ in traffic(50, seed=7):
            cache.explain(text, category="git")
        assert cache.stats()["categories"]["git"] == before


def test_lessons_are_packed_and_unpacked() -> None:
    """Every part comes back, in half precision; damaged bytes are a store's error."""
    lesson = Lesson(
        "git", np.ones((1, len(NAMES)), np.float32), NO_TOKENS, np.array([True]), 0.5, False, 0.25
    )
    with pytest.raises(StoreError, match="do not fit together"):
        unpack(pack(lesson, b"w", "e"))
    with pytest.raises(StoreError, match="damaged"):
        unpack(b"\x00")


def test_old_lessons_are_forgotten() -> None:
    """Memory is bounded by the number of pairs."""
    lessons = Lessons(10)
    for n in range(40):
        rows = np.full((2, len(NAMES)), n, np.float32)
        lessons.add(Lesson("git", rows, NO_TOKENS, np.array([True, False])))
    held, _, categories = lessons.snapshot()
    assert lessons.pairs == 80
    assert 5 <= len(held) <= 6
    assert len(categories) == len(held)
    assert held[-1][0, 0] == 39


def test_audits_keep_their_budget_and_prefer_doubt() -> None:
    """On average the rate asked for; the doubtful hits more often than the sure ones."""
    chance = random.Random(1)  # noqa: S311 - a simulation
    auditor = Auditor(0.05, random.Random(2))  # noqa: S311 - a simulation
    drawn = {True: [0, 0], False: [0, 0]}
    for _ in range(20_000):
        sure = chance.random() < 0.8
        propensity, audited = auditor.draw(0.999 if sure else 0.9)
        assert 0.0125 <= propensity <= 1.0
        drawn[sure][0] += 1
        drawn[sure][1] += audited
    rate = sum(count for _, count in drawn.values()) / 20_000
    assert 0.035 < rate < 0.07
    assert drawn[False][1] / drawn[False][0] > 2 * drawn[True][1] / drawn[True][0]


def test_no_audits_at_a_rate_of_zero() -> None:
    """Nothing is drawn, and the propensity says that it hardly could."""
    auditor = Auditor(0.0, random.Random(2))  # noqa: S311 - a simulation
    assert not any(auditor.draw(0.9)[1] for _ in range(1_000))


def test_a_judge_model_must_be_named() -> None:
    """Asking for one without naming it is one clear line."""
    with pytest.raises(ConfigError, match="judge_model"):
        Cache.open(parse(settings(judge="model")))


def test_learned_misses_say_what_is_missing() -> None:
    """Before anything is certified a near question is a miss for that reason."""
    with Cache.open(parse(settings())) as cache:
        cache.store("how do I undo a commit", "reset", category="git")
        decision = cache.check("how do I undo a commit now", category="git")
    assert isinstance(decision, Miss)
    assert decision.reason is Reason.UNCERTIFIED


def test_hits_that_only_load_allowed_are_judged_by_its_budget() -> None:
    """Of a tuned policy as well: they are no drift of the budget without load."""
    policy = Category(
        "git", error_budget=0.02, pressure_budget=0.2, probability_threshold=0.9,
        probability_floor=0.7,
    )  # fmt: skip
    alarms: list[str] = []
    learner = Learner(
        judging=Judging(None),
        store=MemoryStore(),
        embedder=EMBEDDER.name,
        policy_of=lambda _: policy,
        claims=2,
        terms=Terms(),
        fault=lambda _kind, error: pytest.fail(str(error)),
        alarmed=alarms.append,
    )
    for number in range(3_000):
        learner._audit("git", 0.8, wrong=number % 20 == 0, propensity=1.0)
    assert not alarms
    for number in range(3_000):
        learner._audit("git", 0.95, wrong=number % 20 == 0, propensity=1.0)
        if alarms:
            return
    pytest.fail("5 % wrong above the threshold is a drift from 2 %")
