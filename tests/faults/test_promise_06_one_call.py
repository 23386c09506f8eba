"""Promise 6: a burst of the same question is one call to the model, and never across scopes.

Mutations tried: ``Flight.joinable`` always false (200 calls); ``Flight.leave`` that gives the call
up although others listen (followers fail); ``Scope.digest`` without the tenant (scopes share).
``tests/gateway/test_flight.py`` has the cases one by one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from ..gateway.support import Gateway, wait_for
from .conftest import Report
from .history import Asker, Operation
from .model import Behaviour, Model
from .support import Client, gateway, run, scaled

CLIENTS = 200
ASKERS = [Asker("Bearer ann"), Asker("Bearer bob"), Asker("Bearer ann", system="Be brief.")]


async def until(holds: Callable[[], bool]) -> None:
    """Return once something holds."""
    await asyncio.to_thread(wait_for, holds)


def test_a_burst_is_one_call(upstream: tuple[Model, str], report: Report) -> None:
    """200 clients at once, streaming or not: one call, and the same answer for all."""
    model, url = upstream
    model.behave = lambda _: Behaviour(delay_s=0.3)
    bursts = scaled(2, 100)

    async def burst(served: Gateway, number: int) -> list[Operation]:
        async with Client(served.url) as client:
            asked = [
                client.ask(ASKERS[0], f"burst {number}", stream=n % 2 == 0) for n in range(CLIENTS)
            ]
            return list(await asyncio.gather(*asked))

    with gateway(url) as served:
        for number in range(bursts):
            found = run(burst(served, number))
            assert {o.status for o in found} == {200}
            assert {o.canary.serial for o in found if o.canary} == {number + 1}
            assert all(o.canary for o in found)
            assert model.calls == number + 1
            served.settle()
    report(6, bursts=bursts, clients=bursts * CLIENTS, calls=model.calls)


def test_leaders_leave_and_scopes_stay_apart(upstream: tuple[Model, str], report: Report) -> None:
    """Each scope's leader is cancelled in the middle; its followers get what it asked for."""
    model, url = upstream
    model.behave = lambda _: Behaviour(delay_s=0.3)
    bursts, killed = scaled(3, 100), 0
    dice = random.Random(6)  # noqa: S311 - chooses when leaders leave

    async def burst(served: Gateway, number: int) -> tuple[Client, int]:
        async with Client(served.url) as client:
            text = f"burst {number}"
            leaders = [asyncio.ensure_future(client.ask(a, text, stream=True)) for a in ASKERS]
            await until(lambda: model.calls == len(ASKERS) * (number + 1))
            followers = [
                asyncio.ensure_future(client.ask(asker, text, stream=n % 2 == 0))
                for asker in ASKERS
                for n in range(10)
            ]
            await until(lambda: served.metric("likewise_shared_calls_total") == 30 * (number + 1))
            await asyncio.sleep(dice.random() * 0.02)
            for leader in leaders:
                leader.cancel()
            gone = await asyncio.gather(*leaders, return_exceptions=True)
            await asyncio.gather(*followers)
            return client, sum(isinstance(one, asyncio.CancelledError) for one in gone)

    with gateway(url) as served:
        finished = 0
        for number in range(bursts):
            client, left = run(burst(served, number))
            killed += left
            finished += len(client.history)
            assert client.history.lost() == []
            assert client.history.leaks() == []
            assert model.calls == len(ASKERS) * (number + 1)
            served.settle()
    assert killed
    report(6, bursts=bursts, scopes=len(ASKERS), calls=model.calls, leaders_killed=killed,
           followers_served=finished, failed=0, shared_across_scopes=0)  # fmt: skip
