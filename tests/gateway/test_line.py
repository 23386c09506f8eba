from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from likewise.gateway.line import Line, Waiter


def served(line: Line[str, str], places: int) -> None:
    """Give so many turns."""
    left = [places]

    def place_for(wanted: str) -> str | None:
        left[0] -= 1
        return wanted if left[0] >= 0 else None

    line.serve(place_for)


async def joined(line: Line[str, str], *wanted: tuple[str, str]) -> list[Waiter[str, str]]:
    """Let tenants join, each with a priority."""
    return [line.join(tenant, flow=tenant, priority=priority) for tenant, priority in wanted]


def turns(waiters: list[Waiter[str, str]]) -> list[bool]:
    """Who had a turn."""
    return [waiter.turn.done() for waiter in waiters]


def test_tenants_take_turns() -> None:
    """One that asks a hundred times waits no less long than one that asks once."""

    async def run() -> None:
        line: Line[str, str] = Line()
        greedy = await joined(line, *[("greedy", "normal")] * 100)
        modest = await joined(line, ("modest", "normal"), ("other", "normal"))
        served(line, 4)
        assert turns(greedy)[:3] == [True, True, False]
        assert turns(modest) == [True, True]
        assert len(line) == 98

    asyncio.run(run())


def test_priorities_share_by_weight_and_none_starves() -> None:
    """While all wait, high gets eight turns and normal four for each one of low."""

    async def run() -> None:
        line: Line[str, str] = Line()
        waiters = await joined(
            line, *[(name, name) for name in ("low", "normal", "high") for _ in range(100)]
        )
        served(line, 65)
        had = Counter(waiter.priority for waiter in waiters if waiter.turn.done())
        assert had == {"high": 40, "normal": 20, "low": 5}

    asyncio.run(run())


def test_a_priority_that_was_idle_has_saved_nothing_up() -> None:
    """It is weighed from when it comes."""

    async def run() -> None:
        line: Line[str, str] = Line()
        normal = await joined(line, *[("n", "normal")] * 100)
        served(line, 60)
        low = await joined(line, *[("l", "low")] * 100)
        served(line, 10)
        assert sum(turns(normal)) == 68
        assert sum(turns(low)) == 2

    asyncio.run(run())


def test_one_for_whom_there_is_no_place_holds_up_nobody() -> None:
    """Its model may be full while another one is free."""

    async def run() -> None:
        line: Line[str, str] = Line()
        waiters = await joined(line, ("a", "high"), ("b", "low"))
        line.serve(lambda wanted: None if wanted == "a" or waiters[1].turn.done() else wanted)
        assert turns(waiters) == [False, True]

    asyncio.run(run())


def test_who_leaves_gets_no_turn() -> None:
    """And who had one may leave twice."""

    async def run() -> None:
        line: Line[str, str] = Line()
        waiters = await joined(line, ("a", "normal"), ("a", "normal"), ("b", "normal"))
        line.leave(waiters[0])
        line.leave(waiters[0])
        served(line, 1)
        assert turns(waiters) == [False, True, False]
        line.leave(waiters[1])
        assert len(line) == 1

    asyncio.run(run())


def test_everybody_is_sent_away_at_the_end() -> None:
    """With the reason."""

    async def run() -> None:
        line: Line[str, str] = Line()
        waiters = await joined(line, ("a", "normal"), ("b", "low"))
        line.give_up(ValueError("closing time"))
        for waiter in waiters:
            with pytest.raises(ValueError, match="closing"):
                await waiter.turn
        assert len(line) == 0

    asyncio.run(run())
