"""Drives a gateway with a workload as it comes, and notes what came back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from likewise.rebuild import Progress
from likewise.replay import Workload

_PATIENCE_S = 600.0


@dataclass(slots=True)
class Answered:
    """What became of a request; times are seconds since the drive began.

    Attributes:
        began_s: When it was sent.
        seconds: How long its answer took.
        status: HTTP status, 0 without an answer.
        outcome: ``HIT``, ``STALE``, ``MISS`` or ``BYPASS``, as the gateway said.
        tier: What served it, if the cache did.
        entry_id: The entry that served it, or that its answer became.
    """

    began_s: float
    seconds: float
    status: int
    outcome: str
    tier: str
    entry_id: str


def drive(
    url: str, model: str, workload: Workload, *, from_s: float, progress: Progress
) -> tuple[list[Answered], int]:
    """Send every request at its time, whatever has become of the others.

    The length of each answer is asked of the stand-in by its header ``x-mock-tokens``.

    Args:
        url: The gateway's.
        model: The stand-in's.
        workload: What is asked.
        from_s: From when on the requests that reach the model are counted.
        progress: Told how many are answered.

    Returns:
        What became of each, and how many requests reached the model from ``from_s`` on.
    """
    return asyncio.run(_drive(url, model, workload, from_s, progress))


async def _calls(session: aiohttp.ClientSession, model: str) -> int:
    async with session.get(f"{model}/requests") as response:
        seen = await response.json()
    return int(seen["calls"].get("/v1/chat/completions", 0))


async def _drive(
    url: str, model: str, workload: Workload, from_s: float, progress: Progress
) -> tuple[list[Answered], int]:
    found: list[Answered] = []
    before: int | None = None
    done = 0
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        began = time.perf_counter()

        async def ask(asked: Any) -> None:
            headers = {
                "authorization": f"Bearer {asked.tenant}",
                "x-likewise-category": asked.category,
                "x-mock-tokens": str(asked.output_tokens),
            }
            body = {
                "model": workload.model,
                "messages": [{"role": "user", "content": asked.text}],
            }
            sent = time.perf_counter()
            try:
                async with session.post(
                    f"{url}/v1/chat/completions", json=body, headers=headers
                ) as response:
                    await response.read()
                    status, said = response.status, response.headers
            except (aiohttp.ClientError, TimeoutError):
                status, said = 0, {}  # type: ignore[assignment]
            seconds = time.perf_counter() - sent
            found[places[id(asked)]] = Answered(
                sent - began,
                seconds,
                status,
                said.get("x-cache", ""),
                said.get("x-likewise-tier", ""),
                said.get("x-likewise-entry", ""),
            )
            nonlocal done
            done += 1
            progress(done, len(found))

        requests = list(workload)
        places = {id(asked): place for place, asked in enumerate(requests)}
        found.extend(Answered(0.0, 0.0, 0, "", "", "") for _ in requests)
        tasks = []
        for asked in requests:
            wait = asked.t_s - (time.perf_counter() - began)
            if wait > 0:
                await asyncio.sleep(wait)
            if before is None and asked.t_s >= from_s:
                before = await _calls(session, model)
            tasks.append(asyncio.create_task(ask(asked)))
        await asyncio.gather(*tasks)
        return found, await _calls(session, model) - (before or 0)
