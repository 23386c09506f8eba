"""The stand-in under load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from typing import Any

import pytest
import urllib3

from likewise.mock_llm import MockSettings, create_app
from likewise.mock_llm.service import Refused, Service
from likewise.replay import Upstream
from likewise.service_time import ServiceTime
from likewise.testing import running


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    """A plain HTTP client."""
    with urllib3.PoolManager(retries=False, maxsize=4) as pool:
        yield pool


def ask(
    http: urllib3.PoolManager, url: str, text: str, *, tokens: int | None = None, **fields: Any
) -> urllib3.BaseHTTPResponse:
    """Ask one question."""
    body = {"messages": [{"role": "user", "content": text}], **fields}
    headers = {} if tokens is None else {"x-mock-tokens": str(tokens)}
    return http.request("POST", f"{url}/v1/chat/completions", json=body, headers=headers)


def queue(http: urllib3.PoolManager, url: str) -> dict[str, int]:
    """What the stand-in says of its queue."""
    found: dict[str, int] = http.request("GET", f"{url}/requests").json()["queue"]
    return found


async def test_who_comes_first_is_served_first_and_too_many_are_refused() -> None:
    """With one place and room for two in line, the fourth is refused and order is kept."""
    service = Service(ServiceTime(capacity=1, first_token_s=0.01, most_waiting=2))
    order: list[int] = []

    async def enter(number: int) -> None:
        await service.enter(0)
        order.append(number)

    tasks = [asyncio.create_task(enter(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert service.report() == {"in_service": 1, "waiting": 2, "refused": 0}
    with pytest.raises(Refused):
        await service.enter(0)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]
    assert service.report()["refused"] == 1


async def test_who_leaves_the_line_gives_up_his_turn() -> None:
    """One who is cancelled while he waits takes no place, not even one handed to him."""
    service = Service(ServiceTime(capacity=1, first_token_s=0.01))
    await service.enter(0)
    first, second = (asyncio.create_task(service.enter(0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert service.report()["waiting"] == 0
    assert service.report()["in_service"] == 1


async def test_the_stand_in_and_the_simulator_serve_alike() -> None:
    """The same calls take the same times in the same order, in both."""
    law = ServiceTime(capacity=2, first_token_s=0.002, token_s=0.0005, slowdown=1.5)
    tokens = [4, 9, 2, 7, 1, 5]
    service = Service(law)
    served = await asyncio.gather(*(service.enter(count) for count in tokens))
    heap: list[tuple[float, int]] = []
    times: dict[int, tuple[float, float]] = {}
    now = 0.0

    def started(call: int, first_s: float, whole_s: float) -> None:
        times[call] = (first_s, whole_s)
        heappush(heap, (now + whole_s, call))

    upstream: Upstream[int] = Upstream(law, started)
    assert all(upstream.offer(call, count) for call, count in enumerate(tokens))
    while heap:
        now, _ = heappop(heap)
        upstream.ended()
    assert upstream.in_service == upstream.waiting == 0
    assert [s.first_s for s in served] == [times[call][0] for call in range(len(tokens))]
    assert [s.first_s + s.rest_s for s in served] == pytest.approx(
        [times[call][1] for call in range(len(tokens))]
    )
    assert len({first for first, _ in times.values()}) > 1  # the load made a difference


def test_a_full_stand_in_says_429(http: urllib3.PoolManager) -> None:
    """Beyond capacity and line it refuses, with Retry-After, and serves again afterwards."""
    settings = MockSettings(latency_s=0.0, capacity=1, most_waiting=0)
    with running(create_app(settings)) as url, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, http, url, "[[slow:1]] first")
        while queue(http, url)["in_service"] == 0:
            pass
        refused = ask(http, url, "second")
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert slow.result().status == 200
        while queue(http, url)["in_service"]:
            pass
        assert ask(http, url, "second").status == 200
        assert queue(http, url) == {"in_service": 0, "waiting": 0, "refused": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_the_length_of_an_answer_can_be_asked_for(http: urllib3.PoolManager, stream: bool) -> None:
    """By header, by directive, and by ``max_tokens`` only where tokens take time."""
    with running(create_app(MockSettings(latency_s=0.0))) as url:
        usual = length(ask(http, url, "hello", stream=stream), stream)
        assert length(ask(http, url, "hello", tokens=77, stream=stream), stream) == 77
        assert length(ask(http, url, "hello [[tokens:5]]", stream=stream), stream) == 5
        assert length(ask(http, url, "hello", max_tokens=7, stream=stream), stream) == usual
    with running(create_app(MockSettings(latency_s=0.0, answer_token_s=1e-6))) as url:
        assert length(ask(http, url, "hello", max_tokens=7, stream=stream), stream) == 7
        assert length(ask(http, url, "hello", stream=stream), stream) == usual


@pytest.mark.parametrize("tokens", ["0", "-1", "many", "100001"])
def test_a_length_must_be_possible(http: urllib3.PoolManager, tokens: str) -> None:
    """Anything but a whole number within bounds is refused."""
    with running(create_app(MockSettings(latency_s=0.0))) as url:
        assert ask(http, url, f"[[tokens:{tokens}]]").status == 400


def length(response: urllib3.BaseHTTPResponse, stream: bool) -> int:
    """Count the words of an answer."""
    if not stream:
        return len(response.json()["choices"][0]["message"]["content"].split())
    lines = response.data.decode().split("\n\n")
    chunks = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]

    texts = [json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    return len("".join(texts).split())
