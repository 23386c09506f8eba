"""A proxy that does to TCP connections what networks and servers do, switched at run time."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

_PATIENCE_S = 20.0
_LOOK_S = 0.01
_AT_ONCE = 65_536
_DEFAULT_PORTS = {"redis": 6379, "postgresql": 5432, "http": 80}

Break = Literal["cut", "half-close"]


@dataclass(frozen=True)
class Way:
    """How the bytes of both sides get through. Without anything set they pass as they are.

    Attributes:
        refuses: Connections are closed as soon as they come, and the open ones at once.
        silent: Nothing gets through, and nobody is told: a black hole, or a stopped process.
        delay_s: Every piece of an answer comes so much later.
        drip_s: Answers come byte by byte, so many seconds apart.
        after: Bytes of an answer after which ``ends`` happens.
        ends: ``cut`` resets both sides, ``half-close`` ends the answer alone and goes on reading.
        garbage: Share of the pieces of an answer in whose place random bytes come.
    """

    refuses: bool = False
    silent: bool = False
    delay_s: float = 0.0
    drip_s: float = 0.0
    after: int | None = None
    ends: Break = "cut"
    garbage: float = 0.0


CLEAR = Way()


class FaultProxy:
    """Stands between a client and the server at ``host:port``. Runs on a thread of its own.

    ``way`` may be set at any time, and holds for what is open as well.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._to = (host, port)
        self._dice = random.Random(seed)  # noqa: S311 - simulates faults
        self._way = CLEAR
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self.did: Counter[str] = Counter()
        """How many faults of each kind were done."""
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)

    @property
    def way(self) -> Way:
        """How bytes get through now."""
        return self._way

    @way.setter
    def way(self, way: Way) -> None:
        self._way = way
        if way.refuses:
            self.drop()

    def drop(self) -> None:
        """Reset every connection that is open."""
        self._do(self._drop())

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def _do(self, step: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(_PATIENCE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await self._drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drop(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _accepted(self, ours: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self._way.refuses:
            self.did["refused"] += 1
            back.transport.abort()
            return
        try:
            theirs, forth = await asyncio.open_connection(*self._to)
        except OSError:
            back.transport.abort()
            return
        self._open |= {back, forth}
        pumps = [
            asyncio.ensure_future(self._pump(ours, forth, None)),
            asyncio.ensure_future(self._pump(theirs, back, forth)),
        ]
        self._tasks |= set(pumps)
        try:
            await asyncio.wait(pumps)
        finally:
            self._tasks -= set(pumps)
            for writer in (back, forth):
                self._open.discard(writer)
                writer.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        other: asyncio.StreamWriter | None,
    ) -> None:
        """Pass bytes on; ``other`` leads to where answers come from, ``None`` for questions."""
        way, passed = self._way, 0
        with suppress(OSError):
            while data := await source.read(_AT_ONCE):
                if self._way is not way:
                    way, passed = self._way, 0
                while self._way.silent:
                    self.did["silent"] += 1
                    await asyncio.sleep(_LOOK_S)
                if other is None:
                    sink.write(data)
                    await sink.drain()
                    continue
                data, ends = await self._changed(data, self._way, passed)
                passed += len(data)
                sink.write(data)
                await sink.drain()
                if ends:
                    self.did[self._way.ends] += 1
                    await self._end(sink, other)
                    return
            if sink.can_write_eof():
                sink.write_eof()

    async def _changed(self, data: bytes, way: Way, passed: int) -> tuple[bytes, bool]:
        """Return what comes of a piece of an answer, and whether the answer ends with it."""
        if way.delay_s:
            self.did["delayed"] += 1
            await asyncio.sleep(way.delay_s)
        if way.drip_s:
            self.did["dripped"] += 1
            await asyncio.sleep(way.drip_s * len(data))
        if way.garbage and self._dice.random() < way.garbage:
            self.did["garbage"] += 1
            data = self._dice.randbytes(len(data))
        if way.after is not None and passed + len(data) >= way.after:
            return data[: max(0, way.after - passed)], True
        return data, False

    async def _end(self, sink: asyncio.StreamWriter, other: asyncio.StreamWriter) -> None:
        if self._way.ends == "half-close" and sink.can_write_eof():
            sink.write_eof()
            return
        for writer in (sink, other):
            writer.transport.abort()


@contextmanager
def between(url: str, *, seed: int = 0) -> Iterator[tuple[str, FaultProxy]]:
    """Put a proxy before the server of a URL; yields the URL that leads through it, and it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    user, at, _ = parts.netloc.rpartition("@")
    with FaultProxy(parts.hostname, port, seed=seed) as proxy:
        yield urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}")), proxy
