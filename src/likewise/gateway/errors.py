"""Errors in OpenAI's shape."""

from __future__ import annotations

import msgspec
from starlette.types import Receive, Scope, Send

from likewise.errors import LikewiseError, RequestError, UpstreamError
from likewise.gateway.client import send_whole
from likewise.gateway.upstream import Headers

_KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}


def error_body(message: str, *, status: int, code: str | None, param: str | None = None) -> bytes:
    """Return an error as OpenAI's clients expect it."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": error})


async def send_error(send: Send, error: LikewiseError, headers: Headers | None = None) -> None:
    """Answer with an error of ours."""
    status, code, param = 500, "internal_error", None
    if isinstance(error, RequestError):
        status, code, param = error.status, "invalid_request", error.param
    elif isinstance(error, UpstreamError):
        status, code = error.status, "upstream_error"
    body = error_body(str(error), status=status, code=code, param=param)
    await send_whole(send, status, [(b"content-type", b"application/json"), *(headers or [])], body)


async def refused_websocket(scope: Scope, receive: Receive, send: Send) -> bool:
    """Turn a WebSocket away, which the gateway does not speak; return whether it was one."""
    if scope["type"] != "websocket":
        return False
    await receive()
    await send({"type": "websocket.close"})
    return True
