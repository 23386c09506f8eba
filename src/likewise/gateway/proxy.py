"""Every other ``/v1/*`` path: passed through untouched, both ways, as the bytes arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from likewise.errors import LikewiseError, RequestError
from likewise.gateway.client import ClientGone, header_map, leaving, until_gone
from likewise.gateway.errors import refused_websocket, send_error
from likewise.gateway.pool import Pool
from likewise.gateway.upstream import response_headers
from likewise.gateway.wire.shape import shape_of


class Proxy:
    """An ASGI application that stands for the upstream."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and the answer back."""
        if await refused_websocket(scope, receive, send):
            return
        headers = header_map(scope["headers"])
        has_body = "content-length" in headers or "transfer-encoding" in headers
        read = asyncio.Event()
        if not has_body:
            read.set()

        async def left() -> None:
            await read.wait()
            await leaving(receive)

        body = _incoming(receive, read) if has_body else None
        await until_gone(self.forward(scope, body, send), left())

    async def forward(
        self, scope: Scope, body: bytes | AsyncIterator[bytes] | None, send: Send
    ) -> None:
        """Send a request with this body to the model and hand its answer on."""
        started = False
        query = scope.get("query_string", b"").decode("latin-1")
        upstream = self._pool.any().upstream
        headers = upstream.headers(scope["headers"])
        length = header_map(scope["headers"]).get("content-length")
        if isinstance(body, AsyncIterator) and length is not None:
            headers["content-length"] = length
        try:
            path = _path_of(scope)
            response = await upstream.send(
                scope["method"], f"{path}?{query}" if query else path, headers, body
            )
            async with response:
                start = {"status": response.status, "headers": response_headers(response)}
                await send({"type": "http.response.start", **start})
                started = True
                async for chunk in upstream.chunks(response):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except LikewiseError as error:
            # Once the answer has begun, breaking off is the only honest sign left.
            if not started:
                await send_error(send, error, shape=shape_of(scope["path"]))


def _path_of(scope: Scope) -> str:
    """Return the path as the client wrote it, which must stay below ``/v1``.

    Raises:
        RequestError: It climbs out.
    """
    path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    if ".." in unquote(path).replace("\\", "/").split("/"):
        msg = "the path has a '..' in it; only what is below /v1 is passed on"
        raise RequestError(msg, status=404)
    return path


async def _incoming(receive: Receive, read: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield a request's body as it arrives; sets ``read`` when it is all there."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body")
        if not more:
            read.set()
        if body := message.get("body", b""):
            yield body
        if not more:
            return
