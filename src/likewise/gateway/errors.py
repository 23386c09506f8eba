"""Errors in OpenAI's shape, and the few lines that every ASGI response needs."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from starlette.types import Receive, Scope, Send

from likewise.errors import LikewiseError, RequestError, UpstreamError
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


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answer with a body that is all there."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, value: object, status: int = 200) -> None:
    """Answer with a JSON value."""
    headers = [(b"content-type", b"application/json")]
    await send_whole(send, status, headers, msgspec.json.encode(value))


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
    declared = header_map(scope["headers"]).get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
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


def _too_large(limit: int) -> RequestError:
    msg = f"the body is longer than {limit} bytes; the limit is gateway.max_body_bytes"
    return RequestError(msg, status=413)


class ClientGone(Exception):  # noqa: N818 - not an error: clients may leave
    """The client closed its connection."""
