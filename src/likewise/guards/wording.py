"""Guards on small words that turn a meaning round: negation and direction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from likewise.guards.difference import difference
from likewise.guards.plain import REMEMBERED, Caseless, plain_words

_BARE_CONTRACTIONS = (
    "dont", "doesnt", "didnt", "isnt", "arent", "wasnt", "werent", "hasnt", "havent", "hadnt",
    "cant", "couldnt", "wont", "wouldnt", "shouldnt", "mustnt",
)  # fmt: skip
_NEGATIONS = (
    "not", "no", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without",
    "except", "excluding", "cannot", "unable", "avoid", "prevent", "stop", "disable", "disabled",
    "decline", "refuse", "deny", *_BARE_CONTRACTIONS,
)  # fmt: skip
_NEGATION = Caseless(rf"\b(?:{'|'.join(_NEGATIONS)}|\w+n['\u2019]t)\b")
_NEGATING = frozenset(_NEGATIONS)
_SAME_NEGATION = {
    **dict.fromkeys(_BARE_CONTRACTIONS, "not"),
    "cannot": "not",
    "unable": "not",
    "excluding": "except",
    "disabled": "disable",
}
_DIRECTION = Caseless(
    r"\b(from|out of|to|into|towards?|onto|before|after|above|below|over|under)\s+"
    r"(?:(?:the|a|an|my|your|our|his|her|their|its|of)\s+)*(\w[\w'\u2019-]*)"
)
_SIDES = {
    "from": ("source", "target"),
    "out of": ("source", "target"),
    "to": ("target", "source"),
    "into": ("target", "source"),
    "toward": ("target", "source"),
    "towards": ("target", "source"),
    "onto": ("target", "source"),
    "before": ("before", "after"),
    "after": ("after", "before"),
    "above": ("above", "below"),
    "over": ("above", "below"),
    "below": ("below", "above"),
    "under": ("below", "above"),
}
"""What a word is behind each preposition, and what it would be on the other side."""


def negation(a: str, b: str) -> str | None:
    """Veto when one text negates and the other does not, or when they negate differently often."""
    return difference("negation", read_negation(a), read_negation(b))


def direction(a: str, b: str) -> str | None:
    """Veto when a word stands on opposite sides: "from Rome" against "to Rome"."""
    return sides_oppose(read_sides(a), read_sides(b))


@lru_cache(maxsize=REMEMBERED)
def read_negation(text: str) -> tuple[str, ...]:
    """Return the markers of negation of a text in one canonical writing, in order."""
    plain = plain_words(text)
    # The "t" of "don't" is a word of its own here.
    if plain is not None and "t" not in plain and _NEGATING.isdisjoint(plain):
        return ()
    found = (word.lower().replace("\u2019", "'") for word in _NEGATION.findall(text))
    return tuple(
        "not" if word.endswith("n't") else _SAME_NEGATION.get(word, word) for word in found
    )


@lru_cache(maxsize=REMEMBERED)
def read_sides(text: str) -> Mapping[str, str]:
    """Return the preposition that stands before each word that has one."""
    found = _DIRECTION.findall(text.lower())
    return {word: " ".join(preposition.split()) for preposition, word in found}


def sides_oppose(left: Mapping[str, str], right: Mapping[str, str]) -> str | None:
    """Return the prepositions that put one word on opposite sides, or ``None``."""
    for word, preposition in left.items():
        other = right.get(word)
        if other is not None and _SIDES[other][0] == _SIDES[preposition][1]:
            return f"direction: {preposition} against {other}"
    return None
