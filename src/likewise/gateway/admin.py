"""``/admin/*``: statistics and purging, behind a key; closed when no key is configured."""

from __future__ import annotations

import hmac
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from likewise.aio import AsyncCache
from likewise.category import check_name
from likewise.errors import ConfigError, LikewiseError, RequestError
from likewise.gateway.client import ClientGone, read_body, send_json, send_whole
from likewise.gateway.errors import refused_websocket, send_error
from likewise.gateway.pool import Pool
from likewise.gateway.siblings import Answers, Siblings
from likewise.gateway.wire.dialect import parse_json
from likewise.gateway.wire.shape import openai_error

_MAX_BODY_BYTES = 64 * 1024


class Admin:
    """An ASGI application for everything below ``/admin``.

    ``GET /admin/stats``, ``GET /admin/load``, ``GET /admin/decisions/ID``,
    ``DELETE /admin/entries/ID``, and ``POST /admin/purge`` with ``{"category": NAME}`` or
    ``{"all": true}``.

    For policies wherever the store is used: ``GET /admin/policies``, ``PUT /admin/policies/NAME``
    with what ``categories`` of a configuration would say, ``DELETE /admin/policies/NAME`` for what
    the configuration does say, and ``POST /admin/revoke`` with ``{"category": NAME}``, after which
    nothing is served that was stored of it before.

    Where there are several workers, any of them answers for all.
    """

    def __init__(
        self,
        cache: AsyncCache,
        pool: Pool,
        *,
        key: str | None,
        siblings: Siblings | None = None,
    ) -> None:
        self._cache = cache
        self._pool = pool
        self._key = key
        self._siblings = siblings

    @property
    def answers(self) -> Answers:
        """What this worker tells the others."""
        engine = self._cache.engine
        return {
            "counters": engine.stats.by_category,
            "load": self._load,
            "decision": self._decision,
        }

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
        parts = path.split("/")[1:]
        found = (
            await self._read(parts)
            if request.method == "GET"
            else await self._change(request, parts)
        )
        if found is None:
            msg = f"the admin API has no {request.method} /admin{path}"
            raise RequestError(msg, status=404)
        return found

    async def _read(self, parts: list[str]) -> dict[str, Any] | None:
        match parts:
            case ["stats"]:
                others = await self._ask("counters")
                return self._cache.engine.statistics(list(others.values()))
            case ["load"]:
                others = await self._ask("load")
                return self._load() | ({"workers": others} if others else {})
            case ["decisions", request_id]:
                return await self._decided(request_id)
            case ["policies"]:
                return self._policies()
        return None

    async def _change(self, request: Request, parts: list[str]) -> dict[str, Any] | None:
        match request.method, parts:
            case "DELETE", ["entries", entry_id]:
                return {"dropped": int(await self._cache.drop(entry_id))}
            case "POST", ["purge"]:
                return {"dropped": await self._purge(await _json(request))}
            case "POST", ["revoke"]:
                return {"dropped": await self._revoke(await _json(request))}
            case "PUT", ["policies", name]:
                settings = await _json(request)
                if settings is None:
                    msg = 'write what is to hold, such as {"ttl": "1h"}; DELETE takes it back'
                    raise RequestError(msg)
                return await self._override(name, settings)
            case "DELETE", ["policies", name]:
                return await self._override(name, None)
        return None

    async def _ask(self, what: str, *arguments: str) -> dict[int, Any]:
        return {} if self._siblings is None else await self._siblings.ask(what, *arguments)

    def _load(self) -> dict[str, Any]:
        return {"models": self._cache.load.report(), **self._pool.report()}

    def _decision(self, request_id: str) -> dict[str, Any] | None:
        receipt = self._cache.engine.receipts.of(request_id)
        return None if receipt is None else receipt.to_dict()

    async def _decided(self, request_id: str) -> dict[str, Any]:
        found = self._decision(request_id)
        if found is None:
            others = await self._ask("decision", request_id)
            found = next((one for one in others.values() if one is not None), None)
        if found is None:
            msg = "no such decision among the latest ones"
            raise RequestError(msg, status=404)
        return found

    def _policies(self) -> dict[str, Any]:
        policies, overrides = self._cache.engine.force.policies, self._cache.engine.overrides
        names = {policies.default.name, *policies.categories, *overrides}
        return {
            name: {"policy": asdict(policies.of(name)), "override": overrides.get(name)}
            for name in sorted(names)
        }

    async def _override(self, name: str, settings: Any) -> dict[str, Any]:
        try:
            policy = await self._cache.override(name, settings)
        except ConfigError as error:
            raise RequestError(str(error)) from error
        return {"policy": asdict(policy), "override": self._cache.engine.overrides.get(name)}

    async def _revoke(self, what: object) -> int:
        if isinstance(what, dict) and list(what) == ["category"]:
            try:
                return await self._cache.revoke(check_name(what["category"]))
            except ConfigError as error:
                raise RequestError(str(error), param="category") from error
        msg = 'name what to revoke: {"category": NAME}'
        raise RequestError(msg)

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


async def _json(request: Request) -> Any:
    return parse_json(await read_body(request.scope, request.receive, _MAX_BODY_BYTES))


async def _refuse(send: Send, status: int, message: str) -> None:
    body = openai_error(message, status=status, code="admin")
    await send_whole(send, status, [(b"content-type", b"application/json")], body)
