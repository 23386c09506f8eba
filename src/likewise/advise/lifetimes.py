"""Other times to live, weighed by when questions were asked again and whether answers changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from likewise.advise.estimate import Estimate, ips
from likewise.advise.events import Event, History
from likewise.freshness import STALE, Volatility, volatility

_FACTORS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 40.0)
_LEAST_GAINED = 20


@dataclass(frozen=True, slots=True)
class Life:
    """What a time to live would do.

    Attributes:
        ttl_s: The time to live in seconds.
        hits: Hits on equal questions per request.
        outdated: Expected share of them whose answer has changed since; ``None`` when the rate of
            change is not known.
    """

    ttl_s: float
    hits: Estimate
    outdated: float | None


@dataclass(frozen=True, slots=True)
class LifeAdvice:
    """What a log says of a category's time to live.

    Attributes:
        current: The one in force in most requests, in seconds.
        now: What it does.
        best: What would do better; ``None`` where nothing would, or nothing is known.
        changes: How fast the answers change.
        why: In words, when there is nothing to propose.
    """

    current: float
    now: Life
    best: Life | None
    changes: Volatility
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        rate = self.changes.rate
        return {
            "current_s": self.current,
            "changes_per_day": None if rate is None else 86_400.0 * rate,
            "now": _told(self.now),
            "proposed": None if self.best is None else _told(self.best),
            "why": self.why,
        }


def advise_life(history: History, *, stale: float = STALE) -> LifeAdvice | None:
    """Weigh times to live of a category; ``None`` when its answers live for ever.

    Which equal questions would have been hits under another time to live follows from the times at
    which they were asked: an answer is made when it is asked for and none is alive. How many of
    these hits would be outdated follows from the rate at which answers were seen to change.
    """
    lives = [event.ttl_s for event in history.requests if not event.pressure]
    known = [ttl_s for ttl_s in lives if ttl_s is not None]
    if not known or 2 * len(known) < len(lives):
        return None
    current = max(set(known), key=known.count)
    pairs = [
        (event.age_s, bool(event.changed)) for event in history.renewed if (event.age_s or 0.0) > 0
    ]
    changes = volatility([age or 0.0 for age, _ in pairs], [changed for _, changed in pairs])
    asked = _asked(history.requests)
    lives_tried = {factor: _life(asked, factor * current, changes) for factor in _FACTORS}
    now = lives_tried[1.0]
    if changes.rate is None:
        why = f"{changes.reasked} answers were asked for again; that is too few to tell"
        return LifeAdvice(current, now, None, changes, why)
    allowed = [
        life
        for life in lives_tried.values()
        if life.outdated is not None and life.outdated <= stale
    ]
    best = max(allowed, key=lambda life: (life.hits.value, -life.ttl_s), default=None)
    if best is None:
        best = min(lives_tried.values(), key=lambda life: life.ttl_s)
    gained = abs(best.hits.value - now.hits.value) * len(history.requests)
    keeps = now.outdated is not None and now.outdated <= stale
    if best is now or (keeps and gained < _LEAST_GAINED):
        return LifeAdvice(current, now, None, changes, "no other time to live would do much better")
    return LifeAdvice(current, now, best, changes, "")


def _asked(requests: list[Event]) -> list[list[float]]:
    """Return the times at which each question was asked, in order."""
    found: dict[tuple[str | None, str | None], list[float]] = {}
    for event in requests:
        if event.decision != "bypass" and event.question_hash:
            found.setdefault((event.scope, event.question_hash), []).append(event.t)
    return list(found.values())


def _life(asked: list[list[float]], ttl_s: float, changes: Volatility) -> Life:
    """Let every question's answer live for ``ttl_s``: count the hits, and those outdated."""
    ages: list[float] = []
    total = 0
    for times in asked:
        made = -math.inf
        total += len(times)
        for at in times:
            if at - made < ttl_s:
                ages.append(at - made)
            else:
                made = at
    hits = ips(np.ones(len(ages)), np.ones(len(ages)), total)
    outdated = None
    if changes.rate is not None:
        outdated = float(np.mean(-np.expm1(-changes.rate * np.array(ages)))) if ages else 0.0
    return Life(ttl_s, hits, outdated)


def _told(life: Life) -> dict[str, Any]:
    return {
        "ttl_s": life.ttl_s,
        "hits_per_request": life.hits.to_dict(),
        "expected_outdated": life.outdated,
    }
