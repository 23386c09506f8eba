"""One upstream call, shared by everyone who asks the same at the same time.

The call runs in a task of its own, so that it outlives the client who caused it while another one
waits. What arrives is kept in order and handed to each listener from the beginning. When nobody
listens any more, the call is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from likewise.errors import UpstreamError
from likewise.gateway.upstream import Headers

MAX_KEPT_BYTES = 16 * 1024 * 1024
"""An answer longer than this is passed on with back-pressure, and neither shared nor stored."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of the model's response."""

    status: int
    headers: Headers

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a stream of server-sent events that can be read."""
        if any(n == b"content-encoding" and v.lower() != b"identity" for n, v in self.headers):
            return False
        return any(
            name == b"content-type" and value.lower().startswith(b"text/event-stream")
            for name, value in self.headers
        )


class Flight:
    """A call under way and what has come of it so far. Lives in one event loop.

    Args:
        fly: Makes the call: tells ``begin`` and ``add`` of what arrives, returns at the end of the
            body, raises ``UpstreamError`` when there is none.
        land: Runs after a whole body has been handed out, while nobody waits any more.
    """

    def __init__(self, fly: Step, land: Step) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.error: UpstreamError | None = None
        self.done = False
        self.overflowed = False
        self._given_up = False
        self._bytes = 0
        self._dropped = 0
        self._listeners: set[Listener] = set()
        self._changed = asyncio.Event()
        self._consumed = asyncio.Event()
        self.task = asyncio.create_task(self._run(fly, land))
        self.task.add_done_callback(self._ended)

    @property
    def joinable(self) -> bool:
        """Whether a newcomer would still get everything."""
        return not self.overflowed and not self._given_up and self.error is None

    def begin(self, head: Head) -> None:
        """Tell the listeners how the response begins."""
        self.head = head
        self._tell()

    async def add(self, piece: bytes) -> None:
        """Hand a piece of the body to the listeners; waits for them once it is too long to keep."""
        self.pieces.append(piece)
        self._bytes += len(piece)
        self.overflowed = self._bytes > MAX_KEPT_BYTES
        self._tell()
        if self.overflowed:
            await self._drained()

    def join(self) -> Listener:
        """Return a new listener, who gets everything from the beginning."""
        listener = Listener(self)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Forget a listener; when it was the last one, a call that is not done is given up."""
        self._listeners.discard(listener)
        self._consumed.set()
        if not self._listeners:
            self.give_up()

    def give_up(self) -> None:
        """End a call that is not done; from now on nobody can join it."""
        if not self.done:
            self._given_up = True
            self.task.cancel()

    async def wait(self) -> None:
        """Wait until something has changed."""
        await self._changed.wait()

    def piece(self, position: int) -> bytes | None:
        """Return the piece at ``position``, counted from the beginning, once it is there."""
        self._consumed.set()
        place = position - self._dropped
        return self.pieces[place] if place < len(self.pieces) else None

    async def _run(self, fly: Step, land: Step) -> None:
        try:
            await fly(self)
        except UpstreamError as error:
            self.error = error
        self.done = True
        self._tell()
        await land(self)

    def _ended(self, _: object) -> None:
        """Tell the listeners of a call that was cancelled or failed for a reason of our own."""
        if not self.done:
            self.error = UpstreamError("the call to the model was given up")
            self.done = True
            self._tell()

    async def _drained(self) -> None:
        """Wait until every listener has read everything, then forget it."""
        end = self._dropped + len(self.pieces)
        while any(listener.position < end for listener in self._listeners):
            self._consumed.clear()
            await self._consumed.wait()
        self._dropped = end
        self.pieces.clear()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Listener:
    """A client that wants the outcome of a flight."""

    def __init__(self, flight: Flight) -> None:
        self.flight = flight
        self.position = 0

    async def head(self) -> Head:
        """Wait for the beginning of the response.

        Raises:
            UpstreamError: There was none.
        """
        flight = self.flight
        while flight.head is None and not flight.done:
            await flight.wait()
        if flight.head is None:
            raise flight.error or UpstreamError("the call to the model was given up")
        return flight.head

    async def settled(self) -> None:
        """Wait until the whole body is there, or is known to be too long to wait for.

        Raises:
            UpstreamError: The body broke off.
        """
        flight = self.flight
        while not flight.done and not flight.overflowed:
            await flight.wait()
        if flight.error is not None:
            raise flight.error

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body from its beginning, piece by piece, as it arrives.

        Raises:
            UpstreamError: The body broke off.
        """
        flight = self.flight
        while True:
            piece = flight.piece(self.position)
            if piece is not None:
                self.position += 1
                yield piece
            elif flight.done:
                break
            else:
                await flight.wait()
        if flight.error is not None:
            raise flight.error

    def leave(self) -> None:
        """Say that this client wants nothing more."""
        self.flight.leave(self)


Step = Callable[[Flight], Awaitable[None]]
