"""``POST /v1/chat/completions``: lookup, replay, or one shared call to the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec
from starlette.types import Receive, Scope, Send

from likewise.cache import AsyncCache
from likewise.config import GatewaySettings, PriceSettings
from likewise.engine import Lookup
from likewise.entry import Provenance, new_entry_id
from likewise.errors import ConfigError, LikewiseError, RequestError, UpstreamError
from likewise.gateway.errors import (
    ClientGone,
    error_body,
    header_map,
    read_body,
    send_error,
    send_whole,
)
from likewise.gateway.flight import Flight, Head, Listener
from likewise.gateway.metrics import Metrics
from likewise.gateway.proxy import Proxy
from likewise.gateway.upstream import Headers, Upstream, chunks_of, response_headers
from likewise.gateway.wire import completion as wire
from likewise.gateway.wire.chat import PATH, ChatCall, read_chat
from likewise.gateway.wire.sse import Splitter, event_of
from likewise.policy import Bypass, Decision, Hit, Miss
from likewise.scope import tenant_of

_BODY_HEADERS = frozenset({"content-type", "accept-encoding", "content-encoding", "cache-control"})
"""Headers of a request that stop being true when its body is written anew."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A chat request under way: what was asked, what was decided, what the client is told."""

    call: ChatCall
    lookup: Lookup
    decision: Decision
    entry_id: str
    headers: Headers


class ChatEndpoint:
    """An ASGI application for one path."""

    def __init__(
        self,
        *,
        cache: AsyncCache,
        upstream: Upstream,
        proxy: Proxy,
        settings: GatewaySettings,
        stream_usage: bool,
        prices: dict[str, PriceSettings],
        metrics: Metrics,
    ) -> None:
        self._cache = cache
        self._upstream = upstream
        self._proxy = proxy
        self._settings = settings
        self._stream_usage = stream_usage
        self._prices = prices
        self._metrics = metrics
        self._flights: dict[bytes, tuple[Flight, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            headers = header_map(scope["headers"])
            body = await read_body(scope, receive, self._settings.max_body_bytes)
            call = read_chat(body, headers, tenant=tenant_of(_key_of(headers)))
            if call is None:
                await self._proxy.forward(scope, body, send)
                return
            await self._answer(call, scope, receive, send)
        except ClientGone:
            return
        except LikewiseError as error:
            await send_error(send, error)

    async def drain(self) -> None:
        """Wait for the answers that are being stored, and give up the calls nobody listens to."""
        for flight, _ in list(self._flights.values()):
            if not flight.done:
                flight.task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- steps ------------------------------------------------------------------------------------

    async def _answer(self, call: ChatCall, scope: Scope, receive: Receive, send: Send) -> None:
        engine = self._cache.engine
        try:
            lookup = engine.start(call.request)
        except ConfigError as error:
            raise RequestError(str(error)) from error
        decision = await self._cache.resume(lookup)
        self._metrics.decided(decision, time.perf_counter() - lookup.started)
        if isinstance(decision, Hit):
            headers = self._headers(decision, decision.entry_id)
            await self._replay(call, decision, headers, send)
            return
        flight, entry_id = self._board(call, lookup, decision, scope)
        ticket = Ticket(call, lookup, decision, entry_id, self._headers(decision, entry_id))
        await _until_gone(self._serve(ticket, flight, send), receive, flight)

    def _board(
        self, call: ChatCall, lookup: Lookup, decision: Miss | Bypass, scope: Scope
    ) -> tuple[Listener, str]:
        """Join the call that is under way for the same question, or begin one."""
        keep = not call.request.controls.no_store and (isinstance(decision, Miss) or decision.store)
        shared = keep and isinstance(decision, Miss)
        found = self._flights.get(lookup.key) if shared else None
        if found is not None and found[0].joinable:
            self._metrics.shared()
            return found[0].join(), found[1]
        entry_id = new_entry_id()
        flight = self._depart(call, lookup, scope, entry_id=entry_id, keep=keep)
        if shared:
            self._flights[lookup.key] = flight, entry_id
        return flight.join(), entry_id

    def _depart(
        self, call: ChatCall, lookup: Lookup, scope: Scope, *, entry_id: str, keep: bool
    ) -> Flight:
        body = call.body
        if call.stream and keep and self._stream_usage and not call.include_usage:
            # Without the usage a stored stream could not be replayed whole.
            options = {**(body.get("stream_options") or {}), "include_usage": True}
            body = {**body, "stream_options": options}
        headers = self._upstream.headers(scope["headers"], without=_BODY_HEADERS)
        headers["content-type"] = "application/json"
        headers["accept-encoding"] = "identity"
        query = scope.get("query_string", b"").decode("latin-1")
        path = f"{PATH}?{query}" if query else PATH
        data = msgspec.json.encode(body)
        started = time.perf_counter()

        async def fly(flight: Flight) -> None:
            with self._metrics.upstream():
                response = await self._upstream.send("POST", path, headers, data)
                async with response:
                    head = Head(response.status, response_headers(response))
                    flight.begin(head)
                    splitter = Splitter()
                    async for chunk in chunks_of(response, self._upstream.base_url):
                        if not head.is_event_stream:
                            await flight.add(chunk)
                            continue
                        for event in splitter.feed(chunk):
                            await flight.add(event)
                    if rest := splitter.rest():
                        await flight.add(rest)

        async def land(flight: Flight) -> None:
            latency_s = time.perf_counter() - started
            try:
                if keep and flight.error is None:
                    await self._keep(flight, call, entry_id, latency_s)
            finally:
                if self._flights.get(lookup.key, (None, ""))[0] is flight:
                    del self._flights[lookup.key]

        flight = Flight(fly, land)
        self._tasks.add(flight.task)
        flight.task.add_done_callback(lambda task: self._landed(task, lookup.key, flight))
        return flight

    def _landed(self, task: asyncio.Task[None], key: bytes, flight: Flight) -> None:
        self._tasks.discard(task)
        if self._flights.get(key, (None, ""))[0] is flight:
            del self._flights[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._cache.engine.faults.report("default", "gateway", error)

    async def _keep(self, flight: Flight, call: ChatCall, entry_id: str, latency_s: float) -> None:
        """Store what a flight brought, when it is whole and successful."""
        completion = _whole(flight)
        if completion is None or wire.why_not_keep(completion):
            self._metrics.refused()
            return
        provenance = self._provenance(call, completion, latency_s)
        await self._cache.try_keep(
            call.request, completion, provenance=provenance, entry_id=entry_id
        )

    def _provenance(
        self, call: ChatCall, completion: dict[str, Any], latency_s: float
    ) -> Provenance:
        usage = completion.get("usage") or {}
        prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
        asked, answered = call.request.scope.model, str(completion.get("model", ""))
        price = self._prices.get(asked) or self._prices.get(answered)
        cost_usd = None
        if price is not None and isinstance(prompt, int) and isinstance(output, int):
            cost_usd = (prompt * price.input + output * price.output) / 1_000_000
        return Provenance(
            model=answered or asked,
            prompt_tokens=prompt if isinstance(prompt, int) else None,
            completion_tokens=output if isinstance(output, int) else None,
            latency_s=latency_s,
            cost_usd=cost_usd,
        )

    # -- answers ----------------------------------------------------------------------------------

    async def _serve(self, ticket: Ticket, listener: Listener, send: Send) -> None:
        """Hand on what the model says, in the form this client asked for."""
        try:
            head = await listener.head()
            same_form = head.status != 200 or head.is_event_stream == ticket.call.stream
            if head.is_event_stream and same_form:
                await self._relay_events(ticket, head, listener, send)
                return
            await listener.settled()
            if same_form:
                await self._relay(ticket, head, listener, send)
            else:
                await self._convert(ticket, listener, send)
        except UpstreamError as error:
            await send_error(send, error, ticket.headers)
        finally:
            listener.leave()

    async def _relay(self, ticket: Ticket, head: Head, listener: Listener, send: Send) -> None:
        """Pass a body on as it is."""
        headers = [*head.headers, *ticket.headers]
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        async for piece in listener.pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _relay_events(
        self, ticket: Ticket, head: Head, listener: Listener, send: Send
    ) -> None:
        """Pass events on as they arrive, without the usage that only we asked for."""
        headers = [*_without_length(head.headers), *ticket.headers]
        hide_usage = not ticket.call.include_usage
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        try:
            async for event in listener.pieces():
                if not (hide_usage and wire.is_usage_only(event)):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        except UpstreamError as error:
            # The status has gone out: the stream itself must say that it is not whole.
            body = error_body(str(error), status=error.status, code="upstream_error")
            await send({"type": "http.response.body", "body": event_of(body), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _convert(self, ticket: Ticket, listener: Listener, send: Send) -> None:
        """Answer in the other form than the model did."""
        completion = _whole(listener.flight)
        if completion is None:
            msg = "the model's answer was not whole, or too long to be turned into another form"
            raise UpstreamError(msg)
        await self._send_completion(ticket.call, completion, ticket.headers, send)

    async def _replay(self, call: ChatCall, hit: Hit, headers: Headers, send: Send) -> None:
        completion = dict(hit.answer)
        if self._settings.usage_on_hit == "zero" and isinstance(completion.get("usage"), dict):
            completion["usage"] = _zeroed(completion["usage"])
        await self._send_completion(call, completion, headers, send)

    async def _send_completion(
        self, call: ChatCall, completion: dict[str, Any], headers: Headers, send: Send
    ) -> None:
        if not call.stream:
            kind = [(b"content-type", b"application/json")]
            await send_whole(send, 200, [*kind, *headers], msgspec.json.encode(completion))
            return
        kind = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": [*kind, *headers]})
        for event in wire.to_stream(completion, include_usage=call.include_usage):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _headers(self, decision: Decision, entry_id: str) -> Headers:
        if not self._settings.response_headers:
            return []
        values = {
            "x-cache": type(decision).__name__.upper(),
            "x-likewise-category": decision.category,
            "x-likewise-reason": decision.reason,
            "x-likewise-entry": entry_id,
            "x-likewise-request-id": f"req-{uuid4().hex}",
        }
        if isinstance(decision, Hit):
            values["age"] = str(int(decision.age_s))
            values["x-likewise-tier"] = decision.tier
            values["x-likewise-saved-tokens"] = str(decision.provenance.total_tokens)
            if decision.provenance.cost_usd is not None:
                values["x-likewise-saved-usd"] = f"{decision.provenance.cost_usd:.6f}"
        if isinstance(decision, Hit | Miss) and decision.similarity is not None:
            values["x-likewise-similarity"] = f"{decision.similarity:.4f}"
        return [(name.encode(), value.encode()) for name, value in values.items()]


async def _until_gone(
    serving: Coroutine[Any, Any, None], receive: Receive, listener: Listener
) -> None:
    """Run ``serving`` until it is done or the client has left."""
    task = asyncio.ensure_future(serving)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            listener.leave()
            await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        await task


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _whole(flight: Flight) -> dict[str, Any] | None:
    """Return the whole form of what a flight brought, or ``None`` when there is none to keep."""
    head = flight.head
    if head is None or head.status != 200 or flight.overflowed or flight.error is not None:
        return None
    if head.is_event_stream:
        return wire.from_stream(flight.pieces)
    try:
        completion = msgspec.json.decode(b"".join(flight.pieces))
    except (msgspec.DecodeError, RecursionError):
        return None
    return completion if isinstance(completion, dict) else None


def _key_of(headers: dict[str, str]) -> str | None:
    return headers.get("authorization") or headers.get("api-key") or headers.get("x-api-key")


def _without_length(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name != b"content-length"]


def _zeroed(usage: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _zeroed(value) if isinstance(value, dict) else 0 if isinstance(value, int) else value
        for name, value in usage.items()
    }
