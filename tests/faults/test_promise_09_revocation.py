"""Promise 9: once a revocation or a purge is acknowledged, nothing from before is served.

Neither entries, nor what was under way to the model and would have become one, on any worker.
Mutations tried: ``Engine.revoke`` without ``upkeep.clear``; ``_depart`` without ``since``, so that
what was asked for before is kept after it; ``_is_void`` that does not ask the store, so that
another worker keeps it. Each serves old answers here. ``tests/cli/test_fleet.py`` has revocations
over workers that are processes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from .conftest import Report
from .history import Asker, History
from .model import Behaviour, Model
from .support import Direct, direct, run, scaled

ASKER = Asker("Bearer one")
QUESTIONS = 12
WORKERS = 2


async def traffic(served: Direct, history: History, ended: asyncio.Event, seed: int) -> None:
    """Ask for the same things over and over."""
    dice = random.Random(seed)  # noqa: S311 - a workload
    while not ended.is_set():
        operation, _ = await served.ask(ASKER, f"question {dice.randrange(QUESTIONS)}")
        history.add(operation)
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_revocations_under_load(
    kind: str, store_url: Callable[[str], str], upstream: tuple[Model, str], report: Report
) -> None:
    """Over two gateways of one store, of which any is told; calls take longer than a revocation."""
    model, url = upstream
    dice = random.Random(9)  # noqa: S311 - a workload
    model.behave = lambda canary: Behaviour(delay_s=0.05 * (canary.serial % 3))
    times = scaled(8, 400)
    history, acts = History(), list[tuple[float, int]]()

    async def drive() -> None:
        async with AsyncExitStack() as stack:
            store = store_url(kind)
            fleet = [await stack.enter_async_context(direct(url, store=store)) for _ in range(2)]
            ended = asyncio.Event()
            clients = [
                asyncio.ensure_future(traffic(fleet[n % WORKERS], history, ended, n))
                for n in range(8)
            ]
            for number in range(times):
                await asyncio.sleep(0.15 + 0.1 * dice.random())
                before = model.latest
                cache = dice.choice(fleet).cache
                await (cache.clear() if number % 2 else cache.revoke("loose"))
                acts.append((time.monotonic(), before))
            await asyncio.sleep(0.2)
            ended.set()
            await asyncio.gather(*clients)

    run(drive())
    old = sum(
        len(history.outlived(acknowledged, range(1, before + 1))) for acknowledged, before in acts
    )
    outcomes = history.outcomes()
    report(9, store=kind, acts=times, workers=WORKERS, operations=len(history),
           hits=outcomes["HIT"], old_answers_served=old)  # fmt: skip
    assert history.lost() == []
    assert outcomes["HIT"] > times
    assert old == 0
