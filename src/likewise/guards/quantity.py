"""Guards on amounts: numbers, and the units they are counted in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from likewise.guards.difference import difference
from likewise.guards.plain import REMEMBERED, Caseless, plain_words

# fmt: off
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_MAGNITUDES = ("dozen", "hundred", "thousand", "million", "billion", "trillion")
# fmt: on
_NUMBER_WORDS = {word: str(n) for n, word in enumerate(_UNITS)} | {
    word: str(10 * n) for n, word in enumerate(_TENS, start=2)
}
_COMPOUNDS = {
    f"{ten} {unit}": str(10 * n + k)
    for n, ten in enumerate(_TENS, start=2)
    for k, unit in enumerate(_UNITS[1:10], start=1)
}
# "one" by itself is more often a pronoun ("which one", "no one") than a number.
del _NUMBER_WORDS["one"]

_DIGITS = (
    # What a number begins with stands first: so the search passes over all else.
    r"[-+\u2212\d](?:(?<=\d)(?:(?<![\d.].)\d*(?:,\d{3})+(?:\.\d+)?|\d*(?:\.\d+)*)"
    # A minus sign stands free before its number; the hyphen of "covid-19" or "5-3" does not.
    r"|(?<!\d)(?<![\w.)\]-].)(?:\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)*))%?"
)
_IN_DIGITS = re.compile(_DIGITS)
_NUMBER = Caseless(
    rf"{_DIGITS}"
    rf"|\b(?:{'|'.join(_TENS)})[\s-](?:{'|'.join(_UNITS[1:10])})\b"
    rf"|\b(?:{'|'.join(_NUMBER_WORDS)}|{'|'.join(_MAGNITUDES)})\b"
)
_DIGIT = re.compile(r"\d").search
_IN_WORDS = frozenset((*_NUMBER_WORDS, *_TENS, *_MAGNITUDES))
_LEADING_ZEROS = re.compile(r"^(-?)0+(?=\d)")

# fmt: off
_ALIASES = {
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres",
    "inch": "inch inches",
    "foot": "foot feet ft",
    "yard": "yard yards",
    "mile": "mile miles",
    "mg": "mg milligram milligrams",
    "g": "gram grams",
    "kg": "kg kilo kilos kilogram kilograms",
    "ounce": "ounce ounces oz",
    "pound": "pound pounds lb lbs",
    "ton": "ton tons tonne tonnes",
    "ml": "ml milliliter milliliters millilitre millilitres",
    "l": "liter liters litre litres",
    "cup": "cup cups",
    "gallon": "gallon gallons",
    "celsius": "celsius \u00b0c",
    "fahrenheit": "fahrenheit \u00b0f",
    "kelvin": "kelvin",
    "usd": "dollar dollars usd $",
    "eur": "euro euros eur \u20ac",
    "gbp": "sterling gbp \u00a3",
    "jpy": "yen jpy \u00a5",
    "chf": "franc francs chf",
    "inr": "rupee rupees inr \u20b9",
    "byte": "byte bytes",
    "kb": "kb kib kilobyte kilobytes",
    "mb": "mb mib megabyte megabytes",
    "gb": "gb gib gigabyte gigabytes",
    "tb": "tb tib terabyte terabytes",
    "second": "second seconds sec secs",
    "minute": "minute minutes min mins",
    "hour": "hour hours hourly hr hrs",
    "day": "day days daily",
    "week": "week weeks weekly",
    "fortnight": "fortnight fortnightly biweekly",
    "month": "month months monthly",
    "quarter": "quarter quarters quarterly",
    "year": "year years yearly annual annually",
    "decade": "decade decades",
    "century": "century centuries",
}
# fmt: on
_UNITS_OF = {alias: unit for unit, names in _ALIASES.items() for alias in names.split()}
_WORD = Caseless(r"[$\u20ac\u00a3\u00a5\u20b9]|\u00b0[cf]\b|\d+(?:[.,]\d+)*|[^\W\d_]+")
_SIGNS = frozenset("$\u20ac\u00a3\u00a5\u20b9")
_NAMES_OF_UNITS = frozenset(_UNITS_OF)


def numbers(a: str, b: str) -> str | None:
    """Veto when the two texts do not hold the same numbers, written in digits or in words."""
    return difference("numbers", read_numbers(a), read_numbers(b))


def units(a: str, b: str) -> str | None:
    """Veto when the two texts count in different units, or the same amounts in swapped ones."""
    return difference("units", read_units(a), read_units(b))


@lru_cache(maxsize=REMEMBERED)
def read_numbers(text: str) -> tuple[str, ...]:
    """Return the numbers of a text in one canonical writing, in the order in which they stand."""
    plain = plain_words(text)
    if plain is not None and _IN_WORDS.isdisjoint(plain):
        return tuple(map(_number, _IN_DIGITS.findall(text))) if _DIGIT(text) else ()
    # NFKC turns full-width digits, superscripts and fractions into plain digits.
    return tuple(map(_number, _NUMBER.findall(unicodedata.normalize("NFKC", text))))


def _number(text: str) -> str:
    if text.isdecimal() and text[0] != "0":
        return text
    text = text.lower().replace(",", "").replace("\u2212", "-").lstrip("+")
    text = _NUMBER_WORDS.get(text, text)
    text = _COMPOUNDS.get(" ".join(re.split(r"[\s-]", text)), text)
    # 1.50 and 1.5 are one amount, yet 3.10 and 3.1 are two versions: only whole zeros go.
    if re.fullmatch(r"-?\d+\.0+%?", text):
        text = re.sub(r"\.0+", "", text)
    return _LEADING_ZEROS.sub(r"\1", text)


@lru_cache(maxsize=REMEMBERED)
def read_units(text: str) -> tuple[str, ...]:
    """Return the units of a text in order, each with the number that stands at it, if any."""
    plain = plain_words(text)
    if plain is not None and "$" not in text and _NAMES_OF_UNITS.isdisjoint(plain):
        return ()
    return tuple(_counted(_WORD.findall(unicodedata.normalize("NFKC", text).lower())))


def _counted(words: list[str]) -> Iterator[str]:
    for place, word in enumerate(words):
        unit = _UNITS_OF.get(word)
        if unit is None:
            continue
        # A sign of currency stands before its number, a word behind it.
        beside = place + 1 if word in _SIGNS else place - 1
        number = _amount(words, beside)
        yield f"{number} {unit}" if number else unit


def _amount(words: list[str], place: int) -> str:
    """Return the number at a place among words, in digits, or nothing when there is none."""
    if not 0 <= place < len(words):
        return ""
    word = words[place]
    compound = _COMPOUNDS.get(" ".join(words[max(0, place - 1) : place + 1]))
    return compound or (_number(word) if word[:1].isdigit() else _NUMBER_WORDS.get(word, ""))
