"""The gateway's log, read for advice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from likewise.category import DEFAULT
from likewise.errors import ConfigError
from likewise.replay.lines import decoded


class Event(msgspec.Struct, frozen=True):
    """A line of the log, whatever its event; what an event does not have is ``None``."""

    event: str
    t: float
    id: str = ""
    tenant: str | None = None
    entry_id: str | None = None
    category: str = DEFAULT
    scope: str | None = None
    question_hash: str | None = None
    decision: str | None = None
    reason: str | None = None
    tier: str | None = None
    similarity: float | None = None
    probability: float | None = None
    similarity_threshold: float | None = None
    probability_threshold: float | None = None
    ttl_s: float | None = None
    pressure: float = 0.0
    age_s: float | None = None
    audit: float | None = None
    lookup_s: float | None = None
    status: int | None = None
    latency_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usd: float | None = None
    kind: str | None = None
    score: float | None = None
    right: bool | None = None
    propensity: float | None = None
    audited: bool | None = None
    changed: bool | None = None


@dataclass(slots=True)
class History:
    """A category's events by kind, in order of time."""

    requests: list[Event] = field(default_factory=list)
    labels: list[Event] = field(default_factory=list)
    renewed: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class Logged:
    """A log: each category's history, and the calls to the model.

    ``seconds`` is the time from the first request to the last.
    """

    categories: dict[str, History]
    answers: list[Event]
    seconds: float

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return sum(len(history.requests) for history in self.categories.values())


def read_events(path: Path) -> Logged:
    """Read a gateway's log.

    Raises:
        ConfigError: It cannot be read, a line is wrong, or there is no request in it.
    """
    categories: dict[str, History] = {}
    answers: list[Event] = []
    first, last = float("inf"), float("-inf")
    for number, event in decoded(path, Event, partial_end=True):
        history = categories.setdefault(event.category, History())
        match event.event:
            case "request":
                history.requests.append(event)
                first, last = min(first, event.t), max(last, event.t)
            case "label":
                _check_label(event, f"{path.name}, line {number}")
                history.labels.append(event)
            case "renewed":
                history.renewed.append(event)
            case "answer":
                answers.append(event)
    found = {name: history for name, history in categories.items() if history.requests}
    if not found:
        msg = f"{path} holds no request; write a log with: likewise serve --log {path.name}"
        raise ConfigError(msg)
    for history in found.values():
        history.requests.sort(key=lambda event: event.t)
    return Logged(found, answers, max(last - first, 0.0))


def _check_label(event: Event, where: str) -> None:
    propensity = event.propensity
    if event.right is None or propensity is None or not 0.0 < propensity <= 1.0:
        msg = f"{where}: a label needs right, and a propensity above 0 and up to 1"
        raise ConfigError(msg)
