"""What the transports do with a chat request, apart from who waits: reading, replaying, recording.

Written once for ``httpx`` and its successor ``httpx2``, whose requests and responses look alike,
over the wire code of the gateway.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import msgspec

from likewise.entry import Provenance, new_entry_id
from likewise.errors import ConfigError, LikewiseError, RequestError
from likewise.front import Front
from likewise.gateway.bill import provenance_of
from likewise.gateway.client import header_map
from likewise.gateway.errors import error_body
from likewise.gateway.flight import MAX_KEPT_BYTES
from likewise.gateway.reading import tenant_in
from likewise.gateway.reply import UsageOnHit, headers_of, served
from likewise.gateway.wire import completion as wire
from likewise.gateway.wire.chat import CHAT, read_chat
from likewise.gateway.wire.dialect import Call
from likewise.gateway.wire.sse import Splitter
from likewise.lookup import Lookup
from likewise.policy import Bypass, Decision, Hit, Miss, Reason
from likewise.prices import Prices
from likewise.sources import written

Headers = list[tuple[bytes, bytes]]

_ENDPOINT = "/chat/completions"
_NOT_SENT = frozenset({"accept-encoding", "cache-control", "content-length", "content-encoding"})
"""Headers of a request that stop being true when its body is read and its answer stored."""

_FAILURES = frozenset({500, 502, 503, 504})
"""What RFC 5861 counts as an error of the model."""


@dataclass(slots=True)
class Exchange:
    """A chat request on its way.

    Attributes:
        request: The client's, of ``httpx`` or ``httpx2``.
        call: What it asks.
        lookup: What the cache knows of it.
        decision: What the cache said, once it has.
        began: When the model was asked, by ``time.perf_counter``.
        sources: What its answer is made of, as they were then.
        since: The latest purge as it was then: what was asked for before one is not kept after it.
    """

    request: Any
    call: Call
    lookup: Lookup
    decision: Decision | None = None
    began: float = 0.0
    sources: str = ""
    since: bytes | None = None

    @property
    def keeps(self) -> bool:
        """Whether the model's answer is to be stored."""
        if self.call.request.controls.no_store:
            return False
        return not isinstance(self.decision, Bypass) or self.decision.store


@dataclass(slots=True)
class Recorder:
    """Listens to a response as it passes, and says what to keep of it.

    Args:
        is_stream: Whether it is a stream of events.
        hide_usage: Whether only we asked for its usage, which the client is not to see.
    """

    is_stream: bool
    hide_usage: bool
    _pieces: list[bytes] = field(default_factory=list)
    _splitter: Splitter = field(default_factory=Splitter)
    _bytes: int = 0
    _ended: bool = False
    _taken: bool = False

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """Take note of a piece; return what goes on to the client."""
        pieces = self._splitter.feed(chunk) if self.is_stream else [chunk]
        for piece in pieces:
            self._note(piece)
        return self._shown(pieces)

    def end(self) -> Iterable[bytes]:
        """Take note that the body is whole; return what goes on to the client."""
        rest = self._splitter.rest()
        if rest:
            self._note(rest)
        self._ended = True
        return self._shown([rest] if rest else [])

    def completion(self) -> dict[str, Any] | None:
        """Return the answer to keep, once; ``None`` when it is not whole and successful."""
        if self._taken or self._bytes > MAX_KEPT_BYTES:
            return None
        self._taken = True
        if self.is_stream:
            found: Any = wire.from_stream(self._pieces)
        elif self._ended:
            try:
                found = msgspec.json.decode(b"".join(self._pieces))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None
        else:
            return None
        return None if found is None or wire.why_not_keep(found) else found

    def _note(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if self._bytes <= MAX_KEPT_BYTES:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    def _shown(self, pieces: list[bytes]) -> Iterable[bytes]:
        if not self.hide_usage:
            return pieces
        return [piece for piece in pieces if not CHAT.is_usage_only(piece)]


class Desk:
    """Reads requests, writes responses and keeps answers for one transport.

    Args:
        front: The cache.
        library: ``httpx`` or ``httpx2``.
        usage_on_hit: Whether a hit tells the usage as it was, or ``zero``.
        stream_usage: Whether to ask the model for a stream's usage, so that it can be replayed.
        prices: Of the models.
    """

    def __init__(
        self,
        front: Front,
        library: ModuleType,
        *,
        usage_on_hit: UsageOnHit,
        stream_usage: bool,
        prices: Prices | None,
    ) -> None:
        self.engine = front.engine
        self._library = library
        self._usage_on_hit = usage_on_hit
        self._stream_usage = stream_usage
        self._prices = Prices({}) if prices is None else prices

    def concerns(self, request: Any) -> bool:
        """Return whether a request is one to answer from cache; its body need not be read yet."""
        encoding: str = request.headers.get("content-encoding", "identity")
        path: str = request.url.path.rstrip("/")
        return bool(
            request.method == "POST" and path.endswith(_ENDPOINT) and encoding == "identity"
        )

    def open(self, request: Any, body: bytes) -> Exchange | None:
        """Return what a request asks, or ``None`` when that is for the model to judge.

        Raises:
            RequestError: A control for the cache is wrong.
        """
        headers = header_map(request.headers.raw)
        # Another server is another model, and some name the model in the path.
        try:
            call = read_chat(body, headers, tenant=tenant_in(headers), query=str(request.url))
        except RequestError as error:
            if error.param is None:
                return None  # no JSON: the model says so
            raise
        if call is None:
            return None
        try:
            return Exchange(request, call, self.engine.start(call.request))
        except ConfigError as error:
            raise RequestError(str(error)) from error

    def checked(self, decision: Decision) -> Decision:
        """Return a decision whose answer, if it has one, is a chat completion."""
        if isinstance(decision, Hit) and not wire.is_well_formed(decision.answer):
            # A library that shares the store may keep anything as an answer.
            return Miss(decision.category, Reason.GONE)
        return decision

    def answer(self, exchange: Exchange, hit: Hit) -> Any:
        """Return the response of a hit."""
        call = exchange.call
        completion = served(hit.answer, self._usage_on_hit)
        headers = headers_of(hit, hit.entry_id, exchange.lookup.id)
        if call.stream:
            content = b"".join(wire.to_stream(completion, include_usage=call.include_usage))
            kind = b"text/event-stream; charset=utf-8"
        else:
            content, kind = msgspec.json.encode(completion), b"application/json"
        return self._response(200, [(b"content-type", kind), *headers], content)

    def refusal(self, error: LikewiseError) -> Any:
        """Return the response that says what was wrong with a control for the cache."""
        param = error.param if isinstance(error, RequestError) else None
        body = error_body(str(error), status=400, code="invalid_request", param=param)
        return self._response(400, [(b"content-type", b"application/json")], body)

    def outgoing(self, exchange: Exchange) -> tuple[Any, bool]:
        """Return the request for the model, and whether its stream brings a usage to hide."""
        call, request = exchange.call, exchange.request
        options = call.body.get("stream_options") or {}
        added = (
            self._stream_usage
            and call.stream
            and not call.include_usage
            and isinstance(options, dict)
            and exchange.keeps
        )
        body = call.raw or msgspec.json.encode(call.body)
        if added:
            with_usage = {**call.body, "stream_options": {**options, "include_usage": True}}
            body = msgspec.json.encode(with_usage)
        headers = [(n, v) for n, v in request.headers.raw if not _stays(n)]
        headers.append((b"accept-encoding", b"identity"))
        exchange.began = time.perf_counter()
        # The answer is made of these, whatever comes into force meanwhile.
        exchange.since = self.engine.purge
        exchange.sources = written(call.request.controls.sources, self.engine.force.sources)
        sent = self._library.Request(
            request.method,
            request.url,
            headers=headers,
            content=body,
            extensions=request.extensions,
        )
        return sent, added

    def without_controls(self, request: Any, body: bytes) -> Any:
        """Return a request that goes past the cache, without what is said to the cache in it."""
        if b'"cache"' not in body:
            return request
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return request
        if not isinstance(found, dict) or found.pop("cache", None) is None:
            return request
        return self._library.Request(
            request.method,
            request.url,
            headers=[(n, v) for n, v in request.headers.raw if n.lower() != b"content-length"],
            content=msgspec.json.encode(found),
            extensions=request.extensions,
        )

    def failed(self, exchange: Exchange, status: int | None = None) -> bool:
        """Return whether a stale answer may stand in for what the model says (no status: none)."""
        return isinstance(exchange.decision, Miss) and (status is None or status in _FAILURES)

    def passed_on(
        self, exchange: Exchange, response: Any, stream_of: Any, *, hide_usage: bool
    ) -> Any:
        """Return the model's response with our headers, recorded by a stream if it is to be kept.

        ``stream_of`` makes that stream of a ``Recording``.
        """
        kind = response.headers.get("content-type", "").lower()
        is_stream = kind.startswith("text/event-stream")
        encoded = response.headers.get("content-encoding", "identity") != "identity"
        records = exchange.keeps and response.status_code == 200 and not encoded
        hides = hide_usage and is_stream and not encoded
        entry_id = new_entry_id() if records else None
        stream = response.stream
        if records or hides:
            recorder = Recorder(is_stream, hides)
            stream = stream_of(response.stream, Recording(self, exchange, recorder, entry_id))
        ours = [] if exchange.decision is None else headers_of(
            exchange.decision, entry_id, exchange.lookup.id
        )  # fmt: skip
        theirs = [(n, v) for n, v in response.headers.raw if not _is_ours(n)]
        if hides:
            theirs = [(n, v) for n, v in theirs if n.lower() != b"content-length"]
        return self._library.Response(
            response.status_code,
            headers=[*theirs, *ours],
            stream=stream,
            extensions=response.extensions,
        )

    def report(self, error: Exception) -> None:
        """Count a fault of the cache's own."""
        self.engine.faults.report("default", "integration", error)

    def provenance(self, exchange: Exchange, completion: dict[str, Any]) -> Provenance:
        """Return what an answer of the model's cost."""
        return provenance_of(
            completion,
            CHAT.usage_of(completion),
            asked=exchange.call.request.scope.model,
            latency_s=time.perf_counter() - exchange.began,
            prices=self._prices,
        )

    def _response(self, status: int, headers: Headers, content: bytes) -> Any:
        return self._library.Response(status, headers=headers, content=content)


@dataclass(slots=True)
class Recording:
    """A response on its way that may become an entry."""

    desk: Desk
    exchange: Exchange
    recorder: Recorder
    entry_id: str | None

    def taken(self) -> dict[str, Any] | None:
        """Return what to keep, as arguments of ``try_keep``: once, and only what is whole."""
        if self.entry_id is None:
            return None
        try:
            completion = self.recorder.completion()
            if completion is None:
                return None
            return {
                "request": self.exchange.call.request,
                "answer": completion,
                "provenance": self.desk.provenance(self.exchange, completion),
                "entry_id": self.entry_id,
                "sources": self.exchange.sources,
                "since": self.exchange.since,
            }
        except Exception as error:
            self.desk.report(error)
            return None


def _stays(name: bytes) -> bool:
    lowered = name.decode("latin-1").lower()
    return lowered in _NOT_SENT or lowered.startswith("x-likewise-")


def _is_ours(name: bytes) -> bool:
    lowered = name.lower()
    return lowered in (b"x-cache", b"age") or lowered.startswith(b"x-likewise-")
