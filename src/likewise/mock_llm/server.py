"""The stand-in's endpoints, and what they remember."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from likewise.mock_llm.protocols import CHAT, MESSAGES, RESPONSES, TEXT, Invalid, Protocol
from likewise.mock_llm.service import Refused, Served, Service
from likewise.mock_llm.wire import Answer, JsonObject, count_words, find_directives, read_text
from likewise.service_time import RETRY_AFTER_S, ServiceTime

_MAX_TOKENS = 100_000
_TOKENS_HEADER = "x-mock-tokens"


@dataclass(frozen=True, slots=True)
class MockSettings:
    """How the stand-in behaves; see the fields.

    Attributes:
        model: the model's name in ``/v1/models``, and in answers to requests that name none.
        latency_s: seconds before the first byte of a chat completion.
        token_s: seconds between streamed pieces, of up to three words each.
        error_rate: share of requests, 0 to 1, that fail with ``status_of_errors``.
        status_of_errors: HTTP status of those failures.
        seed: seed of the dice that choose which requests fail.
        capacity: requests served at once, of which the others wait; ``None`` for any number.
        answer_token_s: seconds for each token of an answer, streamed or not.
        slowdown: how much longer a full model takes than an idle one, see ``service_time``.
        most_waiting: requests that may wait, beyond which they get 429; ``None`` for any number.
    """

    model: str = "stand-in-1"
    latency_s: float = 0.1
    token_s: float = 0.0
    error_rate: float = 0.0
    status_of_errors: int = 500
    seed: int = 0
    capacity: int | None = None
    answer_token_s: float = 0.0
    slowdown: float = 0.0
    most_waiting: int | None = None

    @property
    def law(self) -> ServiceTime:
        """How long answers take under load."""
        return ServiceTime(
            capacity=self.capacity,
            first_token_s=self.latency_s,
            token_s=self.answer_token_s,
            slowdown=self.slowdown,
            most_waiting=self.most_waiting,
        )


def create_app(settings: MockSettings | None = None) -> Starlette:
    """Return the stand-in as an ASGI application; usable as an uvicorn factory."""
    server = _StandIn(settings or MockSettings())
    return Starlette(
        routes=[
            *(
                Route(protocol.path, partial(server.generate, protocol=protocol), methods=["POST"])
                for protocol in (CHAT, TEXT, RESPONSES, MESSAGES)
            ),
            Route(f"{MESSAGES.path}/count_tokens", server.count_tokens, methods=["POST"]),
            Route("/v1/embeddings", server.embeddings, methods=["POST"]),
            Route("/v1/models", server.models, methods=["GET"]),
            Route("/healthz", server.health, methods=["GET"]),
            Route("/requests", server.requests, methods=["GET", "DELETE"]),
        ],
        exception_handlers={HTTPException: _render_error},
    )


class _CutResponse(StreamingResponse):
    """Sends its body, then closes the connection without the end that HTTP requires."""

    async def stream_response(self, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        async for chunk in self.body_iterator:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


class _StandIn:
    """The endpoints, and what they remember of the requests they got."""

    def __init__(self, settings: MockSettings) -> None:
        self._settings = settings
        self._service = Service(settings.law)
        self._dice = random.Random(settings.seed)  # noqa: S311 - simulates failures
        self._calls: Counter[str] = Counter()
        self._last: JsonObject | None = None

    async def generate(self, request: Request, *, protocol: Protocol) -> Response:
        body = await self._receive(request)
        try:
            protocol.check(body)
        except Invalid as error:
            raise _error(400, str(error)) from error
        tokens = self._asked(request, body, protocol)
        answer = protocol.answer(body, self._settings.model, tokens)
        directives = answer.directives
        served = await self._serve(answer)
        await asyncio.sleep(served.first_s)
        if "status" in directives:
            raise _error(int(_read_number(directives, "status", default=500)))
        self._roll_dice()
        cut = "cut" in directives
        if body.get("stream"):
            kind = _CutResponse if cut else StreamingResponse
            return kind(self._stream(answer, served), media_type="text/event-stream")
        if served.rest_s:
            await asyncio.sleep(served.rest_s)
        if "garbage" in directives:
            return Response("<html>stand-in out of order", media_type="application/json")
        whole = JSONResponse(answer.whole())
        if cut:
            half = bytes(whole.body)[: len(whole.body) // 2]
            return _CutResponse(_once(half), media_type="application/json")
        return whole

    async def count_tokens(self, request: Request) -> Response:
        messages = MESSAGES.messages(await self._receive(request))
        words = sum(count_words(read_text(message)) for message in messages)
        return JSONResponse({"input_tokens": words})

    async def _serve(self, answer: Answer) -> Served:
        """Wait for a place in the model, and return how long the answer takes from there."""
        directives = answer.directives
        slow = _read_number(directives, "slow", default=self._settings.latency_s)
        tokens = 0 if "status" in directives else answer.output_tokens
        try:
            return await self._service.enter(tokens, first_token_s=max(slow, 0.0))
        except Refused as error:
            raise _error(429, "The stand-in is overloaded; try again later.") from error

    def _asked(self, request: Request, body: JsonObject, protocol: Protocol) -> int | None:
        """Return how many tokens an answer is to have, if anything says so."""
        asked: object = request.headers.get(_TOKENS_HEADER)
        if asked is None:
            asked = find_directives(protocol.messages(body)).get("tokens")
        if asked is None and self._settings.answer_token_s:
            limits = ("max_completion_tokens", "max_output_tokens", "max_tokens")
            asked = next((body[name] for name in limits if body.get(name)), None)
        return None if asked is None else _read_tokens(asked)

    async def _stream(self, answer: Answer, served: Served) -> AsyncIterator[bytes]:
        if "garbage" in answer.directives:
            yield b"data: <html>stand-in out of order\n\n"
            return
        events = list(answer.events())
        if "cut" in answer.directives:
            events = events[: len(events) // 2]
        gap_s = self._settings.token_s + served.rest_s / max(len(events) - 1, 1)
        began = time.monotonic()
        for at, event in enumerate(events):
            if at and gap_s:
                # Where the law sets the end, being late once must not add up.
                late_s = time.monotonic() - began - (at - 1) * gap_s if served.rest_s else 0.0
                await asyncio.sleep(gap_s - late_s)
            yield event
        if answer.last and "cut" not in answer.directives:
            yield answer.last

    async def embeddings(self, request: Request) -> Response:
        body = await self._receive(request)
        texts, dimensions = _read_embedding_input(body)
        self._roll_dice()
        # Imported here because nothing else in the stand-in needs it.
        from likewise.testing import HashingEmbedder  # noqa: PLC0415 - see above

        vectors = HashingEmbedder(dimensions).embed(texts).astype("<f4")
        as_text = body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(row.tobytes()).decode() if as_text else row.tolist(),
            }
            for index, row in enumerate(vectors)
        ]
        words = sum(map(count_words, texts))
        usage = {"prompt_tokens": words, "total_tokens": words}
        model = body.get("model") or self._settings.model
        return JSONResponse({"object": "list", "data": data, "model": model, "usage": usage})

    async def models(self, request: Request) -> Response:
        self._calls[request.url.path] += 1
        model = {"id": self._settings.model, "object": "model", "created": int(time.time())}
        return JSONResponse({"object": "list", "data": [{**model, "owned_by": "likewise"}]})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def requests(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._calls.clear()
            self._last = None
            self._service.refused = 0
        told = {"calls": dict(self._calls), "last": self._last}
        if self._settings.capacity is not None:
            told["queue"] = self._service.report()
        return JSONResponse(told)

    async def _receive(self, request: Request) -> JsonObject:
        """Count the call, remember its body and return it."""
        self._calls[request.url.path] += 1
        self._last = None
        try:
            body = await request.json()
        except (ValueError, RecursionError) as error:
            raise _error(400, "We could not parse the JSON body of your request.") from error
        if not isinstance(body, dict):
            raise _error(400, "The body of your request must be a JSON object.")
        self._last = body
        return body

    def _roll_dice(self) -> None:
        if self._dice.random() < self._settings.error_rate:
            raise _error(self._settings.status_of_errors)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _read_embedding_input(body: JsonObject) -> tuple[list[str], int]:
    texts = body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, list):
        rows = [texts] if _is_tokens(texts) else texts
        texts = [json.dumps(row) if _is_tokens(row) else row for row in rows]
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise _error(400, "'input' must be a string, or a list of strings or of tokens.")
    dimensions = body.get("dimensions") or 384
    if type(dimensions) is not int or dimensions < 1:
        raise _error(400, "'dimensions' must be a positive whole number.")
    return texts, dimensions


def _is_tokens(row: object) -> bool:
    return isinstance(row, list) and bool(row) and all(type(token) is int for token in row)


def _read_number(directives: Mapping[str, str], name: str, *, default: float) -> float:
    try:
        return float(directives[name]) if name in directives else default
    except ValueError as error:
        raise _error(400, f"The directive {name!r} needs a number.") from error


def _read_tokens(asked: object) -> int:
    """Return a number of tokens that was asked for.

    Raises:
        HTTPException: It is none, or too many.
    """
    try:
        tokens = int(str(asked))
    except ValueError:
        tokens = 0
    if not 1 <= tokens <= _MAX_TOKENS:
        raise _error(400, f"The number of tokens must be a whole number from 1 to {_MAX_TOKENS}.")
    return tokens


def _error(status: int, message: str | None = None) -> HTTPException:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 429 else None
    return HTTPException(status, message or f"The stand-in answers {status} on purpose.", headers)


def _render_error(request: Request, exception: Exception) -> Response:
    """Put an error into the shape of its protocol."""
    error = cast("HTTPException", exception)  # what it is registered for
    kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(error.status_code, "server_error" if error.status_code >= 500 else "api_error")
    shape: JsonObject = {"message": error.detail, "type": kind, "param": None, "code": None}
    body: JsonObject = {"error": shape}
    if request.url.path.startswith(MESSAGES.path):
        kind = {529: "overloaded_error"}.get(error.status_code, kind.replace("server", "api"))
        body = {"type": "error", "error": {"type": kind, "message": error.detail}}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)
