"""The words of a plain text, looked at once to pass over what it cannot hold."""

from __future__ import annotations

import re

_LETTERS = re.compile(r"[a-z]+").findall


def plain_words(text: str) -> frozenset[str] | None:
    """Return the runs of letters of a text in ASCII, in lower case, or ``None`` for other texts.

    Most texts have no number, unit or negation. That none of some words is among these tells so
    at a tenth of what a pattern over the text costs; other scripts need the pattern.
    """
    return frozenset(_LETTERS(text.lower())) if text.isascii() else None
