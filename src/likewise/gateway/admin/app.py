"""The admin API as an ASGI application: finds the act, and lets nobody do it without a key."""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from likewise.errors import LikewiseError, RequestError
from likewise.gateway.admin import contents, governing, running
from likewise.gateway.admin.acts import Act, Desk
from likewise.gateway.client import ClientGone, read_body, send_json, send_whole
from likewise.gateway.errors import refused_websocket, send_error
from likewise.gateway.siblings import Answers
from likewise.gateway.wire.shape import openai_error

ACTS: tuple[Act, ...] = (*running.ACTS, *contents.ACTS, *governing.ACTS)
"""All there is, in the order in which paths are tried."""

_MAX_BODY_BYTES = 1024 * 1024


class Admin:
    """An ASGI application for everything below ``/admin``; see ``ACTS`` for what there is.

    Where there are several workers, any of them answers for all.
    """

    def __init__(self, desk: Desk, *, key: str | None) -> None:
        self._desk = desk
        self._key = key

    @property
    def answers(self) -> Answers:
        """What this worker tells the others."""
        return running.answers(self._desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if await refused_websocket(scope, receive, send):
            return
        request = Request(scope, receive)
        if not self._key:
            msg = "the admin API is off; set gateway.admin_key to open it"
            await _refuse(send, 404, msg)
        elif not self._admits(request.headers.get("authorization", "")):
            await _refuse(send, 401, "the admin key is missing or wrong")
        else:
            try:
                await self._do(request, send)
            except LikewiseError as error:
                await send_error(send, error)
            except ClientGone:
                return

    def _admits(self, authorization: str) -> bool:
        expected = f"Bearer {self._key}".encode()
        # Starlette reads headers as Latin-1, which gives back the very bytes that came.
        return hmac.compare_digest(authorization.encode("latin-1"), expected)

    async def _do(self, request: Request, send: Send) -> None:
        path = request.url.path.removeprefix("/admin").rstrip("/")
        for act in ACTS:
            names = act.names(path) if act.method == request.method else None
            if names is not None:
                break
        else:
            msg = f"the admin API has no {request.method} /admin{path}"
            raise RequestError(msg, status=404)
        body = b""
        if act.body is not None:
            body = await read_body(request.scope, request.receive, _MAX_BODY_BYTES)
        given = act.read(names, dict(request.query_params), body)
        await send_json(send, await act.do(self._desk, given))


async def _refuse(send: Send, status: int, message: str) -> None:
    body = openai_error(message, status=status, code="admin")
    await send_whole(send, status, [(b"content-type", b"application/json")], body)
