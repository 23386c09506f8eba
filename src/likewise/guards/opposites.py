"""A guard on words of which a question means exactly one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from likewise.guards.plain import REMEMBERED, plain_words

_GROUPS = (
    "monday tuesday wednesday thursday friday saturday sunday",
    "january february march april june july august september october november december",
    "yesterday today tomorrow",
    "spring summer autumn winter",
    "north south east west",
    "greater less smaller larger bigger",
    "more fewer",
    "higher lower",
    "maximum minimum",
    "max min",
    "highest lowest",
    "largest smallest",
    "longest shortest",
    "oldest newest youngest",
    "cheapest dearest",
    "best worst",
    "first last",
    "ascending descending",
    "asc desc",
    "increase decrease reduce",
    "increasing decreasing",
    "legal illegal",
    "enable disable",
    "enabled disabled",
    "add remove delete",
    "install uninstall",
    "start stop",
    "open close",
    "lock unlock",
    "push pull",
    "upload download",
    "encode decode",
    "encrypt decrypt",
    "import export",
    "buy sell",
    "borrow lend",
    "send receive",
    "deposit withdraw",
    "left right",
    "inner outer",
    "inside outside",
    "even odd",
    "positive negative",
    "true false",
    "input output",
    "inbound outbound",
    "male female",
    "father mother",
    "brother sister",
    "son daughter",
    "morning afternoon evening night",
    "breakfast lunch dinner",
    "past future",
    "singular plural",
    "uppercase lowercase",
    "row column",
    "rows columns",
    "horizontal vertical",
    "synchronous asynchronous",
    "public private",
    "local remote",
    "client server",
)
_GROUP_OF = {word: number for number, group in enumerate(_GROUPS) for word in group.split()}
_WORD = re.compile(r"[a-z]+")


def opposites(a: str, b: str) -> str | None:
    """Veto when each text has a word of one group that the other lacks: Monday, not Tuesday."""
    ours, theirs = _members(a), _members(b)
    for number, words in ours.items():
        others = theirs.get(number)
        if others and words - others and others - words:
            return "opposites: each text has one the other lacks"
    return None


@lru_cache(maxsize=REMEMBERED)
def _members(text: str) -> Mapping[int, set[str]]:
    plain = plain_words(text)
    words = frozenset(_WORD.findall(text.lower())) if plain is None else plain
    found: dict[int, set[str]] = {}
    for word in words & _GROUP_OF.keys():
        found.setdefault(_GROUP_OF[word], set()).add(word)
    return found
