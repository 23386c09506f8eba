"""The client's side of a request: reading it, answering it, noticing that the client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from likewise.errors import RequestError
from likewise.gateway.upstream import Headers


class ClientGone(Exception):  # noqa: N818 - not an error: clients may leave
    """The client closed its connection."""


def header_map(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by lower-case name; repeated ones are joined as RFC 9110, 5.3 allows."""
    result: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        result[name] = f"{result[name]}, {value}" if name in result else value
    return result


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return a request's body.

    Raises:
        RequestError: 413 when it is longer than ``limit`` bytes.
        ClientGone: The client left before it was all there.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answer with a body that is all there."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, value: object, status: int = 200) -> None:
    """Answer with a JSON value."""
    headers = [(b"content-type", b"application/json")]
    await send_whole(send, status, headers, msgspec.json.encode(value))


async def until_gone(
    serving: Coroutine[Any, Any, None], leaving: Coroutine[Any, Any, None]
) -> None:
    """Run ``serving`` to its end, or until ``leaving`` ends because the client has left."""
    task = asyncio.ensure_future(serving)
    gone = asyncio.ensure_future(leaving)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        await task


async def leaving(receive: Receive) -> None:
    """Return when the client has left; the body must have been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(limit: int) -> RequestError:
    msg = f"the body is longer than {limit} bytes; the limit is gateway.max_body_bytes"
    return RequestError(msg, status=413)
