"""How an answer goes out: as the model sends it, in its other form, or out of the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.types import Send

from likewise.errors import UpstreamError
from likewise.gateway.client import send_whole
from likewise.gateway.errors import send_error
from likewise.gateway.flight import Flight, Head, Listener
from likewise.gateway.upstream import Headers
from likewise.gateway.wire.dialect import Call, Dialect
from likewise.policy import Bypass, Decision, Hit, Miss
from likewise.stores import Held

UsageOnHit = Literal["replay", "zero"]

JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Reply:
    """What one client asked for, and what it is told beside the answer.

    Attributes:
        call: What it asked.
        headers: Ours.
        hide_usage: Whether only we, or another client, asked the model for the usage.
    """

    call: Call
    headers: Headers
    hide_usage: bool = False

    async def pass_on(self, listener: Listener, send: Send) -> None:
        """Hand on what the model says, in the form this client asked for."""
        stream, dialect = self.call.stream, self.call.dialect
        try:
            head = await listener.head()
            if head.is_event_stream and stream:
                await self._relay_events(head, listener, send)
                return
            await listener.settled()
            if head.status == 200 and head.is_event_stream != stream:
                answer = whole(listener.flight, dialect, needs_done=False)
                if answer is not None and dialect.is_well_formed(answer):
                    await self.send_answer(answer, send)
                    return
                if head.is_event_stream:
                    msg = "the model's stream broke off, or is too long to be sent as one answer"
                    raise UpstreamError(msg)
            await self._relay(head, listener, send)
        except UpstreamError as error:
            await send_error(send, error, _without_entry(self.headers), shape=dialect.error_body)

    async def send_answer(self, answer: dict[str, Any], send: Send) -> None:
        """Send a whole answer, as one body or as a stream."""
        call = self.call
        if call.echo:
            answer = {**answer, **call.echo}
        if not call.stream:
            await send_whole(send, 200, [JSON, *self.headers], msgspec.json.encode(answer))
            return
        kind = [(b"content-type", b"text/event-stream; charset=utf-8")]
        headers = [*kind, *self.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        # All of it is there: a message for each event would only cost both sides.
        events = b"".join(call.dialect.to_stream(answer, include_usage=call.include_usage))
        await send({"type": "http.response.body", "body": events})

    async def _relay(self, head: Head, listener: Listener, send: Send) -> None:
        """Pass a body on as it is."""
        headers = self._with_ours(head)
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        try:
            async for piece in listener.pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except UpstreamError:
            # The status has gone out: breaking off as well is the only honest sign left.
            return
        await send({"type": "http.response.body", "body": b""})

    async def _relay_events(self, head: Head, listener: Listener, send: Send) -> None:
        """Pass events on as they arrive, without a usage that this client did not ask for."""
        headers = [(n, v) for n, v in self._with_ours(head) if n != b"content-length"]
        dialect = self.call.dialect
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
        try:
            async for event in listener.pieces():
                if not (self.hide_usage and dialect.is_usage_only(event)):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        except UpstreamError as error:
            # The status has gone out: the stream itself must say that it is not whole.
            last = dialect.error_event(str(error), status=error.status, position=listener.position)
            await send({"type": "http.response.body", "body": last, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _with_ours(self, head: Head) -> Headers:
        """Return the model's headers with ours in place of any that could be taken for ours."""
        ours = self.headers if head.status == 200 else _without_entry(self.headers)
        return [*((n, v) for n, v in head.headers if not _is_ours(n)), *ours]


def _is_ours(name: bytes) -> bool:
    return name in (b"x-cache", b"age") or name.startswith(b"x-likewise-")


def _without_entry(headers: Headers) -> Headers:
    """Return our headers for an answer that is an error: it becomes no entry."""
    return [(name, value) for name, value in headers if name != b"x-likewise-entry"]


def headers_of(decision: Decision, entry_id: str | None, request_id: str) -> Headers:
    """Return the headers that tell a client what the cache decided."""
    found = [
        (b"x-cache", _outcome(decision)),
        (b"x-likewise-category", decision.category.encode()),
        (b"x-likewise-reason", decision.reason.encode()),
        (b"x-likewise-request-id", request_id.encode()),
    ]
    if entry_id is not None:
        found.append((b"x-likewise-entry", entry_id.encode()))
    if isinstance(decision, Hit):
        provenance = decision.provenance
        found += [
            (b"age", b"%d" % max(0, int(decision.age_s))),
            (b"x-likewise-tier", decision.tier.encode()),
            (b"x-likewise-saved-tokens", b"%d" % provenance.total_tokens),
        ]
        if provenance.cost_usd is not None:
            found.append((b"x-likewise-saved-usd", b"%.6f" % provenance.cost_usd))
    if not isinstance(decision, Bypass) and decision.similarity is not None:
        found.append((b"x-likewise-similarity", b"%.4f" % decision.similarity))
    return found


def _outcome(decision: Decision) -> bytes:
    if isinstance(decision, Hit):
        return b"STALE" if decision.stale_s else b"HIT"
    return b"MISS" if isinstance(decision, Miss) else b"BYPASS"


def served(answer: dict[str, Any], usage_on_hit: UsageOnHit) -> dict[str, Any]:
    """Return a stored answer as a hit tells it: with its usage, or with none used."""
    usage = answer.get("usage")
    if usage_on_hit == "zero" and isinstance(usage, dict):
        return {**answer, "usage": _zeroed(usage)}
    return answer


def ready(held: Held, dialect: Dialect, usage_on_hit: UsageOnHit) -> bytes | None:
    """Return the body that a hit on an answer at hand has; ``None`` when it is no such answer."""
    body: bytes | None = held.ready.get(usage_on_hit)
    if body is None:
        answer = msgspec.json.decode(held.answer)
        if not dialect.is_well_formed(answer):
            return None
        told = served(answer, usage_on_hit)
        body = held.answer if told is answer else msgspec.json.encode(told)
        held.ready[usage_on_hit] = body
    return body


def whole(flight: Flight, dialect: Dialect, *, needs_done: bool = True) -> dict[str, Any] | None:
    """Return the whole form of what a flight brought, or ``None`` when there is none.

    ``needs_done`` asks of a stream that it said its last word: what is stored must have.
    """
    head = flight.head
    if head is None or head.status != 200 or flight.overflowed or flight.error is not None:
        return None
    if head.is_event_stream:
        return dialect.from_stream(flight.pieces, needs_done=needs_done)
    try:
        answer = msgspec.json.decode(b"".join(flight.pieces))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _zeroed(usage: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _zeroed(value)
        if isinstance(value, dict)
        else 0
        if isinstance(value, int | float)
        else value
        for name, value in usage.items()
    }
