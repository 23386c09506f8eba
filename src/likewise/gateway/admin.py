"""``/admin/*``: statistics and purging, behind a key; closed when no key is configured."""

from __future__ import annotations

import hmac
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from likewise.aio import AsyncCache
from likewise.category import check_name
from likewise.errors import ConfigError, LikewiseError, RequestError
from likewise.gateway.client import ClientGone, read_body, send_json, send_whole
from likewise.gateway.errors import error_body, refused_websocket, send_error
from likewise.gateway.pool import Pool
from likewise.gateway.wire.chat import parse_json

_MAX_BODY_BYTES = 64 * 1024


class Admin:
    """An ASGI application for everything below ``/admin``.

    ``GET /admin/stats``, ``GET /admin/load``, ``GET /admin/decisions/ID``,
    ``DELETE /admin/entries/ID``, and ``POST /admin/purge`` with ``{"category": NAME}`` or
    ``{"all": true}``.
    """

    def __init__(self, cache: AsyncCache, pool: Pool, *, key: str | None) -> None:
        self._cache = cache
        self._pool = pool
        self._key = key

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
                await send_json(send, await self._do(request))
            except LikewiseError as error:
                await send_error(send, error)
            except ClientGone:
                return

    def _admits(self, authorization: str) -> bool:
        expected = f"Bearer {self._key}".encode()
        # Starlette reads headers as Latin-1, which gives back the very bytes that came.
        return hmac.compare_digest(authorization.encode("latin-1"), expected)

    async def _do(self, request: Request) -> dict[str, Any]:
        path = request.url.path.removeprefix("/admin").rstrip("/")
        match request.method, path.split("/"):
            case "GET", ["", "stats"]:
                return self._cache.stats()
            case "GET", ["", "load"]:
                return {"models": self._cache.load.report(), **self._pool.report()}
            case "GET", ["", "decisions", request_id]:
                receipt = self._cache.engine.receipts.of(request_id)
                if receipt is None:
                    msg = "no such decision among the latest ones"
                    raise RequestError(msg, status=404)
                return receipt.to_dict()
            case "DELETE", ["", "entries", entry_id]:
                return {"dropped": int(await self._cache.drop(entry_id))}
            case "POST", ["", "purge"]:
                body = await read_body(request.scope, request.receive, _MAX_BODY_BYTES)
                return {"dropped": await self._purge(parse_json(body))}
        msg = f"the admin API has no {request.method} /admin{path}"
        raise RequestError(msg, status=404)

    async def _purge(self, what: object) -> int:
        if isinstance(what, dict) and what == {"all": True}:
            return await self._cache.clear()
        if isinstance(what, dict) and list(what) == ["category"]:
            try:
                return await self._cache.clear(category=check_name(what["category"]))
            except ConfigError as error:
                raise RequestError(str(error), param="category") from error
        msg = 'name what to purge: {"category": NAME} or {"all": true}'
        raise RequestError(msg)


async def _refuse(send: Send, status: int, message: str) -> None:
    body = error_body(message, status=status, code="admin")
    await send_whole(send, status, [(b"content-type", b"application/json")], body)
