"""Fits a verifier and a threshold per category to labels, and certifies the thresholds.

The answers' keys are dealt into folds. Each fold is scored by a verifier fitted on the other folds,
so no score of a label comes from a verifier that has seen its answer. A first pass stores every
answer and gives provisional thresholds. A second pass stores only what these do not serve, and the
thresholds are certified on its labels: what a cache serves decides what it stores. The verifier
that goes into service is then fitted on all labels of both passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Embedder
from likewise.errors import ConfigError
from likewise.learn.certify import POINT_ESTIMATE, Certificate, certify
from likewise.learn.features import NAMES, Matrix
from likewise.learn.labels import Answered, Labels, joined, label
from likewise.learn.trees import Trees, fit_trees
from likewise.learn.verifier import Verifier
from likewise.rebuild import Progress

FOLDS = 5
_LEAST_PAIRS = 100
"""Pairs of each kind below which trees would only learn noise."""

_CATEGORY = NAMES.index("category")
_GUARD_COLUMNS = {
    "numbers": NAMES.index("numbers_differ"),
    "units": NAMES.index("units_differ"),
    "negation": NAMES.index("negation_differs"),
    "direction": NAMES.index("direction_differs"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The best candidate of each request of a category, by a verifier that has not seen it.

    Attributes:
        scores: Probability of being right, shape ``(n,)``.
        wrong: Whether it would have been wrong, shape ``(n,)``.
        cosines: Its cosine, shape ``(n,)``.
        vetoes: Whether each guard objects to it, by the guard's name, each of shape ``(n,)``.
    """

    scores: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    cosines: NDArray[np.float64]
    vetoes: Mapping[str, NDArray[np.bool_]]


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
        budget: Error per hit allowed.
        risk: Chance that a category's bound fails.
    """

    verifier: Verifier
    certificates: Mapping[str, Certificate]
    judged: Mapping[str, Judged]
    requests: Mapping[str, int]
    guards: Mapping[str, Sequence[str]]
    floor: Mapping[str, float]
    budget: float
    risk: float


def tune(
    streams: Sequence[Sequence[Answered]],
    embedder: Embedder,
    *,
    budget: float,
    risk: float,
    progress: Progress = lambda _done, _of: None,
) -> Tuned:
    """Fit and certify.

    Args:
        streams: Answered questions in the order in which they came; each stream starts with an
            empty cache.
        embedder: Of the cache that is to use the policy.
        budget: Error per hit allowed in every category.
        risk: Chance that a category's bound fails; 0.5 asks for a point estimate.
        progress: Told of the steps done.

    Raises:
        ConfigError: There are too few labels of one kind to learn from, or an argument is wrong.
    """
    _check_arguments(budget=budget, risk=risk)
    streams = [stream for stream in streams if stream]
    if not streams:
        msg = "there is not one labelled question to learn from"
        raise ConfigError(msg)
    step = _Steps(progress, total=2 * len(streams) + FOLDS + 1)
    categories = sorted({answered.category for stream in streams for answered in stream})
    first = []
    for stream in streams:
        first.append(label(stream, embedder, categories=categories))
        step()
    labels = joined(first)
    _check(labels)
    codes = _codes(labels)
    folded = _fit_folds(labels, codes, step)
    served = _served(labels, folded.scores(labels, codes), budget)
    second, offset = [], 0
    for stream in streams:
        mine = {place - offset for place in served if 0 <= place - offset < len(stream)}
        second.append(label(stream, embedder, categories=categories, served=mine))
        offset += len(stream)
        step()
    served_labels = joined(second)
    judged = _by_category(served_labels, folded.scores(served_labels, codes))
    rows = np.concatenate([_coded(labels, codes), _coded(served_labels, codes)])
    right = np.concatenate([labels.right, served_labels.right])
    verifier = Verifier(fit_trees(rows, right), codes, embedder.name)
    step()
    share = 1 if risk >= POINT_ESTIMATE else len(judged)
    certificates = {
        name: certify(found.scores, found.wrong, budget=budget, risk=risk / share)
        for name, found in judged.items()
    }
    return Tuned(
        verifier,
        certificates,
        judged,
        labels.requests,
        {name: _guards(judged[name], certificates[name], budget) for name in judged},
        {name: _floor(judged[name], certificates[name]) for name in judged},
        budget,
        risk,
    )


class _Steps:
    """Counts steps for a progress bar."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


@dataclass(frozen=True, slots=True, eq=False)
class _Folded:
    """A verifier for each fold of the answers, fitted on the other folds."""

    trees: Sequence[Trees]

    def scores(self, labels: Labels, codes: Mapping[str, float]) -> NDArray[np.float64]:
        """Return each pair's probability by the verifier that has not seen its answer."""
        rows, folds = _coded(labels, codes), _folds(labels)
        scores = np.zeros(len(rows))
        for fold, trees in enumerate(self.trees):
            scores[folds == fold] = trees.probability(rows[folds == fold])
        return scores


def _fit_folds(labels: Labels, codes: Mapping[str, float], step: Callable[[], None]) -> _Folded:
    rows, folds = _coded(labels, codes), _folds(labels)
    trees = []
    for fold in range(FOLDS):
        trees.append(fit_trees(rows[folds != fold], labels.right[folds != fold]))
        step()
    return _Folded(trees)


def _served(labels: Labels, scores: NDArray[np.float64], budget: float) -> set[int]:
    """Return the requests that point-estimated thresholds would serve."""
    served: set[int] = set()
    for code in range(len(labels.categories)):
        best = _best_places(labels, scores, labels.category == code)
        found = certify(
            scores[best], ~labels.right[best], budget=budget, risk=POINT_ESTIMATE
        ).threshold
        if found is not None:
            served.update(labels.request[best[scores[best] >= found]].tolist())
    return served


def _by_category(labels: Labels, scores: NDArray[np.float64]) -> dict[str, Judged]:
    judged = {}
    for code, name in enumerate(labels.categories):
        best = _best_places(labels, scores, labels.category == code)
        vetoes = {guard: labels.rows[best, place] > 0 for guard, place in _GUARD_COLUMNS.items()}
        judged[name] = Judged(scores[best], ~labels.right[best], labels.cosine[best], vetoes)
    return judged


def _check_arguments(*, budget: float, risk: float) -> None:
    if not 0 < budget < 1:
        msg = f"--error-budget: {budget} is not between 0 and 1; 0.02 is 2 wrong in 100 hits"
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
    first = labels.rows[:, NAMES.index("rank")] == 0
    rates = {}
    for code, name in enumerate(labels.categories):
        mine = first & (labels.category == code)
        rates[name] = float(labels.right[mine].mean()) if mine.any() else 0.0
    ranked = sorted(rates, key=lambda name: (rates[name], name))
    return {name: float(place) for place, name in enumerate(ranked)}


def _coded(labels: Labels, codes: Mapping[str, float]) -> Matrix:
    rows = labels.rows.copy()
    rows[:, _CATEGORY] = np.array([codes[n] for n in labels.categories])[labels.category]
    return rows


def _folds(labels: Labels) -> NDArray[np.int_]:
    by_request = np.array([sha256(key.encode()).digest()[0] % FOLDS for key in labels.keys])
    return by_request[labels.request]


def _best_places(
    labels: Labels, scores: NDArray[np.float64], mine: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the place of the most probable candidate of each request among the pairs ``mine``."""
    places = np.flatnonzero(mine)
    order = places[np.lexsort((-scores[places], labels.request[places]))]
    best: NDArray[np.intp] = order[np.flatnonzero(np.diff(labels.request[order], prepend=-1))]
    return best


def _guards(judged: Judged, certificate: Certificate, budget: float) -> list[str]:
    """Return the guards that are right more often than the budget when they veto a hit."""
    if certificate.threshold is None:
        return list(_GUARD_COLUMNS)
    hits = judged.scores >= certificate.threshold
    return [
        name
        for name, vetoed in judged.vetoes.items()
        if (hits & vetoed).any() and judged.wrong[hits & vetoed].mean() > budget
    ]


def _floor(judged: Judged, certificate: Certificate) -> float:
    """Return a cosine just below that of every hit the threshold would have made."""
    if certificate.threshold is None:
        return 1.0
    hits = judged.cosines[judged.scores >= certificate.threshold]
    return max(0.0, float(np.quantile(hits, 0.002)) - 0.01)
