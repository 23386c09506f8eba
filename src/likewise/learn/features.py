"""Cheap features of a question and a candidate, from which a verifier judges the pair.

They say what a cosine cannot: which telling words one text has and the other lacks, whether
numbers, units, negation or direction differ, whether the common words stand in one order, what
labels have shown of such words (``evidence``), and whether the nearest entries agree on the answer.
A text is read once (``Reading``) and remembered; comparing two readings costs tens of microseconds.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from threading import Lock
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from likewise.guards.quantity import read_numbers, read_units
from likewise.guards.wording import read_negation, read_sides, sides_oppose
from likewise.learn import evidence
from likewise.learn.evidence import Tokens, Words, tokens_of

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
    "small_words_differ",
    "answers_agree",
    "margin_to_other_answer",
    "density",
    "category",
    *evidence.NAMES,
)
"""The features in order; those of ``evidence`` last, which are computed apart."""

OWN = len(NAMES) - len(evidence.NAMES)
"""How many of them ``compare`` computes."""

CANDIDATES = 5
"""How many of the nearest entries are judged."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
_NAME = re.compile(r"[A-Z](?<!\w.)(?<![.!?]\s.)[\w-]*")
"""To be looked for behind the first character; the letter stands first, so the search is quick."""

_IDENTIFIER = re.compile(
    r"([\"'`\u201c][^\"'`\u201d]{1,40}[\"'`\u201d]|-{1,2}\w+"
    r"|[\w.~*-]*[_./~*][\w./~*-]*|\b[a-z]++[A-Z]\w*)"
    r"|\w+"  # a plain word, passed over at once
)
_MAY_IDENTIFY = re.compile(r"[\"'`\u201c_./~*-]|[a-z][A-Z]")
_SMALL_WORDS = (
    "a an the is are was were be been being do does did of in on at to for and or it its this that "
    "these those i you he she we they my your his her our their me him them what which who how "
    "when where why can could will would should shall may might must have has had with as by from "
    "if so just please there"
)
_ENDINGS = ("ing", "ed", "es", "s", "ly")
_LEAST_STEM = 3
_HASH_MASK = 0xFFFFFFFF
_MOST_CHARACTERS = 2_000
_MOST_REMEMBERED = 20_000
_MOST_WORDS = 20_000
_LOG1P = [math.log1p(count) for count in range(1_024)]
"""One object for all words of a count, which stays at hand in the processor's cache."""

_NO_EVIDENCE = (0.0,) * len(evidence.NAMES)


def _hash(word: str) -> int:
    return crc32(word.encode("utf-8", "surrogatepass"))


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            return word[: -len(ending)]
    return word


@lru_cache(maxsize=_MOST_WORDS)
def _hash_of_stem(word: str) -> int:
    """Return a word's hash: for each time it is met the same object, which sets compare faster."""
    return _hash(_stem(word))


_SMALL = {_hash(word): 1 << place for place, word in enumerate(_SMALL_WORDS.split())}
"""A bit for each of the small words' hashes."""


class Reading:
    """What the features need of a text, read once.

    Words are hashes of their stems; ``small`` has the bits of the small words among them.
    """

    __slots__ = (
        "identifiers",
        "names",
        "negation",
        "neighbours",
        "numbers",
        "sides",
        "small",
        "unique",
        "units",
    )

    def __init__(self, text: str) -> None:
        text = text[:_MOST_CHARACTERS]
        words = [*map(_hash_of_stem, _WORD.findall(text.lower()))]
        self.unique = frozenset(words)
        self.small = sum([_SMALL[word] for word in self.unique & _SMALL.keys()])
        self.neighbours = frozenset([(3 * a ^ b) & _HASH_MASK for a, b in pairwise(words)])
        self.names = frozenset([name.lower() for name in _NAME.findall(text, 1)])
        self.identifiers = _identifiers(text)
        self.numbers = tuple(sorted(read_numbers(text)))
        self.units = tuple(sorted(read_units(text)))
        self.negation = tuple(sorted(read_negation(text)))
        self.sides = read_sides(text)


def _identifiers(text: str) -> frozenset[str]:
    if _MAY_IDENTIFY.search(text) is None:
        return frozenset()
    return frozenset(filter(None, _IDENTIFIER.findall(text)))


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
        self._counts: dict[int, int] = {}
        self._logs: dict[int, float] = {}
        """Of each count and one: read for every question asked, written for every one stored."""

    def add(self, reading: Reading) -> None:
        """Count a stored question."""
        self.questions += 1
        for word in reading.unique:
            count = self._counts[word] = self._counts.get(word, 0) + 1
            self._logs[word] = _LOG1P[count] if count < len(_LOG1P) else math.log1p(count)

    def rarities(self, words: Iterable[int]) -> list[float]:
        """Return how rare each of some words' hashes is, see ``rarity``."""
        whole = math.log1p(self.questions)
        if not whole:
            return [1.0 for _ in words]
        log = self._logs.get
        return [1.0 - log(word, 0.0) / whole for word in words]

    def rarity(self, word: int) -> float:
        """Return how rare a word's hash is: 1 when never stored, 0 when in every question.

        It is the logarithm of the inverse document frequency, as a share of its greatest value.
        """
        return self.rarities([word])[0]


class Near(NamedTuple):
    """An entry near a question: how its own question reads, their cosine, its answer's digest."""

    reading: Reading
    cosine: float
    answer: int


def compare(
    question: Reading,
    near: Sequence[Near],
    *,
    vocabulary: Vocabulary,
    category: float,
    salt: int,
    beyond: Sequence[tuple[float, int]] = (),
) -> tuple[Matrix, Tokens]:
    """Return features and tokens of a question with each of its nearest entries.

    Args:
        question: What is asked.
        near: The nearest entries, nearest first. Of more than ``CANDIDATES`` the first are judged;
            the others tell how far these stand out, and which answers are near. What is found of
            one does not depend on how many others are judged.
        vocabulary: Of the category's stored questions.
        category: The category's code, see ``Verifier``.
        salt: Of the category, see ``category_salt``.
        beyond: Cosine and answer of the entries that come after ``near`` and are not judged.

    Returns:
        Features, float32 of shape ``(min(n, CANDIDATES), len(NAMES))``, of which those of evidence
        (the columns from ``OWN`` on) are zero; and the tokens from which these are made.
    """
    judged = near[:CANDIDATES]
    unique, neighbours = question.unique, question.neighbours
    identifiers, sides = question.identifiers, question.sides
    rarity = dict(zip(unique, vocabulary.rarities(unique), strict=True))
    weight = sum(rarity.values()) or 1.0
    cosines = [*[entry.cosine for entry in near], *[cosine for cosine, _ in beyond], 0.0]
    nearest, last = cosines[0], cosines[min(len(cosines) - 1, CANDIDATES)]
    answers = [*[entry.answer for entry in near], *[answer for _, answer in beyond]]
    density = math.log1p(vocabulary.questions)
    found: list[float] = []
    words: list[Words] = []
    for rank, (candidate, cosine, answer) in enumerate(judged):
        known = candidate.unique
        ours, theirs = unique - known, known - unique
        words.append(Words(ours, theirs, unique & known, neighbours ^ candidate.neighbours))
        shared_identifiers = len(identifiers & candidate.identifiers)
        found += (
            cosine,
            nearest - cosine,
            cosine - cosines[rank + 1],
            cosine - last,
            rank,
            *_overlap([rarity[word] for word in ours], vocabulary.rarities(theirs), weight),
            question.numbers != candidate.numbers,
            question.units != candidate.units,
            question.negation != candidate.negation,
            bool(sides) and sides_oppose(sides, candidate.sides) is not None,
            *_lone_names(question.names, candidate.names),
            len(identifiers) + len(candidate.identifiers) - 2 * shared_identifiers,
            shared_identifiers,
            (question.small ^ candidate.small).bit_count(),
            answers.count(answer) if answer else 1,
            _margin_to_other_answer(rank, cosines, answers),
            density,
            category,
            *_NO_EVIDENCE,
        )
    rows = np.frombuffer(array("f", found), np.float32).reshape(len(judged), len(NAMES))
    return rows, tokens_of(words, salt)


def _margin_to_other_answer(rank: int, cosines: Sequence[float], answers: Sequence[int]) -> float:
    """Return how much nearer an entry is than the nearest with another answer; 1 without one."""
    answer, cosine = answers[rank], cosines[rank]
    for place, other in enumerate(answers):
        if place != rank and (other != answer or not answer):
            return cosine - cosines[place]
    return 1.0


def _overlap(lacked: list[float], lacking: list[float], weight: float) -> tuple[float, ...]:
    """Return how much of each text's rare words the other has, and the rarest it lacks.

    Args:
        lacked: Rarities of the question's words that the candidate has not.
        lacking: Those of the candidate's words that the question has not.
        weight: Sum of the rarities of the question's words.
    """
    ours, theirs = sum(lacked), sum(lacking)
    shared = weight - ours
    lacked.sort(reverse=True)
    lacking.sort(reverse=True)
    return (
        shared / weight,
        shared / ((shared + theirs) or 1.0),
        ours,
        theirs,
        *_first_two(lacked),
        *_first_two(lacking),
        len(lacked),
        len(lacking),
    )


def _lone_names(ours: frozenset[str], theirs: frozenset[str]) -> tuple[int, int, int]:
    """Return how many names only one text has, only the question, only the candidate."""
    if not ours and not theirs:
        return (0, 0, 0)
    first, second = len(ours - theirs), len(theirs - ours)
    return (first + second, first, second)


def _first_two(values: Sequence[float]) -> tuple[float, float]:
    return (values[0] if values else 0.0, values[1] if len(values) > 1 else 0.0)
