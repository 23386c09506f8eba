"""How a text is written: a few numbers beside its meaning.

Who asks for a table, a command or a joke says so less by the topic than by the form: an imperative
without a full stop, several sentences, many digits. An embedding hardly holds this, and counting it
costs microseconds.
"""

from __future__ import annotations

import math
import string

_MOST_CHARACTERS = 2_000
_CODE = "{}()[];=<>_/\\|$#"
_CLASSES = str.maketrans(
    dict.fromkeys(string.ascii_lowercase, "a")
    | dict.fromkeys(string.ascii_uppercase, "A")
    | dict.fromkeys(string.digits, "0")
    | dict.fromkeys(string.punctuation, ".")
    | dict.fromkeys(_CODE, "#")
)
"""Every character of ASCII by its kind: one pass over a text, then counting is cheap."""

_ASKS = frozenset(["what", "which", "who", "whose", "when", "where", "why", "how"])
_ORDERS = frozenset(
    ["show", "list", "find", "give", "return", "get", "count", "select", "display", "print"]
)

STYLE = 25
"""How many numbers ``style_of`` gives; the last is always 1."""


def style_of(text: str) -> list[float]:
    """Return how a text is written, ``STYLE`` numbers of about the size of one."""
    text = text[:_MOST_CHARACTERS].strip()
    kinds = text.translate(_CLASSES)
    lower = text.lower()
    count = len(text) or 1
    words = lower.split()
    first = words[0] if words else ""
    digits, code = kinds.count("0"), kinds.count("#")
    marks = kinds.count(".") + code
    foreign = 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))
    return [
        math.log1p(len(words)) / 3,
        math.log1p(text.count("\n")),
        8 * digits / count,
        float(digits > 0),
        8 * kinds.count("A") / count,
        4 * foreign / count,
        float(text.endswith("?")),
        float(text.endswith(".")),
        float(first[:1].isalpha() and text[:1] == first[:1]),
        "'" in text,
        '"' in text,
        8 * marks / count,
        8 * code / count,
        (text.count(". ") + text.count("! ") + text.count("? ")) / 2,
        count / (len(words) or 1) / 6,
        "i" in words,
        "my" in words,
        "you" in words,
        "me" in words,
        first in _ASKS,
        first == "what",
        first == "how",
        first in _ORDERS,
        "," in text,
        1.0,
    ]
