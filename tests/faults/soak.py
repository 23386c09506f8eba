"""A long run at half of what a gateway can do, while its store and its model fail at random.

    python -m tests.faults.soak --seconds 1800

The gateway runs in a process of its own, over Redis, PostgreSQL or SQLite. First its capacity is
measured: requests a second of clients that ask one after the other. Then half of that comes evenly,
and a proxy before the store and one before the model do to them whatever networks do. A request has
failed when it got no whole answer of the model; none may that the model has answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from likewise.testing import running

from ..cli.support import Shell
from .history import Asker, History, Operation
from .model import Behaviour, Model
from .support import Client, percentile
from .wire import CLEAR, FaultProxy, Way, between

SHARE = 0.5
"""Of the capacity that is asked for."""

MOST_AT_ONCE = 200
"""Requests under way, so that a machine that stands still does not run out of sockets."""

TENANTS = 4
KNOWN = 150
STORE_WAYS = (
    Way(refuses=True),
    Way(silent=True),
    Way(delay_s=10.0),
    Way(delay_s=0.05),
    Way(garbage=0.3),
    Way(after=40),
    Way(after=40, ends="half-close"),
    Way(drip_s=0.002),
)
MODEL_WAYS = (
    Way(refuses=True),
    Way(delay_s=0.3),
    Way(after=120),
    Way(after=500, ends="half-close"),
    Way(garbage=0.5),
)
MARGIN_S = 0.5
"""How long after a fault of the model a connection that suffered from it may be taken."""


@dataclass
class Figures:
    """What a soak has come to.

    Attributes:
        store: Kind of the store.
        seconds: How long it took.
        capacity_rps: Requests a second, measured first.
        asked_rps: Requests a second that came.
        requests: All of them.
        hits: Of them from cache.
        store_faults: Times that the store failed.
        model_faults: Times that the model failed.
        failed: Requests that got no answer; all of them while the model failed.
        failed_though_answered: Those of them that the model had answered.
        leaks: Answers that were made for somebody else.
        made_up: Answers that the model never gave.
        p50_ms: Median of all times.
        p99_ms: Of all times.
        memory_mb: Resident at the end.
        memory_slope_mb_h: By a line through the second half.
        memory_fit: Share of the variance that the line explains.
        descriptors: Open files at the start and at the end.
    """

    store: str = ""
    seconds: float = 0.0
    capacity_rps: float = 0.0
    asked_rps: float = 0.0
    requests: int = 0
    hits: int = 0
    store_faults: int = 0
    model_faults: int = 0
    failed: int = 0
    failed_though_answered: int = 0
    leaks: int = 0
    made_up: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    memory_mb: float = 0.0
    memory_slope_mb_h: float = 0.0
    memory_fit: float = 0.0
    descriptors: tuple[int, int] = (0, 0)


@dataclass
class Soak:
    """One run.

    Args:
        pid: The gateway's process.
        client: Asks it.
        model: Answers.
        proxies: Before the store, if it has a server, and before the model.
    """

    pid: int
    client: Client
    model: Model
    proxies: tuple[FaultProxy | None, FaultProxy]
    dice: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311
    bad: list[tuple[float, float]] = field(default_factory=list)
    """From when to when the model failed."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0])
    ended: bool = False
    _asked: int = 0

    async def once(self) -> None:
        """Ask once: mostly what was asked before."""
        self._asked += 1
        asker = Asker(f"Bearer tenant-{self.dice.randrange(TENANTS)}")
        known = self.dice.random() < 0.7
        number = self.dice.randrange(KNOWN) if known else KNOWN + self._asked
        await self.client.ask(asker, question(number), stream=self.dice.random() < 0.2)

    async def capacity(self, seconds: float) -> float:
        """Return how many requests a second 16 clients get answered."""

        async def asking() -> None:
            while time.monotonic() < ends:
                await self.once()

        began = time.monotonic()
        ends, before = began + seconds, self._asked
        await asyncio.gather(*(asking() for _ in range(16)))
        return (self._asked - before) / (time.monotonic() - began)

    async def load(self, rate: float, seconds: float) -> None:
        """Ask so many times a second; what comes too late to be asked then is asked later."""
        tasks: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        sent = 0
        while (now := time.monotonic() - began) < seconds:
            while sent < now * rate and len(tasks) < MOST_AT_ONCE:
                task = asyncio.ensure_future(self.once())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)

    async def faults(self) -> None:
        """Let the store and the model fail, each for itself, with peace in between."""
        await asyncio.gather(self._store_faults(), self._model_faults())

    async def _store_faults(self) -> None:
        proxy = self.proxies[0]
        while not self.ended and proxy is not None:
            await self._wait(0.5, 4.0)
            await asyncio.to_thread(setattr, proxy, "way", self.dice.choice(STORE_WAYS))
            self.counts[0] += 1
            await self._wait(0.5, 4.0)
            proxy.way = CLEAR
            await asyncio.to_thread(proxy.drop)

    async def _model_faults(self) -> None:
        proxy = self.proxies[1]
        while not self.ended:
            await self._wait(3.0, 12.0)
            began = time.monotonic()
            await asyncio.to_thread(setattr, proxy, "way", self.dice.choice(MODEL_WAYS))
            self.counts[1] += 1
            await self._wait(0.2, 1.5)
            proxy.way = CLEAR
            await asyncio.to_thread(proxy.drop)
            self.bad.append((began, time.monotonic() + MARGIN_S))

    async def _wait(self, least_s: float, most_s: float) -> None:
        ends = time.monotonic() + self.dice.uniform(least_s, most_s)
        while time.monotonic() < ends and not self.ended:  # noqa: ASYNC110 - two ends
            await asyncio.sleep(0.05)

    async def watch(self) -> None:
        """Take note of the gateway's memory."""
        while not self.ended:
            self.memory.append((time.monotonic(), resident_mb(self.pid)))
            await asyncio.sleep(0.5)

    def excused(self, operation: Operation) -> bool:
        """Whether the model failed while a request was under way."""
        return any(
            began <= operation.ended and operation.begun <= ended for began, ended in self.bad
        )


def question(number: int) -> str:
    """A question with words of its own."""
    return " ".join(f"{number * prime % 99_991:05}" for prime in (7, 11, 13, 17, 19, 23))


def resident_mb(pid: int) -> float:
    """Megabytes of memory that a process takes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors(pid: int) -> int:
    """Files and sockets that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def line(samples: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the slope by the hour of a line through samples, and how much of them it explains."""
    if len(samples) < 3:
        return 0.0, 0.0
    at, values = (np.array(column) for column in zip(*samples, strict=True))
    slope, start = np.polyfit(at - at[0], values, 1)
    spread = float(np.var(values))
    rest = float(np.var(values - (slope * (at - at[0]) + start)))
    return 3_600.0 * float(slope), 1.0 - rest / spread if spread else 0.0


def soak(seconds: float, store: str) -> Figures:
    """Run for so long over a store, given by its address."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = Model(behave=lambda canary: Behaviour(delay_s=0.01, padding=500))
        through, before_model = stack.enter_context(
            between(stack.enter_context(running(model)), seed=1)
        )
        before_store = None
        if not store.startswith("sqlite"):
            store, before_store = stack.enter_context(between(store, seed=2))
        shell = Shell(folder)
        policy = {"similarity_threshold": 0.9, "guards": [], "ttl": "30s"}
        shell.configure(
            store=store, categories={"loose": policy}, max_entries=5_000, load={"max_wait": None}
        )
        server = stack.enter_context(shell.serving("serve", "--upstream", through))
        return asyncio.run(
            _drive(seconds, server.url, server.process.pid, model, (before_store, before_model))
        )


async def _drive(
    seconds: float,
    url: str,
    pid: int,
    model: Model,
    proxies: tuple[FaultProxy | None, FaultProxy],
) -> Figures:
    async with Client(url, History()) as client:
        run = Soak(pid, client, model, proxies)
        capacity = await run.capacity(min(20.0, max(2.0, seconds / 20)))
        client.history = History()
        opened, began = descriptors(pid), time.monotonic()
        aside = [asyncio.ensure_future(step) for step in (run.faults(), run.watch())]
        await run.load(SHARE * capacity, seconds)
        run.ended = True
        await asyncio.gather(*aside)
        took, history = time.monotonic() - began, client.history
    slope, fit = line(run.memory[len(run.memory) // 2 :])
    lost = history.lost()
    times = [o.ended - o.begun for o in history.operations]
    answered = history.failed_though_answered(model)
    return Figures(
        store="sqlite" if proxies[0] is None else "server",
        seconds=took,
        capacity_rps=capacity,
        asked_rps=len(history) / took,
        requests=len(history),
        hits=sum(o.from_cache for o in history.operations),
        store_faults=run.counts[0],
        model_faults=run.counts[1],
        failed=len(lost),
        failed_though_answered=sum(not run.excused(o) for o in answered),
        leaks=len(history.leaks()),
        made_up=len(history.made_up(model)),
        p50_ms=1_000 * percentile(times, 0.5),
        p99_ms=1_000 * percentile(times, 0.99),
        memory_mb=run.memory[-1][1],
        memory_slope_mb_h=slope,
        memory_fit=fit,
        descriptors=(opened, descriptors(pid)),
    )


def main() -> None:
    """Run from the command line; exits with 1 when a request failed that the model answered."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--seconds", type=float, default=1_800.0, help="how long")
    options.add_argument("--store", default="redis://127.0.0.1:6379/0?prefix=soak")
    given = options.parse_args()
    figures = soak(given.seconds, given.store)
    sys.stdout.write(json.dumps(asdict(figures), indent=2) + "\n")
    sys.exit(1 if figures.failed_though_answered or figures.leaks or figures.made_up else 0)


if __name__ == "__main__":
    main()
