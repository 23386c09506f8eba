"""Cheap features of a question and a candidate, from which a verifier judges the pair.

They say what a cosine cannot: which telling words one text has and the other lacks, whether
numbers, units, negation or direction differ, whether the common words stand in one order. A text is
read once (``Reading``) and remembered; comparing two readings costs tens of microseconds.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from likewise.guards.quantity import read_numbers, read_units
from likewise.guards.wording import read_negation, read_sides, sides_oppose

Matrix = NDArray[np.float32]

NAMES = (
    "cosine",
    "gap_to_nearest",
    "margin_to_next",
    "margin_to_last",
    "rank",
    "overlap_of_question",
    "overlap_of_candidate",
    "missing_from_question",
    "missing_from_candidate",
    "rarest_in_question",
    "second_rarest_in_question",
    "rarest_in_candidate",
    "second_rarest_in_candidate",
    "words_only_in_question",
    "words_only_in_candidate",
    "numbers_differ",
    "units_differ",
    "negation_differs",
    "direction_differs",
    "names_differ",
    "names_only_in_question",
    "names_only_in_candidate",
    "identifiers_differ",
    "identifiers_shared",
    "inversions",
    "neighbours_kept",
    "trigram_overlap",
    "trigrams_of_question",
    "trigrams_of_candidate",
    "length_of_question",
    "length_of_candidate",
    "length_difference",
    "small_words_differ",
    "same_words",
    "density",
    "category",
)
"""The features in order; the last two describe the partition, not the pair."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w-]*")
_IDENTIFIER = re.compile(
    r"[\"'`\u201c][^\"'`\u201d]{1,40}[\"'`\u201d]|-{1,2}\w+"
    r"|[\w.~*-]*[_./~*][\w./~*-]*|\b[a-z]+[A-Z]\w*"
)
_SMALL_WORDS = frozenset(
    "a an the is are was were be been being do does did of in on at to for and or it its this that "  # noqa: SIM905 - reads better than a hundred quoted words
    "these those i you he she we they my your his her our their me him them what which who how "
    "when where why can could will would should shall may might must have has had with as by from "
    "if so just please there".split()
)
_ENDINGS = ("ing", "ed", "es", "s", "ly")
_LEAST_STEM = 3
_REACH = 8
"""How far apart two common words may stand to count as an inversion."""

_MOST_CHARACTERS = 2_000
_MOST_REMEMBERED = 20_000


class Reading:
    """What the features need of a text, read once."""

    __slots__ = (
        "identifiers",
        "names",
        "negation",
        "numbers",
        "sides",
        "trigrams",
        "unique",
        "units",
        "words",
    )

    def __init__(self, text: str) -> None:
        text = text[:_MOST_CHARACTERS]
        lower = text.lower()
        self.words = [_stem(word) for word in _WORD.findall(lower)]
        self.unique = frozenset(self.words)
        self.names = frozenset(name.lower() for name in _NAME.findall(text))
        self.identifiers = frozenset(_IDENTIFIER.findall(text))
        padded = f" {lower} "
        self.trigrams = frozenset(padded[i : i + 3] for i in range(len(padded) - 2))
        self.numbers = Counter(read_numbers(text))
        self.units = Counter(read_units(text))
        self.negation = Counter(read_negation(text))
        self.sides = read_sides(text)


class Readings:
    """The readings of texts met lately; safe to use from many threads."""

    def __init__(self, size: int = _MOST_REMEMBERED) -> None:
        self._size = size
        self._lock = Lock()
        self._known: OrderedDict[str, Reading] = OrderedDict()

    def of(self, text: str) -> Reading:
        """Return the reading of ``text``."""
        known = self._known.get(text)
        if known is not None:
            return known
        reading = Reading(text)
        with self._lock:
            self._known[text] = reading
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return reading


class Vocabulary:
    """How many stored questions of a category each word occurs in."""

    def __init__(self) -> None:
        self.questions = 0
        self._counts: Counter[str] = Counter()

    def add(self, reading: Reading) -> None:
        """Count a stored question."""
        self.questions += 1
        self._counts.update(reading.unique)

    def rarity(self, word: str) -> float:
        """Return how rare a word is: 1 when never stored, 0 when in every question.

        It is the logarithm of the inverse document frequency, as a share of its greatest value.
        """
        whole = math.log1p(self.questions)
        if not whole:
            return 1.0
        return 1.0 - math.log1p(self._counts.get(word, 0)) / whole


def pair_features(
    question: Reading,
    candidates: Sequence[Reading],
    cosines: Sequence[float],
    *,
    next_cosine: float,
    vocabulary: Vocabulary,
    category: float,
) -> Matrix:
    """Return the features of a question and its nearest candidates, nearest first.

    Args:
        question: What is asked.
        candidates: The stored questions, ``n`` of them.
        cosines: Their cosines to the question, descending.
        next_cosine: That of the candidate after the last, 0 when there is none.
        vocabulary: Of the category's stored questions.
        category: The category's code, see ``Verifier``.

    Returns:
        float32 of shape ``(n, len(NAMES))``.
    """
    rarity = {word: vocabulary.rarity(word) for word in question.unique}
    weight = sum(rarity.values()) or 1.0
    following = [*cosines[1:], next_cosine]
    density = math.log1p(vocabulary.questions)
    rows = []
    for rank, candidate in enumerate(candidates):
        cosine = cosines[rank]
        rows.append(
            (
                cosine,
                cosines[0] - cosine,
                cosine - following[rank],
                cosine - following[-1],
                rank,
                *_words(question, candidate, rarity, weight, vocabulary),
                question.numbers != candidate.numbers,
                question.units != candidate.units,
                question.negation != candidate.negation,
                sides_oppose(question.sides, candidate.sides) is not None,
                len(question.names ^ candidate.names),
                len(question.names - candidate.names),
                len(candidate.names - question.names),
                len(question.identifiers ^ candidate.identifiers),
                len(question.identifiers & candidate.identifiers),
                *_order(question, candidate),
                *_shape(question, candidate),
                density,
                category,
            )
        )
    return np.array(rows, dtype=np.float32)


def _words(
    question: Reading,
    candidate: Reading,
    rarity: dict[str, float],
    weight: float,
    vocabulary: Vocabulary,
) -> tuple[float, ...]:
    """Return how much of each text's rare words the other has, and the rarest it lacks."""
    common = question.unique & candidate.unique
    shared = sum([rarity[word] for word in common])
    ours = sorted([rarity[word] for word in question.unique - common], reverse=True)
    theirs = sorted([vocabulary.rarity(word) for word in candidate.unique - common], reverse=True)
    lacking, lacked = sum(theirs), weight - shared
    return (
        shared / weight,
        shared / ((shared + lacking) or 1.0),
        lacked,
        lacking,
        *_first_two(ours),
        *_first_two(theirs),
        len(ours),
        len(theirs),
    )


def _order(question: Reading, candidate: Reading) -> tuple[float, float]:
    """Return the inversions among common words, and the share of neighbours that stay so."""
    places: dict[str, int] = {}
    for word in candidate.words:
        if word in question.unique:
            places.setdefault(word, len(places))
    order = [places[word] for word in dict.fromkeys(question.words) if word in places]
    if len(order) < 2:
        return 0.0, 1.0
    kept = sum([after == before + 1 for before, after in pairwise(order)])
    if kept == len(order) - 1:
        return 0.0, 1.0
    inversions = sum(
        [
            order[i] > order[j]
            for i in range(len(order))
            for j in range(i + 1, min(i + _REACH, len(order)))
        ]
    )
    return float(inversions), kept / (len(order) - 1)


def _shape(question: Reading, candidate: Reading) -> tuple[float, ...]:
    ours, theirs = question.trigrams, candidate.trigrams
    shared = len(ours & theirs)
    length, other = len(question.words), len(candidate.words)
    return (
        shared / ((len(ours) + len(theirs) - shared) or 1),
        shared / (len(ours) or 1),
        shared / (len(theirs) or 1),
        math.log1p(length),
        math.log1p(other),
        abs(length - other),
        len((question.unique ^ candidate.unique) & _SMALL_WORDS),
        question.words == candidate.words,
    )


def _first_two(values: Sequence[float]) -> tuple[float, float]:
    return (values[0] if values else 0.0, values[1] if len(values) > 1 else 0.0)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            return word[: -len(ending)]
    return word
