"""Cheap checks on the two raw texts that veto a candidate; each names what it saw.

An embedding hardly moves when a number changes or a "not" appears: a question and its negation
have a cosine of 0.94 to 0.98, above any useful threshold. A guard looks at just that. It returns
``None`` when it has nothing to object, else a few words that say what differs. The words it reports
are numbers and markers of negation, never running text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

Guard = Callable[[str, str], str | None]

# fmt: off
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen", "twenty",
)
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
_NUMBER_WORDS = {word: str(n) for n, word in enumerate(_SMALL)} | {
    word: str(10 * n) for n, word in enumerate(_TENS, start=3)
}
# "one" is more often a pronoun ("which one", "no one") than a number.
del _NUMBER_WORDS["one"]

_NUMBER = re.compile(
    r"(?<![\w.])[-+]?\d+(?:,\d{3})+(?:\.\d+)?%?|\d+(?:\.\d+)*%?|\b(?:"
    + "|".join(_NUMBER_WORDS)
    + r")\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nothing|nobody|nowhere|neither|nor|without|except|excluding|cannot"
    r"|unable|avoid|prevent|stop|disable|decline|refuse|deny|\w+n['\u2019]t|dont|cant|wont|doesnt"
    r"|isnt|didnt)\b",
    re.IGNORECASE,
)
_SAME_NEGATION = {
    "dont": "not",
    "cant": "not",
    "wont": "not",
    "doesnt": "not",
    "isnt": "not",
    "didnt": "not",
    "cannot": "not",
    "unable": "not",
    "excluding": "except",
}
_LEADING_ZEROS = re.compile(r"^0+(?=\d)")


def numbers(a: str, b: str) -> str | None:
    """Veto when the two texts do not hold the same numbers, written in digits or in words."""
    return _difference(
        "numbers", map(_number, _NUMBER.findall(a)), map(_number, _NUMBER.findall(b))
    )


def negation(a: str, b: str) -> str | None:
    """Veto when one text negates and the other does not, or when they negate differently often."""
    return _difference(
        "negation", map(_negative, _NEGATION.findall(a)), map(_negative, _NEGATION.findall(b))
    )


GUARDS: Mapping[str, Guard] = MappingProxyType({"numbers": numbers, "negation": negation})
"""Every guard by the name that a category's ``guards`` uses."""


def veto(names: Iterable[str], a: str, b: str) -> str | None:
    """Return the first objection among the guards named, or ``None``."""
    if a == b:
        return None
    for name in names:
        found = GUARDS[name](a, b)
        if found is not None:
            return found
    return None


def _number(text: str) -> str:
    text = text.lower().replace(",", "").lstrip("+")
    text = _NUMBER_WORDS.get(text, text)
    # 1.50 and 1.5 are one amount, yet 3.10 and 3.1 are two versions: only whole zeros go.
    if re.fullmatch(r"\d+\.0+%?", text):
        text = re.sub(r"\.0+", "", text)
    return _LEADING_ZEROS.sub("", text)


def _negative(text: str) -> str:
    text = text.lower().replace("\u2019", "'")
    return "not" if text.endswith("n't") else _SAME_NEGATION.get(text, text)


def _difference(what: str, a: Iterable[str], b: Iterable[str]) -> str | None:
    left, right = Counter(a), Counter(b)
    if left == right:
        return None
    missing = ", ".join(sorted((right - left).elements())) or "none"
    added = ", ".join(sorted((left - right).elements())) or "none"
    return f"{what}: {added} against {missing}"
