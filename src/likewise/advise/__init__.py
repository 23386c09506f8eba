"""Advice from a log: thresholds, times to live, quotas, and the room that traffic needs."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from likewise.advise.capacity import Inputs
from likewise.advise.events import History, Logged, read_events
from likewise.advise.lifetimes import LifeAdvice, advise_life
from likewise.advise.quotas import Room, advise_quotas
from likewise.advise.thresholds import ThresholdAdvice, advise_threshold
from likewise.config import Config

__all__ = ["Advice", "CategoryAdvice", "advise", "inputs_of", "read_events"]

_DAY_S = 86_400.0
_BYTES_PER_TOKEN = 4.0
_LEAST_SECONDS = 60.0
_OK = 200
_LEAST_QUOTA_GAIN = 0.01


@dataclass(frozen=True, slots=True)
class CategoryAdvice:
    """What a log says of one category.

    Attributes:
        requests: How many it had.
        threshold: Of its threshold; ``None`` where nothing can be said.
        life: Of its time to live; ``None`` where nothing can be said.
        room: Of its quota.
        gain_per_day: Seconds and US dollars of the model that a proposed threshold would save, with
            the ends of their intervals.
    """

    requests: int
    threshold: ThresholdAdvice | None
    life: LifeAdvice | None
    room: Room
    gain_per_day: dict[str, float | None]

    def proposed(self) -> dict[str, Any]:
        """Return what to change in the category's policy."""
        found: dict[str, Any] = {}
        if self.threshold is not None and self.threshold.best is not None:
            found[self.threshold.key] = self.threshold.best.threshold
        if self.life is not None and self.life.best is not None:
            found["ttl"] = f"{self.life.best.ttl_s:.0f}s"
        if self.room.hits - self.room.hits_now >= _LEAST_QUOTA_GAIN:
            found["quota"] = self.room.entries
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "requests": self.requests,
            "threshold": None if self.threshold is None else self.threshold.to_dict(),
            "ttl": None if self.life is None else self.life.to_dict(),
            "quota": self.room.to_dict(),
            "gain_per_day": self.gain_per_day,
            "proposed": self.proposed(),
        }


@dataclass(frozen=True, slots=True)
class Advice:
    """What a log says, category by category."""

    requests: int
    seconds: float
    categories: dict[str, CategoryAdvice]

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "requests": self.requests,
            "seconds": self.seconds,
            "categories": {name: found.to_dict() for name, found in self.categories.items()},
        }


def advise(logged: Logged, config: Config, *, budget: float | None = None) -> Advice:
    """Weigh other policies than the one that was logged.

    Args:
        logged: The log.
        config: The configuration in use: its budgets, quotas and room.
        budget: Wrong answers per hit allowed, in the place of each category's own.
    """
    entries = config.settings.max_entries
    held = {
        name: quota
        for name in logged.categories
        if (quota := config.policies.of(name).guaranteed_entries(entries)) is not None
    }
    rooms = advise_quotas(logged.categories, entries=entries, now=held)
    found = {}
    for name, history in sorted(logged.categories.items()):
        allowed = config.policies.of(name).error_budget if budget is None else budget
        threshold = advise_threshold(history, budget=allowed)
        found[name] = CategoryAdvice(
            len(history.requests),
            threshold,
            advise_life(history),
            rooms[name],
            _gain(logged, history, threshold),
        )
    return Advice(logged.requests, logged.seconds, found)


def inputs_of(logged: Logged) -> dict[str, float]:
    """Return the inputs of a capacity plan that a log tells; see ``capacity.Inputs``."""
    decided = [
        event
        for history in logged.categories.values()
        for event in history.requests
        if event.decision != "bypass"
    ]
    found: dict[str, float] = {}
    if logged.seconds >= _LEAST_SECONDS:
        found["requests_per_day"] = logged.requests * _DAY_S / logged.seconds
        found["peak"] = _peak(logged)
    if decided:
        found["hit_rate"] = sum(event.decision == "hit" for event in decided) / len(decided)
    lives = [event.ttl_s for event in decided if event.ttl_s is not None]
    if lives:
        found["keep_s"] = sum(lives) / len(lives)
    lookups = [event.lookup_s for event in decided if event.lookup_s]
    if lookups:
        found["lookups_per_core_s"] = len(lookups) / sum(lookups)
    tokens = [event.completion_tokens for event in logged.answers if event.completion_tokens]
    if tokens:
        # Besides the answer: the question, a vector in half precision, and what JSON takes.
        found["document_bytes"] = _BYTES_PER_TOKEN * median(tokens) + 1_500.0
    answered = [event for event in logged.answers if event.status is not None]
    if answered:
        found["kept"] = sum(event.entry_id is not None for event in answered) / len(answered)
    return found


def _peak(logged: Logged) -> float:
    """Return how many times its mean the traffic is in its busiest minute."""
    minutes: dict[int, int] = {}
    for history in logged.categories.values():
        for event in history.requests:
            minutes[int(event.t // 60)] = minutes.get(int(event.t // 60), 0) + 1
    mean = logged.requests / max(logged.seconds / 60.0, 1.0)
    return max(1.0, max(minutes.values()) / mean)


def _gain(
    logged: Logged, history: History, threshold: ThresholdAdvice | None
) -> dict[str, float | None]:
    """Return what a proposed threshold would save a day: of the model's time and in money."""
    nothing: dict[str, float | None] = {"seconds": None, "usd": None}
    if threshold is None or threshold.best is None or logged.seconds < _LEAST_SECONDS:
        return nothing
    ids = {event.id for event in history.requests}
    answers = [
        event
        for event in logged.answers
        if event.id in ids and event.latency_s and event.status == _OK
    ]
    if not answers:
        return nothing
    per_day = len(history.requests) * _DAY_S / logged.seconds
    more = threshold.best.right.value - threshold.now.right.value
    spread = (threshold.best.right.high - threshold.best.right.low) / 2.0
    call_s = sum(event.latency_s or 0.0 for event in answers) / len(answers)
    call_usd = sum(event.usd or 0.0 for event in answers) / len(answers)
    return {
        "seconds": more * per_day * call_s,
        "seconds_low": (more - spread) * per_day * call_s,
        "seconds_high": (more + spread) * per_day * call_s,
        "usd": more * per_day * call_usd,
        "usd_low": (more - spread) * per_day * call_usd,
        "usd_high": (more + spread) * per_day * call_usd,
    }


def inputs(given: dict[str, float], told: dict[str, float]) -> tuple[Inputs, dict[str, str]]:
    """Return the inputs of a plan, and where each comes from: ``option``, ``log`` or ``default``.

    Args:
        given: Those that the user sets.
        told: Those that a log tells; see ``inputs_of``.
    """
    source = {
        name: "option" if name in given else "log" if name in told else "default"
        for name in Inputs.__slots__
    }
    values = {**told, **given}
    values.setdefault("requests_per_day", 0.0)
    return Inputs(**values), source  # type: ignore[arg-type]
