"""Guards on what an embedder never sees: case, accents, white space, code, the order of words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from likewise.guards.plain import REMEMBERED
from likewise.guards.quantity import read_numbers

_SPECIAL = re.compile(
    r"(\"[^\"\n]{1,80}\"|`[^`\n]{1,80}`|\u201c[^\u201d\n]{1,80}\u201d"  # quoted
    r"|(?<![\w-])-{1,2}[A-Za-z][\w-]*"  # -d, --depth
    r"|\\[A-Za-z]|%[A-Za-z]\b"  # \d, %M
    r"|===|==|!=|<=|>=|&&|\|\||[<>&|^]"  # operators
    r"|\b\w+(?:_\w+)+\b|\b[a-z]+[A-Z]\w*|\b\w+\(\)?"  # snake_case, camelCase, call()
    r"|(?<![\w/])[~.]?/[\w./-]+|\b[\w-]{1,64}\.(?:[a-z]{1,4}\d?)\b)"  # /a/path, file.ext
    r"|\w+"  # a plain word, passed over at once
)
_MAY_BE_SPECIAL = re.compile(r"[\"`\u201c\\%=<>&|^_(/-]|\.[a-z]|[a-z][A-Z]").search
_QUOTES = '"`\u201c\u201d'

_WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*")
_SHOUTED = frozenset(
    {"IT", "US", "WHO", "AIDS", "OR", "AND", "IN", "IS", "AS", "AT", "ME", "NO", "ON", "MAY", "AM"}
)
"""Abbreviations that mean something else in small letters."""

_HIDING = re.compile(
    r"[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufe00-\ufe0f]"
    r"|[A-Za-z](?=[\u0370-\u052f])|[\u0370-\u052f](?=[A-Za-z])"
).findall
"""What hides a word from every other guard: "n\u043et" with a Cyrillic letter is no negation."""

_TWO_CAPITALS = re.compile(r"[A-Z][A-Z]").search

_FILLERS = frozenset(
    "a an the is are was were be do does did of in on at to for and or it its this that i you we "  # noqa: SIM905 - reads better than fifty quoted words
    "my your our me what which who how when where why can could will would should please there "
    "have has with as by from if so just tell show give".split()
)
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s)$")


def identifiers(a: str, b: str) -> str | None:
    """Veto when a flag, operator, identifier, path or quoted text of one is not in the other."""
    for text, other in ((a, b), (b, a)):
        if not all(found in other for found in _special(text)):
            return "identifiers: one text has a piece of code or a quotation the other lacks"
    return None


def spelling(a: str, b: str) -> str | None:
    """Veto when words differ by accents alone, IT is it, or only the indentation differs."""
    if not (a.isascii() and b.isascii()):
        if _HIDING(a) != _HIDING(b):
            return "spelling: characters that are not seen, or letters of two alphabets in a word"
        if _accents_differ(a, b):
            return "spelling: accents differ"
    if _shouted(a) != _shouted(b) and not (a.isupper() or b.isupper()):
        return "spelling: an abbreviation against a word"
    if "\n" in a.strip() and a.strip() != b.strip() and a.split() == b.split():
        return "spelling: line breaks or indentation differ"
    return None


def order(a: str, b: str) -> str | None:
    """Veto when the same numbers stand in another order, or two words have changed places.

    "Is Ann taller than Bob?" against "Is Bob taller than Ann?": two telling words are exchanged and
    the rest stands. Neighbours that change places ("gold price", "price of gold") seldom change the
    meaning, unless both are abbreviations ("USD EUR").
    """
    numbers, other_numbers = read_numbers(a), read_numbers(b)
    if numbers != other_numbers and sorted(numbers) == sorted(other_numbers):
        return "order: the numbers stand in another order"
    words, other = _telling(a), _telling(b)
    if len(words) != len(other):
        return None
    moved = []
    for place, (word, its) in enumerate(zip(words, other, strict=True)):
        # Most words are equal as they stand, and the ending of no other matters.
        if word != its and _stem(word) != _stem(its):
            moved.append(place)
            if len(moved) > 2:
                return None
    if len(moved) != 2:
        return None
    first, second = moved
    swapped = _stem(words[first]) == _stem(other[second])
    swapped = swapped and _stem(words[second]) == _stem(other[first])
    apart = second - first > 1 or (words[first].isupper() and words[second].isupper())
    return "order: two words have changed places" if swapped and apart else None


@lru_cache(maxsize=REMEMBERED)
def _special(text: str) -> tuple[str, ...]:
    if _MAY_BE_SPECIAL(text) is None:
        return ()
    return tuple(found.strip(_QUOTES) for found in _SPECIAL.findall(text) if found)


def _accents_differ(a: str, b: str) -> bool:
    others = _forms(b)
    for plain, written in _forms(a).items():
        other = others.get(plain)
        if other and not (written & other) and not "".join(written | other).isascii():
            return True
    return False


def _forms(text: str) -> dict[str, set[str]]:
    """Return the ways in which each word is written, by the word without accents and case."""
    forms: dict[str, set[str]] = {}
    for word in _WORD.findall(text):
        forms.setdefault(_plain(word), set()).add(word.casefold())
    return forms


def _plain(word: str) -> str:
    decomposed = unicodedata.normalize("NFD", word.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


@lru_cache(maxsize=REMEMBERED)
def _shouted(text: str) -> tuple[str, ...]:
    if _TWO_CAPITALS(text) is None:
        return ()
    return tuple(sorted(word for word in _WORD.findall(text) if word in _SHOUTED))


@lru_cache(maxsize=REMEMBERED)
def _telling(text: str) -> tuple[str, ...]:
    return tuple(word for word in _WORD.findall(text) if word.lower() not in _FILLERS)


def _stem(word: str) -> str:
    return _ENDING.sub("", word.lower())
