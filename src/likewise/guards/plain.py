"""What guards ask of a text again and again: its plain words, and patterns in either case."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

REMEMBERED = 256
"""Of how many texts met lately each guard remembers what it read: a question is compared with every
candidate, and a candidate comes back with the next question."""

_LETTERS = re.compile(r"[a-z]+").findall


@lru_cache(maxsize=REMEMBERED)
def plain_words(text: str) -> frozenset[str] | None:
    """Return the runs of letters of a text in ASCII, in lower case, or ``None`` for other texts.

    Most texts have no number, unit or negation. That none of some words is among these tells so
    at a tenth of what a pattern over the text costs; other scripts need the pattern.
    """
    return frozenset(_LETTERS(text.lower())) if text.isascii() else None


class Caseless:
    """A pattern, written in small letters, that finds its like in either case.

    In a text in ASCII it is looked for in small letters, at a third of what ignoring case costs.
    Where ``needles`` are given, texts of which every match has at least one, ``found_in`` looks for
    these first: most texts have none, which is seen at a tenth of what the pattern costs.
    """

    def __init__(self, pattern: str, *needles: str) -> None:
        self.pattern, self.needles = pattern, needles
        self._small = re.compile(pattern)
        self._either = re.compile(pattern, re.IGNORECASE)

    def findall(self, text: str) -> list[Any]:
        """Return what ``re.findall`` does, in small letters or as it is written."""
        if text.isascii():
            return self._small.findall(text.lower())
        return self._either.findall(text)

    def found_in(self, text: str) -> bool:
        """Return whether there is one in a text."""
        if not text.isascii():
            return self._either.search(text) is not None
        text = text.lower()
        if self.needles:
            for needle in self.needles:
                if needle in text:
                    break
            else:
                return False
        return self._small.search(text) is not None
