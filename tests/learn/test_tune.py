import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from likewise import Cache, Hit
from likewise.adaptive import STEADY, under_pressure
from likewise.bench.prompts import Prompt
from likewise.config import load
from likewise.embed import Vectors
from likewise.errors import ConfigError
from likewise.gateway.reload import Follower
from likewise.learn.certify import Certificate
from likewise.learn.choices import Judged, gate_of
from likewise.learn.labels import joined, label
from likewise.learn.tune import Tuned, tune
from likewise.learn.verifier import Verifier, load_verifier
from likewise.learn.write import write_policy
from likewise.opening import from_config, judging_of
from likewise.testing import HashingEmbedder

EMBEDDER = HashingEmbedder(64)
VERBS = ("undo", "rename", "delete", "squash", "amend", "revert", "merge", "tag", "stash", "list")
THINGS = ("commit", "branch", "remote", "file", "submodule", "hook", "config", "worktree")
FORMS = (
    "How do I {verb} a {thing} in repo {n}?",
    "how can I {verb} a {thing} in repo {n}",
    "please tell me how to {verb} a {thing} in repo {n}",
)


def prompts(count: int, *, seed: int, category: str = "git") -> list[Prompt]:
    """Questions in several wordings, and look-alikes with another number."""
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    result = []
    for _ in range(count):
        verb, thing, n = rng.choice(VERBS), rng.choice(THINGS), rng.randint(1, 3)
        text = rng.choice(FORMS).format(verb=verb, thing=thing, n=n)
        result.append(Prompt(category, text, f"{verb}/{thing}/{n}"))
    return result


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    """A policy tuned on one category that can be learned and one that cannot."""
    hopeless = [
        Prompt("noise", f"{prompt.text} {number}", f"noise/{number}")
        for number, prompt in enumerate(prompts(150, seed=2))
    ]
    stream = prompts(1500, seed=1) + hopeless
    random.Random(3).shuffle(stream)  # noqa: S311 - a sample, not a secret
    return tune([stream], EMBEDDER, budget=0.05, risk=0.05, pressure_budget=0.2)


def test_labels_compare_with_what_was_stored_before() -> None:
    """A pair is right when the answers are equal; the first question has nothing near it."""
    stream = [
        Prompt("a", "undo a commit", "1"),
        Prompt("a", "undo the commit", "1"),
        Prompt("a", "undo two commits", "2"),
        Prompt("b", "undo a commit", "1"),
    ]
    labels = label(stream, EMBEDDER, categories=["a", "b"])
    assert labels.request.tolist() == [1, 2, 2]
    assert labels.right.tolist() == [True, False, False]
    assert labels.requests == {"a": 3, "b": 1}


def test_what_is_served_is_not_stored() -> None:
    """A request taken as a hit leaves no entry behind."""
    stream = [Prompt("a", f"undo {n} commits", "1") for n in range(3)]
    labels = label(stream, EMBEDDER, categories=["a"], serves=lambda number, _, __: number == 1)
    assert labels.request.tolist() == [1, 2]


def test_streams_join() -> None:
    """Joined labels count the requests of all streams, and keep theirs apart."""
    stream = [Prompt("a", f"undo {n} commits", str(n)) for n in range(3)]
    one = label(stream, EMBEDDER, categories=["a"])
    both = joined([one, one])
    assert both.requests == {"a": 6}
    assert both.request.tolist() == [1, 2, 2, 4, 5, 5]
    assert len(both.keys) == 6


def test_what_can_be_learned_is_certified_and_the_rest_is_not(tuned: Tuned) -> None:
    """A category with evidence gets a threshold within budget; one without says what is missing."""
    good = tuned.certificates["git"]
    assert good.threshold is not None
    assert good.bound <= 0.05
    bad = tuned.certificates["noise"]
    assert bad.threshold is None
    assert bad.missing > 0


def test_the_policy_works_in_service(tuned: Tuned, tmp_path: Path) -> None:
    """On unseen traffic the written policy answers much, and within its budget."""
    path = tmp_path / "policy.yaml"
    write_policy(tuned, path, base={"store": "memory://", "embedding": {"model": "hashing"}})
    config = load(path)
    config.settings.embedding.dimensions = 64
    right = wrong = 0
    with Cache.open(config) as cache:
        for prompt in prompts(600, seed=9):
            decision = cache.check(prompt.text, category="git")
            if isinstance(decision, Hit):
                right += decision.answer == prompt.answer_key
                wrong += decision.answer != prompt.answer_key
            else:
                cache.store(prompt.text, prompt.answer_key, category="git")
    assert right > 200
    assert wrong / (right + wrong) < 0.08


def test_load_takes_the_threshold_to_its_certified_floor(tuned: Tuned, tmp_path: Path) -> None:
    """The policy written carries it, and the engine under load serves by it."""
    path = tmp_path / "policy.yaml"
    write_policy(tuned, path)
    policy = load(path).policies.of("git")
    base, floor = tuned.certificates["git"].threshold, tuned.pressed["git"].threshold
    assert base is not None
    assert floor is not None
    assert policy.pressure_budget == 0.2
    assert policy.probability_floor == pytest.approx(min(base, floor))
    assert floor < base
    moved = under_pressure(policy, 1.0, STEADY)
    assert moved.probability_threshold == pytest.approx(floor)
    assert load(path).policies.of("noise").exact_only


def test_the_gate_lets_nearly_all_hits_through() -> None:
    """It is written where the embedder has sketches, and few of the hits are below it."""

    class Sketched(HashingEmbedder):
        @property
        def sketcher(self) -> "Sketched":
            return self

        def sketch(self, texts: Sequence[str]) -> Vectors:
            return self.embed(texts)

        def floor(self, cosine: float) -> float:
            return cosine

        def surplus(self, _text: str) -> float:
            return 0.0

    embedder = Sketched(64)
    hits = prompts(300, seed=5)
    texts = [(one.text, other.text) for one, other in zip(hits, prompts(300, seed=6), strict=True)]
    judged = Judged(np.ones(300), np.zeros(300, np.bool_), np.ones(300), texts)
    certificate = Certificate(0.9, 300, 0, 0.01, 0)
    gate = gate_of(judged, certificate, None, embedder)
    assert gate is not None
    sides = [embedder.sketch([pair[side] for pair in texts]) for side in (0, 1)]
    cosines = (sides[0] * sides[1]).sum(axis=1)
    assert 0 <= np.mean(cosines < gate) <= 0.01
    assert gate > cosines.min() - 0.1
    assert gate_of(judged, certificate, None, EMBEDDER) is None, "no sketches, no gate"
    few = Judged(judged.scores[:40], judged.wrong[:40], judged.cosines[:40], texts[:40])
    assert gate_of(few, certificate, None, embedder) is None, "too few hits tell nothing"


def test_a_budget_under_load_below_the_budget_is_refused() -> None:
    """Load allows more, not less."""
    with pytest.raises(ConfigError, match="--pressure-budget"):
        tune([prompts(10, seed=1)], EMBEDDER, budget=0.05, risk=0.05, pressure_budget=0.01)


def test_a_semantic_hit_tells_its_probability(tuned: Tuned, tmp_path: Path) -> None:
    """The decision carries what the verifier thought."""
    path = tmp_path / "policy.yaml"
    write_policy(tuned, path, base={"store": "memory://", "embedding": {"model": "hashing"}})
    config = load(path)
    config.settings.embedding.dimensions = 64
    with Cache.open(config) as cache:
        cache.store("How do I undo a commit in repo 1?", "x", category="git")
        hit = cache.check("how can I undo a commit in repo 1", category="git")
        miss = cache.check("how can I undo a commit in repo 2", category="git")
    assert isinstance(hit, Hit)
    threshold = config.policies.of("git").probability_threshold
    assert hit.probability is not None
    assert threshold is not None
    assert hit.probability >= threshold
    assert not isinstance(miss, Hit)


def test_the_written_policy_keeps_what_tuning_does_not_decide(tuned: Tuned, tmp_path: Path) -> None:
    """Other keys of the base configuration stay, and an uncertified category is exact only."""
    path = tmp_path / "policy.yaml"
    base = {"store": "memory://", "categories": {"git": {"ttl": "3d"}, "other": {"ttl": "1h"}}}
    write_policy(tuned, path, base=base)
    data = yaml.safe_load(path.read_text("utf-8"))
    assert data["store"] == "memory://"
    assert data["categories"]["git"]["ttl"] == "3d"
    assert data["categories"]["other"] == {"ttl": "1h"}
    assert data["categories"]["noise"] == {"exact_only": True}
    assert load(path).policies.of("git").probability_threshold is not None


def test_a_verifier_is_read_back_as_written(tuned: Tuned, tmp_path: Path) -> None:
    """Trees and codes survive the file."""
    path = tmp_path / "x.verifier"
    checksum = tuned.verifier.save(path)
    again: Verifier = load_verifier(path, checksum)
    assert again.codes == tuned.verifier.codes
    assert again.trees.model == tuned.verifier.trees.model


def test_a_verifier_of_another_embedder_is_refused(tuned: Tuned, tmp_path: Path) -> None:
    """Cosines of another embedder mean something else: opening says so in one line."""
    path = tmp_path / "policy.yaml"
    write_policy(tuned, path, base={"store": "memory://", "embedding": {"model": "hashing"}})
    with pytest.raises(ConfigError, match="fitted with the embedder hashing/64") as caught:
        Cache.open(path)
    assert "\n" not in str(caught.value)


def test_a_running_gateway_takes_over_a_tuned_policy(tuned: Tuned, tmp_path: Path) -> None:
    """Thresholds and verifier come together; a damaged verifier leaves both as they were."""
    path = tmp_path / "policy.yaml"
    base = {"store": "memory://", "embedding": {"model": "hashing", "dimensions": 64}}
    path.write_text(yaml.safe_dump(base))
    engine = from_config(path)
    follower = Follower(engine, load(path))
    write_policy(tuned, path, base=base)
    assert follower.look()
    assert engine.force.judging is not None
    assert engine.force.policies.of("git").probability_threshold is not None
    judging = engine.force.judging
    path.with_suffix(".verifier").write_bytes(b"damaged")
    path.write_text(path.read_text("utf-8").replace("checksum: ", "checksum: 0"))
    assert not follower.look()
    assert engine.force.judging is judging
    engine.close()


@pytest.mark.parametrize("damage", ["gone", "flipped", "other"])
def test_a_verifier_that_is_not_the_right_one_is_refused(
    tuned: Tuned, tmp_path: Path, damage: str
) -> None:
    """A missing, damaged or foreign file is one clear line that says what to do."""
    path = tmp_path / "policy.yaml"
    write_policy(tuned, path)
    file = path.with_suffix(".verifier")
    if damage == "gone":
        file.unlink()
    elif damage == "flipped":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(b"PK")
    with pytest.raises(ConfigError, match="likewise tune") as caught:
        judging_of(load(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stream", "arguments", "message"),
    [
        (prompts(50, seed=1), {"budget": 0.0, "risk": 0.05}, "--error-budget"),
        (prompts(50, seed=1), {"budget": 0.02, "risk": 0.6}, "--risk"),
        ([], {"budget": 0.02, "risk": 0.05}, "not one labelled question"),
        (prompts(30, seed=1), {"budget": 0.02, "risk": 0.05}, "share an answer|do not"),
        (
            [Prompt("a", p.text, str(i)) for i, p in enumerate(prompts(90, seed=1))],
            {"budget": 0.02, "risk": 0.05},
            "0 near pairs that share an answer",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    stream: list[Prompt], arguments: dict[str, float], message: str
) -> None:
    """Labels of one kind, too few of them, or senseless arguments are a clear line each."""
    with pytest.raises(ConfigError, match=message):
        tune([stream], EMBEDDER, budget=arguments["budget"], risk=arguments["risk"])
