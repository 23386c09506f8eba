"""How a text is written: a few numbers beside its meaning.

Who asks for a table, a command or a joke says so less by the topic than by the form: an imperative
without a full stop, several sentences, many digits. An embedding hardly holds this, and counting it
costs microseconds.
"""

from __future__ import annotations

import math
import re

_MOST_CHARACTERS = 2_000
_DIGIT = re.compile(r"\d").findall
_UPPER = re.compile(r"[A-Z]").findall
_MARK = re.compile(r"[^\w\s]").findall
_CODE = re.compile(r"[{}()\[\];=<>_/\\|$#]").findall
_SENTENCE = re.compile(r"[.!?]\s").findall
_ASKS = frozenset(["what", "which", "who", "whose", "when", "where", "why", "how"])
_ORDERS = frozenset(
    ["show", "list", "find", "give", "return", "get", "count", "select", "display", "print"]
)

STYLE = 24
"""How many numbers ``style_of`` gives."""


def style_of(text: str) -> list[float]:
    """Return how a text is written, ``STYLE`` numbers of about the size of one."""
    text = text[:_MOST_CHARACTERS].strip()
    lower = text.lower()
    count = len(text) or 1
    words = lower.split()
    first = words[0] if words else ""
    padded = f" {' '.join(words)} "
    digits = len(_DIGIT(text))
    marks = len(_MARK(text))
    foreign = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    return [
        math.log1p(len(words)) / 3,
        math.log1p(text.count("\n")),
        8 * digits / count,
        float(digits > 0),
        8 * len(_UPPER(text)) / count,
        4 * foreign / count,
        float(text.endswith("?")),
        float(text.endswith(".")),
        float(first[:1].isalpha() and text[:1] == first[:1]),
        "'" in text,
        '"' in text,
        8 * marks / count,
        8 * len(_CODE(text)) / count,
        len(_SENTENCE(text)) / 2,
        count / (len(words) or 1) / 6,
        " i " in padded,
        " my " in padded,
        " you " in padded,
        " me " in padded,
        first in _ASKS,
        first == "what",
        first == "how",
        first in _ORDERS,
        "," in text,
    ]
