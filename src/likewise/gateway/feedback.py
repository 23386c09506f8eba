"""``POST /v1/cache/feedback``: a client says whether an answer from cache was right."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from likewise.aio import AsyncCache
from likewise.errors import LikewiseError, RequestError
from likewise.gateway.client import ClientGone, header_map, read_body, send_json
from likewise.gateway.errors import send_error
from likewise.gateway.reading import tenant_in
from likewise.policy import Hit

PATH = "/v1/cache/feedback"
_MAX_BODY_BYTES = 256 * 1024


class Verdict(msgspec.Struct, forbid_unknown_fields=True):
    """The body: which answer, and whether it was right."""

    correct: bool
    request_id: str | None = None
    entry_id: str | None = None
    question: str | None = None


class FeedbackEndpoint:
    """An ASGI application for one path.

    The answer is named by ``request_id`` (header ``X-Likewise-Request-Id`` of the response) or by
    ``entry_id`` (``X-Likewise-Entry``) and, if known, the ``question`` it was given to. A client
    judges answers of its own tenant only; any other one is unknown to it.
    """

    def __init__(self, cache: AsyncCache) -> None:
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await read_body(scope, receive, _MAX_BODY_BYTES)
            tenant = tenant_in(header_map(scope["headers"]))
            await send_json(send, await self._judge(_read(body), tenant))
        except LikewiseError as error:
            await send_error(send, error)
        except ClientGone:
            return

    async def _judge(self, verdict: Verdict, tenant: str) -> dict[str, Any]:
        entry_id, question = verdict.entry_id, verdict.question
        if verdict.request_id is not None:
            receipt = self._cache.engine.receipts.of(verdict.request_id)
            if receipt is None or receipt.request.scope.tenant != tenant:
                raise RequestError(
                    "this request is not known, or not any more; name the entry_id",
                    status=404,
                    param="request_id",
                )
            if not isinstance(receipt.final, Hit):
                msg = "this request was not answered from cache"
                raise RequestError(msg, param="request_id")
            entry_id, question = receipt.final.entry_id, receipt.request.question
        assert entry_id is not None  # noqa: S101 - _read has seen to it
        entry = await asyncio.to_thread(self._cache.engine.store.get, entry_id)
        if entry is None or entry.tenant != tenant:
            raise RequestError("there is no such entry", status=404, param="entry_id")
        await self._cache.feedback(entry_id, correct=verdict.correct, question=question)
        return {"entry_id": entry_id, "correct": verdict.correct}


def _read(body: bytes) -> Verdict:
    try:
        verdict = msgspec.json.decode(body, type=Verdict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f'the body is not a verdict such as {{"request_id": ID, "correct": false}}: {error}'
        raise RequestError(msg) from error
    if (verdict.request_id is None) == (verdict.entry_id is None):
        raise RequestError("name the answer: one of request_id, entry_id", param="request_id")
    return verdict
