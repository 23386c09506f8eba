"""What is wrong with the examples of categories: contradictions, overlaps, doubtful ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from likewise.classify.nearest import Rows, rows_of
from likewise.embed import Embedder

_FEW = 10
_TWINS = 0.93
"""Cosine from which on two examples ask the same."""

_OVERLAP = 0.15
"""Share of a category's examples that another one claims, from which on the two overlap."""

_STRANGE = 3.0
"""Score by which another category must claim an example for it to be doubtful, in temperatures."""


@dataclass(frozen=True, slots=True)
class Named:
    """How the examples of a category fare: how many there are, and the share named rightly."""

    examples: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two examples of different categories that ask the same."""

    similarity: float
    categories: tuple[str, str]
    texts: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Overlap:
    """The share of a category's examples that another one claims."""

    category: str
    claimed_by: str
    share: float


@dataclass(frozen=True, slots=True)
class Doubt:
    """An example, and the category that claims it clearly."""

    category: str
    text: str
    like: str = ""


@dataclass(frozen=True, slots=True)
class Lint:
    """What was found, all of it ready for JSON.

    Attributes:
        accuracy: Share of all examples that are named rightly when they are left out of the fit.
        categories: By category how many examples there are, and the share of them named rightly.
        few: Categories with fewer than ten examples.
        contradictions: Pairs of examples of different categories that ask the same.
        overlaps: Pairs of categories, and the share of the first's examples that the second claims.
        doubtful: Examples that another category claims clearly.
        unread: Examples that are longer than the embedder reads.
    """

    accuracy: float
    categories: dict[str, Named]
    few: list[str]
    contradictions: list[Contradiction]
    overlaps: list[Overlap]
    doubtful: list[Doubt]
    unread: list[Doubt]

    @property
    def clean(self) -> bool:
        """Whether nothing needs mending; overlaps and doubts are for judgement."""
        return not (self.few or self.contradictions or self.unread)


def lint(examples: Mapping[str, Sequence[str]], embedder: Embedder) -> Lint:
    """Look for what is wrong with labelled examples of two categories or more.

    Raises:
        EmbedderError: The embedder failed.
    """
    unread = [
        Doubt(name, text)
        for name in sorted(examples)
        for text in examples[name]
        if not embedder.fits(text)
    ]
    found = rows_of(examples, embedder)
    scores = found.left_out()
    guessed, labels = scores.argmax(axis=1), found.labels
    margin = scores[np.arange(len(labels)), guessed] - scores[np.arange(len(labels)), labels]
    clear = _STRANGE * found.temperature(scores)
    doubtful = [
        Doubt(found.names[labels[place]], found.texts[place], found.names[guessed[place]])
        for place in np.argsort(-margin).tolist()
        if margin[place] >= clear
    ]
    overlaps: list[Overlap] = []
    categories: dict[str, Named] = {}
    for label, name in enumerate(found.names):
        mine = guessed[labels == label]
        categories[name] = Named(len(mine), float(np.mean(mine == label)))
        for other, other_name in enumerate(found.names):
            share = float(np.mean(mine == other))
            if other != label and share >= _OVERLAP:
                overlaps.append(Overlap(name, other_name, share))
    return Lint(
        accuracy=float(np.mean(guessed == labels)),
        categories=categories,
        few=[name for name, row in categories.items() if row.examples < _FEW],
        contradictions=_contradictions(found),
        overlaps=sorted(overlaps, key=lambda row: -row.share),
        doubtful=doubtful,
        unread=unread,
    )


def _contradictions(rows: Rows) -> list[Contradiction]:
    names, texts, labels = rows.names, rows.texts, rows.labels
    cosines = rows.vectors @ rows.vectors.T
    first, second = np.nonzero((cosines >= _TWINS) & (labels[:, None] < labels[None, :]))
    return [
        Contradiction(
            float(cosines[a, b]), (names[labels[a]], names[labels[b]]), (texts[a], texts[b])
        )
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]
