"""The verifier in service: judges the nearest entries of a question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from likewise.index import Match
from likewise.learn.features import Readings, Vocabulary
from likewise.learn.verifier import Verifier


class Judging:
    """A verifier with what it needs to know of the entries stored. Safe to use from many threads.

    Vocabularies grow with every entry stored and forget nothing: a deleted entry moves the rarity
    of a word too little to matter.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._readings = Readings()
        self._vocabularies = {name: Vocabulary() for name in verifier.codes}

    @property
    def embedder(self) -> str:
        """Name of the embedder whose cosines the verifier has learned from."""
        return self._verifier.embedder

    def learn(self, questions: Iterable[tuple[str, str]]) -> None:
        """Take note of stored questions, each with its category."""
        for category, question in questions:
            vocabulary = self._vocabularies.get(category)
            if vocabulary is not None:
                vocabulary.add(self._readings.of(question))

    def judge(self, question: str, category: str, near: Sequence[Match]) -> list[float]:
        """Return the probability that each of the nearest entries is right, nearest first.

        Fewer probabilities than entries come back: only the nearest few are judged, and none in a
        category that the verifier has not learned.
        """
        vocabulary = self._vocabularies.get(category)
        if vocabulary is None or not near:
            return []
        found = self._verifier.judge(
            question,
            [(record.question, cosine) for record, cosine in near],
            category=category,
            vocabulary=vocabulary,
            readings=self._readings,
        )
        return [] if found is None else found.tolist()
