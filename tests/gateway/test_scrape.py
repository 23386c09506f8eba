from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from likewise.config import LoadSettings, ReplicaSettings, UpstreamSettings
from likewise.gateway.pool import Pool
from likewise.gateway.scrape import Scraper, read_samples
from likewise.load import ANY, Load, ServerSample
from likewise.testing import running

VLLM = """
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 4.0
vllm:num_requests_running{engine="1",model_name="llama"} 4.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="llama"} 6.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="llama"} 0.4
vllm:kv_cache_usage_perc{engine="1",model_name="llama"} 0.9
"""


def test_what_servers_say_is_read() -> None:
    """By model; engines of one server count together, its fullest cache counts."""
    assert read_samples(VLLM) == {"llama": ServerSample(8.0, 6.0, 0.9)}
    assert read_samples("llamacpp:requests_deferred 2\n") == {ANY: ServerSample(0.0, 2.0, None)}
    assert read_samples("sglang:num_running_reqs 3\nsglang:token_usage 0.5\n") == {
        ANY: ServerSample(3.0, 0.0, 0.5)
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not found</html>",
        "process_open_fds 4\n",
        "vllm:num_requests_waiting NaN\n",
        "vllm:num_requests_waiting -1\n",
        "vllm:num_requests_running 1e12\n",
        "vllm:kv_cache_usage_perc 83\n",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    """Nothing is taken from a server that cannot be right."""
    with pytest.raises(ValueError, match=r".+"):
        read_samples(text)


Answer = Callable[[Send], Any]


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes | None]]]:
    """A metrics endpoint: its address, and what it says; ``None`` hangs."""
    says: list[bytes | None] = [VLLM.encode()]

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = says[0]
        if body is None:
            await asyncio.sleep(60.0)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    with running(app) as url:
        yield f"{url}/metrics", says


def scrape(url: str, load: Load, readings: int) -> None:
    """Read so often, fast."""
    replica = ReplicaSettings(base_url="http://127.0.0.1:1", metrics_url=url)
    pool = Pool(UpstreamSettings(replicas=[replica]), LoadSettings())
    scraper = Scraper(pool.replicas, load, every_s=0.1)

    async def run() -> None:
        task = asyncio.create_task(scraper.run())
        await asyncio.sleep(0.15 * readings)
        task.cancel()

    asyncio.run(run())


def test_a_busy_server_is_felt(server: tuple[str, list[bytes | None]]) -> None:
    """Under the name of its model."""
    load = Load()
    scrape(server[0], load, 3)
    assert load.report()["llama"]["demands"]["server"] == pytest.approx(0.75)


@pytest.mark.parametrize("says", [None, b"\xff\xfe", b"vllm:num_requests_waiting 1e30\n"])
def test_one_that_hangs_or_lies_is_under_no_pressure(
    server: tuple[str, list[bytes | None]], says: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """And the operator is told so once."""
    caplog.set_level(logging.WARNING, "likewise")
    server[1][0] = says
    load = Load()
    scrape(server[0], load, 6)
    assert load.report() == {}
    lines = [record.getMessage() for record in caplog.records if record.name == "likewise"]
    assert len(lines) == 1
    assert "counts as none" in lines[0]
