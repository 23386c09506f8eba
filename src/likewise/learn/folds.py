"""Verifiers that have not seen what they score.

Answers are dealt into folds, look-alikes into the same one. A pair of question and candidate is
scored by trees fitted on pairs that have no answer of the question's fold, with the evidence of
pairs that have no answer of either's: in service both answers are new, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from likewise.learn.evidence import Evidence, Tokens
from likewise.learn.features import NAMES, OWN, Matrix
from likewise.learn.labels import Labels
from likewise.learn.lessons import weight_of
from likewise.learn.trees import Trees, fit_trees
from likewise.learn.verifier import Verifier

FOLDS = 10
MODELS = 5
"""Each model leaves out every fifth fold."""

Folds = NDArray[np.int_]
"""The fold of each request of all streams."""

_ALIKE = 0.85
"""Cosine from which on two questions are look-alikes."""

_MOST_ALIKE = 100
"""Answers that may come together into one fold by a chain of look-alikes."""

_CATEGORY = NAMES.index("category")


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """Verifiers that have not seen what they score."""

    folds: Folds
    trees: Sequence[Trees]
    known: _Known
    codes: Mapping[str, float]
    dropped: Sequence[int]

    def scores(self, labels: Labels) -> NDArray[np.float64]:
        """Return each pair's probability; float64 of shape ``(n,)``."""
        rows = _coded(self.known.weighed(labels, self.folds), labels, self.codes)
        rows[:, self.dropped] = 0.0
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
        rows[:, self.dropped] = 0.0
        probability: NDArray[np.float64] = self.trees[fold % MODELS].probability(rows)
        return probability


class _Known:
    """What words have shown in labelled pairs, apart from those of one fold or of two."""

    def __init__(self, parts: Sequence[Labels], folds: Folds) -> None:
        self._parts = [(part, folds[part.request], folds[part.candidate]) for part in parts]
        self.everything = self._counted(lambda a, _: np.ones(len(a), np.bool_))
        self._touching = [self._touch(fold) for fold in range(FOLDS)]
        self.without = [self.everything.minus(touching) for touching in self._touching]

    def weighed(self, labels: Labels, folds: Folds) -> Matrix:
        """Return features with the evidence of pairs that touch neither end's fold."""
        ends = folds[labels.request], folds[labels.candidate]
        rows = np.empty_like(labels.rows)
        for a in range(FOLDS):
            for b in range(a, FOLDS):
                mine = ((ends[0] == a) & (ends[1] == b)) | ((ends[0] == b) & (ends[1] == a))
                known = self.without[a]
                if a != b:
                    both = self._touch(a, b)
                    known = known.minus(self._touching[b]).plus(both)
                rows[mine] = labels.weighed(known, mine)
        return rows

    def _touch(self, *folds: int) -> Evidence:
        """Return the evidence of pairs that have an answer of each of the folds."""
        return self._counted(
            lambda a, b: np.logical_and.reduce([(a == fold) | (b == fold) for fold in folds])
        )

    def _counted(self, chosen: Callable[[Folds, Folds], NDArray[np.bool_]]) -> Evidence:
        found = Evidence()
        for part, a, b in self._parts:
            found = found.plus(part.counted(chosen(a, b)))
        return found


def fit_folds(
    parts: Sequence[Labels],
    folds: Folds,
    codes: Mapping[str, float],
    dropped: Sequence[int],
    step: Callable[[], None],
) -> Folded:
    """Fit the verifiers. What words have shown is counted on the first two parts alone."""
    known = _Known(parts[:2], folds)
    rows, right = _training(parts, known, folds, codes)
    rows[:, dropped] = 0.0
    request = np.concatenate([folds[part.request] for part in parts]) % MODELS
    candidate = np.concatenate([folds[part.candidate] for part in parts]) % MODELS
    trees = []
    for model in range(MODELS):
        others = (request != model) & (candidate != model)
        trees.append(fit_trees(rows[others], right[others], weight=weight_of(rows[others])))
        step()
    return Folded(folds, trees, known, codes, dropped)


def final_verifier(
    parts: Sequence[Labels],
    folds: Folds,
    codes: Mapping[str, float],
    dropped: Sequence[int],
    embedder: str,
) -> Verifier:
    """Fit the verifier that goes into service on all labels."""
    known = _Known(parts[:2], folds)
    rows, right = _training(parts, known, folds, codes)
    # Trees never split on a column that is the same everywhere: in service nothing need be dropped.
    rows[:, dropped] = 0.0
    return Verifier(
        fit_trees(rows, right, weight=weight_of(rows)), known.everything, codes, embedder
    )


def _training(
    parts: Sequence[Labels],
    known: _Known,
    folds: Folds,
    codes: Mapping[str, float],
) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return features and truth of all pairs. None finds its own answers in what words showed."""
    rows = [_coded(known.weighed(part, folds), part, codes) for part in parts]
    return np.concatenate(rows), np.concatenate([part.right for part in parts])


def _coded(rows: Matrix, labels: Labels, codes: Mapping[str, float]) -> Matrix:
    """Put the verifier's codes in the place of the labels' own, in rows that are the caller's."""
    code = np.array([codes[name] for name in labels.categories], np.float32)
    rows[:, _CATEGORY] = code[rows[:, _CATEGORY].astype(np.int_)]
    return rows


def folds_of(keys: Sequence[str], parts: Sequence[Labels]) -> Folds:
    """Deal answers into folds, with those of look-alikes; shape ``(len(keys),)``."""
    groups = _Groups(keys)
    for part in parts:
        alike = part.cosine >= _ALIKE
        ends = part.request[alike].tolist(), part.candidate[alike].tolist()
        for request, candidate in zip(*ends, strict=True):
            groups.join(keys[request], keys[candidate])
    return np.array(
        [
            sha256(groups.first(key).encode("utf-8", "surrogatepass")).digest()[0] % FOLDS
            for key in keys
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
