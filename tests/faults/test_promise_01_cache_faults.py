"""Promise 1: faults of the cache never fail a request, and cost it little.

Mutations tried: ``AsyncCache.fetch`` that waits 30 s and not ``_FETCH_S``; ``_stored_meanwhile``
that waits for the store as long as it takes (as it did once); ``Fetcher.fetch`` that lets
errors of the store out.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from likewise import Entry
from likewise.bench.stores import private_redis
from likewise.breaker import CircuitBreaker
from likewise.errors import StoreError
from likewise.stores import Store, open_store

from ..gateway.support import Gateway, wait_for
from .conftest import Report
from .history import Asker, History
from .model import Behaviour, Model
from .support import LONG, PATIENCE_S, Client, gateway, percentile, run, scaled
from .wire import CLEAR, Way, between

SLOW_S = 10.0
FAULTS = {
    "refused": Way(refuses=True),
    "silent": Way(silent=True),
    "slow": Way(delay_s=SLOW_S),
    "garbage": Way(garbage=0.5),
    "cut": Way(after=20),
    "half-closed": Way(after=20, ends="half-close"),
}
KNOWN = 40
ASKER = Asker("Bearer one")


async def rounds(served: Gateway, count: int, seed: int) -> History:
    """Ask for what is known and for what is new, four at a time."""
    dice = random.Random(seed)  # noqa: S311 - a workload
    async with Client(served.url) as client:

        async def worker(who: int) -> None:
            for turn in range(count // 4):
                known = dice.random() < 0.5
                text = f"known {dice.randrange(KNOWN)}" if known else f"new {seed} {who} {turn}"
                await client.ask(ASKER, text, stream=dice.random() < 0.3)

        await asyncio.gather(*(worker(who) for who in range(4)))
        return client.history


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_requests_go_on_whatever_the_store_does(
    kind: str, store_url: Callable[[str], str], upstream: tuple[Model, str], report: Report
) -> None:
    """Refusing, silent, slow, talking nonsense, cut off: every reply is one of the model's."""
    model, model_url = upstream
    count = scaled(80, 4_000)
    asked, slowest, waited = 0, 0.0, []
    # Nothing is at hand in such stores: each hit asks the server.
    with (
        between(store_url(kind)) as (through, proxy),
        gateway(
            model_url,
            store=through,
            settings={"categories": {"loose": {"exact_only": True, "ttl": "never"}}},
        ) as served,
    ):
        if not LONG:
            # So that the store is asked again soon after each fault.
            served.cache._patience = CircuitBreaker(failures=3, open_s=0.3)
        filled = run(first(served))
        assert filled.lost() == []
        calm = run(rounds(served, count, 0))
        usual_s = percentile(times(calm), 0.99)
        for number, (name, way) in enumerate(FAULTS.items(), 1):
            # Each fault comes upon a store that was well until then.
            proxy.way = CLEAR
            proxy.drop()
            recovered(served)
            proxy.way = way
            history = run(rounds(served, count, number))
            assert history.lost() == [], name
            assert history.leaks() == [], name
            assert history.made_up(model) == [], name
            asked += len(history)
            waited += times(history)
            slowest = max(slowest, *times(history))
        proxy.way = CLEAR
        proxy.drop()
        recovered(served)
    over_s = max(0.0, percentile(waited, 0.99) - usual_s)
    report(
        1,
        store=kind,
        requests=asked,
        faults=sum(proxy.did.values()),
        failed=0,
        p50_ms=1000 * percentile(waited, 0.5),
        p99_over_calm_ms=1000 * over_s,
        slowest_ms=1000 * slowest,
    )
    # Nobody waits for the store: not the hit that asks it, nor who is next.
    assert slowest < SLOW_S / 5


async def first(served: Gateway) -> History:
    """Ask for each of the known questions once."""
    async with Client(served.url) as client:
        for number in range(KNOWN):
            await client.ask(ASKER, f"known {number}")
        return client.history


def times(history: History) -> list[float]:
    """How long each request took, in seconds."""
    return [o.ended - o.begun for o in history.operations]


def recovered(served: Gateway) -> None:
    """Check that the cache serves again once the store is back."""

    async def hits() -> bool:
        async with Client(served.url) as client:
            return (await client.ask(ASKER, "known 1")).cache == "HIT"

    deadline = time.monotonic() + PATIENCE_S
    while not run(hits()):
        assert time.monotonic() < deadline, "it never served from the store again"
        time.sleep(0.1)


def test_a_stopped_server_delays_nobody(upstream: tuple[Model, str], report: Report) -> None:
    """SIGSTOP to Redis itself, again and again under load, then SIGKILL."""
    model, model_url = upstream
    with private_redis() as url:
        pid = pid_of(url)
        with gateway(
            model_url,
            store=url,
            settings={"categories": {"loose": {"exact_only": True, "ttl": "never"}}},
        ) as served:
            run(first(served))
            asked, slowest = 0, 0.0
            signals = [signal.SIGSTOP, signal.SIGCONT] * scaled(1, 5) + [signal.SIGKILL]
            for number, sent in enumerate(signals):
                os.kill(pid, sent)
                history = run(rounds(served, scaled(80, 2_000), number))
                assert history.lost() == []
                assert history.made_up(model) == []
                asked += len(history)
                slowest = max(slowest, *times(history))
    report(1, store="redis, SIGSTOP and SIGKILL", requests=asked, signals=len(signals), failed=0,
           slowest_ms=1000 * slowest)  # fmt: skip
    assert slowest < SLOW_S / 5


def pid_of(url: str) -> int:
    """The process behind a Redis."""
    import redis  # noqa: PLC0415 - as the drivers are

    with redis.Redis.from_url(url) as server:
        return int(server.info("server")["process_id"])


# -- a full disk under PostgreSQL ------------------------------------------------------------------


@contextmanager
def own_postgres() -> Iterator[tuple[str, Path]]:
    """A PostgreSQL of this test's own; yields its address and its folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pgserver")
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = pgserver.get_server(folder)
        try:
            yield server.get_uri(), Path(folder)
        finally:
            server.cleanup()


def family_of(folder: Path) -> list[int]:
    """The processes of a server: its postmaster and the children of that."""
    file = folder / "postmaster.pid"
    if not file.exists():
        return []  # it has ended
    master = int(file.read_text().split()[0])
    found = [master]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == master:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


def limit_files(folder: Path, most: int | None) -> None:
    """Let no file of a server grow beyond so many bytes; ``None`` lifts that."""
    soft = "unlimited" if most is None else str(most)
    for pid in family_of(folder):
        try:
            owner = Path(f"/proc/{pid}").stat().st_uid
        except FileNotFoundError:
            continue  # it has ended
        # Only the server's own user may, or who may do anything.
        subprocess.run(
            ["prlimit", f"--pid={pid}", f"--fsize={soft}:"],
            user=None if owner == os.getuid() else owner,
            check=False,
            stderr=subprocess.DEVNULL,
        )


def test_a_full_disk_under_postgres(upstream: tuple[Model, str], report: Report) -> None:
    """The store says so in one line, requests go on, and later writes work again.

    PostgreSQL itself may end over a full disk: there are no hits then until it is back.
    Every file is held at its size, as on a disk that is full: extending one fails.
    """
    model, model_url = upstream
    with own_postgres() as (url, folder), open_store(url) as store:
        for number in range(50):
            store.put(big(f"before {number}"))
        with gateway(model_url, store=url) as served:
            model.behave = lambda _: Behaviour(padding=20_000)
            run(first(served))
            served.settle()
            limit_files(folder, biggest(folder))
            refused = 0
            for number in range(scaled(3_000, 20_000)):
                try:
                    store.put(big(f"during {number}"))
                except StoreError as error:
                    assert "\n" not in str(error)
                    refused += 1
                    if refused == scaled(3, 20):
                        break
            assert refused
            history = run(rounds(served, scaled(80, 1_000), 1))
            assert history.lost() == []
            assert history.made_up(model) == []
            hits = history.outcomes()["HIT"]
            if not (folder / "postmaster.pid").exists():
                report(1, store="postgres, ended over a full disk", requests=len(history), failed=0)
                return
            limit_files(folder, None)
            wait_for(lambda: writes_again(store))
            recovered(served)
        report(1, store="postgres, disk full", requests=len(history), refused_writes=refused,
               hits_meanwhile=hits, failed=0)  # fmt: skip


def writes_again(store: Store) -> bool:
    """Whether the store takes entries."""
    try:
        store.put(big("after"))
    except StoreError:
        return False
    return True


def biggest(folder: Path) -> int:
    """Bytes of the biggest table or index of a server; segments of its log are bigger already."""
    sizes = [p.stat().st_size for p in (folder / "base").rglob("*") if p.is_file()]
    return max(sizes)


def big(name: str) -> Entry:
    """An entry that does not compress."""
    answer = np.random.default_rng(abs(hash(name)) % 2**32).bytes(20_000).hex()
    return Entry(name, b"s", "code", name, answer, 1.0, None, np.ones(4, np.float16), "e")
