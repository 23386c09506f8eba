from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from likewise.gateway.server import GatheringProtocol, _Gathering

LARGE = b"x" * 3_000_000


class App:
    """Answers by path: a whole body, a large one, a stream that the test lets go on, or an end."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: list[tuple[bytes, bytes]] = []
        if scope["path"] == "/closing":
            headers.append((b"connection", b"close"))
        if scope["path"] != "/stream":
            body = LARGE if scope["path"] == "/large" else b"whole"
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await self.go.wait()
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await send({"type": "http.response.body", "body": b"three"})


Wire = tuple[App, asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server, and a connection to it."""
    app, listener = App(), socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=GatheringProtocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    server.capture_signals = _nothing  # type: ignore[assignment]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    yield app, reader, writer
    writer.close()
    server.should_exit = True
    await serving


class _nothing:  # noqa: N801 - stands for a function
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


async def get(wire: Wire, path: str) -> bytes:
    """Ask, and return the first piece that arrives."""
    _, reader, writer = wire
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return await asyncio.wait_for(reader.read(1 << 20), 20)


async def test_a_response_leaves_in_one_piece(wire: Wire) -> None:
    """Head and body together, over and over on one connection."""
    for _ in range(20):
        assert (await get(wire, "/whole")).endswith(b"\r\n\r\nwhole")


async def test_a_stream_does_not_wait_for_its_end(wire: Wire) -> None:
    """What was said is there while nothing more is said, and in order."""
    app, reader, _ = wire
    assert (await get(wire, "/stream")).endswith(b"\r\n\r\n3\r\none\r\n")
    app.go.set()
    rest = await reader.readuntil(b"0\r\n\r\n")
    assert rest == b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"


async def test_a_large_body_arrives_whole(wire: Wire) -> None:
    """However many pieces the connection takes it in."""
    _, reader, _ = wire
    head, _, body = (await get(wire, "/large")).partition(b"\r\n\r\n")
    assert b"content-length: 3000000" in head
    body += await reader.readexactly(len(LARGE) - len(body))
    assert body == LARGE


async def test_a_connection_that_ends_ends_after_the_body(wire: Wire) -> None:
    """Nothing of what was written is lost."""
    _, reader, _ = wire
    assert (await get(wire, "/closing")).endswith(b"\r\n\r\nwhole")
    assert await reader.read() == b""


def test_everything_else_is_the_transports_own() -> None:
    """What uvicorn asks of a transport besides writing."""
    asked: list[Any] = []

    class Transport:
        def get_extra_info(self, name: str, default: object = None) -> object:
            asked.append(name)
            return default

        def is_closing(self) -> bool:
            return True

    loop = asyncio.new_event_loop()
    protocol = GatheringProtocol(
        uvicorn.Config(App(), log_config=None), uvicorn.server.ServerState(), {}, loop
    )
    protocol.connection_made(Transport())  # type: ignore[arg-type]
    assert protocol.transport.is_closing()
    assert asked
    loop.close()


@pytest.mark.parametrize("how", ["abort", "close"])
def test_nothing_is_written_to_who_has_left(how: str) -> None:
    """Uvloop takes it for an error, of which there would be one in the log for each client."""
    errors: list[Any] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        made: asyncio.Future[_Gathering] = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.set_result(_Gathering(cast("asyncio.Transport", transport), loop))

        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        gathering = await made
        gathering.write(b"one")
        getattr(gathering._transport, how)()
        await asyncio.sleep(0.01)
        gathering.write(b"two")
        gathering.close()
        await asyncio.sleep(0.01)
        writer.close()
        server.close()

    uvloop.run(run())
    assert errors == []
