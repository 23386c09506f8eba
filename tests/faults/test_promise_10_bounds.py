"""Promise 10: memory and disk are bounded, and proxying goes on at the bounds.

Mutations tried: ``Engine.keep`` without ``upkeep.evict`` (the quota is passed); ``try_keep`` that
lets a ``StoreError`` out (what the disk refused is not counted as that).
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from ..cli.support import Server, Shell
from ..gateway.support import wait_for
from .conftest import Report
from .history import Asker, History
from .model import Behaviour, Model
from .support import LONG, Client, run, scaled

KEY = "the-admin-key"
ASKER = Asker("Bearer one")
MB = 1_000_000
MOST_BYTES, MOST_ENTRIES = 4 * MB, 150
BIG = 50 * MB


@contextmanager
def serving(folder: Path, upstream: str, store: Path) -> Iterator[Server]:
    """Run a gateway in a process of its own, with bounds that are soon reached."""
    shell = Shell(folder)
    policy = {"similarity_threshold": 0.9, "guards": [], "ttl": "never"}
    shell.configure(
        store=f"sqlite:///{store}",
        max_bytes=MOST_BYTES,
        max_entries=MOST_ENTRIES,
        gateway={"admin_key": KEY},
        categories={"loose": policy},
        load={"max_wait": None},
    )
    with shell.serving("serve", "--upstream", upstream) as server:
        yield server


async def flood(url: str, texts: list[str], at_once: int = 4) -> History:
    """Ask many questions, some at once."""
    async with Client(url) as client:
        for start in range(0, len(texts), at_once):
            await asyncio.gather(*(client.ask(ASKER, t) for t in texts[start : start + at_once]))
        return client.history


def stats(server: Server) -> dict[str, Any]:
    """The gateway's own word on what it holds."""
    headers = {"authorization": f"Bearer {KEY}"}
    found: dict[str, Any] = urllib3.request(
        "GET", f"{server.url}/admin/stats", headers=headers, retries=False
    ).json()
    return found


def resident(server: Server) -> float:
    """Megabytes of memory that a gateway's process takes."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


def tmpfs(folder: Path) -> None:
    """Make a folder a tiny disk of its own, or skip the test where this user may not."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")


@pytest.mark.parametrize("how", ["limit", "tmpfs"])
def test_a_full_disk(how: str, tmp_path: Path, upstream: tuple[Model, str], report: Report) -> None:
    """Every request is answered while the store's file cannot grow, and what is there is served."""
    model, url = upstream
    disk = tmp_path / "disk"
    tmpfs(disk) if how == "tmpfs" else disk.mkdir()
    try:
        model.behave = lambda _: Behaviour(padding=40_000)
        with serving(tmp_path, url, disk / "a.db") as server:
            few = [f"few {n}" for n in range(5)]
            run(flood(server.url, few))
            server.hit(few[0], key="one")
            pid = server.process.pid
            if how == "limit":
                most = max(path.stat().st_size for path in disk.iterdir())
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            many = [f"{word(n)} {n}" for n in range(scaled(60, 1_000))]
            history = run(flood(server.url, [*many, *few]))
            assert history.lost() == []
            assert history.made_up(model) == []
            assert history.outcomes()["HIT"] > 0
            refused = stats(server)["categories"]["loose"]["faults"]["store"]
            assert refused > 0
            if how == "limit":
                free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, free)
                wait_for(lambda: run(flood(server.url, ["after"])).outcomes()["HIT"] == 1)
    finally:
        if how == "tmpfs":
            subprocess.run(["umount", "--lazy", str(disk)], check=False)
    report(10, disk_full=how, requests=len(history), refused_writes=int(refused),
           hits_meanwhile=history.outcomes()["HIT"], failed=0)  # fmt: skip


def word(number: int) -> str:
    """Words that only this number has."""
    return " ".join(f"{number * prime % 99_991:05}" for prime in (7, 11, 13, 17, 19))


def within(found: dict[str, Any]) -> bool:
    """Whether a gateway holds no more than it may."""
    return bool(found["entries"] <= MOST_ENTRIES and found["bytes"] <= MOST_BYTES)


def test_quotas_and_memory_hold(
    tmp_path: Path, upstream: tuple[Model, str], report: Report
) -> None:
    """Far more comes than may be held: neither entries, bytes, file nor memory go on growing."""
    model, url = upstream
    model.behave = lambda _: Behaviour(padding=60_000)
    rounds, each = scaled(4, 12), scaled(150, 2_000)
    file = tmp_path / "a.db"
    sizes, memory = [], []
    with serving(tmp_path, url, file) as server:
        for turn in range(rounds):
            history = run(flood(server.url, [word(turn * each + n) for n in range(each)], 8))
            assert history.lost() == []
            # Who stores an answer makes room for it afterwards.
            wait_for(lambda: within(stats(server)))
            found = stats(server)
            sizes.append(file.stat().st_size)
            memory.append(resident(server))
    report(10, answers=rounds * each, came_mb=rounds * each * 0.06, held_mb=found["bytes"] / MB,
           most_mb=MOST_BYTES / MB, file_mb=sizes[-1] / MB, resident_mb=memory[-1],
           grown_in_last_half=memory[-1] / memory[rounds // 2 - 1])  # fmt: skip
    assert sizes[-1] < 3 * MOST_BYTES
    # A short run is still filling what is kept at hand.
    assert memory[-1] < (1.25 if LONG else 1.6) * memory[rounds // 2 - 1]


def test_huge_bodies(tmp_path: Path, upstream: tuple[Model, str], report: Report) -> None:
    """A question too long is refused; uploads and answers of 50 MB pass, and are not kept."""
    model, url = upstream
    model.behave = lambda canary: Behaviour(padding=BIG if canary.question == "huge" else 0)
    times = scaled(1, 10)
    with serving(tmp_path, url, tmp_path / "a.db") as server, urllib3.PoolManager() as pool:
        run(flood(server.url, ["small"]))
        for _ in range(times):
            said = pool.request(
                "POST", f"{server.url}/v1/chat/completions", body=ASKER.body("x" * BIG),
                headers=ASKER.headers(), retries=False,
            )  # fmt: skip
            assert said.status == 413
            passed = pool.request("POST", f"{server.url}/v1/files", body=b"x" * BIG, retries=False)
            assert passed.json() == {"bytes": BIG}
            history = run(flood(server.url, ["huge"]))
            assert history.lost() == []
            assert history.outcomes()["MISS"] == 1
        assert stats(server)["entries"] == 1
        after = resident(server)
    report(10, bodies=3 * times, body_mb=BIG / MB, kept=0, resident_mb=after)
