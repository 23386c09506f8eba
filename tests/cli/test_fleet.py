"""Gateways and workers over one store, as processes: what one does, all do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import urllib3

from .support import PATIENCE_S, Server, Shell

KEY = "the-admin-key"
ADMIN = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module", params=["sqlite", "redis", "postgres"])
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    store_url: Callable[[str], str],
) -> Iterator[list[Server]]:
    """Two gateways of two workers each over one store; for SQLite one of three.

    Starting them takes longer than all that is asked of them, so that they are started once.
    """
    shell = Shell(tmp_path_factory.mktemp("fleet"))
    with started(shell, store_url(request.param), request.param) as servers:
        yield servers


@contextmanager
def started(shell: Shell, url: str, kind: str) -> Iterator[list[Server]]:
    """Start a fleet over a store."""
    shell.configure(store=url, gateway={"admin_key": KEY})
    with ExitStack() as stack:
        model = stack.enter_context(shell.serving("mock-llm", "--latency", "0"))
        count, workers = (1, 3) if kind == "sqlite" else (2, 2)
        command = ("serve", "--upstream", model.url, "--workers", str(workers))
        yield [stack.enter_context(shell.serving(*command)) for _ in range(count)]


def each_worker(server: Server, text: str) -> dict[str, str]:
    """Ask over new connections until every worker has said what it makes of a question.

    Returns what each said last, by its number. Whose answer it was the metrics tell.
    """
    workers = int(server.line["workers"])
    said: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(said) < workers:
        assert time.monotonic() < deadline, f"only workers {sorted(said)} have been met"
        before = asked(server)
        cache = ask(server, text)
        after = asked(server)
        [worker] = [w for w in after if after[w] != before.get(w, 0.0)]
        said[worker] = cache
    return said


def ask(server: Server, text: str) -> str:
    """Ask over a connection of its own, which any worker may get; return what the cache said."""
    body = {"model": "stand-in-1", "messages": [{"role": "user", "content": text}]}
    headers = {"authorization": "Bearer k"}
    with urllib3.PoolManager() as pool:
        url = f"{server.url}/v1/chat/completions"
        response = pool.request("POST", url, json=body, headers=headers, retries=False)
        return response.headers["x-cache"]


def asked(server: Server) -> dict[str, float]:
    """How many decisions each worker has made."""
    counts: dict[str, float] = {}
    with urllib3.PoolManager() as pool:
        page = pool.request("GET", f"{server.url}/metrics").data.decode()
    for line in page.splitlines():
        if line.startswith("likewise_decisions_total{"):
            labels, _, value = line.rpartition(" ")
            worker = labels.partition('worker="')[2].partition('"')[0]
            counts[worker] = counts.get(worker, 0.0) + float(value)
    return counts


def admin(server: Server, method: str, path: str, body: Any = None) -> Any:
    """Ask the admin API."""
    response = urllib3.request(
        method, f"{server.url}/admin{path}", json=body, headers=ADMIN, retries=False
    )
    assert response.status == 200, response.data
    return response.json()


def eventually(holds: Callable[[], bool]) -> float:
    """Wait until something holds; return how long that took, in seconds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PATIENCE_S, "it has not come about"
    return time.monotonic() - began


def test_what_one_stores_all_others_serve_and_what_one_purges_none_does(
    fleet: list[Server],
) -> None:
    """Over every worker of every gateway; after the purge has returned not once more."""
    first, last = fleet[0], fleet[-1]
    taken = []
    for number in range(12):
        text = f"Question number {number} of the fleet?"
        assert first.ask(text).headers["x-cache"] == "MISS"
        began = time.monotonic()
        while ask(last, text) != "HIT":
            assert time.monotonic() - began < PATIENCE_S
        taken.append(time.monotonic() - began)
    print(f"stored through one, served by another after {1000 * median(taken):.0f} ms (median)")  # noqa: T201
    text = "Question number 3 of the fleet?"
    for server in fleet:
        eventually(lambda server=server: set(each_worker(server, text).values()) == {"HIT"})  # type: ignore[misc]
    assert admin(last, "POST", "/purge", {"all": True})["dropped"] == 12
    for server in fleet:
        # The first to be asked again stores the answer anew, which others may then serve.
        for number in range(4, 10):
            fresh = f"Question number {number} of the fleet?"
            if server is first:
                assert server.ask(fresh).headers["x-cache"] == "MISS"


def test_policies_and_revocations_reach_every_worker(fleet: list[Server]) -> None:
    """And any worker tells of all: statistics, decisions, metrics."""
    first, last = fleet[0], fleet[-1]
    text = "A question of another kind?"
    response = first.ask(text)
    for server in fleet:
        eventually(lambda server=server: set(each_worker(server, text).values()) == {"HIT"})  # type: ignore[misc]
    # Whichever worker is asked, it knows of the others' decisions and counters.
    request_id = response.headers["x-likewise-request-id"]
    for _ in range(6):
        assert admin(first, "GET", f"/decisions/{request_id}")["id"] == request_id
    asked_in_all = sum(asked(first).values())
    found = admin(first, "GET", "/stats")["categories"]
    assert sum(c["requests"] for c in found.values()) == asked_in_all
    # A policy put through one is in force in all.
    name = response.headers["x-likewise-category"]
    admin(last, "PUT", f"/policies/{name}", {"cacheable": False})
    for server in fleet:
        eventually(lambda server=server: set(each_worker(server, text).values()) == {"BYPASS"})  # type: ignore[misc]
    admin(first, "DELETE", f"/policies/{name}")
    for server in fleet:
        eventually(lambda server=server: set(each_worker(server, text).values()) == {"HIT"})  # type: ignore[misc]
    assert admin(last, "POST", "/revoke", {"category": name})["dropped"] >= 1
    assert first.ask(text).headers["x-cache"] == "MISS"


def test_a_worker_that_dies_gets_a_successor(shell: Shell, store_url: Callable[[str], str]) -> None:
    """The others serve on meanwhile, and all end at a signal with code 0."""
    url = store_url("sqlite")
    with started(shell, url, "sqlite") as [server]:
        server.hit("Question?")
        before = children(server.process.pid)
        assert len(before) == 3
        os.kill(before[0], signal.SIGKILL)

        def others_serve() -> bool:
            # Who is connected to the dead one is cut off, until the kernel has let go of it.
            with suppress(urllib3.exceptions.ProtocolError):
                return all(ask(server, "Question?") == "HIT" for _ in range(20))
            return False

        eventually(others_serve)
        eventually(lambda: len(set(children(server.process.pid)) - set(before)) == 1)
        eventually(lambda: set(each_worker(server, "Question?").values()) == {"HIT"})
        code, said = server.stop(signal.SIGTERM)
        assert code == 0
        assert "worker 0 ended with code -9; another starts" in said


def test_workers_end_when_who_minds_them_is_killed(
    shell: Shell, store_url: Callable[[str], str]
) -> None:
    """None is left behind on the port."""
    with started(shell, store_url("sqlite"), "sqlite") as [server]:
        workers = children(server.process.pid)
        server.process.send_signal(signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in workers))


def test_memory_cannot_be_shared(shell: Shell) -> None:
    """One line says what to write instead."""
    done = shell.run(
        "serve", "--upstream", "http://h", "--store", "memory://", "--workers", "2", "--port", "0"
    )
    assert done.returncode == 3
    assert "--workers: processes cannot share memory://" in done.stderr


def test_a_store_that_refuses_is_said_once(shell: Shell) -> None:
    """By the first worker; the others are not started."""
    done = shell.run(
        "serve", "--upstream", "http://h", "--store", "redis://127.0.0.1:1", "--workers", "3",
        "--port", "0",
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.count("cannot open redis://127.0.0.1:1") == 1
    assert "Traceback" not in done.stderr


def children(pid: int) -> list[int]:
    """The workers of a process: its children that serve, not its helpers."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == pid and "spawn_main" in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether a process still runs."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
