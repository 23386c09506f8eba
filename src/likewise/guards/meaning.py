"""Guards on what a question is about: names, languages, days and times, which way it compares.

Word lists and patterns of our own: the libraries that parse dates and quantities out of running
text (dateparser, quantulum3, spaCy) take milliseconds a text, and a decision has microseconds.
"""

from __future__ import annotations

import re
from functools import lru_cache

from likewise.guards.plain import REMEMBERED, Caseless, plain_words

_WORD = re.compile(r"[^\W\d_]+(?:[+#]+|'[^\W\d_]+)?")
_SENTENCE = re.compile(r"(?:^|[.!?:\n]\s*)([^\W\d_]+)")
_TITLE_SHARE = 0.6
"""Share of capitals from which on a text is a title, in which capitals say nothing."""

_LEAST_NAME = 2

_LANGUAGES = frozenset(
    "python java javascript typescript ruby rust golang php perl kotlin swift scala haskell lua "  # noqa: SIM905 - reads better than fifty quoted words
    "matlab fortran cobol bash powershell c++ c# f# objective-c "
    "english french german spanish italian portuguese dutch russian chinese mandarin japanese "
    "korean arabic hindi turkish polish greek latin swedish danish norwegian finnish czech "
    "hungarian hebrew thai vietnamese indonesian ukrainian".split()
)

# fmt: off
_DAYS = {
    "monday": "mon", "tuesday": "tue", "wednesday": "wed", "thursday": "thu", "friday": "fri",
    "saturday": "sat", "sunday": "sun", "tues": "tue", "thur": "thu", "thurs": "thu",
    "january": "jan", "february": "feb", "april": "apr", "june": "jun", "july": "jul",
    "august": "aug", "september": "sep", "sept": "sep", "october": "oct", "november": "nov",
    "december": "dec",
}
# fmt: on
_DATE_WORDS = frozenset(
    "mon tue wed thu fri feb apr jun jul aug sep oct nov dec am pm noon midnight today tomorrow "  # noqa: SIM905 - as above
    "tonight yesterday weekend weekday morning afternoon evening night".split()
) | set(_DAYS.values())
_MERIDIEM = Caseless(r"\d\s*(am|pm|a\.m\.|p\.m\.)(?!\w)")
_TURN = Caseless(r"\b(last|next|this|previous|coming)\s+(week|month|year|quarter|weekend|night)\b")

_OF_LANGUAGES = frozenset(word.rstrip("+#") for word in _LANGUAGES)
_OF_DATES = _DATE_WORDS | _DAYS.keys() | {"m", "week", "month", "year", "quarter"}
"""Plain words without which there is none; the "m" is that of "p.m."."""

_UP = Caseless(
    r"\b(?:more|greater|larger|bigger|higher|above|over|exceed\w*|at least|minimum|longer|older"
    r"|later|after|since|heavier|taller|faster|increas\w*)\b|>=?"
)
_DOWN = Caseless(
    r"\b(?:less|fewer|smaller|lower|below|under|at most|maximum|shorter|younger|earlier|before"
    r"|until|lighter|slower|decreas\w*|reduc\w*)\b|<=?"
)


def names(a: str, b: str) -> str | None:
    """Veto when each text has a name or an acronym that the other does not mention at all."""
    if _missing(_names(a), b) and _missing(_names(b), a):
        return "names: each text has one the other lacks"
    return None


def languages(a: str, b: str) -> str | None:
    """Veto when the two texts are about other languages, of people or of programs."""
    ours, theirs = _languages(a), _languages(b)
    if ours and theirs and not ours & theirs:
        return "languages: " + ", ".join(sorted(ours)) + " against " + ", ".join(sorted(theirs))
    return None


def dates(a: str, b: str) -> str | None:
    """Veto when both texts name days or times of day, and not the same ones."""
    ours, theirs = _dates(a), _dates(b)
    if ours and theirs and ours != theirs:
        return "dates: " + ", ".join(sorted(ours)) + " against " + ", ".join(sorted(theirs))
    return None


def comparison(a: str, b: str) -> str | None:
    """Veto when one text asks for more where the other asks for less."""
    ours, theirs = _leaning(a), _leaning(b)
    return "comparison: upwards against downwards" if ours * theirs < 0 else None


@lru_cache(maxsize=REMEMBERED)
def _names(text: str) -> frozenset[str]:
    words = _WORD.findall(text)
    capital = [word for word in words if word[0].isupper()]
    if not capital:
        return frozenset()
    acronyms = frozenset(w.lower() for w in capital if w.isupper() and len(w) >= _LEAST_NAME)
    if len(capital) >= _TITLE_SHARE * len(words):
        return acronyms if any(not word.isupper() for word in words) else frozenset()
    first = set(_SENTENCE.findall(text))
    return acronyms | {w.lower() for w in capital if w not in first and len(w) >= _LEAST_NAME}


def _missing(found: frozenset[str], text: str) -> bool:
    if not found:
        return False
    lower = text.lower()
    return any(name.rstrip("s") not in lower for name in found)


@lru_cache(maxsize=REMEMBERED)
def _languages(text: str) -> frozenset[str]:
    plain = plain_words(text)
    if plain is not None and _OF_LANGUAGES.isdisjoint(plain):
        return frozenset()
    return _LANGUAGES.intersection([word.lower() for word in _WORD.findall(text)])


@lru_cache(maxsize=REMEMBERED)
def _dates(text: str) -> frozenset[str]:
    plain = plain_words(text)
    if plain is not None and _OF_DATES.isdisjoint(plain):
        return frozenset()
    words = (_DAYS.get(word, word) for word in (w.lower() for w in _WORD.findall(text)))
    found = {word for word in words if word in _DATE_WORDS and word not in {"am", "pm"}}
    found |= {part.lower().replace(".", "") for part in _MERIDIEM.findall(text)}
    return frozenset(found | {f"{which} {what}".lower() for which, what in _TURN.findall(text)})


@lru_cache(maxsize=REMEMBERED)
def _leaning(text: str) -> int:
    """Return more above 0 the more a text asks for more, and below 0 for less."""
    return len(_UP.findall(text)) - len(_DOWN.findall(text))
