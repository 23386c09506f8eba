"""Fits a verifier and a threshold per category to labels, and certifies the thresholds.

The answers are dealt into folds, look-alikes into the same one. A pair of question and candidate is
scored by a verifier fitted on pairs that have no answer of the question's fold, with what words
have shown in pairs that have no answer of either's: in service both answers are new, too.

A first pass stores every answer and gives provisional thresholds. In the second and third pass
these verifiers serve, request by request, and what is served is not stored: what a cache serves
decides what it stores. The second pass is learned from, too; on the third the thresholds are
certified. The verifier that goes into service is then fitted on all labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Embedder
from likewise.errors import ConfigError
from likewise.guards import GUARDS
from likewise.learn.certify import POINT_ESTIMATE, Certificate, certify, pooled
from likewise.learn.evidence import Tokens
from likewise.learn.features import NAMES, OWN, Matrix
from likewise.learn.labels import Answered, Labels, joined, label
from likewise.learn.trees import Trees, fit_trees
from likewise.learn.verifier import Verifier
from likewise.rebuild import Progress

FOLDS = 10
MODELS = 5
"""Each model leaves out every fifth fold."""

_LEAST_PAIRS = 100
"""Pairs of each kind below which trees would only learn noise."""

_CATEGORY = NAMES.index("category")
_RANK = NAMES.index("rank")
RESERVE = 0.2
"""Share of the budget kept for what labels do not show. On answers unlike any that was labelled the
errors were about a third more than thresholds showed on labels; see docs/quality.md."""

_ALIKE = 0.85
"""Cosine from which on two questions are look-alikes."""

_MOST_ALIKE = 100
"""Answers that may come together into one fold by a chain of look-alikes."""

_WEIGHT_OF_NEAREST = 3.0
"""How much the nearest candidate counts against the others: it is the one most often served."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The best candidate of each request of a category, by a verifier that has not seen it.

    Attributes:
        scores: Probability of being right, shape ``(n,)``.
        wrong: Whether it would have been wrong, shape ``(n,)``.
        cosines: Its cosine, shape ``(n,)``.
        texts: The two questions of each pair.
    """

    scores: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    cosines: NDArray[np.float64]
    texts: Sequence[tuple[str, str]]


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
            empty cache. The first one shows how much of the traffic each category makes up.
        embedder: Of the cache that is to use the policy.
        budget: Error per hit allowed. Below the risk of a point estimate it holds in every category
            by itself; else over all of them, see ``certify.pooled``.
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
    step = _Steps(progress, total=3 * len(streams) + 2 * MODELS + 1)
    categories = sorted({answered.category for stream in streams for answered in stream})
    bound = _Bound((1 - RESERVE) * budget, risk, _weights(streams, categories))
    first = _labelled(streams, embedder, categories, step)
    _check(first)
    codes = _codes(first)
    folds = _folds(first)
    folded = _fit_folds([first], folds, codes, step)
    texts = [answered.text for stream in streams for answered in stream]
    provisional = bound.thresholds(_judged(first, folded.scores(first), texts))
    second = _labelled(streams, embedder, categories, step, folded=folded, thresholds=provisional)
    folded = _fit_folds([first, second], folds, codes, step)
    provisional = bound.thresholds(_judged(second, folded.scores(second), texts))
    third = _labelled(streams, embedder, categories, step, folded=folded, thresholds=provisional)
    judged = _judged(third, folded.scores(third), texts)
    certificates = bound.certified(judged)
    verifier = _final([first, second], folds, codes, embedder.name)
    step()
    return Tuned(
        verifier,
        certificates,
        judged,
        first.requests,
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


@dataclass(frozen=True, slots=True)
class _Bound:
    """How thresholds are found: each category by itself, or all of them together."""

    budget: float
    risk: float
    weights: Mapping[str, float]

    def certified(self, judged: Mapping[str, Judged]) -> dict[str, Certificate]:
        if self.risk >= POINT_ESTIMATE:
            samples = {name: (found.scores, found.wrong) for name, found in judged.items()}
            return pooled(samples, budget=self.budget, weights=self.weights)
        return {
            name: certify(
                found.scores, found.wrong, budget=self.budget, risk=self.risk / len(judged)
            )
            for name, found in judged.items()
        }

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


@dataclass(frozen=True, slots=True, eq=False)
class _Folded:
    """Verifiers that have not seen what they score."""

    folds: NDArray[np.int_]
    trees: Sequence[Trees]
    known: _Known
    codes: Mapping[str, float]

    def scores(self, labels: Labels) -> NDArray[np.float64]:
        """Return each pair's probability; float64 of shape ``(n,)``."""
        rows = _coded(self.known.weighed(labels, self.folds), labels, self.codes)
        models = self.folds[labels.request] % MODELS
        scores = np.zeros(len(rows))
        for model, trees in enumerate(self.trees):
            scores[models == model] = trees.probability(rows[models == model])
        return scores

    def score(self, request: int, rows: Matrix, tokens: Tokens, name: str) -> NDArray[np.float64]:
        """Return the probabilities of one request's candidates."""
        fold = int(self.folds[request])
        rows = rows.copy()
        rows[:, _CATEGORY] = self.codes[name]
        rows[:, OWN:] = self.known.without[fold].features(tokens, name)
        probability: NDArray[np.float64] = self.trees[fold % MODELS].probability(rows)
        return probability


class _Known:
    """What words have shown in labelled pairs, apart from those of one fold or of two."""

    def __init__(self, labels: Labels, folds: NDArray[np.int_]) -> None:
        self._labels = labels
        self._ends = folds[labels.request], folds[labels.candidate]
        self.everything = labels.counted(np.ones(len(labels.right), np.bool_))
        self._touching = [labels.counted(self._touch(fold)) for fold in range(FOLDS)]
        self.without = [self.everything.minus(touching) for touching in self._touching]

    def weighed(self, labels: Labels, folds: NDArray[np.int_]) -> Matrix:
        """Return features with the evidence of pairs that touch neither end's fold."""
        ends = folds[labels.request], folds[labels.candidate]
        rows = np.empty_like(labels.rows)
        for a in range(FOLDS):
            for b in range(a, FOLDS):
                mine = ((ends[0] == a) & (ends[1] == b)) | ((ends[0] == b) & (ends[1] == a))
                known = self.without[a]
                if a != b:
                    both = self._labels.counted(self._touch(a) & self._touch(b))
                    known = known.minus(self._touching[b]).plus(both)
                rows[mine] = labels.weighed(known, mine)
        return rows

    def _touch(self, fold: int) -> NDArray[np.bool_]:
        touch: NDArray[np.bool_] = (self._ends[0] == fold) | (self._ends[1] == fold)
        return touch


def _labelled(
    streams: Sequence[Sequence[Answered]],
    embedder: Embedder,
    categories: Sequence[str],
    step: Callable[[], None],
    *,
    folded: _Folded | None = None,
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


def _fit_folds(
    parts: Sequence[Labels],
    folds: NDArray[np.int_],
    codes: Mapping[str, float],
    step: Callable[[], None],
) -> _Folded:
    """Fit the verifiers. What words have shown is counted on the first part alone."""
    known = _Known(parts[0], folds)
    rows, right = _training(parts, known, folds, codes)
    request = np.concatenate([folds[part.request] for part in parts]) % MODELS
    candidate = np.concatenate([folds[part.candidate] for part in parts]) % MODELS
    trees = []
    for model in range(MODELS):
        others = (request != model) & (candidate != model)
        trees.append(fit_trees(rows[others], right[others], weight=_weight(rows[others])))
        step()
    return _Folded(folds, trees, known, codes)


def _final(
    parts: Sequence[Labels], folds: NDArray[np.int_], codes: Mapping[str, float], embedder: str
) -> Verifier:
    """Fit the verifier that goes into service on all labels."""
    known = _Known(parts[0], folds)
    rows, right = _training(parts, known, folds, codes)
    return Verifier(fit_trees(rows, right, weight=_weight(rows)), known.everything, codes, embedder)


def _training(
    parts: Sequence[Labels],
    known: _Known,
    folds: NDArray[np.int_],
    codes: Mapping[str, float],
) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return features and truth of all pairs. None finds its own answers in what words showed."""
    rows = [_coded(known.weighed(part, folds), part, codes) for part in parts]
    return np.concatenate(rows), np.concatenate([part.right for part in parts])


def _weight(rows: Matrix) -> NDArray[np.float32]:
    return np.where(rows[:, _RANK] == 0, np.float32(_WEIGHT_OF_NEAREST), np.float32(1.0))


def _judged(labels: Labels, scores: NDArray[np.float64], texts: Sequence[str]) -> dict[str, Judged]:
    judged = {}
    for code, name in enumerate(labels.categories):
        best = _best_places(labels, scores, labels.category == code)
        pairs = [(texts[labels.request[i]], texts[labels.candidate[i]]) for i in best]
        judged[name] = Judged(scores[best], ~labels.right[best], labels.cosine[best], pairs)
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
    first = labels.rows[:, _RANK] == 0
    rates = {}
    for code, name in enumerate(labels.categories):
        mine = first & (labels.category == code)
        rates[name] = float(labels.right[mine].mean()) if mine.any() else 0.0
    ranked = sorted(rates, key=lambda name: (rates[name], name))
    return {name: float(place) for place, name in enumerate(ranked)}


def _coded(rows: Matrix, labels: Labels, codes: Mapping[str, float]) -> Matrix:
    """Put the verifier's codes in the place of the labels' own, in rows that are the caller's."""
    code = np.array([codes[name] for name in labels.categories], np.float32)
    rows[:, _CATEGORY] = code[rows[:, _CATEGORY].astype(np.int_)]
    return rows


def _folds(labels: Labels) -> NDArray[np.int_]:
    """Deal the requests into folds by their answers, with those of look-alikes; shape ``(n,)``."""
    groups = _Groups(labels.keys)
    alike = labels.cosine >= _ALIKE
    for request, candidate in zip(
        labels.request[alike].tolist(), labels.candidate[alike].tolist(), strict=True
    ):
        groups.join(labels.keys[request], labels.keys[candidate])
    return np.array(
        [
            sha256(groups.first(key).encode("utf-8", "surrogatepass")).digest()[0] % FOLDS
            for key in labels.keys
        ]
    )


class _Groups:
    """Answers joined into groups of at most ``_MOST_ALIKE``, each known by one of its members."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._parent = {key: key for key in keys}
        self._size = dict.fromkeys(keys, 1)

    def first(self, key: str) -> str:
        while (parent := self._parent[key]) != key:
            self._parent[key] = key = self._parent[parent]
        return key

    def join(self, a: str, b: str) -> None:
        a, b = self.first(a), self.first(b)
        if a != b and self._size[a] + self._size[b] <= _MOST_ALIKE:
            self._parent[b] = a
            self._size[a] += self._size[b]


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
        return list(GUARDS)
    hits = np.flatnonzero(judged.scores >= certificate.threshold).tolist()
    chosen = []
    for name, guard in GUARDS.items():
        vetoed = [i for i in hits if guard(*judged.texts[i]) is not None]
        if vetoed and judged.wrong[vetoed].mean() > budget:
            chosen.append(name)
    return chosen


def _floor(judged: Judged, certificate: Certificate) -> float:
    """Return a cosine just below that of every hit the threshold would have made."""
    if certificate.threshold is None:
        return 1.0
    hits = judged.cosines[judged.scores >= certificate.threshold]
    return max(0.0, float(np.quantile(hits, 0.002)) - 0.01)
