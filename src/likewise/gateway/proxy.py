"""Every other ``/v1/*`` path: passed through untouched, both ways, as the bytes arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from likewise.errors import UpstreamError
from likewise.gateway.errors import ClientGone, header_map, send_error
from likewise.gateway.upstream import Upstream, chunks_of, response_headers


class Proxy:
    """An ASGI application that stands for the upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and the answer back."""
        headers = header_map(scope["headers"])
        has_body = "content-length" in headers or "transfer-encoding" in headers
        try:
            await self.forward(scope, _incoming(receive) if has_body else None, send)
        except ClientGone:
            return

    async def forward(
        self, scope: Scope, body: bytes | AsyncIterator[bytes] | None, send: Send
    ) -> None:
        """Send a request with this body to the model and hand its answer on."""
        started = False
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        query = scope.get("query_string", b"").decode("latin-1")
        headers = self._upstream.headers(scope["headers"])
        length = header_map(scope["headers"]).get("content-length")
        if isinstance(body, AsyncIterator) and length is not None:
            headers["content-length"] = length
        try:
            response = await self._upstream.send(
                scope["method"], f"{path}?{query}" if query else path, headers, body
            )
            async with response:
                start = {"status": response.status, "headers": response_headers(response)}
                await send({"type": "http.response.start", **start})
                started = True
                async for chunk in chunks_of(response, self._upstream.base_url):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except UpstreamError as error:
            # Once the answer has begun, breaking off is the only honest sign left.
            if not started:
                await send_error(send, error)


async def _incoming(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if body := message.get("body", b""):
            yield body
        if not message.get("more_body"):
            return
