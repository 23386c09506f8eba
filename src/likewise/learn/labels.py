"""Labels from answered questions: which stored answer would have been right for which question?

Every question of a stream is compared with those before it in its category, as the cache would, and
every answer is stored. So each of the nearest candidates of each question becomes a labelled pair:
right when its answer equals the question's own. The same features are computed by the same code as
in service.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Embedder
from likewise.index import Partition, Record
from likewise.learn.features import NAMES, Matrix, Readings, Vocabulary, pair_features
from likewise.learn.verifier import CANDIDATES
from likewise.rebuild import Progress


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


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labelled pairs of a stream.

    Attributes:
        rows: Features, float32 of shape ``(n, len(NAMES))``; ``category`` holds the category's
            place in ``categories``.
        right: Whether the candidate's answer serves the question, shape ``(n,)``.
        request: Place in the stream of each pair's question, shape ``(n,)``, ascending.
        keys: What identifies the answer of each request of the stream.
        categories: Names of the categories.
        requests: Requests of each category.
    """

    rows: Matrix
    right: NDArray[np.bool_]
    request: NDArray[np.int_]
    keys: list[str]
    categories: list[str]
    requests: dict[str, int]

    @property
    def category(self) -> NDArray[np.int_]:
        """Place in ``categories`` of each pair, shape ``(n,)``."""
        return self.rows[:, NAMES.index("category")].astype(np.int_)

    @property
    def cosine(self) -> NDArray[np.float64]:
        """Cosine of each pair, shape ``(n,)``."""
        return self.rows[:, NAMES.index("cosine")].astype(np.float64)


def label(
    stream: Sequence[Answered],
    embedder: Embedder,
    *,
    categories: Sequence[str],
    served: Collection[int] = (),
    progress: Progress = lambda _done, _of: None,
) -> Labels:
    """Label the nearest candidates of every question of a stream that the embedder reads whole.

    Args:
        stream: Answered questions in the order in which they came.
        embedder: Of the cache that is to use the labels.
        categories: All that occur.
        served: Places in the stream of requests taken as hits: their answers are not stored. What
            a cache serves decides what it stores, so a policy is judged on the entries it leaves.
        progress: Told of the requests done.
    """
    readings = Readings(size=max(len(stream), 1))
    places = {name: _Place(embedder.dimensions, code) for code, name in enumerate(categories)}
    rows: list[Matrix] = []
    right: list[bool] = []
    request: list[int] = []
    for number, answered in enumerate(stream):
        place = places[answered.category]
        place.requests += 1
        if embedder.fits(answered.text):
            vector = embedder.embed([answered.text])[0]
            found = place.pairs(answered, vector, readings)
            if found is not None:
                rows.append(found[0])
                right.extend(found[1])
                request.extend([number] * len(found[1]))
            if number not in served:
                place.add(answered, vector)
        if number not in served:
            place.vocabulary.add(readings.of(answered.text))
        progress(number + 1, len(stream))
    return Labels(
        np.concatenate(rows) if rows else np.zeros((0, len(NAMES)), np.float32),
        np.array(right, dtype=np.bool_),
        np.array(request, dtype=np.int_),
        [answered.answer_key for answered in stream],
        list(categories),
        {name: place.requests for name, place in places.items()},
    )


def joined(parts: Sequence[Labels]) -> Labels:
    """Return the labels of several streams of the same categories as those of one."""
    offsets = np.cumsum([0, *(len(part.keys) for part in parts[:-1])])
    return Labels(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate(
            [part.request + offset for part, offset in zip(parts, offsets, strict=True)]
        ),
        [key for part in parts for key in part.keys],
        parts[0].categories,
        {name: sum(part.requests[name] for part in parts) for name in parts[0].categories},
    )


class _Place:
    """One category's part of the stream so far."""

    def __init__(self, dimensions: int, code: int) -> None:
        self.vocabulary = Vocabulary()
        self.requests = 0
        self._code = float(code)
        self._partition = Partition(dimensions)
        self._answers: dict[str, str] = {}

    def pairs(
        self, answered: Answered, vector: NDArray[np.float32], readings: Readings
    ) -> tuple[Matrix, list[bool]] | None:
        """Return the features of the nearest candidates, and whether each is right."""
        near = self._partition.search(vector, floor=-1.0, usable=lambda _, __: True)
        if not near:
            return None
        judged = near[:CANDIDATES]
        rows = pair_features(
            readings.of(answered.text),
            [readings.of(record.question) for record, _ in judged],
            [cosine for _, cosine in judged],
            next_cosine=near[len(judged)][1] if len(near) > len(judged) else 0.0,
            vocabulary=self.vocabulary,
            category=self._code,
        )
        return rows, [self._answers[r.entry_id] == answered.answer_key for r, _ in judged]

    def add(self, answered: Answered, vector: NDArray[np.float32]) -> None:
        """Store a question with its answer."""
        entry_id = str(len(self._answers))
        record = Record(entry_id, b"", b"", "", answered.text, 0.0, None, 0)
        self._partition.add([record], vector[None])
        self._answers[entry_id] = answered.answer_key
