"""Promise 5: no answer crosses from one tenant, model or context to another.

Each answer names whom it was made for. Mutations tried: ``Scope.digest`` without the tenant, and
without the context; ``tenant_in`` that reads no ``authorization``. Each leaks hundreds of times.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from string import ascii_lowercase

import pytest

from .conftest import Report
from .history import Asker, History
from .model import Behaviour, Model
from .support import Direct, direct, run, scaled

TENANTS = [f"Bearer tenant-{name}" for name in ("ann", "bob", "eve")]
ASKERS = [
    Asker(key, model, system)
    for key in TENANTS
    for model in ("m-1", "m-2")
    for system in ("", "Be brief.")
]
KNOWN = 60
CLIENTS = 24


def words(number: int) -> str:
    """Words that no other question has."""
    dice = random.Random(number)  # noqa: S311 - a workload
    return " ".join("".join(dice.choices(ascii_lowercase, k=7)) for _ in range(9))


TEXTS = [f"item{number} {words(number)}" for number in range(KNOWN)]


def family(text: str) -> str:
    """Questions of one number may share an answer."""
    return text.split(maxsplit=1)[0]


def wording(dice: random.Random) -> str:
    """A way to ask for something: mostly to the letter as before, now and then in other words."""
    text = dice.choice(TEXTS)
    return text if dice.random() < 0.97 else f"{text} {dice.choice(['please', 'now', 'again'])}"


class Traffic:
    """Clients of three tenants that ask the same questions, and leave when they like."""

    def __init__(self, served: Direct, operations: int, seed: int) -> None:
        self.served = served
        self.left = operations
        self.dice = random.Random(seed)  # noqa: S311 - a workload
        self.cancelled = self.gone = self.hits = self.failed = self.leaks = 0
        self.history = History(family)

    async def run(self) -> None:
        """Ask until all is asked."""
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        while self.left > 0:
            self.left -= 1
            if self.left % 5_000 == 0:
                await self.served.cache.clear()  # so that there are misses again
            await self._once()

    async def _once(self) -> None:
        dice = self.dice
        asker, text = dice.choice(ASKERS), wording(dice)
        chance = dice.random()
        leaves = dice.random() * 0.004 if chance < 0.03 else None
        asking = asyncio.ensure_future(
            self.served.ask(asker, text, leaves_after_s=leaves, stream=dice.random() < 0.1)
        )
        if chance > 0.97:
            await asyncio.sleep(dice.random() * 0.004)
            asking.cancel()
        try:
            operation, body = await asking
        except asyncio.CancelledError:
            self.cancelled += 1
            return
        # Also of what was cut short every byte counts.
        others = (key for key in TENANTS if key != asker.key)
        if any(key.encode() in body for key in others):
            self.leaks += 1
        self.gone += operation.status == 0
        self.hits += operation.from_cache
        self.history.operations = [operation]
        self.leaks += len(self.history.leaks())
        self.failed += operation.status not in (0, 200)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis", "postgres"])
def test_no_answer_crosses(
    kind: str, store_url: Callable[[str], str], upstream: tuple[Model, str], report: Report
) -> None:
    """Three tenants, two models, two contexts; the same questions; clients that leave early."""
    model, url = upstream
    model.behave = lambda canary: Behaviour(delay_s=0.002 * (canary.serial % 3))
    many = {"memory": (2_000, 700_000), "sqlite": (1_500, 200_000)}
    operations = scaled(*many.get(kind, (500, 50_000)))

    async def drive() -> Traffic:
        async with direct(url, store=store_url(kind)) as served:
            traffic = Traffic(served, operations, seed=5)
            await traffic.run()
            return traffic

    traffic = run(drive())
    report(
        5,
        store=kind,
        operations=operations,
        calls=model.calls,
        hits=traffic.hits,
        cancelled=traffic.cancelled + traffic.gone,
        failed=traffic.failed,
        leaks=traffic.leaks,
    )
    assert traffic.hits > operations / 10
    # A model that lets go of a connection while this process stands still is no leak.
    assert traffic.failed <= operations / 1_000
    assert traffic.leaks == 0
