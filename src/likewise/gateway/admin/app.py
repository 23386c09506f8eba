"""The admin API as an ASGI application: finds the act, and lets nobody do it without a key."""

from __future__ import annotations

import math
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from likewise.config import GatewaySettings
from likewise.errors import ConfigError, LikewiseError, RequestError
from likewise.gateway import openapi
from likewise.gateway.admin import contents, governing, running
from likewise.gateway.admin.access import Key, KeyRing, failures
from likewise.gateway.admin.acts import Act, Desk, Given, Role
from likewise.gateway.client import ClientGone, read_body, send_json, send_whole
from likewise.gateway.errors import error_body, refused_websocket, send_error
from likewise.gateway.siblings import Answers
from likewise.pace import Pace


async def _describe(_: Desk, __: Given) -> dict[str, Any]:
    return openapi.admin(ACTS)


ACTS: tuple[Act, ...] = (
    *running.ACTS,
    *contents.ACTS,
    *governing.ACTS,
    Act("GET", openapi.PATH, Role.READ, "This API in OpenAPI's form", _describe),
)
"""All there is, in the order in which paths are tried."""

_MAX_BODY_BYTES = 1024 * 1024


class Admin:
    """An ASGI application for everything below ``/admin``; see ``ACTS`` for what there is.

    Where there are several workers, any of them answers for all.

    Args:
        desk: What the acts work on.
        settings: The configuration's ``gateway``: who may, how often, and where that is noted.

    Raises:
        ConfigError: A key is not kept as a hash, or the audit log cannot be written.
    """

    def __init__(self, desk: Desk, settings: GatewaySettings) -> None:
        self._desk = desk
        self.keys = KeyRing(settings)
        """Who may; exchanged when the configuration changes."""
        self._audit = desk.audit
        self._pace = Pace(settings.acts_per_minute)
        self._failures = failures()

    @property
    def answers(self) -> Answers:
        """What this worker tells the others."""
        return running.answers(self._desk)

    def close(self) -> None:
        """Close the audit log."""
        self._audit.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if await refused_websocket(scope, receive, send):
            return
        request = Request(scope, receive)
        client = scope["client"][0] if scope.get("client") else "unknown"
        if not self.keys:
            msg = "the admin API is off; set gateway.admin_key to open it"
            await _refuse(send, 404, msg)
            return
        if wait_s := self._failures.wait_s(client):
            await _refuse(send, 429, "too many wrong keys from this address", wait_s)
            return
        # Starlette reads headers as Latin-1, which gives back the very bytes that came.
        given = request.headers.get("authorization", "").encode("latin-1")
        key = self.keys.admits(given)
        if key is None:
            if given:
                self._failures.count(client)
            await _refuse(send, 401, "the admin key is missing or wrong")
            return
        if wait_s := self._pace.wait_s(key.name):
            await _refuse(send, 429, "this key is used too often", wait_s)
            return
        self._pace.count(key.name)
        try:
            await self._do(request, key, client, send)
        except LikewiseError as error:
            await send_error(send, error)
        except ClientGone:
            return

    async def _do(self, request: Request, key: Key, client: str, send: Send) -> None:
        path = request.url.path.removeprefix("/admin").rstrip("/")
        for act in ACTS:
            names = act.names(path) if act.method == request.method else None
            if names is not None:
                break
        else:
            msg = f"the admin API has no {request.method} /admin{path}"
            raise RequestError(msg, status=404)
        given = Given(names)
        try:
            if key.role < act.role:
                msg = f"the key {key.name} may {key.role.name.lower()}, not {act.role.name.lower()}"
                raise RequestError(msg, status=403)
            body = b""
            if act.body is not None:
                body = await read_body(request.scope, request.receive, _MAX_BODY_BYTES)
            given = act.read(names, dict(request.query_params), body)
            try:
                done = await act.do(self._desk, given)
            except ConfigError as error:
                # What an act is given is the request's: a name that cannot be one, for instance.
                raise RequestError(str(error)) from error
        except LikewiseError as error:
            self._note(key, act, given, client, getattr(error, "status", 500))
            raise
        self._note(key, act, given, client, 200)
        await send_json(send, done)

    def _note(self, key: Key, act: Act, given: Given, client: str, status: int) -> None:
        if act.role > Role.READ and act.method != "GET":
            self._audit.note(
                f"{act.method} /admin{act.path}",
                key=key.name,
                client=client,
                names=given.names,
                body=given.body,
                status=status,
            )


async def _refuse(send: Send, status: int, message: str, wait_s: float = 0.0) -> None:
    body = error_body(message, status=status, code="admin")
    headers = [(b"content-type", b"application/json")]
    if wait_s:
        headers.append((b"retry-after", str(math.ceil(wait_s)).encode()))
    await send_whole(send, status, headers, body)
