"""What the workers of one gateway tell each other, so that any of them answers for all.

Each has a Unix socket in a folder that only they can enter. A question is one line of JSON, the
answer is another, and then the connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from likewise.gateway.metrics import Metrics

logger = logging.getLogger("likewise")

_PATIENCE_S = 1.0
_MOST_BYTES = 64 * 1024 * 1024

Answers = Mapping[str, Callable[..., Any]]
"""By the name of a question: what answers it, from the question's arguments, as plain data."""


class Siblings:
    """The other workers of the same gateway.

    Args:
        folder: Where their sockets are.
        number: Of this worker, from 0.
        count: How many there are.
    """

    def __init__(self, folder: Path, *, number: int, count: int) -> None:
        self._folder = folder
        self.number = number
        self.count = count
        self._answers: Answers = {}
        self._server: asyncio.Server | None = None

    async def open(self, answers: Answers) -> None:
        """Begin to answer the others.

        Raises:
            OSError: The socket cannot be made.
        """
        self._answers = answers
        path = self._path(self.number)
        path.unlink(missing_ok=True)  # of a worker that died, whose place this one takes
        self._server = await asyncio.start_unix_server(self._serve, path, limit=_MOST_BYTES)

    async def close(self) -> None:
        """End answering."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._path(self.number).unlink(missing_ok=True)

    async def ask(self, what: str, *arguments: str) -> dict[int, Any]:
        """Return what every other worker says; one that does not answer in time is left out."""
        others = [number for number in range(self.count) if number != self.number]
        said = await asyncio.gather(
            *(self._ask(number, what, arguments) for number in others), return_exceptions=True
        )
        found: dict[int, Any] = {}
        for number, one in zip(others, said, strict=True):
            if isinstance(one, BaseException):
                logger.debug("worker %d says nothing: %s", number, type(one).__name__)
            else:
                found[number] = one
        return found

    async def _ask(self, number: int, what: str, arguments: Sequence[str]) -> Any:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(
                self._path(number), limit=_MOST_BYTES
            )
            try:
                writer.write(msgspec.json.encode([what, *arguments]) + b"\n")
                return msgspec.json.decode(await reader.readline())
            finally:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                what, *arguments = msgspec.json.decode(await reader.readline(), type=list[str])
                answer = self._answers[what](*arguments)
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        except Exception as error:
            logger.debug("a worker's question was not answered: %s", type(error).__name__)
        finally:
            writer.close()
            with suppress(Exception):
                await writer.wait_closed()

    def _path(self, number: int) -> Path:
        return self._folder / f"worker-{number}"


async def page_of(metrics: Metrics, siblings: Siblings | None) -> str:
    """Return the metrics of a worker, or those of all where there are several."""
    if siblings is None:
        return metrics.page()
    others = await siblings.ask("metrics")
    return together({siblings.number: metrics.page(), **others})


def together(exposed: Mapping[int, str]) -> str:
    """Return the metrics of all workers as one page, each sample with the number of its worker."""
    families: dict[str, Metric] = {}
    for number, text in sorted(exposed.items()):
        for family in text_string_to_metric_families(text):
            known = families.get(family.name)
            if known is None:
                known = families[family.name] = Metric(
                    family.name, family.documentation, family.type
                )
            for sample in family.samples:
                labels = {"worker": str(number), **sample.labels}
                known.add_sample(sample.name, labels, sample.value)
    registry = CollectorRegistry()
    registry.register(_Known(families.values()))
    return generate_latest(registry).decode()


class _Known(Collector):
    def __init__(self, families: Any) -> None:
        self._families = families

    def collect(self) -> Any:
        """Yield what was given."""
        return self._families
