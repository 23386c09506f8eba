from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from likewise import Cache, Hit, Miss
from likewise.bench.sketching import fit, floors
from likewise.catalog import Catalog
from likewise.category import Category
from likewise.demo.prompts import load_prompts
from likewise.embed import Vectors, sketcher_of
from likewise.embed.minilm import MiniLM
from likewise.embed.sketch import expected_floor, load_map
from likewise.engine import Engine
from likewise.front import request_of
from likewise.gate import Coarse, Gate
from likewise.index import Partition, Record
from likewise.index.sketches import code
from likewise.policy import Decision, Reason, Tier
from likewise.testing import HashingEmbedder

LOOSE = Category("loose", similarity_threshold=0.7, ttl=None, guards=())


class Counting(HashingEmbedder):
    """Counts what it embeds; its sketches are its vectors, and it expects nothing of them."""

    def __init__(self, floor: float = 0.0) -> None:
        super().__init__(64)
        self.embedded: list[str] = []
        self.bound = floor

    @property
    def sketcher(self) -> Counting:
        """See ``Sketcher`` and ``Embedder``."""
        return self

    def sketch(self, texts: Sequence[str]) -> Vectors:
        """See ``Sketcher`` and ``Embedder``."""
        return super().embed(texts)

    def floor(self, cosine: float) -> float:
        """See ``Sketcher`` and ``Embedder``."""
        return self.bound + cosine - 0.7

    def surplus(self, text: str) -> float:
        """See ``Sketcher``."""
        return 0.0 if len(text) < 200 else 0.5

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Sketcher`` and ``Embedder``."""
        self.embedded += texts
        return super().embed(texts)


@pytest.fixture
def embedder() -> Counting:
    """One under which a coarse cosine below 0.5 is too far for ``LOOSE``."""
    return Counting(0.5)


@pytest.fixture
def cache(embedder: Counting) -> Cache:
    """A cache with one entry."""
    cache = Cache(store="memory://", embedder=embedder, categories=[LOOSE], examples={})
    cache.store("how do I undo the last commit", "git revert", category="loose")
    embedder.embedded.clear()
    return cache


def test_what_resembles_nothing_is_not_embedded(cache: Cache, embedder: Counting) -> None:
    """The miss says so, and its receipt shows the numbers and replays."""
    decision = cache.check("weather in Paris", category="loose")
    assert isinstance(decision, Miss)
    assert decision.reason is Reason.GATED
    assert "coarse similarity" in decision.detail
    assert embedder.embedded == []
    [receipt] = cache._engine.receipts._held
    shown = cache._engine.receipts.of(receipt)
    assert shown is not None
    assert shown.replay() == decision
    told = shown.to_dict()
    assert told["replays"] is True
    [candidate] = told["candidates"]
    assert candidate["tier"] == "coarse"
    assert candidate["similarity"] < candidate["gate"] == 0.5


def test_what_may_be_near_is_embedded(cache: Cache, embedder: Counting) -> None:
    """A hit is found as without the gate."""
    decision = cache.check("how do I undo my last commit", category="loose")
    assert isinstance(decision, Hit)
    assert len(embedder.embedded) == 1


def test_what_was_turned_away_is_indexed_when_it_is_stored(
    cache: Cache, embedder: Counting
) -> None:
    """Its vector is made then, off the way of the request."""
    cache.check("weather in Paris", category="loose")
    cache.store("weather in Paris", "rain", category="loose")
    assert embedder.embedded == ["weather in Paris"]
    assert isinstance(cache.check("the weather in Paris", category="loose"), Hit)


def test_explaining_is_not_gated(cache: Cache) -> None:
    """It shows what the full way would say."""
    explanation = cache.explain("weather in Paris", category="loose")
    assert isinstance(explanation.decision, Miss)
    assert explanation.decision.reason is Reason.BELOW_THRESHOLD


@pytest.mark.parametrize("gate", [0.0, None])
def test_it_can_be_left_open(embedder: Counting, gate: float | None) -> None:
    """By the category, or because the embedder expects nothing of its sketches."""
    embedder.bound = 0.5 if gate == 0.0 else -1.0
    category = Category("loose", similarity_threshold=0.7, ttl=None, guards=(), gate=gate)
    cache = Cache(store="memory://", embedder=embedder, categories=[category], examples={})
    cache.store("how do I undo the last commit", "git revert", category="loose")
    embedder.embedded.clear()
    assert cache.check("weather in Paris", category="loose").reason is Reason.BELOW_THRESHOLD
    assert len(embedder.embedded) == 1


def test_a_stricter_caller_is_gated_the_more(cache: Cache, embedder: Counting) -> None:
    """The caller's own threshold moves what is to be expected."""
    near = "how do I undo my last commit"
    decision = cache.check(near, category="loose", similarity_threshold=0.999)
    assert embedder.embedded == ([] if decision.reason is Reason.GATED else [near])
    policy = cache._engine.force.policies.of("loose")
    gate = cache._engine.gate
    assert gate is not None
    assert gate.bound(policy, 0.9) == pytest.approx(gate.bound(policy) + 0.2)


def test_load_lowers_the_bound_with_the_threshold() -> None:
    """What the load takes off the threshold, the gate must not hold against it."""
    gate = Gate(Counting(0.5), Catalog(64, sketched=64))
    calm = Category("c", similarity_threshold=0.9)
    eased = Category("c", similarity_threshold=0.85, calm=calm)
    assert gate.bound(eased) == pytest.approx(gate.bound(calm) - 0.1)


def test_service_lowers_a_bound_that_costs_hits_and_raises_an_idle_one() -> None:
    """From fifty hits on it goes down, from two hundred on wherever they say."""
    gate, policy = Gate(Counting(0.5), Catalog(64, sketched=64)), LOOSE
    for _ in range(49):
        gate.saw("loose", 0.3)
    assert gate.bound(policy) == 0.5
    gate.saw("loose", 0.3)
    assert gate.bound(policy) == pytest.approx(0.29)
    gate.forget()
    for _ in range(190):
        gate.saw("loose", 0.8)
    assert gate.bound(policy) == 0.5
    for _ in range(10):
        gate.saw("loose", 0.8)
    assert gate.bound(policy) == pytest.approx(0.79)
    fixed = Category("loose", similarity_threshold=0.7, gate=0.6)
    assert gate.bound(fixed) == 0.6, "what tune has chosen is only lowered"
    for _ in range(10):
        gate.turned_away()
    assert gate.bound(policy) == 0.5, "nobody sees what is lost, so nothing is raised"
    for _ in range(9):
        gate.came_back()
    assert gate.bound(policy) == pytest.approx(0.79)
    gate.forget()
    rng = random.Random(1)  # noqa: S311 - a workload
    cosines = [rng.uniform(0.4, 1.0) for _ in range(1_000)]
    for cosine in cosines:
        gate.saw("loose", cosine)
    lost = sum(cosine < gate.bound(policy) for cosine in cosines)
    assert lost <= 10, "at most one in a hundred is lost"


def test_what_the_gate_costs_is_found_when_answers_are_stored(embedder: Counting) -> None:
    """A hit that was turned away is counted, and after some of them no more are."""
    embedder.bound = 2.0  # turns everything away
    cache = Cache(store="memory://", embedder=embedder, categories=[LOOSE], examples={})
    for number in range(80):
        subject = f"subject{number} matter{number} of interest{number} number{number}"
        cache.store(subject, number, category="loose")
        decision = cache.check(subject + " please", category="loose")
        if isinstance(decision, Miss):
            cache.store(subject + " please", number, category="loose")
    counters = cache.stats()["categories"]["loose"]
    assert 45 <= counters["gate_lost"] <= 55
    assert counters["semantic_hits"] >= 25


def test_without_sketches_nothing_can_be_told() -> None:
    """A partition that does not know one of its entries' sketches lets everything through."""
    partition = Partition(8, sketched=4)
    eye = np.eye(8, dtype=np.float32)
    records = [Record.of(str(n), bytes([n]), b"", "c", "q", 0.0, None, 0) for n in range(2)]
    partition.add(records[:1], eye[:1], eye[:1, :4])
    assert partition.coarsely(code(eye[1, :4])) == pytest.approx(0.0)
    assert partition.coarsely(code(eye[0, :4])) == pytest.approx(1.0)
    partition.add(records[1:], eye[1:2])
    assert partition.coarsely(code(eye[1, :4])) == 1.0


def test_sketches_follow_their_rows_through_rebuilding() -> None:
    """After removals, growth and the change to a graph it is still what is left that counts."""
    rng = np.random.default_rng(1)
    dimensions = 32
    vectors = rng.standard_normal((400, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    partition = Partition(dimensions, crossover=250, sketched=dimensions)
    records = [
        Record.of(str(n), str(n).encode(), b"", "c", "q", 0.0, None, 0) for n in range(len(vectors))
    ]
    alive: set[int] = set()
    for start in range(0, 400, 40):
        partition.add(
            records[start : start + 40], vectors[start : start + 40], vectors[start : start + 40]
        )
        alive |= set(range(start, start + 40))
        for gone in rng.choice(sorted(alive), 10, replace=False).tolist():
            partition.remove(records[gone])
            alive.discard(gone)
        for asked in rng.standard_normal((5, dimensions)).astype(np.float32):
            unit = asked / np.linalg.norm(asked)
            expected = max(float(vectors[n] @ unit) for n in alive)
            assert partition.coarsely(code(unit)) == pytest.approx(expected, abs=0.02)
    assert partition.kind == "hnsw"


def test_an_unnamed_question_is_gated_in_every_category(embedder: Counting) -> None:
    """Where examples would name it by its vector, all that the scope holds is compared."""
    examples = {
        "loose": ["undo the last commit", "revert a commit", "undo a merge", "drop a commit"],
        "cooking": ["boil an egg", "bake a cake", "fry an egg", "cook a stew"],
    }
    cooking = Category("cooking", similarity_threshold=0.7, ttl=None, guards=())
    cache = Cache(
        store="memory://", embedder=embedder, categories=[LOOSE, cooking], examples=examples
    )
    cache.store("how do I undo the last commit", "git revert", category="loose")
    embedder.embedded.clear()
    far = cache.check("bake a cake")
    assert isinstance(far, Miss)
    assert far.reason is Reason.GATED
    assert far.category == "cooking", "named by its sketch, for the statistics"
    assert embedder.embedded == []
    cache.store("bake a cake", "mix, then bake", category=None)
    assert embedder.embedded == ["bake a cake"]


def test_in_an_empty_scope_nothing_is_embedded(embedder: Counting) -> None:
    """Not even to name the category."""
    examples = {"loose": ["undo a commit", "undo a merge"], "cooking": ["boil eggs", "fry eggs"]}
    cache = Cache(store="memory://", embedder=embedder, categories=[LOOSE], examples=examples)
    embedder.embedded.clear()
    assert cache.check("boil eggs").reason is Reason.NO_CANDIDATE
    assert embedder.embedded == []


def outcomes(cache: Cache, questions: Sequence[str]) -> list[Decision]:
    """Ask for all of them, storing what is not answered."""
    found = []
    for question in questions:
        found.append(decision := cache.check(question, category="loose"))
        if not isinstance(decision, Hit):
            cache.store(question, question, category="loose")
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_gate_that_costs_nothing_changes_nothing(seed: int) -> None:
    """With exact sketches as the bound, random traffic is decided as without a gate."""
    rng = random.Random(seed)  # noqa: S311 - a workload
    words = [f"word{n}" for n in range(40)]
    questions = [" ".join(rng.choices(words, k=rng.randint(2, 6))) for _ in range(400)]
    # Its sketches are its vectors: below the threshold, less their rounding, nothing is near.
    gated = Cache(store="memory://", embedder=Counting(0.68), categories=[LOOSE], examples={})
    plain = Cache(store="memory://", embedder=HashingEmbedder(64), categories=[LOOSE], examples={})
    mine, others = outcomes(gated, questions), outcomes(plain, questions)
    assert any(decision.reason is Reason.GATED for decision in mine)
    assert [type(d) for d in mine] == [type(d) for d in others]
    for one, other in zip(mine, others, strict=True):
        if isinstance(one, Hit) and isinstance(other, Hit):
            assert one.similarity == pytest.approx(other.similarity, abs=1e-3)
    assert gated.stats()["categories"]["loose"]["gate_lost"] == 0


@pytest.fixture(scope="module")
def model() -> MiniLM:
    """The default embedder."""
    return MiniLM()


def test_sketches_of_paraphrases_are_near_and_of_others_far(model: MiniLM) -> None:
    """On our own prompts; nothing that its vectors call near is below what is expected."""
    sketcher = sketcher_of(model)
    assert sketcher is not None
    texts = [prompt.text for prompt in load_prompts()]
    sketches, vectors = sketcher.sketch(texts), model.embed(texts)
    assert sketches.shape == (len(texts), sketcher.dimensions)
    np.testing.assert_allclose(np.linalg.norm(sketches, axis=1), 1.0, atol=1e-5)
    pairs = np.triu_indices(len(texts), 1)
    fine, coarse = (vectors @ vectors.T)[pairs], (sketches @ sketches.T)[pairs]
    assert coarse[fine >= 0.95].min() > expected_floor(0.95)
    assert np.mean(coarse < expected_floor(0.95)) > 0.99


def test_odd_texts_have_a_sketch_or_none(model: MiniLM) -> None:
    """Without a word there are zeros; what cannot be read is an error; long texts are cut."""
    assert not model.sketch([""]).any()
    gate = Gate(model.sketcher, Catalog(384, sketched=model.sketcher.dimensions))
    assert gate.sketch(" ") is None
    assert gate.look("", b"", [LOOSE], 0.0) is None
    long = "word " * 1_000
    np.testing.assert_allclose(model.sketch([long]), model.sketch(["word " * 254]), atol=1e-6)
    with pytest.raises(Exception, match="surrogate"):
        model.sketch(["\ud800"])


def test_the_map_is_the_one_that_our_prompts_give(model: MiniLM) -> None:
    """What ships is what ``likewise.bench.sketching`` makes, and its constants are what it says."""
    found, sketches, vectors = fit()
    shipped = load_map()
    cosines = (found * shipped).sum(axis=0) / (
        np.linalg.norm(found, axis=0) * np.linalg.norm(shipped, axis=0)
    )
    assert np.median(cosines) > 0.99
    seen = floors(sketches, vectors)
    for cosine in (0.9, 0.95):
        assert seen[cosine][1] - expected_floor(cosine) > 0.1


def test_a_closed_gate_is_a_coarse_candidate() -> None:
    """What the receipt holds."""
    assert Coarse(0.4, 0.5).closed
    assert not Coarse(0.5, 0.5).closed
    assert Coarse(0.4, 0.5).candidate().tier is Tier.COARSE


def test_in_a_large_scope_nothing_is_compared_in_vain(
    embedder: Counting, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it would cost more than it can save, and where the gate is open."""
    scope = request_of("?", category="loose").scope.digest()
    gate = cache._engine.gate
    assert gate is not None
    asked: list[object] = []

    def coarsely(*_: object) -> float:
        asked.append(1)
        return 0.0

    monkeypatch.setattr(Partition, "coarsely", coarsely)
    assert gate.look("weather in Paris", scope, [LOOSE], 0.0) is not None
    assert asked == [1]
    assert gate.look("weather in Paris", scope, [replace(LOOSE, gate=0.0)], 0.0) is None
    monkeypatch.setattr("likewise.gate._ROWS_PER_CHARACTER", 0)
    assert gate.look("weather in Paris", scope, [LOOSE], 0.0) is None
    assert asked == [1]


@pytest.mark.parametrize("threshold", [0.95, 0.99, 0.999])
def test_the_same_words_go_through_however_many_they_are(model: MiniLM, threshold: float) -> None:
    """What a long question owes to its length is not held against it where all words are equal."""
    strict = Category("strict", similarity_threshold=threshold, ttl=None, guards=())
    cache = Cache(store="memory://", embedder=model, categories=[strict], examples={})
    words = " ".join(prompt.text for prompt in load_prompts()).lower().split()
    question = max(
        (" ".join(words[:n]) for n in range(100, 240) if model.fits(" ".join(words[:n]))), key=len
    )
    assert len(model.tokens(question)) > 200
    cache.store(question, "answer", category="strict")
    assert isinstance(cache.check(question.upper(), category="strict"), Hit)


def test_a_question_without_a_word_does_not_open_the_gate(model: MiniLM) -> None:
    """One with nothing to sketch is nobody's neighbour, before a restart as after it."""
    category = Category("c", similarity_threshold=0.95, ttl=None)
    cache = Cache(store="memory://", embedder=model, categories=[category], examples={})
    cache.store("How do I undo a commit in git?", "revert", category="c")
    assert cache.store("\u200b", "nothing", category="c") is not None
    far = cache.check("Which wine goes with grilled salmon?", category="c")
    assert far.reason is Reason.GATED


def test_a_fault_of_what_checks_the_gate_keeps_no_answer(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and the answer is stored."""

    def broken(*_: object) -> Decision:
        msg = "a verifier that fails"
        raise ValueError(msg)

    monkeypatch.setattr(Engine, "_compared", broken)
    assert cache.check("weather in Paris", category="loose").reason is Reason.GATED
    assert cache.store("weather in Paris", "rain", category="loose") is not None
    assert cache.stats()["categories"]["loose"]["faults"] == {"internal": 1}


def test_the_gate_expects_what_labels_allow(
    embedder: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A threshold learned in service moves the bound as one that is configured does."""
    strict = Category("strict", similarity_threshold=0.95, ttl=None, guards=())
    cache = Cache(
        store="memory://", embedder=embedder, categories=[strict], examples={}, learning=True
    )
    engine = cache._engine
    keeper = engine._gatekeeper
    assert keeper is not None
    lookup = engine.start(request_of("how do I undo it", category="strict"))
    assert keeper._expected("strict", lookup).similarity_threshold == 0.95, "nothing is certified"
    assert engine.learner is not None
    monkeypatch.setattr(
        engine.learner,
        "policy",
        lambda policy: replace(policy, similarity_threshold=0.5, probability_threshold=0.9),
    )
    assert keeper._expected("strict", lookup).similarity_threshold == 0.5
    pressed = engine.start(request_of("how do I undo it", category="strict"), pressure=1.0)
    assert keeper._expected("strict", pressed).similarity_threshold == 0.5
