"""Reads what model servers say of themselves on their Prometheus endpoints.

A server that does not answer in time, or answers nonsense, is under no pressure as far as we know:
its last word counts for three readings, then not at all.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from likewise.gateway.pool import Replica
from likewise.gateway.upstream import without_userinfo
from likewise.load import ANY, Load, ServerSample

logger = logging.getLogger("likewise")

_NAMES = {
    "vllm:num_requests_running": "running",
    "sglang:num_running_reqs": "running",
    "tgi_batch_current_size": "running",
    "llamacpp:requests_processing": "running",
    "vllm:num_requests_waiting": "waiting",
    "sglang:num_queue_reqs": "waiting",
    "tgi_queue_size": "waiting",
    "llamacpp:requests_deferred": "waiting",
    "vllm:kv_cache_usage_perc": "cache",
    "vllm:gpu_cache_usage_perc": "cache",
    "sglang:token_usage": "cache",
    "llamacpp:kv_cache_usage_ratio": "cache",
}
"""What vLLM, SGLang, TGI and llama.cpp call each figure."""

_MOST = {"running": 1e6, "waiting": 1e6, "cache": 1.0}
"""What no server exceeds: one that does is not telling the truth."""

_MODEL = "model_name"
_BELIEVED = 3
"""Readings for which a server's last word counts."""

_MOST_BYTES = 4 * 1024 * 1024


def read_samples(text: str) -> dict[str, ServerSample]:
    """Return what a server's metrics say, by model; ``ANY`` where they name none.

    Raises:
        ValueError: It is no such text, has none of the figures, or one that cannot be.
    """
    seen: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            kind = _NAMES.get(sample.name)
            if kind is None:
                continue
            if not (math.isfinite(sample.value) and 0.0 <= sample.value <= _MOST[kind]):
                msg = f"its {sample.name} is {sample.value:g}, which cannot be"
                raise ValueError(msg)
            own = seen.setdefault(sample.labels.get(_MODEL, ANY), {})
            # Engines of one server count apart; its fullest cache is what limits it.
            added = own.get(kind, 0.0) + sample.value
            own[kind] = max(own.get(kind, 0.0), sample.value) if kind == "cache" else added
    if not seen:
        msg = "it has no figures of requests running and waiting that are known here"
        raise ValueError(msg)
    return {
        model: ServerSample(own.get("running", 0.0), own.get("waiting", 0.0), own.get("cache"))
        for model, own in seen.items()
    }


class Scraper:
    """Reads the metrics of every replica that has some, until cancelled.

    Args:
        replicas: Those behind the gateway.
        load: Told what they say.
        every_s: How often, and how long one may take to answer.
    """

    def __init__(self, replicas: Iterable[Replica], load: Load, *, every_s: float) -> None:
        self._urls = [replica.metrics_url for replica in replicas if replica.metrics_url]
        self._load = load
        self._every_s = every_s
        self._silent: set[str] = set()

    async def run(self) -> None:
        """Read now and then."""
        if not self._urls:
            return
        timeout = aiohttp.ClientTimeout(total=self._every_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await asyncio.gather(*(self._read(session, url) for url in self._urls))
                await asyncio.sleep(self._every_s)

    async def _read(self, session: aiohttp.ClientSession, url: str) -> None:
        try:
            samples = await asyncio.to_thread(read_samples, await self._text(session, url))
        except Exception as error:  # a server may answer with anything
            self._tell(url, error)
            return
        self._silent.discard(url)
        for model, sample in samples.items():
            self._load.sampled(
                model, sample, valid_s=_BELIEVED * self._every_s, source=without_userinfo(url)
            )

    async def _text(self, session: aiohttp.ClientSession, url: str) -> str:
        async with session.get(url) as response:
            if response.status != 200:
                msg = f"it answers {response.status}"
                raise ValueError(msg)
            data = bytearray()
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > _MOST_BYTES:
                    msg = f"it answers more than {_MOST_BYTES} bytes"
                    raise ValueError(msg)
        return data.decode()

    def _tell(self, url: str, error: Exception) -> None:
        """Log that a server says nothing of use, once until it does again."""
        if url in self._silent:
            return
        self._silent.add(url)
        reason = str(error) if type(error) is ValueError else type(error).__name__
        logger.warning(
            "the metrics at %s cannot be read (%s): the load they tell of counts as none",
            without_userinfo(url),
            " ".join(reason[:200].split()),
        )
