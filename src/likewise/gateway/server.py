"""How uvicorn writes for us: what is said in one turn of the loop leaves in one piece."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_GATHERED = 64 * 1024
"""Bytes that do not wait for the end of the turn: there is no piece for them to be part of."""


class GatheringProtocol(HttpToolsProtocol):
    """Uvicorn's own, which writes the head of a response and its body one after the other.

    A system call, and often a packet and a client that wakes up for it, cost more than the cache.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        gathering = _Gathering(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", gathering))


class _Gathering:
    """A transport that hands on what was written when the loop comes round."""

    __slots__ = ("_loop", "_parts", "_size", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self.is_closing = transport.is_closing  # asked once a request
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Write, soon."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > _MOST_GATHERED:
            self._flush()

    def close(self) -> None:
        """Close when everything is written."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts, self._size = [], 0
            # Of a client that has left meanwhile, which uvloop takes for an error.
            if not self._transport.is_closing():
                self._transport.write(data)
