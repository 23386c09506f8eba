"""Promise 7: an answer is served for its time to live and its grace, and says how old it is.

Mutations tried: the cache on the clock of the machine, not on ``SteadyClock`` (answers of yesterday
are served after the clock was set back); ``staleness_of`` that adds half an hour to the ttl, and
without ``max-age``. ``tests/gateway/test_stale.py`` has the cases one by one.
"""

from __future__ import annotations

import random
from bisect import bisect_right

from likewise.clock import SteadyClock
from likewise.testing import FakeClock

from .conftest import Report
from .history import Asker, History, Operation
from .model import Behaviour, Canary, Model
from .support import direct, run, scaled

HOUR_S, DAY_S = 3_600.0, 86_400.0
CATEGORIES = {
    "plain": {"ttl": "1h"},
    "aside": {"ttl": "1h", "stale_while_revalidate": "10m"},
    "on-error": {"ttl": "1h", "stale_if_error": "30m"},
    "days": {"ttl": "2d"},
}
MOST_S = {"plain": HOUR_S, "aside": 1.2 * HOUR_S, "on-error": 1.5 * HOUR_S, "days": 2 * DAY_S}
ASKED_S = 600.0
"""The ``max-age`` of callers that are in a hurry."""


class Times:
    """What time it is, what the machine's clock says, and what was done to it."""

    def __init__(self) -> None:
        self.elapsed = FakeClock(1_000_000.0)
        self.wall = FakeClock(1_700_000_000.0)
        self.jumps = 0
        self.clock = SteadyClock(self.wall, self.elapsed)
        self._changed_at = [0.0]
        self._ahead_s = [self._offset()]

    def _offset(self) -> float:
        return self.clock() - self.elapsed()

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.elapsed.advance(seconds)
        self.wall.advance(seconds)

    def set(self, by_s: float) -> None:
        """Set the machine's clock forward or back."""
        self.jumps += 1
        self.wall.advance(by_s)
        self._changed_at.append(self.elapsed())
        self._ahead_s.append(self._offset())

    def ahead(self, at: float) -> float:
        """By how much the cache's clock had been set forward until a time."""
        return self._ahead_s[bisect_right(self._changed_at, at) - 1]


def test_no_answer_is_served_beyond_its_time(upstream: tuple[Model, str], report: Report) -> None:
    """Random traffic, while the clock is moved a day either way now and then."""
    model, url = upstream
    dice, times = random.Random(7), Times()  # noqa: S311 - a workload
    made: dict[int, float] = {}
    history, operations = History(), scaled(800, 20_000)

    def behave(canary: Canary) -> Behaviour:
        made[canary.serial] = times.elapsed()
        failing = canary.key == "Bearer on-error" and dice.random() < 0.5
        return Behaviour(status=503 if failing else 200)

    def most_s(operation: Operation) -> float:
        hurried = ASKED_S if operation.question.endswith("quick") else DAY_S * 9
        return min(MOST_S[operation.asker.category], hurried)

    async def drive() -> None:
        async with direct(
            url, settings={"categories": CATEGORIES, **LASTING}, clock=times.clock
        ) as served:
            for _ in range(operations):
                name = dice.choice(list(CATEGORIES))
                quick = dice.random() < 0.2
                found, _ = await served.ask(
                    Asker(f"Bearer {name}", category=name),
                    f"question {dice.randrange(8)} {'quick' if quick else ''}",
                    clock=times.elapsed,
                    headers={"cache-control": f"max-age={ASKED_S:.0f}"} if quick else {},
                )
                history.add(found)
                await served.settle()
                times.pass_(dice.choice([1, 30, 300, 900]) * dice.random())
                if dice.random() < 0.02:
                    times.pass_(DAY_S * dice.random())
                if dice.random() < 0.02:
                    times.set(dice.choice([-DAY_S, DAY_S]))

    model.behave = behave
    run(drive())
    # Where time stood still between a call and a change of the clock, either may have been first.
    wrong = history.too_old(most_s, made, times.ahead)
    outcomes = history.outcomes()
    report(7, operations=operations, clock_set=times.jumps, hits=outcomes["HIT"],
           stale=outcomes["STALE"], too_old=len(wrong))  # fmt: skip
    assert times.jumps
    assert outcomes["HIT"] > operations / 20
    assert outcomes["STALE"]
    assert wrong == []


LASTING = {"gateway": {"refreshes_per_minute": 1_000_000}}
