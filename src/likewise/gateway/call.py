"""The call to the model that a miss makes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import Scope

from likewise.errors import UpstreamError
from likewise.gateway.flight import Flight, Head
from likewise.gateway.metrics import Metrics
from likewise.gateway.pool import PAUSE_S, Pool, Replica, Turn
from likewise.gateway.upstream import response_headers
from likewise.gateway.wire.dialect import Call
from likewise.gateway.wire.sse import Splitter
from likewise.load import NO_ANSWER, TOO_MANY, Load
from likewise.scope import digest_of

if TYPE_CHECKING:
    import aiohttp

_BODY_HEADERS = frozenset({"content-type", "accept-encoding", "content-encoding", "cache-control"})
"""Headers of a request that stop being true when its body is read and its answer stored."""

_ELSEWHERE = frozenset({502, 503, 529})
"""Answers for which another replica is asked: this one did not do the work."""

_DOWN = frozenset({502, 503, 504})
"""Answers that count towards a replica's breaker."""


@dataclass(slots=True)
class Timing:
    """How a call went.

    Attributes:
        status: HTTP status of the answer, ``NO_ANSWER`` without one; ``None`` of a call that was
            given up.
        retry_after_s: For how long the answer asks to leave the model alone, if it does.
        first_token_s: Seconds to the first piece of the answer; ``None`` without one.
        seconds: Seconds to its end.
        in_flight: Calls to the same replica that were under way as it began, itself included.
    """

    status: int | None = NO_ANSWER
    retry_after_s: float | None = None
    first_token_s: float | None = None
    seconds: float = 0.0
    in_flight: int = 0


@dataclass(slots=True)
class ModelCall:
    """One request to the model, ready to be sent.

    Args:
        call: What the client asked.
        scope: The client's request, for its headers and query.
        pool: Who may be asked.
        load: Told of the call.
        metrics: Times it.
        priority: Of the request's category.
        add_usage: Ask for a stream's usage although the client did not: without it a stored stream
            could not be replayed whole.
    """

    call: Call
    scope: Scope
    pool: Pool
    load: Load
    metrics: Metrics
    priority: str
    add_usage: bool
    timing: Timing = field(init=False, default_factory=Timing)
    brings_usage: bool = field(init=False)
    _body: bytes = field(init=False, repr=False)
    _began: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        call = self.call
        options = call.body.get("stream_options") or {}
        added = (
            self.add_usage
            and call.dialect.asks_for_usage
            and call.stream
            and not call.include_usage
            and isinstance(options, dict)
        )
        self.brings_usage = added or call.include_usage
        self._body = call.raw or msgspec.json.encode(call.body)
        if added:
            body: dict[str, Any] = {
                **call.body,
                "stream_options": {**options, "include_usage": True},
            }
            self._body = msgspec.json.encode(body)

    async def fly(self, flight: Flight) -> None:
        """Make the call and tell ``flight`` of what arrives; events are told one by one.

        A replica that cannot be reached, or says 502, 503 or 529, is passed over while there is
        another one; after a refusal for load the call waits for its turn again, up to the longest
        wait.

        Raises:
            UpstreamError: It failed or broke off, or there was no turn in time.
        """
        request = self.call.request
        wanted = Turn(
            request.scope.model,
            request.scope.tenant,
            self.priority,
            self._session(),
            self.pool.clock() + self.pool.patience_s,
        )
        tried: set[Replica] = set()
        while not await self._try(flight, wanted, tried):
            pass

    async def _try(self, flight: Flight, wanted: Turn, tried: set[Replica]) -> bool:
        """Ask one replica; return whether that was it, else another attempt is worth it."""
        async with self.pool.turn(wanted, tried) as replica:
            with self.metrics.upstream(), self._observed(replica) as timing:
                try:
                    response = await self._send(replica)
                except UpstreamError as error:
                    timing.status = NO_ANSWER
                    replica.breaker.record_failure()
                    tried.add(replica)
                    if error.status in _ELSEWHERE and self.pool.others(wanted, tried):
                        self.pool.failovers += 1
                        return False
                    raise
                async with response:
                    timing.status = response.status
                    timing.retry_after_s = _retry_after_s(response.headers.get("retry-after"))
                    if self._again(timing, replica, wanted, tried):
                        return False
                    await self._pass_on(response, replica, flight)
        return True

    @contextmanager
    def _observed(self, replica: Replica) -> Iterator[Timing]:
        """Tell the load of a call to a replica; what is given up by us says nothing of it."""
        model = self.call.request.scope.model
        self.timing = timing = Timing(in_flight=replica.in_flight)
        self._began = time.perf_counter()
        self.load.began(model)
        try:
            yield timing
        except asyncio.CancelledError:
            timing.status = None
            raise
        except UpstreamError:
            timing.status = NO_ANSWER
            raise
        finally:
            timing.seconds = time.perf_counter() - self._began
            pause_s = timing.retry_after_s
            if pause_s is None and timing.status == TOO_MANY:
                pause_s = PAUSE_S
            # A refusal to one client's own key is no word on the model.
            own = timing.status == TOO_MANY and replica.whose(self.call.request.scope.tenant)
            self.load.ended(
                model, timing.seconds, None if own else timing.status, None if own else pause_s
            )

    def _again(self, timing: Timing, replica: Replica, wanted: Turn, tried: set[Replica]) -> bool:
        """Take note of how a replica answered; return whether to ask once more, maybe another."""
        if timing.status in _DOWN:
            replica.breaker.record_failure()
        else:
            replica.breaker.record_success()
        refuses = timing.status == TOO_MANY or (
            timing.status in _ELSEWHERE and timing.retry_after_s is not None
        )
        if not refuses and timing.status not in _ELSEWHERE:
            return False
        tried.add(replica)
        if refuses:
            self.pool.refuses(replica, wanted, timing.retry_after_s)
        if self.pool.others(wanted, tried):
            self.pool.failovers += 1
            return True
        return refuses and self.pool.opens_in_time(wanted)

    async def _send(self, replica: Replica) -> aiohttp.ClientResponse:
        headers = replica.upstream.headers(self.scope["headers"], without=_BODY_HEADERS)
        headers["content-type"] = "application/json"
        headers["accept-encoding"] = "identity"
        query = self.scope.get("query_string", b"").decode("latin-1")
        path = self.call.dialect.path
        path = f"{path}?{query}" if query else path
        return await replica.upstream.send("POST", path, headers, self._body)

    async def _pass_on(
        self, response: aiohttp.ClientResponse, replica: Replica, flight: Flight
    ) -> None:
        head = Head(response.status, response_headers(response))
        flight.begin(head)
        splitter, is_events = Splitter(), head.is_event_stream
        began, model = self._began, self.call.request.scope.model
        async for chunk in replica.upstream.chunks(response):
            if self.timing.first_token_s is None:
                self.timing.first_token_s = time.perf_counter() - began
                if is_events:
                    self.load.first_token(model, self.timing.first_token_s)
            for piece in splitter.feed(chunk) if is_events else (chunk,):
                await flight.add(piece)
        if rest := splitter.rest():
            await flight.add(rest)

    def _session(self) -> bytes:
        """Return what tells the conversation: the caller's word for it, or how it begins."""
        body, request = self.call.body, self.call.request
        named = body.get("prompt_cache_key")
        parts = [named] if isinstance(named, str) else self.call.dialect.beginning(body)
        begins = msgspec.json.encode(parts, order="sorted").decode()
        return digest_of("session", request.scope.tenant, request.scope.model, begins)


def _retry_after_s(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for: a number of them, or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError):
        return None
