"""Which words tell right pairs from wrong ones, counted category by category.

Of a pair of question and candidate four kinds of token count: words that one text has and the other
lacks, words both have, pairs of words of which one may stand for the other, and neighbouring words
that stand so in one text only. For each token of a category it is counted in how many right and
wrong pairs it occurred; the logarithm of the odds, smoothed towards those of the whole category, is
its evidence, as in a naive Bayes classifier (M. Maron, "Automatic Indexing", J. ACM 1961). What the
tokens of a pair say is summed up in a few features for the verifier, which weighs them.

Tokens are kept as hashes only, in a table of fixed size: no text can be read back, and memory is
bounded. Two tokens that share a slot blur each other a little.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

KINDS = 4
NAMES = (
    "lone_words",
    "worst_lone_word",
    "common_words",
    "worst_common_word",
    "best_common_word",
    "exchanges",
    "worst_exchange",
    "best_exchange",
    "lone_neighbours",
    "worst_lone_neighbours",
)
"""The features: sums, minima and maxima of the evidence of each kind."""

_CHOSEN = np.array(
    [
        sum_or * KINDS + kind
        for kind, sum_or in (
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 0),
            (2, 1),
            (2, 2),
            (3, 0),
            (3, 1),
        )
    ]
)
"""Where each of them stands among the sums, the minima and the maxima of all kinds."""

_BITS = 20
_SLOTS = 1 << _BITS
_SHIFT = np.uint64(64 - _BITS)
_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Knuth's multiplicative hashing: 2^64 over the golden ratio."""

_SMOOTHING = 2.0
"""Pairs of the category's own odds that every token is taken to have been seen in before."""

_LEAST_SHARE = 0.01
_MOST_EXCHANGES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Tokens of ``n`` pairs of one or more categories.

    Attributes:
        slots: Places in the table, kind by kind and pair by pair; uint32 of shape ``(t,)``. Each
            kind of each pair begins with place 0, which stays empty.
        starts: Where each kind of each pair begins, int64 of shape ``(n * KINDS,)``.
    """

    slots: NDArray[np.uint32]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) // KINDS

    def take(self, pairs: NDArray[np.intp]) -> Tokens:
        """Return the tokens of some pairs, given their places in ascending order."""
        ends = np.append(self.starts, len(self.slots))
        first, last = ends[pairs * KINDS], ends[(pairs + 1) * KINDS]
        lengths = np.diff(ends).reshape(-1, KINDS)[pairs].ravel()
        kept = np.repeat(first - np.concatenate([[0], np.cumsum(last - first)[:-1]]), last - first)
        places = kept + np.arange(len(kept))
        return Tokens(self.slots[places], np.concatenate([[0], np.cumsum(lengths)[:-1]]))


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Return the tokens of several lots of pairs as those of one."""
    offsets = np.cumsum([0, *(len(part.slots) for part in parts[:-1])])
    return Tokens(
        np.concatenate([part.slots for part in parts]),
        np.concatenate([part.starts + o for part, o in zip(parts, offsets, strict=True)]),
    )


NO_TOKENS = Tokens(np.zeros(0, np.uint32), np.zeros(0, np.int64))


def category_salt(category: str) -> int:
    """Return what keeps the tokens of one category apart from those of others."""
    return crc32(category.encode()) << 3


class Words(NamedTuple):
    """What two texts have in common and what not, as hashes.

    Attributes:
        ours: Words that only the question has.
        theirs: Words that only the candidate has.
        common: Words of both.
        lone_neighbours: Pairs of neighbouring words that only one has.
    """

    ours: frozenset[int]
    theirs: frozenset[int]
    common: frozenset[int]
    lone_neighbours: frozenset[int]


def tokens_of(pairs: Sequence[Words], salt: int) -> Tokens:
    """Return the tokens of some pairs of one category, given its ``category_salt``."""
    tokens: list[int] = []
    counts: list[int] = []
    for ours, theirs, common, lone_neighbours in pairs:
        exchanges: Sequence[int] = ()
        if len(ours) * len(theirs) <= _MOST_EXCHANGES:
            exchanges = [x ^ y for x in ours for y in theirs]
        tokens += (0, *ours, *theirs, 0, *common, 0, *exchanges, 0, *lone_neighbours)
        counts += (len(ours) + len(theirs), len(common), len(exchanges), len(lone_neighbours))
    lengths = np.array(counts, np.int64)
    lengths += 1
    starts = lengths.cumsum()
    starts -= lengths
    hashes = np.frombuffer(array("I", tokens), np.uint32).astype(np.uint64)
    hashes *= _ODD
    hashes += _turns(salt, len(pairs)).repeat(lengths)
    hashes >>= _SHIFT
    slots = hashes.astype(np.uint32)
    slots[starts] = 0
    return Tokens(slots, starts)


@lru_cache(maxsize=1_024)
def _turns(salt: int, pairs: int) -> NDArray[np.uint64]:
    """Return what a category adds to the products of hashes, kind by kind of so many pairs.

    The salt stands in the upper half of what is hashed, a token in the lower: the product of the
    two together is the sum of their products.
    """
    salts = np.arange(salt, salt + KINDS, dtype=np.uint64) << np.uint64(32)
    return np.tile(salts * _ODD, pairs)


class Evidence:
    """Counts of tokens in right and wrong pairs. Readers need no lock; writers are one at a time.

    Each token's count and its category's totals are read apart: while labels arrive a reader may
    see evidence that is a label behind.
    """

    def __init__(self) -> None:
        self.counts = np.zeros((_SLOTS, 2), np.float32)
        """Wrong and right pairs by place; the two side by side, for they are read together."""
        self.totals: dict[str, NDArray[np.float64]] = {}
        """Wrong and right pairs by category."""

    def add(self, tokens: Tokens, right: NDArray[np.bool_], category: str) -> None:
        """Count labelled pairs of one category."""
        lengths = np.diff(tokens.starts[::KINDS], append=len(tokens.slots))
        for kind in (0, 1):
            chosen = np.repeat(right == bool(kind), lengths)
            np.add.at(self.counts[:, kind], tokens.slots[chosen], 1.0)
        self.counts[0] = 0.0
        total = self.totals.setdefault(category, np.zeros(2))
        total += (np.count_nonzero(~right), np.count_nonzero(right))

    def minus(self, other: Evidence) -> Evidence:
        """Return what is left without the labels that ``other`` has counted."""
        left = Evidence()
        left.counts = self.counts - other.counts
        left.totals = {
            name: total - other.totals.get(name, np.zeros(2)) for name, total in self.totals.items()
        }
        return left

    def plus(self, other: Evidence) -> Evidence:
        """Return the evidence of both."""
        both = Evidence()
        both.counts = self.counts + other.counts
        names = self.totals.keys() | other.totals.keys()
        none = np.zeros(2)
        both.totals = {
            name: self.totals.get(name, none) + other.totals.get(name, none) for name in names
        }
        return both

    def features(self, tokens: Tokens, category: str) -> NDArray[np.float32]:
        """Return what the tokens of pairs of a category say; float32 ``(n, len(NAMES))``."""
        total = self.totals.get(category)
        if total is None or not len(tokens):
            return np.zeros((len(tokens), len(NAMES)), np.float32)
        wrong, right = total.tolist()
        share = right / max(wrong + right, 1.0)
        share = min(max(share, _LEAST_SHARE), 1.0 - _LEAST_SHARE)
        seen = self.counts.take(tokens.slots, axis=0, mode="clip")
        odds = seen[:, 1] + np.float32(_SMOOTHING * share)
        odds /= seen[:, 0] + np.float32(_SMOOTHING * (1.0 - share))
        np.log(odds, out=odds)
        odds -= np.float32(math.log(share / (1.0 - share)))
        starts = tokens.starts
        odds[starts] = 0.0
        sums = np.add.reduceat(odds, starts).reshape(-1, KINDS)
        worst = np.minimum.reduceat(odds, starts).reshape(-1, KINDS)
        best = np.maximum.reduceat(odds, starts).reshape(-1, KINDS)
        return np.concatenate((sums, worst, best), axis=1).take(_CHOSEN, axis=1)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the counts that are not zero as small arrays."""
        used = np.flatnonzero(self.counts.any(axis=1)).astype(np.uint32)
        return {"slots": used, "counts": self.counts[used]}

    @classmethod
    def from_arrays(
        cls,
        slots: NDArray[np.uint32],
        counts: NDArray[np.float32],
        totals: Mapping[str, Sequence[float]],
    ) -> Evidence:
        """Return the evidence that ``to_arrays`` and ``totals`` gave."""
        evidence = cls()
        evidence.counts[slots] = counts
        evidence.totals = {name: np.array(total, np.float64) for name, total in totals.items()}
        return evidence
