"""Labels from answered questions: which stored answer would have been right for which question?

Every question of a stream is compared with those before it in its category, as the cache would, and
every answer is stored. So each of the nearest candidates of each question becomes a labelled pair:
right when its answer equals the question's own. The same features are computed by the same code as
in service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from likewise.answers import answer_digest
from likewise.embed import Embedder
from likewise.index import Partition, Record
from likewise.learn import evidence
from likewise.learn.evidence import NO_TOKENS, Evidence, Tokens, category_salt
from likewise.learn.features import (
    NAMES,
    OWN,
    Matrix,
    Near,
    Readings,
    Vocabulary,
    compare,
)
from likewise.rebuild import Progress

_CATEGORY = NAMES.index("category")
_COSINE = NAMES.index("cosine")


class Answered(Protocol):
    """A question with its category and with what identifies its answer."""

    @property
    def category(self) -> str:
        """Kind of question."""

    @property
    def text(self) -> str:
        """The question."""

    @property
    def answer_key(self) -> str:
        """Equal for two questions exactly when one answer serves both."""


Serves = Callable[[int, Matrix, Tokens], bool]
"""Given a request's place in the stream, the features and the tokens of its nearest candidates:
whether one of them is served."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labelled pairs of a stream.

    Attributes:
        rows: Features, float32 of shape ``(n, len(NAMES))``; ``category`` holds the category's
            place in ``categories``, and those of evidence are zero until ``weighed`` fills them.
        tokens: Of the same pairs.
        right: Whether the candidate's answer serves the question, shape ``(n,)``.
        request: Place in the stream of each pair's question, shape ``(n,)``, ascending.
        candidate: Place in the stream of its candidate's question, shape ``(n,)``.
        keys: What identifies the answer of each request of the stream.
        categories: Names of the categories.
        requests: Requests of each category.
    """

    rows: Matrix
    tokens: Tokens
    right: NDArray[np.bool_]
    request: NDArray[np.int_]
    candidate: NDArray[np.int_]
    keys: list[str]
    categories: list[str]
    requests: dict[str, int]

    @property
    def category(self) -> NDArray[np.int_]:
        """Place in ``categories`` of each pair, shape ``(n,)``."""
        return self.rows[:, _CATEGORY].astype(np.int_)

    @property
    def cosine(self) -> NDArray[np.float64]:
        """Cosine of each pair, shape ``(n,)``."""
        return self.rows[:, _COSINE].astype(np.float64)

    def weighed(self, known: Evidence, pairs: NDArray[np.bool_]) -> Matrix:
        """Return the features of some pairs, with what ``known`` says of their tokens."""
        places = np.flatnonzero(pairs)
        rows: Matrix = self.rows[places].copy()
        category = self.category[places]
        for code, name in enumerate(self.categories):
            mine = np.flatnonzero(category == code)
            if len(mine):
                found = known.features(self.tokens.take(places[mine]), name)
                rows[mine, OWN:] = found
        return rows

    def counted(self, pairs: NDArray[np.bool_]) -> Evidence:
        """Return the evidence of some pairs."""
        found = Evidence()
        category = self.category
        for code, name in enumerate(self.categories):
            mine = np.flatnonzero(pairs & (category == code))
            if len(mine):
                found.add(self.tokens.take(mine), self.right[mine], name)
        return found


def label(
    stream: Sequence[Answered],
    embedder: Embedder,
    *,
    categories: Sequence[str],
    serves: Serves = lambda _number, _rows, _tokens: False,
    progress: Progress = lambda _done, _of: None,
) -> Labels:
    """Label the nearest candidates of every question of a stream that the embedder reads whole.

    Args:
        stream: Answered questions in the order in which they came.
        embedder: Of the cache that is to use the labels.
        categories: All that occur.
        serves: Decides which requests are hits: their answers are not stored. What a cache serves
            decides what it stores, so a policy is judged on the entries it leaves.
        progress: Told of the requests done.
    """
    readings = Readings(size=max(len(stream), 1))
    places = {name: _Place(embedder.dimensions, code, name) for code, name in enumerate(categories)}
    rows: list[Matrix] = []
    tokens: list[Tokens] = []
    right: list[bool] = []
    request: list[int] = []
    candidate: list[int] = []
    for number, answered in enumerate(stream):
        place = places[answered.category]
        place.requests += 1
        served = False
        if embedder.fits(answered.text):
            vector = embedder.embed([answered.text])[0]
            found = place.pairs(answered, vector, readings)
            if found is not None:
                rows.append(found[0])
                tokens.append(found[1])
                right.extend(found[2])
                candidate.extend(found[3])
                request.extend([number] * len(found[2]))
                served = serves(number, found[0], found[1])
            if not served:
                place.add(number, answered, vector)
        if not served:
            place.vocabulary.add(readings.of(answered.text))
        progress(number + 1, len(stream))
    return Labels(
        np.concatenate(rows) if rows else np.zeros((0, len(NAMES)), np.float32),
        evidence.joined(tokens) if tokens else NO_TOKENS,
        np.array(right, dtype=np.bool_),
        np.array(request, dtype=np.int_),
        np.array(candidate, dtype=np.int_),
        [answered.answer_key for answered in stream],
        list(categories),
        {name: place.requests for name, place in places.items()},
    )


class Couple(NamedTuple):
    """Two questions of a category; ``right`` when the second's answer serves the first, too."""

    category: str
    question: str
    candidate: str
    cosine: float
    right: bool
    request: int
    place: int


def alone(couples: Sequence[Couple], *, like: Labels) -> Labels:
    """Label pairs as a cache sees them that holds nothing but the candidate.

    Args:
        couples: The pairs; ``request`` and ``place`` are the places of the two questions among
            the keys of ``like``.
        like: Labels of the same categories.
    """
    readings = Readings(size=max(2 * len(couples), 1))
    rows: list[Matrix] = []
    tokens: list[Tokens] = []
    codes = {name: float(code) for code, name in enumerate(like.categories)}
    for couple in couples:
        question, candidate = readings.of(couple.question), readings.of(couple.candidate)
        vocabulary = Vocabulary()
        vocabulary.add(candidate)
        near = [Near(candidate, couple.cosine, 1)]
        features, found = compare(
            question,
            near,
            vocabulary=vocabulary,
            category=codes[couple.category],
            salt=category_salt(couple.category),
        )
        rows.append(features)
        tokens.append(found)
    return replace(
        like,
        rows=np.concatenate(rows) if rows else np.zeros((0, len(NAMES)), np.float32),
        tokens=evidence.joined(tokens) if tokens else NO_TOKENS,
        right=np.array([couple.right for couple in couples], dtype=np.bool_),
        request=np.array([couple.request for couple in couples], dtype=np.int_),
        candidate=np.array([couple.place for couple in couples], dtype=np.int_),
    )


def joined(parts: Sequence[Labels]) -> Labels:
    """Return the labels of several streams of the same categories as those of one."""
    offsets = np.cumsum([0, *(len(part.keys) for part in parts[:-1])])
    return replace(
        parts[0],
        rows=np.concatenate([part.rows for part in parts]),
        tokens=evidence.joined([part.tokens for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        request=np.concatenate(
            [part.request + offset for part, offset in zip(parts, offsets, strict=True)]
        ),
        candidate=np.concatenate(
            [part.candidate + offset for part, offset in zip(parts, offsets, strict=True)]
        ),
        keys=[key for part in parts for key in part.keys],
        requests={name: sum(part.requests[name] for part in parts) for name in parts[0].categories},
    )


class _Place:
    """One category's part of the stream so far."""

    def __init__(self, dimensions: int, code: int, name: str) -> None:
        self.vocabulary = Vocabulary()
        self.requests = 0
        self._code = float(code)
        self._salt = category_salt(name)
        self._partition = Partition(dimensions)
        self._answers: dict[str, str] = {}

    def pairs(
        self, answered: Answered, vector: NDArray[np.float32], readings: Readings
    ) -> tuple[Matrix, Tokens, list[bool], list[int]] | None:
        """Return of the nearest candidates features, tokens, whether each is right, and place."""
        found = self._partition.search(vector, floor=-1.0, usable=lambda _, __: True)
        if not found:
            return None
        question = readings.of(answered.text)
        near = [Near(readings.of(r.question), cosine, r.answer) for r, cosine in found]
        rows, tokens = compare(
            question, near, vocabulary=self.vocabulary, category=self._code, salt=self._salt
        )
        ids = [record.entry_id for record, _ in found[: len(rows)]]
        right = [self._answers[entry_id] == answered.answer_key for entry_id in ids]
        return rows, tokens, right, [int(entry_id) for entry_id in ids]

    def add(self, number: int, answered: Answered, vector: NDArray[np.float32]) -> None:
        """Store a question, the one at place ``number`` of the stream, with its answer."""
        entry_id = str(number)
        digest = answer_digest(answered.answer_key)
        record = Record.of(entry_id, b"", b"", "", answered.text, 0.0, None, 0, digest)
        self._partition.add([record], vector[None])
        self._answers[entry_id] = answered.answer_key
