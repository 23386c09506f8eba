"""Workloads: requests with their time, their text and the truth of which answers serve them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from likewise.bench.prompts import Prompt
from likewise.demo.prompts import load_prompts
from likewise.errors import ConfigError
from likewise.replay.trace import Arrivals, Seconds, Tokens

Places = NDArray[np.int64]

ZIPF = 1.0
"""Exponent of the repetition; 0 asks everything equally often."""


class Asked(NamedTuple):
    """One request, for those who drive something else with a workload.

    ``t_s`` is seconds since the beginning.
    """

    t_s: float
    category: str
    text: str
    answer_key: str
    tenant: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Question:
    """What may be asked more than once.

    Attributes:
        category: As its caller names it.
        text: The question, or its hash when the log holds no more.
        answer_key: Two questions share it when one answer serves both.
        scope: What else must be equal, such as the scope's digest in a log.
        hashed: Whether the text is a hash, so that only equality can be told.
    """

    category: str
    text: str = field(repr=False)
    answer_key: str = field(repr=False)
    scope: str = ""
    hashed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Requests in order of time, held by column so that a million of them are no burden.

    Attributes:
        name: For people: where it comes from.
        questions: What is asked.
        tenants: Who asks.
        times_s: When, seconds since the beginning, shape ``(n,)``.
        question_of: Place in ``questions``, shape ``(n,)``.
        tenant_of: Place in ``tenants``, shape ``(n,)``.
        input_tokens: Shape ``(n,)``.
        output_tokens: Of the model's answer to it, shape ``(n,)``.
        model: Name of the model asked.
        begins_at: Seconds since the epoch of the beginning.
        labelled: Whether ``answer_key`` tells of any two questions if one answer serves both; of a
            log it tells only of those that its labels have joined.
        unlike: Pairs of answer keys, the lesser first, that a log's labels say are not the same.
        lifetimes_s: By category how long an answer stays right on average; without one for ever.
        seed: Of the moments at which answers change.
    """

    name: str
    questions: Sequence[Question]
    tenants: Sequence[str]
    times_s: Seconds
    question_of: Places
    tenant_of: Places
    input_tokens: Tokens
    output_tokens: Tokens
    model: str = "model"
    begins_at: float = 1_700_000_000.0
    labelled: bool = True
    unlike: frozenset[tuple[str, str]] = frozenset()
    lifetimes_s: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __len__(self) -> int:
        return len(self.times_s)

    def __iter__(self) -> Iterator[Asked]:
        columns = (
            self.times_s.tolist(),
            self.question_of.tolist(),
            self.tenant_of.tolist(),
            self.input_tokens.tolist(),
            self.output_tokens.tolist(),
        )
        for t_s, place, tenant, tokens_in, tokens_out in zip(*columns, strict=True):
            asked = self.questions[place]
            yield Asked(
                t_s,
                asked.category,
                asked.text,
                asked.answer_key,
                self.tenants[tenant],
                tokens_in,
                tokens_out,
            )

    @property
    def hashed(self) -> int:
        """How many of the questions are known by their hash only."""
        return sum(question.hashed for question in self.questions)

    @property
    def texts(self) -> list[str]:
        """Every text that is asked, once: what an embedder must know."""
        asked = (self.questions[place] for place in np.unique(self.question_of).tolist())
        return list(dict.fromkeys(question.text for question in asked if not question.hashed))


class Changes:
    """When answers change: each answer of a category by a Poisson process of its own."""

    def __init__(self, workload: Workload) -> None:
        self._lifetimes_s = workload.lifetimes_s
        self._seed = workload.seed
        self._keys = list(dict.fromkeys(q.answer_key for q in workload.questions))
        self._places = {key: place for place, key in enumerate(self._keys)}
        self._drawn: dict[int, tuple[list[float], np.random.Generator]] = {}

    def version(self, question: Question, at_s: float) -> int:
        """Return how often the answer has changed by then, in seconds since the beginning."""
        lifetime_s = self._lifetimes_s.get(question.category)
        if lifetime_s is None:
            return 0
        place = self._places[question.answer_key]
        if place not in self._drawn:
            self._drawn[place] = ([], np.random.default_rng([self._seed, 3, place]))
        moments, rng = self._drawn[place]
        while not moments or moments[-1] <= at_s:
            last = moments[-1] if moments else 0.0
            moments.append(last + float(rng.exponential(lifetime_s)))
        return bisect_right(moments, at_s)


def demo_prompts() -> list[Prompt]:
    """Return the prompts that ship with the demo, for who has none of his own."""
    return [Prompt(p.category, p.text, f"{p.category}/{p.key}") for p in load_prompts()]


def generate(
    prompts: Sequence[Prompt],
    arrivals: Arrivals,
    *,
    zipf: float | Mapping[str, float] = ZIPF,
    mix: Mapping[str, float] | None = None,
    lifetimes_s: Mapping[str, float] | None = None,
    tenants: int = 1,
    seed: int = 0,
    model: str = "model",
    name: str = "generated",
) -> Workload:
    """Return requests that repeat the prompts' answers after Zipf's law, category by category.

    Of each answer one of its prompts is drawn, each as likely, so that repeats come in the other
    wordings, too. Which answers are the popular ones is drawn with the seed. Equal arguments give
    equal workloads.

    Args:
        prompts: What may be asked.
        arrivals: When, and how many tokens.
        zipf: Exponent for all categories, or by category, with ``""`` for the others.
        mix: Share of each category, of any sum; without it in proportion to its prompts.
        lifetimes_s: By category the mean seconds for which an answer is right.
        tenants: How many ask, each as often; what one has paid for serves no other.
        seed: Of every draw.
        model: Name of the model asked.
        name: For people.

    Raises:
        ConfigError: A category that is named has no prompts, or a number is out of its range.
    """
    groups = _groups(prompts)
    shares = _shares(groups, mix)
    _check(groups, {} if isinstance(zipf, float | int) else zipf, "--zipf")
    _check(groups, lifetimes_s or {}, "--lifetime")
    rng = np.random.default_rng([seed, 2])
    count = len(arrivals)
    questions: list[Question] = []
    question_of = np.zeros(count, np.int64)
    names = sorted(shares)
    of = rng.choice(len(names), size=count, p=[shares[n] for n in names])
    for place, category in enumerate(names):
        turns = np.flatnonzero(of == place)
        texts = [
            [Question(category, text, key) for text in texts]
            for key, texts in sorted(groups[category].items())
        ]
        starts = len(questions) + np.concatenate([[0], np.cumsum([len(t) for t in texts])[:-1]])
        wordings = np.array([len(t) for t in texts])
        questions += [question for group in texts for question in group]
        ranks = rng.permutation(len(texts))
        odds = (ranks + 1.0) ** -_exponent(zipf, category)
        chosen = rng.choice(len(texts), size=len(turns), p=odds / odds.sum())
        wording = np.floor(rng.random(len(turns)) * wordings[chosen]).astype(np.int64)
        question_of[turns] = starts[chosen] + wording
    return Workload(
        name=name,
        questions=questions,
        tenants=[f"tenant-{n}" for n in range(1, tenants + 1)],
        times_s=arrivals.times_s,
        question_of=question_of,
        tenant_of=rng.integers(0, tenants, size=count),
        input_tokens=arrivals.input_tokens,
        output_tokens=arrivals.output_tokens,
        model=model,
        lifetimes_s=dict(lifetimes_s or {}),
        seed=seed,
    )


def _groups(prompts: Sequence[Prompt]) -> dict[str, dict[str, list[str]]]:
    """Return the texts, each once, by category and answer."""
    groups: dict[str, dict[str, dict[str, None]]] = {}
    for prompt in prompts:
        by_key = groups.setdefault(prompt.category, {})
        by_key.setdefault(prompt.answer_key, {})[prompt.text] = None
    if not groups:
        msg = "there are no prompts to make requests of"
        raise ConfigError(msg)
    return {
        category: {key: list(texts) for key, texts in by_key.items()}
        for category, by_key in groups.items()
    }


def _shares(
    groups: Mapping[str, Mapping[str, Sequence[str]]], mix: Mapping[str, float] | None
) -> dict[str, float]:
    if not mix:
        sizes = {name: float(sum(map(len, keys.values()))) for name, keys in groups.items()}
    else:
        _check(groups, mix, "--mix")
        sizes = dict(mix)
    total = sum(sizes.values())
    if not total > 0:
        msg = "--mix: no category has a share above 0"
        raise ConfigError(msg)
    return {name: size / total for name, size in sizes.items() if size > 0}


def _check(groups: Mapping[str, object], given: Mapping[str, float], option: str) -> None:
    for name, value in given.items():
        if name and name not in groups:
            msg = f"{option}: there are no prompts of category {name!r}; there are: "
            raise ConfigError(msg + ", ".join(sorted(groups)))
        if not 0 <= value < float("inf"):
            msg = f"{option}: {name or 'all'} is {value}; it is a number from 0 on"
            raise ConfigError(msg)


def _exponent(zipf: float | Mapping[str, float], category: str) -> float:
    if isinstance(zipf, float | int):
        return float(zipf)
    return float(zipf.get(category, zipf.get("", ZIPF)))
