"""What the learner keeps of the labels that arrive: features, tokens, outcome; and as bytes."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from likewise.errors import StoreError
from likewise.learn.evidence import Tokens
from likewise.learn.features import NAMES, Matrix

_CATEGORY = NAMES.index("category")
_COSINE = NAMES.index("cosine")
_RANK = NAMES.index("rank")
_WEIGHT_OF_NEAREST = 3.0
"""How much the nearest candidate counts against the others: it is the one most often served."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """The labelled candidates of one request.

    Attributes:
        category: Of the request.
        rows: Features, float32 of shape ``(n, len(NAMES))``, with what was known of the words
            before this label.
        tokens: Of the same pairs.
        right: Whether each candidate's answer serves the request, shape ``(n,)``.
        score: Probability of the best candidate when the request was decided; ``None`` when there
            was no verifier.
        wrong: Whether reusing the best candidate would have been wrong; ``None`` when not known.
        propensity: With which probability the label was to be drawn.
        served: Whether the request was a hit, served or held back for an audit.
    """

    category: str
    rows: Matrix
    tokens: Tokens
    right: NDArray[np.bool_]
    score: float | None = None
    wrong: bool | None = None
    propensity: float = 1.0
    served: bool = False


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    worker: bytes
    embedder: str
    category: str
    rows: bytes
    slots: bytes
    starts: bytes
    right: bytes
    score: float | None
    wrong: bool | None
    propensity: float
    served: bool


def pack(lesson: Lesson, worker: bytes, embedder: str) -> bytes:
    """Return a lesson as bytes, with the process that learned it and its embedder's name."""
    return msgspec.msgpack.encode(
        _Packed(
            worker,
            embedder,
            lesson.category,
            lesson.rows.astype("<f2").tobytes(),
            lesson.tokens.slots.astype("<u4").tobytes(),
            lesson.tokens.starts.astype("<u4").tobytes(),
            lesson.right.tobytes(),
            lesson.score,
            lesson.wrong,
            lesson.propensity,
            lesson.served,
        )
    )


def unpack(data: bytes) -> tuple[bytes, str, Lesson]:
    """Return the process that learned a lesson, its embedder's name, and the lesson.

    Raises:
        StoreError: The bytes are damaged or of another version.
    """
    try:
        packed = msgspec.msgpack.decode(data, type=_Packed)
        rows = np.frombuffer(packed.rows, "<f2").astype(np.float32).reshape(-1, len(NAMES))
        right = np.frombuffer(packed.right, np.bool_)
        tokens = Tokens(
            np.frombuffer(packed.slots, "<u4").astype(np.uint32),
            np.frombuffer(packed.starts, "<u4").astype(np.int64),
        )
        if not len(rows) == len(right) == len(tokens):
            raise ValueError("the parts of a label do not fit together")
    except (msgspec.MsgspecError, ValueError) as error:
        msg = f"a label in the store is damaged or of another version: {error}"
        raise StoreError(msg) from error
    lesson = Lesson(
        packed.category,
        rows,
        tokens,
        right,
        packed.score,
        packed.wrong,
        packed.propensity,
        packed.served,
    )
    return packed.worker, packed.embedder, lesson


class Lessons:
    """The latest pairs learned from, at most ``size``. Not safe to write from several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: list[Matrix] = []
        self._right: list[NDArray[np.bool_]] = []
        self._categories: list[str] = []
        self._held = 0
        self.pairs = 0
        """Pairs ever learned from."""
        self.right = 0
        """Right ones among them."""

    def add(self, lesson: Lesson) -> None:
        """Take a lesson, and forget the oldest beyond ``size`` pairs now and then."""
        self._rows.append(lesson.rows)
        self._right.append(lesson.right)
        self._categories.append(lesson.category)
        self.pairs += len(lesson.right)
        self.right += int(np.count_nonzero(lesson.right))
        self._held += len(lesson.right)
        if self._held > 1.1 * self._size:
            keep, count = 0, 0
            while count < self._size:
                keep += 1
                count += len(self._right[-keep])
            self._rows, self._right = self._rows[-keep:], self._right[-keep:]
            self._categories, self._held = self._categories[-keep:], count

    def of(self, category: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the cosines of a category's pairs and whether each is right, shape ``(n,)``."""
        rows, right, names = self.snapshot()
        mine = [place for place, name in enumerate(names) if name == category]
        if not mine:
            return np.zeros(0, np.float32), np.zeros(0, np.bool_)
        cosines = np.concatenate([rows[place][:, _COSINE] for place in mine])
        return cosines, np.concatenate([right[place] for place in mine])

    def snapshot(self) -> tuple[list[Matrix], list[NDArray[np.bool_]], list[str]]:
        """Return what is held, for ``training`` on another thread."""
        return list(self._rows), list(self._right), list(self._categories)


def training(
    rows: list[Matrix], right: list[NDArray[np.bool_]], categories: list[str]
) -> tuple[Matrix, NDArray[np.bool_], dict[str, float]]:
    """Return features, truth and the codes of the categories.

    Categories are numbered by how often their nearest candidate is right: those that are alike in
    this stand side by side, and trees, which split on an order, let them share splits.
    """
    nearest: dict[str, list[int]] = {}
    for truth, name in zip(right, categories, strict=True):
        count = nearest.setdefault(name, [0, 0])
        count[0] += int(truth[0])
        count[1] += 1
    ranked = sorted(nearest, key=lambda name: (nearest[name][0] / nearest[name][1], name))
    codes = {name: float(place) for place, name in enumerate(ranked)}
    joined = np.concatenate(rows)
    lengths = [len(truth) for truth in right]
    joined[:, _CATEGORY] = np.repeat([codes[name] for name in categories], lengths)
    return joined, np.concatenate(right), codes


def weight_of(rows: Matrix) -> NDArray[np.float32]:
    """Return how much each pair counts in a fit, shape ``(n,)``."""
    return np.where(rows[:, _RANK] == 0, np.float32(_WEIGHT_OF_NEAREST), np.float32(1.0))
