"""Errors in OpenAI's shape."""

from __future__ import annotations

import math

import msgspec
from starlette.types import Receive, Scope, Send

from likewise.errors import LikewiseError, RequestError, UpstreamError
from likewise.gateway.client import send_whole
from likewise.gateway.upstream import Headers

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_body(message: str, *, status: int, code: str | None, param: str | None = None) -> bytes:
    """Return an error as OpenAI's clients expect it."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": error})


async def send_error(send: Send, error: LikewiseError, headers: Headers | None = None) -> None:
    """Answer with an error of ours."""
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
    body = error_body(str(error), status=status, code=code, param=param)
    await send_whole(send, status, [(b"content-type", b"application/json"), *headers], body)


async def refused_websocket(scope: Scope, receive: Receive, send: Send) -> bool:
    """Turn a WebSocket away, which the gateway does not speak; return whether it was one."""
    if scope["type"] != "websocket":
        return False
    await receive()
    await send({"type": "websocket.close"})
    return True
