"""How long an answer stays right: volatility, learned from questions that were asked again.

When a question is asked again after a while and the model's answer differs, the answer has changed
some time in between. With changes that come at a constant rate (a Poisson process), each pair says
whether at least one fell into its gap; the rate is that of the largest likelihood.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from likewise.category import Category
from likewise.guards.plain import Caseless
from likewise.recent import Recent

_CUE = Caseless(
    r"\b(?:today|tonight|tomorrow|yesterday|now|nowadays|current(?:ly)?|latest|newest|recent(?:ly)?"
    r"|breaking|live|so far|as of|at (?:the moment|present)"
    r"|(?:this|last|next|coming) (?:week(?:end)?|month|year|morning|afternoon|evening|night|season)"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|heute|jetzt|gestern|morgen|aktuell\w*|neueste\w*|aujourd'hui|maintenant|hoy|ahora)\b",
    *("today", "tonight", "tomorrow", "yesterday", "now", "current", "latest", "newest", "recent"),
    *("breaking", "live", "week", "month", "year", "morning", "afternoon", "evening", "night"),
    *("season", "day", "heute", "jetzt", "gestern", "morgen", "aktuell", "neueste", "aujourd"),
    *("maintenant", "hoy", "ahora", "so far", "as of", "at the moment", "at present"),
)

_READ_CHARACTERS = 8_000
_EACH = 300
"""Bytes that a question takes, beside its text, of which it is known whether it has a cue."""

_known: Recent[str, bool] = Recent(4 * 1024 * 1024)

_LEAST_REASKED = 20
"""Pairs below which a rate is a guess."""

CHANGES_MEMO = "changes"
"""Under which name the store keeps what ``Changes`` has seen."""

STALE = 0.05
"""Share of stale hits that a proposed time to live aims at."""

_DAY_S = 86400.0
_STEPS = 60
_SLOWEST, _FASTEST = 1e-9, 10.0
"""Changes a second between which a rate is looked for."""


def has_cue(question: str) -> bool:
    """Return whether a question says that its answer will not be right for long.

    >>> has_cue("What is the latest version?"), has_cue("What is a version?")
    (True, False)
    """
    text = question[:_READ_CHARACTERS]
    found = _known.of(text)
    if found is None:
        found = _CUE.found_in(text)
        _known.add(text, found, _EACH + len(text))
    return found


@dataclass(frozen=True, slots=True)
class Volatility:
    """How fast answers change.

    Attributes:
        reasked: Pairs of the same question, asked again.
        changed: How many of them got another answer.
        rate: Changes a second, ``None`` when too few pairs were seen.
    """

    reasked: int
    changed: int
    rate: float | None

    def ttl_s(self, stale: float) -> float | None:
        """Return the time to live at which a share ``stale`` of the hits is expected to be stale.

        Hits are taken to come evenly over the time an answer lives, so that the share is
        ``1 - (1 - exp(-rate ttl)) / (rate ttl)``. ``None`` means that no limit is needed, or that
        nothing is known.
        """
        if self.rate is None or self.rate <= _SLOWEST:
            return None
        low, high = 0.0, 100.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if stale_share(middle) < stale else (low, middle)
        return low / self.rate


def stale_share(ages: float) -> float:
    """Return the expected share of stale hits over a life of ``ages`` mean times to a change."""
    return 1.0 + math.expm1(-ages) / ages if ages > 1e-6 else ages / 2


def volatility(gaps: Sequence[float], changed: Sequence[bool]) -> Volatility:
    """Return the rate at which answers change.

    Args:
        gaps: Seconds between two times the same question was asked, above 0.
        changed: Whether the second answer differed from the first.
    """
    count, changes = len(gaps), sum(changed)
    if count < _LEAST_REASKED:
        return Volatility(count, changes, None)
    if not changes:
        return Volatility(count, 0, _SLOWEST)
    pairs = list(zip(gaps, changed, strict=True))

    def slope(rate: float) -> float:
        """Return the derivative of the log likelihood by the rate."""
        return sum(
            gap * math.exp(-rate * gap) / -math.expm1(-rate * gap) if differs else -gap
            for gap, differs in pairs
        )

    low, high = math.log(_SLOWEST), math.log(_FASTEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    return Volatility(count, changes, math.exp(low))


class Changes:
    """The latest times each category's questions were asked again; safe to use from many threads.

    Only what took the place of an older answer to the same question is seen: after its time, by a
    refresh, or because a caller asked past the cache.
    """

    def __init__(self, most: int = 2_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._seen: dict[str, deque[tuple[float, bool]]] = {}
        self._found: dict[str, Volatility] = {}
        self._unsaved = False

    def add(self, category: str, gap_s: float, *, changed: bool) -> None:
        """Take note of an answer that came ``gap_s`` seconds after the one before."""
        if gap_s <= 0:
            return
        with self._lock:
            self._seen.setdefault(category, deque(maxlen=self._most)).append((gap_s, changed))
            self._found.pop(category, None)
            self._unsaved = True

    def of(self, category: str) -> Volatility:
        """Return how fast a category's answers change."""
        with self._lock:
            known = self._found.get(category)
            seen = list(self._seen.get(category, ()))
        if known is None:
            known = volatility([gap for gap, _ in seen], [changed for _, changed in seen])
            with self._lock:
                if len(self._seen.get(category, ())) == len(seen):
                    self._found[category] = known
        return known

    def report(self, policy: Category) -> dict[str, float | int | None]:
        """Return what is known of a category's freshness, ready for JSON."""
        found = self.of(policy.name)
        rate, ttl_s = found.rate, policy.ttl_s
        return {
            "ttl_s": ttl_s,
            "reasked": found.reasked,
            "changed": found.changed,
            "changes_per_day": None if rate is None else rate * _DAY_S,
            "expected_stale": None if rate is None or ttl_s is None else stale_share(rate * ttl_s),
            "proposed_ttl_s": found.ttl_s(STALE),
        }

    def take(self) -> bytes | None:
        """Return everything as bytes when something is new since the last call."""
        with self._lock:
            if not self._unsaved:
                return None
            self._unsaved = False
            return msgspec.json.encode({name: list(seen) for name, seen in self._seen.items()})

    def load(self, data: bytes) -> None:
        """Take over what ``take`` gave; damaged data is passed over."""
        try:
            known = msgspec.json.decode(data, type=dict[str, list[tuple[float, bool]]])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        with self._lock:
            self._seen = {name: deque(seen, maxlen=self._most) for name, seen in known.items()}
