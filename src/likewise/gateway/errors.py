"""Errors of ours, as they reach a client."""

from __future__ import annotations

import math

from starlette.types import Receive, Scope, Send

from likewise.errors import LikewiseError, RequestError, UpstreamError
from likewise.gateway.client import send_whole
from likewise.gateway.upstream import Headers
from likewise.gateway.wire.shape import Shape, openai_error

error_body = openai_error
"""The body of an error of the gateway itself, on no protocol's path."""


async def send_error(
    send: Send, error: LikewiseError, headers: Headers | None = None, *, shape: Shape = openai_error
) -> None:
    """Answer with an error of ours, in the shape of the client's protocol."""
    status, code, param = 500, "internal_error", None
    headers = list(headers or [])
    if isinstance(error, RequestError):
        status, code, param = error.status, "invalid_request", error.param
    elif isinstance(error, UpstreamError):
        status, code = error.status, "upstream_error"
        if error.retry_after_s is not None:
            # Whole seconds, and never too early: RFC 9110, section 10.2.3.
            wait = str(max(1, math.ceil(error.retry_after_s)))
            headers.append((b"retry-after", wait.encode()))
    body = shape(str(error), status=status, code=code, param=param)
    await send_whole(send, status, [(b"content-type", b"application/json"), *headers], body)


async def refused_websocket(scope: Scope, receive: Receive, send: Send) -> bool:
    """Turn a WebSocket away, which the gateway does not speak; return whether it was one."""
    if scope["type"] != "websocket":
        return False
    await receive()
    await send({"type": "websocket.close"})
    return True
