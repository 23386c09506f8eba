"""What was asked and what came back, and what must hold of all of it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from .model import Canary, Model


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, of what, in which context: what an answer must have been made for."""

    key: str
    model: str = "m-1"
    system: str = ""
    category: str = "loose"

    def headers(self) -> dict[str, str]:
        """What tells the gateway who asks."""
        return {
            "authorization": self.key,
            "x-likewise-category": self.category,
            "content-type": "application/json",
        }

    def body(self, question: str, **fields: Any) -> bytes:
        """A chat request."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": question})
        return json.dumps({"model": self.model, "messages": messages, **fields}).encode()


@dataclass(frozen=True, slots=True)
class Operation:
    """One request and its answer.

    Attributes:
        asker: Who asked.
        question: What.
        begun: When it was sent, by any clock that only goes forward.
        ended: When all of its answer was there.
        status: Of the answer; 0 when the connection broke.
        cache: ``HIT``, ``STALE``, ``MISS`` or ``BYPASS``, as its header says.
        reason: As its header says.
        age_s: As its header says, ``None`` without one.
        entry: The entry that was served, or that the answer becomes.
        canary: What the answer says of itself, ``None`` when it is no answer of the model.
    """

    asker: Asker
    question: str
    begun: float
    ended: float
    status: int
    cache: str = ""
    reason: str = ""
    age_s: float | None = None
    entry: str = ""
    canary: Canary | None = None

    @property
    def from_cache(self) -> bool:
        """Whether it was answered by an entry."""
        return self.cache in ("HIT", "STALE")


@dataclass
class History:
    """Operations in the order in which they ended. Safe to use from many threads.

    ``family`` tells which questions may share an answer: those for which it is equal.
    """

    family: Callable[[str], str] = lambda question: question
    operations: list[Operation] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, operation: Operation) -> Operation:
        """Take note of one."""
        with self._lock:
            self.operations.append(operation)
        return operation

    def __len__(self) -> int:
        return len(self.operations)

    def outcomes(self) -> Counter[str]:
        """How often the cache said what."""
        return Counter(o.cache for o in self.operations)

    # -- what must hold: each returns the operations that break it ---------------------------------

    def leaks(self) -> list[Operation]:
        """Answers that were made for another tenant, model, context or question."""
        return [o for o in self.operations if o.canary is not None and not self._fits(o)]

    def _fits(self, operation: Operation) -> bool:
        canary, asker = operation.canary, operation.asker
        assert canary is not None
        return (canary.key, canary.model, canary.system, self.family(canary.question)) == (
            asker.key,
            asker.model,
            asker.system,
            self.family(operation.question),
        )

    def lost(self) -> list[Operation]:
        """Requests that did not get a whole answer of the model. Every call must have succeeded."""
        return [o for o in self.operations if o.status != 200 or o.canary is None]

    def failed_though_answered(self, model: Model) -> list[Operation]:
        """Requests that failed although a call made for the same was answered meanwhile."""
        answered: dict[tuple[str, str, str, str], list[float]] = {}
        for number in model.successes:
            told = model.told[number]
            c = told.canary
            answered.setdefault((c.key, c.model, c.system, c.question), []).append(told.begun)
        return [
            o
            for o in self.lost()
            for key in [(o.asker.key, o.asker.model, o.asker.system, o.question)]
            if any(o.begun <= begun <= o.ended for begun in answered.get(key, ()))
        ]

    def made_up(self, model: Model) -> list[Operation]:
        """Answers that the model never gave, or gave as a failure, and that came as a success."""
        good = {n for n, told in model.told.items() if told.behaviour.succeeds}
        return [
            o
            for o in self.operations
            if o.canary is not None
            and (o.canary.serial not in good or model.told[o.canary.serial].canary != o.canary)
        ]

    def too_old(
        self,
        most_s: Callable[[Operation], float],
        made: dict[int, float],
        ahead: Callable[[float], float] = lambda _: 0.0,
    ) -> list[str]:
        """Served answers older than they may be, or that told another age than they have.

        ``made`` is when each answer was made, by the clock of ``begun``; ``ahead`` by how much the
        clock of the cache had been set forward until then.
        """
        wrong = []
        for o in self.operations:
            if not o.from_cache or o.canary is None:
                continue
            real_s = o.begun - made[o.canary.serial]
            if real_s > most_s(o):
                wrong.append(f"{o.cache} after {real_s:.0f} s, at most {most_s(o):.0f}")
            told_s = real_s + ahead(o.begun) - ahead(made[o.canary.serial])
            if o.age_s is None or abs(o.age_s - told_s) > 1.0:
                wrong.append(f"says it is {o.age_s} s old, is {told_s:.0f}")
        return wrong

    def outlived(self, since: float, void: Collection[int]) -> list[Operation]:
        """Requests sent after a time that were answered by an entry that was void by then."""
        return [
            o
            for o in self.operations
            if o.begun > since and o.from_cache and o.canary is not None and o.canary.serial in void
        ]
