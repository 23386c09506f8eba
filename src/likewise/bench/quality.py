"""Protocol "once": each prompt is asked once, and every hit is right or wrong by its ground truth.

For each category whole groups of one answer are taken at random until there are 3,000 rows; all
rows are shuffled together; each text is checked with its category given and stored when it is no
hit. A hit is wrong when the answer served belongs to another group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from likewise.bench.prompts import Embedded, Pair, Prompt
from likewise.cache import Cache
from likewise.category import DEFAULT, Category
from likewise.classify.examples import NO_EXAMPLES, Examples
from likewise.config import Config, Policies
from likewise.policy import Hit, Miss, Reason
from likewise.rebuild import Progress
from likewise.scope import Scope

SEED = 7
ROWS_PER_CATEGORY = 3_000
UNIFORM = (0.80, 0.90, 0.95)
_NEVER = 1.0
_CURVE = 20


@dataclass(slots=True)
class Tally:
    """What came of the requests of one category, or of all.

    ``judged`` are the hits whose probability a verifier gave, ``doubt`` is the sum of what it left
    to being wrong; ``gated`` were missed without being embedded.
    """

    requests: int = 0
    reusable: int = 0
    right: int = 0
    wrong: int = 0
    judged: int = 0
    doubt: float = 0.0
    gated: int = 0

    def to_dict(self) -> dict[str, float | None]:
        """Return the counts with both error rates, per hit and per request, and the predicted."""
        hits = self.right + self.wrong
        return {
            "requests": self.requests,
            "reusable": self.reusable,
            "hits": hits,
            "right": self.right,
            "wrong": self.wrong,
            "wrong_per_hit": self.wrong / hits if hits else 0.0,
            "wrong_per_request": self.wrong / self.requests if self.requests else 0.0,
            "predicted_wrong_per_hit": self.doubt / self.judged if self.judged else None,
            "gated": self.gated,
        }


@dataclass(slots=True)
class Outcome:
    """What came of a policy."""

    name: str
    total: Tally = field(default_factory=Tally)
    by_category: dict[str, Tally] = field(default_factory=dict)
    curve: list[tuple[int, int, int]] = field(default_factory=list)
    """Requests, right and wrong hits so far, at twenty points of the way."""

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome ready for JSON."""
        return {
            "name": self.name,
            **self.total.to_dict(),
            "curve": self.curve,
            "by_category": {
                name: tally.to_dict() for name, tally in sorted(self.by_category.items())
            },
        }


Threshold = Callable[[Prompt], float | None]
"""The stricter threshold a request asks for, or ``None`` for its category's own."""


def uniform(threshold: float) -> Policies:
    """Return one threshold for everything and nothing else, as most gateways have it."""
    return Policies(_bare(DEFAULT, threshold), {})


def run(
    name: str,
    policy: Policies | Config,
    prompts: Sequence[Prompt],
    embedder: Embedded,
    *,
    threshold: Threshold = lambda _: None,
    examples: Examples | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Outcome:
    """Run the protocol under one policy; with ``examples`` these name the categories."""
    outcome = Outcome(name)
    stored: set[str] = set()
    with _cache(policy, embedder, len(prompts), examples) as cache:
        for done, prompt in enumerate(prompts, start=1):
            category = prompt.category if examples is None else None
            decision = cache.check(
                prompt.text, category=category, similarity_threshold=threshold(prompt)
            )
            tallies = (
                outcome.total,
                outcome.by_category.setdefault(prompt.category, Tally()),
            )
            for tally in tallies:
                tally.requests += 1
                tally.gated += decision.reason is Reason.GATED
                tally.reusable += prompt.answer_key in stored
                if isinstance(decision, Hit):
                    right = decision.answer == prompt.answer_key
                    tally.right += right
                    tally.wrong += not right
                    if decision.probability is not None:
                        tally.judged += 1
                        tally.doubt += 1.0 - decision.probability
            if not isinstance(decision, Hit):
                stored.add(prompt.answer_key)
                cache.store(prompt.text, prompt.answer_key, category=category)
            if done * _CURVE // len(prompts) > (done - 1) * _CURVE // len(prompts):
                outcome.curve.append((done, outcome.total.right, outcome.total.wrong))
            progress(done, len(prompts))
    return outcome


def accepted(
    policy: Config,
    pairs: Sequence[Pair],
    embedder: Embedded,
    *,
    progress: Progress = lambda _done, _of: None,
) -> dict[str, dict[str, int]]:
    """Return how many labelled pairs a policy takes for the same, by category.

    Each pair is alone in a scope of its own: one question is stored, the other asked.

    Returns:
        ``{category: {"same", "same_accepted", "different", "different_accepted"}}``.
    """
    found: dict[str, dict[str, int]] = {}
    with _cache(policy, embedder, len(pairs)) as cache:
        for done, pair in enumerate(pairs, start=1):
            scope = Scope(namespace=str(done))
            cache.store(pair.a, done, category=pair.category, scope=scope)
            decision = cache.check(pair.b, category=pair.category, scope=scope)
            row = found.setdefault(
                pair.category,
                {"same": 0, "same_accepted": 0, "different": 0, "different_accepted": 0},
            )
            kind = "same" if pair.same else "different"
            row[kind] += 1
            row[f"{kind}_accepted"] += isinstance(decision, Hit)
            progress(done, len(pairs))
    return found


def reusable(prompts: Sequence[Prompt]) -> int:
    """Return how many requests could reuse an answer if every first answer were stored."""
    return len(prompts) - len({prompt.answer_key for prompt in prompts})


@dataclass(frozen=True, slots=True)
class Label:
    """The nearest entry of a request, and whether its answer would have been right."""

    category: str
    fold: int
    similarity: float
    right: bool


def fitted(
    prompts: Sequence[Prompt], embedder: Embedded, *, budget: float
) -> tuple[Policies, Threshold]:
    """Choose a threshold per category for ``budget`` wrong per hit, from labels of other keys.

    The answers' keys are dealt into two folds. A request of one fold is decided under the threshold
    that the other fold's labels give, so no threshold has seen the keys it is judged on. It is a
    point estimate without guards: the baseline that certification and verifiers are to beat.
    """
    labels = _labels(prompts, embedder)
    chosen = {
        (category, fold): _loosest(
            [x for x in labels if x.category == category and x.fold != fold], budget
        )
        for category in {x.category for x in labels}
        for fold in (0, 1)
    }

    def threshold(prompt: Prompt) -> float | None:
        return chosen.get((prompt.category, _fold(prompt)), _NEVER)

    return Policies(_bare(DEFAULT, min(chosen.values(), default=_NEVER)), {}), threshold


def _labels(prompts: Sequence[Prompt], embedder: Embedded) -> list[Label]:
    """Return the nearest entry of every request when all of them are stored."""
    labels = []
    answers: dict[str, str] = {}
    with _cache(uniform(_NEVER), embedder, len(prompts)) as cache:
        for prompt in prompts:
            decision = cache.check(prompt.text, category=prompt.category)
            near = decision.similarity if isinstance(decision, Miss | Hit) else None
            nearest = decision.entry_id if isinstance(decision, Hit) else None
            if isinstance(decision, Miss) and decision.reason is Reason.BELOW_THRESHOLD:
                nearest = decision.nearest_id
            if nearest is not None and near is not None:
                right = answers[nearest] == prompt.answer_key
                labels.append(Label(prompt.category, _fold(prompt), near, right))
            entry = cache.store(prompt.text, prompt.answer_key, category=prompt.category)
            if entry is not None:
                answers[entry.id] = prompt.answer_key
    return labels


def _loosest(labels: Sequence[Label], budget: float) -> float:
    """Return the least threshold at which at most ``budget`` of the hits are wrong."""
    best, wrong = _NEVER, 0
    for hits, label in enumerate(sorted(labels, key=lambda x: -x.similarity), start=1):
        wrong += not label.right
        if wrong <= budget * hits:
            best = label.similarity
    return best


def _fold(prompt: Prompt) -> int:
    return sha256(prompt.answer_key.encode()).digest()[0] % 2


def _bare(name: str, threshold: float) -> Category:
    return Category(name, similarity_threshold=threshold, ttl=None, guards=(), gate=0.0)


def _cache(
    policy: Policies | Config,
    embedder: Embedded,
    size: int,
    examples: Examples | None = None,
) -> Cache:
    """Open an empty cache in memory under a policy, or under a whole configuration's.

    Under a bare policy no rule names a category, and no example but those given.
    """
    if isinstance(policy, Config):
        policy.settings.store, policy.settings.max_entries = "memory://", max(size, 1)
        # Every request names its category here.
        return Cache.open(replace(policy, examples=NO_EXAMPLES), embedder=embedder)
    return Cache(
        store="memory://",
        embedder=embedder,
        categories=policy,
        rules=(),
        examples=examples or NO_EXAMPLES,
        max_entries=max(size, 1),
    )
