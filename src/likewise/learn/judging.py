"""Judges the nearest entries of a question by a verifier, with what it needs to know of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.index import Match
from likewise.learn.evidence import Tokens, category_salt
from likewise.learn.features import (
    CANDIDATES,
    Matrix,
    Near,
    Readings,
    Vocabulary,
    compare,
)
from likewise.learn.verifier import Verifier


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """A question with its nearest entries.

    Attributes:
        rows: Features, see ``compare``; those of evidence are zero until a verifier or a
            learner fills them in.
        tokens: Of the same pairs.
        entry_ids: The entries.
        answers: Digests of their answers, int64 of shape ``(n,)``.
    """

    rows: Matrix
    tokens: Tokens
    entry_ids: list[str]
    answers: NDArray[np.int64]


class Judging:
    """A verifier, or none yet, and the words of the entries stored. Safe to use from many threads.

    Vocabularies grow with every entry stored and forget nothing: a deleted entry moves the rarity
    of a word too little to matter. ``verifier`` may be exchanged at any time.
    """

    def __init__(self, verifier: Verifier | None) -> None:
        self.verifier = verifier
        self._readings = Readings()
        self._vocabularies: dict[str, Vocabulary] = {}

    @property
    def embedder(self) -> str | None:
        """Name of the embedder whose cosines the verifier has learned from."""
        return None if self.verifier is None else self.verifier.embedder

    def learn(self, questions: Iterable[tuple[str, str]]) -> None:
        """Take note of stored questions, each with its category."""
        for category, question in questions:
            self._vocabulary(category).add(self._readings.of(question))

    def read(
        self, question: str, category: str, near: Sequence[Match], *, floor: float = -1.0
    ) -> Pairs:
        """Return a question with its nearest entries, of which there is at least one.

        Those below ``floor`` in cosine are left out: they tell of the others, but may not serve.
        """
        judged = near[: min(sum(cosine >= floor for _, cosine in near), CANDIDATES)]
        rows, tokens = compare(
            self._readings.of(question),
            [Near(self._readings.of(r.question), cosine, r.answer) for r, cosine in judged],
            vocabulary=self._vocabulary(category),
            category=0.0,
            salt=category_salt(category),
            beyond=[(cosine, record.answer) for record, cosine in near[len(judged) :]],
        )
        return Pairs(
            rows,
            tokens,
            [record.entry_id for record, _ in judged],
            np.array([record.answer for record, _ in judged], np.int64),
        )

    def judge(self, category: str, pairs: Pairs) -> list[float]:
        """Return the probability that each of the nearest entries is right, nearest first.

        None come back in a category that the verifier has not learned.
        """
        if self.verifier is None:
            return []
        found = self.verifier.judge(pairs.rows, pairs.tokens, category=category)
        return [] if found is None else found

    def _vocabulary(self, category: str) -> Vocabulary:
        found = self._vocabularies.get(category)
        return self._vocabularies.setdefault(category, Vocabulary()) if found is None else found
