"""Fits a verifier and a threshold per category to labels, and certifies the thresholds.

A first pass stores every answer and gives provisional thresholds. In the second and third pass
verifiers serve that have not seen what they score (see ``folds``), request by request, and what is
served is not stored: what a cache serves decides what it stores. The second pass is learned from,
too; on the third the thresholds are certified. The verifier that goes into service is then fitted
on all labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Embedder
from likewise.errors import ConfigError
from likewise.learn import evidence
from likewise.learn.certify import POINT_ESTIMATE, POOL_RISK, Certificate, certify, pooled
from likewise.learn.choices import Judged, floor_of, gate_of, guards_of
from likewise.learn.evidence import Tokens
from likewise.learn.features import NAMES, Matrix
from likewise.learn.folds import MODELS, Folded, final_verifier, fit_folds, folds_of
from likewise.learn.labels import Answered, Couple, Labels, alone, joined, label
from likewise.learn.verifier import Verifier
from likewise.rebuild import Progress

_LEAST_PAIRS = 100
"""Pairs of each kind below which trees would only learn noise."""

_CATEGORY = NAMES.index("category")
_RANK = NAMES.index("rank")

RESERVE = 0.15
"""Share of the budget left for what labels do not show: answers unlike any that was labelled."""

POOL_SLACK = 1.5
"""How many times the budget the labels of one category may err while all together keep it, in point
estimates."""

TOGETHER = 0.6
"""The same where categories are certified together: their labels must be well within the budget."""

MOST_OF_A_KEY = 10
"""Requests of one answer that count in a certificate."""

_EVERY = 3
"""Of every so many requests the nearest candidate is learned from as if it were alone, too."""

GROUPS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "words": evidence.NAMES,
        "answers": ("answers_agree", "margin_to_other_answer"),
        "overlap": NAMES[NAMES.index("overlap_of_question") : NAMES.index("numbers_differ")],
        "guards": NAMES[NAMES.index("numbers_differ") : NAMES.index("answers_agree")],
        "margins": ("gap_to_nearest", "margin_to_next", "margin_to_last", "rank"),
        "category": ("category", "density"),
    }
)
"""Features by what they look at."""


class Coupled(Protocol):
    """Two questions of a category, and whether one answer serves both."""

    @property
    def category(self) -> str:
        """Kind of question."""

    @property
    def a(self) -> str:
        """One."""

    @property
    def b(self) -> str:
        """The other."""

    @property
    def same(self) -> bool:
        """Whether one answer serves both."""


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """The outcome of tuning.

    Attributes:
        verifier: Fitted on all labels.
        certificates: By category.
        judged: What they were certified on, by category.
        requests: Requests of each category in the stream.
        guards: Those that pay, by category.
        floor: Cosine below which a candidate is not worth judging, by category.
        gates: Coarse cosine below which a question is not worth embedding, see ``gate``, by
            category; ``None`` where too few hits tell, or without sketches.
        budget: Error per hit allowed.
        risk: Chance that a category's bound fails.
        pressed: Certificates for the budget under load, by category; none without one.
        pressure_budget: Error per hit allowed under load.
    """

    verifier: Verifier
    certificates: Mapping[str, Certificate]
    judged: Mapping[str, Judged]
    requests: Mapping[str, int]
    guards: Mapping[str, Sequence[str]]
    floor: Mapping[str, float]
    gates: Mapping[str, float | None]
    budget: float
    risk: float
    pressed: Mapping[str, Certificate] = field(default_factory=dict)
    pressure_budget: float | None = None


def tune(
    streams: Sequence[Sequence[Answered]],
    embedder: Embedder,
    *,
    budget: float,
    risk: float,
    pressure_budget: float | None = None,
    pairs: Sequence[Coupled] = (),
    without: Sequence[str] = (),
    progress: Progress = lambda _done, _of: None,
) -> Tuned:
    """Fit and certify.

    Args:
        streams: Answered questions in the order in which they came; each stream starts with an
            empty cache. The first one shows how much of the traffic each category makes up.
        embedder: Of the cache that is to use the policy.
        budget: Error per hit allowed. Below the risk of a point estimate it holds in every category
            by itself; else over all of them, see ``certify.pooled``.
        risk: Chance that a category's bound fails; 0.5 asks for a point estimate.
        pressure_budget: Error per hit allowed while the model is under full load: thresholds are
            certified for it as well, each with the same risk once more.
        pairs: Labelled pairs to learn from besides; nothing is certified on them.
        without: Groups of features to do without, see ``GROUPS``: to see what each contributes.
        progress: Told of the steps done.

    Raises:
        ConfigError: There are too few labels of one kind to learn from, or an argument is wrong.
    """
    _check_arguments(budget=budget, risk=risk, pressure_budget=pressure_budget)
    streams = [stream for stream in streams if stream]
    if not streams:
        msg = "there is not one labelled question to learn from"
        raise ConfigError(msg)
    dropped = _columns(without)
    step = _Steps(progress, total=3 * len(streams) + 2 * MODELS + 1)
    categories = sorted({answered.category for stream in streams for answered in stream})
    weights = _weights(streams, categories)
    bound = _Bound(budget, risk, weights)
    first = _labelled(streams, embedder, categories, step)
    _check(first)
    codes = _codes(first)
    texts = [answered.text for stream in streams for answered in stream]
    coupled = _coupled(pairs, first, texts, embedder)
    folds = folds_of(coupled.keys, [first, coupled])
    # A cache that has only begun to fill knows no neighbours: what tells then is learned from pairs
    # by themselves.
    sparse = alone(_every_few(first, texts), like=coupled)
    learned = [first, coupled, sparse]
    folded = fit_folds(learned, folds, codes, dropped, step)
    provisional = bound.thresholds(_judged(first, folded.scores(first), texts))
    second = _labelled(streams, embedder, categories, step, folded=folded, thresholds=provisional)
    learned.append(second)
    folded = fit_folds(learned, folds, codes, dropped, step)
    provisional = bound.thresholds(_judged(second, folded.scores(second), texts))
    third = _labelled(streams, embedder, categories, step, folded=folded, thresholds=provisional)
    judged = _judged(third, folded.scores(third), texts)
    certificates = bound.certified(judged)
    pressed: Mapping[str, Certificate] = {}
    if pressure_budget is not None:
        pressed = _Bound(pressure_budget, risk, weights).certified(judged)
    verifier = final_verifier(learned, folds, codes, dropped, embedder.name)
    step()
    return Tuned(
        verifier,
        certificates,
        judged,
        first.requests,
        {name: guards_of(judged[name], certificates[name], budget) for name in judged},
        {name: floor_of(judged[name], certificates[name], pressed.get(name)) for name in judged},
        {
            name: gate_of(judged[name], certificates[name], pressed.get(name), embedder)
            for name in judged
        },
        budget,
        risk,
        pressed,
        pressure_budget,
    )


class _Steps:
    """Counts steps for a progress bar."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


@dataclass(frozen=True, slots=True)
class _Bound:
    """How thresholds are found: each category by itself, or all of them together."""

    budget: float
    risk: float
    weights: Mapping[str, float]

    def certified(self, judged: Mapping[str, Judged]) -> dict[str, Certificate]:
        samples = {name: (found.scores, found.wrong) for name, found in judged.items()}
        budget = (1 - RESERVE) * self.budget
        if self.risk >= POINT_ESTIMATE:
            return pooled(
                samples,
                budget=budget,
                risk=POOL_RISK,
                most=POOL_SLACK * budget,
                weights=self.weights,
            )
        share = self.risk / (len(samples) + 1)
        own = {
            name: certify(*sample, budget=budget, risk=share) for name, sample in samples.items()
        }
        # What no category could show alone, the rest may show together, with a share of its own.
        together = pooled(
            {name: samples[name] for name, found in own.items() if found.threshold is None},
            budget=budget,
            risk=share,
            most=TOGETHER * budget,
            weights=self.weights,
        )
        return own | {n: found for n, found in together.items() if found.threshold is not None}

    def thresholds(self, judged: Mapping[str, Judged]) -> dict[str, float | None]:
        return {name: found.threshold for name, found in self.certified(judged).items()}


def _weights(streams: Sequence[Sequence[Answered]], categories: Sequence[str]) -> dict[str, float]:
    """Return how much a label of each category counts, so that together they are the traffic."""
    counts = [dict.fromkeys(categories, 0) for _ in range(2)]
    for number, stream in enumerate(streams):
        for answered in stream:
            counts[0][answered.category] += number == 0
            counts[1][answered.category] += 1
    return {name: counts[0][name] / counts[1][name] for name in categories}


def _labelled(
    streams: Sequence[Sequence[Answered]],
    embedder: Embedder,
    categories: Sequence[str],
    step: Callable[[], None],
    *,
    folded: Folded | None = None,
    thresholds: Mapping[str, float | None] | None = None,
) -> Labels:
    """Label all streams; under verifiers and thresholds what these serve is not stored."""
    parts: list[Labels] = []
    offset = 0
    for stream in streams:

        def serves(
            number: int,
            rows: Matrix,
            tokens: Tokens,
            stream: Sequence[Answered] = stream,
            offset: int = offset,
        ) -> bool:
            category = stream[number].category
            least = None if thresholds is None else thresholds[category]
            if folded is None or least is None:
                return False
            return bool(folded.score(offset + number, rows, tokens, category).max() >= least)

        parts.append(label(stream, embedder, categories=categories, serves=serves))
        offset += len(stream)
        step()
    return joined(parts)


def _judged(labels: Labels, scores: NDArray[np.float64], texts: Sequence[str]) -> dict[str, Judged]:
    judged = {}
    for code, name in enumerate(labels.categories):
        best = _thinned(_best_places(labels, scores, labels.category == code), labels)
        pairs = [(texts[labels.request[i]], texts[labels.candidate[i]]) for i in best]
        judged[name] = Judged(scores[best], ~labels.right[best], labels.cosine[best], pairs)
    return judged


def _columns(without: Sequence[str]) -> list[int]:
    for group in without:
        if group not in GROUPS:
            msg = f"--without: there is no group {group!r}; there are: {', '.join(GROUPS)}"
            raise ConfigError(msg)
    return [NAMES.index(name) for group in without for name in GROUPS[group]]


def _coupled(
    pairs: Sequence[Coupled], first: Labels, texts: list[str], embedder: Embedder
) -> Labels:
    """Return labelled pairs as labels; their texts come behind those of the streams."""
    place = {text: number for number, text in reversed(list(enumerate(texts)))}
    keys = list(first.keys)
    couples = []
    for pair in pairs:
        if pair.category not in first.categories or not (
            embedder.fits(pair.a) and embedder.fits(pair.b)
        ):
            continue
        for text in (pair.a, pair.b):
            if text not in place:
                place[text] = len(texts)
                texts.append(text)
                keys.append(f"pair {text}")
        one, other = embedder.embed([pair.a, pair.b])
        cosine = float(one @ other)
        ends = place[pair.a], place[pair.b]
        couples.append(Couple(pair.category, pair.b, pair.a, cosine, pair.same, ends[1], ends[0]))
    return alone(couples, like=replace(first, keys=keys))


def _every_few(first: Labels, texts: Sequence[str]) -> list[Couple]:
    """Return the nearest candidate of every few requests."""
    nearest = np.flatnonzero((first.rows[:, _RANK] == 0) & (first.request % _EVERY == 0))
    return [
        Couple(
            first.categories[first.category[i]],
            texts[first.request[i]],
            texts[first.candidate[i]],
            float(first.cosine[i]),
            bool(first.right[i]),
            int(first.request[i]),
            int(first.candidate[i]),
        )
        for i in nearest.tolist()
    ]


def _check_arguments(*, budget: float, risk: float, pressure_budget: float | None) -> None:
    if not 0 < budget < 1:
        msg = f"--error-budget: {budget} is not between 0 and 1; 0.02 is 2 wrong in 100 hits"
        raise ConfigError(msg)
    if pressure_budget is not None and not budget <= pressure_budget < 1:
        msg = (
            f"--pressure-budget: {pressure_budget} is not between the --error-budget of {budget} "
            "and 1; it is what may be wrong per hit while the model is under full load"
        )
        raise ConfigError(msg)
    if not 0 < risk <= POINT_ESTIMATE:
        msg = f"--risk: {risk} is not above 0 and at most 0.5; 0.5 asks for a point estimate"
        raise ConfigError(msg)


def _check(labels: Labels) -> None:
    right = int(labels.right.sum())
    for count, kind in ((right, "share an answer"), (len(labels.right) - right, "do not")):
        if count < _LEAST_PAIRS:
            msg = (
                f"the labels hold {count} near pairs that {kind}; "
                f"at least {_LEAST_PAIRS} are needed to learn from"
            )
            raise ConfigError(msg)


def _codes(labels: Labels) -> dict[str, float]:
    """Number the categories by how often their nearest candidate is right.

    Trees split on an order: categories that are alike in this stand side by side and share splits.
    """
    first = labels.rows[:, _RANK] == 0
    rates = {}
    for code, name in enumerate(labels.categories):
        mine = first & (labels.category == code)
        rates[name] = float(labels.right[mine].mean()) if mine.any() else 0.0
    ranked = sorted(rates, key=lambda name: (rates[name], name))
    return {name: float(place) for place, name in enumerate(ranked)}


def _best_places(
    labels: Labels, scores: NDArray[np.float64], mine: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the place of the most probable candidate of each request among the pairs ``mine``."""
    places = np.flatnonzero(mine)
    order = places[np.lexsort((-scores[places], labels.request[places]))]
    best: NDArray[np.intp] = order[np.flatnonzero(np.diff(labels.request[order], prepend=-1))]
    return best


def _thinned(places: NDArray[np.intp], labels: Labels) -> NDArray[np.intp]:
    """Return the places of at most ``MOST_OF_A_KEY`` requests of each answer, chosen by chance.

    Requests that share their answer are right or wrong together, and a bound counts each label as
    if it were drawn by itself: the many askers of a few answers would pass for more evidence than
    they are.
    """
    shuffled = np.random.default_rng(0).permutation(places)
    taken: Counter[str] = Counter()
    kept = []
    for place in shuffled.tolist():
        key = labels.keys[labels.request[place]]
        taken[key] += 1
        if taken[key] <= MOST_OF_A_KEY:
            kept.append(place)
    return np.sort(np.array(kept, np.intp))
