"""``POST /v1/chat/completions``: lookup, replay, or one shared call to the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from likewise.aio import AsyncCache
from likewise.category import Category
from likewise.config import GatewaySettings
from likewise.entry import Provenance, new_entry_id
from likewise.errors import ConfigError, LikewiseError, RequestError, UpstreamError
from likewise.gateway.bill import provenance_of
from likewise.gateway.call import ModelCall
from likewise.gateway.client import ClientGone, leaving, read_body, send_whole, until_gone
from likewise.gateway.errors import send_error
from likewise.gateway.flight import Flight, Listener
from likewise.gateway.metrics import Metrics
from likewise.gateway.pool import Pool
from likewise.gateway.proxy import Proxy
from likewise.gateway.reading import Reader, Reading
from likewise.gateway.refresh import Refreshes
from likewise.gateway.reply import JSON, Reply, headers_of, ready, served, whole
from likewise.gateway.upstream import Headers, given_up
from likewise.gateway.watching import Watcher
from likewise.gateway.wire import completion as wire
from likewise.gateway.wire.chat import ChatCall
from likewise.lookup import Lookup
from likewise.policy import Bypass, Decision, Hit, Miss, Reason
from likewise.prices import Prices
from likewise.sources import written

_FAILURES = frozenset({500, 502, 503, 504})
"""What RFC 5861 counts as an error of the model; its refusal for load is a choice of its own."""

_LIMITED = 429


@dataclass(frozen=True, slots=True)
class Shared:
    """A call under way that others may join.

    ``entry_id`` is that of the entry its answer becomes, ``None`` when it is not to be kept;
    ``brings_usage`` says whether the model was asked for a stream's usage, ``purge`` which was the
    latest when it began: nobody joins a call from before one.
    """

    flight: Flight
    entry_id: str | None
    brings_usage: bool
    purge: bytes


class _Exchange(msgspec.Struct):
    """A client's request, what it asks, and the way back."""

    read: Reading
    call: ChatCall
    scope: Scope
    receive: Receive
    send: Send


class ChatEndpoint:
    """An ASGI application for one path."""

    def __init__(
        self,
        *,
        cache: AsyncCache,
        pool: Pool,
        proxy: Proxy,
        settings: GatewaySettings,
        stream_usage: bool,
        prices: Prices,
        metrics: Metrics,
        log: Watcher | None = None,
    ) -> None:
        self._cache = cache
        self._pool = pool
        self._proxy = proxy
        self._settings = settings
        self._stream_usage = stream_usage
        self._prices = prices
        self._metrics = metrics
        self._log = log
        self._shared: dict[bytes, Shared] = {}
        self._flights: set[Flight] = set()
        self._reader = Reader()
        self._refreshes = Refreshes(settings.refreshes_per_minute, time.monotonic)
        self._refreshing: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reading = True
        try:
            body = await read_body(scope, receive, self._settings.max_body_bytes)
            reading = False
            read = self._reader.read(scope, body)
            if read.call is None:
                await until_gone(self._proxy.forward(scope, body, send), leaving(receive))
                return
            await self._answer(_Exchange(read, read.call, scope, receive, send))
        except ClientGone:
            return
        except asyncio.CancelledError:
            # The server cuts what is left when its grace is over.
            if not self._pool.ended:
                raise
            if reading:
                await send_error(send, given_up())
        except RecursionError:
            # Reading it succeeded, writing it in canonical form did not: a few levels are between.
            await send_error(send, RequestError("the body's JSON is nested too deeply"))
        except LikewiseError as error:
            await send_error(send, error)

    @property
    def idle(self) -> bool:
        """Whether no call is under way and no answer is being stored."""
        return not self._flights

    async def drain(self) -> None:
        """Wait for the answers that are being stored, and give up the calls that still run."""
        flights = list(self._flights)
        for flight in flights:
            flight.give_up()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)

    # -- steps ------------------------------------------------------------------------------------

    async def _answer(self, exchange: _Exchange) -> None:
        try:
            lookup = self._cache.engine.start(exchange.call.request)
        except ConfigError as error:
            raise RequestError(str(error)) from error
        decision, body = self._at_once(exchange.call, lookup)
        if decision is None or body is None:
            decision = await self._resumed(lookup, decision)
        lookup_s = time.perf_counter() - lookup.started
        self._metrics.decided(decision, lookup_s)
        if self._log is not None:
            self._log.request(lookup, decision, lookup_s)
        if isinstance(decision, Hit):
            self._reader.remember(exchange.read)
            await self._serve(exchange, lookup, decision, body)
        else:
            await self._ask(exchange, lookup, decision)

    def _at_once(self, call: ChatCall, lookup: Lookup) -> tuple[Decision | None, bytes | None]:
        """Return what the exact tier says, and the body of an answer that is at hand."""
        engine = self._cache.engine
        decision = engine.guarded(lookup, engine.exact)
        if call.stream or not isinstance(decision, Hit):
            return decision, None
        held = engine.at_hand(lookup, decision)
        body = None if held is None else ready(held, self._settings.usage_on_hit)
        if held is None or body is None:
            return decision, None
        return engine.count(lookup, decision.with_answer(None, held.provenance)), body

    async def _resumed(self, lookup: Lookup, decision: Decision | None) -> Decision:
        decision = await self._cache.resume(lookup, decision)
        if isinstance(decision, Hit) and not wire.is_well_formed(decision.answer):
            # A library that shares the store may keep anything as an answer.
            return Miss(decision.category, Reason.GONE)
        return decision

    async def _serve(
        self, exchange: _Exchange, lookup: Lookup, hit: Hit, body: bytes | None
    ) -> None:
        """Answer from cache; a ``body`` that is ready goes out as it is."""
        call, scope, send = exchange.call, exchange.scope, exchange.send
        if hit.audit is None:
            self._refresh(call, lookup, hit, scope)
        headers = self._headers(hit, hit.entry_id, lookup)
        if body is not None:
            await send_whole(send, 200, [JSON, *headers], body)
            return
        reply = Reply(call.stream, call.include_usage, headers)
        await reply.send_completion(served(hit.answer, self._settings.usage_on_hit), send)
        if hit.audit is not None:
            self._audit(call, lookup, hit, scope)

    async def _ask(self, exchange: _Exchange, lookup: Lookup, decision: Miss | Bypass) -> None:
        """Answer with what the model says."""
        call, scope, send = exchange.call, exchange.scope, exchange.send
        shares = isinstance(decision, Miss) and not call.request.controls.no_store
        if shares and lookup.key not in self._shared:
            late = await self._stored_meanwhile(lookup, decision)
            if late is not None:
                self._metrics.shared()
                headers = self._headers(decision, late[0], lookup)
                await Reply(call.stream, call.include_usage, headers).send_completion(late[1], send)
                return
        if await self._down(call, lookup, decision, send):
            return
        shared, listener = self._board(call, lookup, decision, scope, shares=shares)
        reply = Reply(
            call.stream,
            call.include_usage,
            self._headers(decision, shared.entry_id, lookup),
            hide_usage=shared.brings_usage and not call.include_usage,
        )
        try:
            delivered = self._deliver(reply, listener, lookup, decision, send)
            await until_gone(delivered, leaving(exchange.receive))
        finally:
            listener.leave()

    async def _deliver(
        self,
        reply: Reply,
        listener: Listener,
        lookup: Lookup,
        decision: Miss | Bypass,
        send: Send,
    ) -> None:
        """Hand on what the model says, or a stale answer in place of its failure."""
        policy = self._cache.engine.force.policies.of(decision.category)
        if isinstance(decision, Miss) and policy.stale_if_error is not None:
            stale = await self._instead(lookup, policy, listener)
            if stale is not None:
                await self._send_stale(reply, lookup, stale, send)
                return
        await reply.pass_on(listener, send)

    async def _down(
        self, call: ChatCall, lookup: Lookup, decision: Miss | Bypass, send: Send
    ) -> bool:
        """Serve a stale answer at once while no replica answers; return whether there was one."""
        policy = self._cache.engine.force.policies.of(decision.category)
        if not isinstance(decision, Miss) or policy.stale_if_error is None:
            return False
        if not self._pool.is_down(call.request.scope.model):
            return False
        stale = await self._cache.stale(lookup)
        if stale is None or not wire.is_well_formed(stale.answer):
            return False
        await self._send_stale(Reply(call.stream, call.include_usage, []), lookup, stale, send)
        return True

    async def _send_stale(self, reply: Reply, lookup: Lookup, stale: Hit, send: Send) -> None:
        reply = replace(reply, headers=self._headers(stale, stale.entry_id, lookup))
        await reply.send_completion(served(stale.answer, self._settings.usage_on_hit), send)

    async def _instead(self, lookup: Lookup, policy: Category, listener: Listener) -> Hit | None:
        """Return a stale answer when the model fails and the policy allows one."""
        try:
            status = (await listener.head()).status
        except UpstreamError as error:
            status = error.status
        if status not in _FAILURES and not (status == _LIMITED and policy.stale_on_429):
            return None
        stale = await self._cache.stale(lookup)
        return stale if stale is not None and wire.is_well_formed(stale.answer) else None

    async def _stored_meanwhile(
        self, lookup: Lookup, decision: Miss | Bypass
    ) -> tuple[str, dict[str, Any]] | None:
        """Return the answer of a shared call that landed while this request was looked up."""
        if decision.reason is Reason.STORE_FAULT:
            return None  # it was there all along, and the store is not to be waited for again
        engine = self._cache.engine
        lookup = msgspec.structs.replace(lookup, dry=True)
        hit = engine.guarded(lookup, engine.exact)
        if not isinstance(hit, Hit):
            return None
        found = await self._cache.fetch(lookup, hit)
        if not isinstance(found, Hit) or not wire.is_well_formed(found.answer):
            return None
        return found.entry_id, found.answer

    def _board(
        self,
        call: ChatCall,
        lookup: Lookup,
        decision: Miss | Bypass,
        scope: Scope,
        *,
        shares: bool,
    ) -> tuple[Shared, Listener]:
        """Join the call that is under way for the same question, or begin one."""
        found = self._shared.get(lookup.key) if shares else None
        purge = self._cache.engine.purge
        if found is not None and found.flight.joinable and found.purge == purge:
            self._metrics.shared()
            return found, found.flight.join()
        keep = shares or (
            isinstance(decision, Bypass) and decision.store and not call.request.controls.no_store
        )
        entry_id = new_entry_id() if keep else None
        model_call = self._model_call(
            call, scope, decision.category, add_usage=self._stream_usage and keep
        )
        flight = self._depart(call, lookup, model_call, entry_id)
        begun = Shared(flight, entry_id, model_call.brings_usage, purge)
        if shares:
            self._shared[lookup.key] = begun
        return begun, flight.join()

    def _refresh(self, call: ChatCall, lookup: Lookup, hit: Hit, scope: Scope) -> None:
        """Fetch a fresh answer aside for a hit that is stale, or soon will be."""
        engine = self._cache.engine
        if (
            hit.reason is not Reason.REVALIDATING
            and engine.force.policies.of(hit.category).refresh_ahead is None
        ):
            return
        if self._pool.ended or call.request.controls.no_store or lookup.key in self._refreshing:
            return
        if lookup.pressure:
            return  # the model has enough to do
        if not self._refreshes.due(hit, engine.force.calm(hit.category, call.request)):
            return
        engine.stats.add(hit.category, refreshes=1)
        model_call = self._model_call(call, scope, hit.category, add_usage=self._stream_usage)
        self._refreshing.add(lookup.key)
        flight = self._depart(call, lookup, model_call, new_entry_id())
        flight.task.add_done_callback(lambda _: self._refreshing.discard(lookup.key))

    def _audit(self, call: ChatCall, lookup: Lookup, hit: Hit, scope: Scope) -> None:
        """Ask the model what it would have said to a question that a hit has answered."""
        if self._pool.ended:
            return
        model_call = self._model_call(call, scope, hit.category, add_usage=False)

        async def land(flight: Flight) -> None:
            completion = whole(flight)
            self._billed(lookup, model_call, completion, None)
            if completion is not None and not wire.why_not_keep(completion):
                await self._cache.audited(lookup, hit, completion)

        self._launch(lookup, model_call, land)

    def _model_call(
        self, call: ChatCall, scope: Scope, category: str, *, add_usage: bool
    ) -> ModelCall:
        engine = self._cache.engine
        return ModelCall(
            call,
            scope,
            pool=self._pool,
            load=engine.load,
            metrics=self._metrics,
            priority=engine.force.policies.of(category).priority,
            add_usage=add_usage,
        )

    def _depart(
        self, call: ChatCall, lookup: Lookup, model_call: ModelCall, entry_id: str | None
    ) -> Flight:
        # As they are now: the answer is made of these, whatever comes into force meanwhile.
        engine = self._cache.engine
        sources, since = written(call.request.controls.sources, engine.force.sources), engine.purge

        async def land(flight: Flight) -> None:
            completion = whole(flight)
            keeps = completion is not None and not wire.why_not_keep(completion)
            provenance = self._billed(lookup, model_call, completion, entry_id if keeps else None)
            if entry_id is None:
                return
            if completion is None or not keeps:
                self._metrics.refused()
                return
            await self._cache.try_keep(
                call.request,
                completion,
                provenance=provenance,
                entry_id=entry_id,
                sources=sources,
                since=since,
            )

        return self._launch(lookup, model_call, land)

    def _launch(
        self, lookup: Lookup, model_call: ModelCall, land: Callable[[Flight], Awaitable[None]]
    ) -> Flight:
        def landed(task: asyncio.Task[None]) -> None:
            self._flights.discard(flight)
            shared = self._shared.get(lookup.key)
            if shared is not None and shared.flight is flight:
                del self._shared[lookup.key]
            if not task.cancelled() and (error := task.exception()) is not None:
                self._cache.engine.faults.report(lookup.policy.name, "gateway", error)

        flight = Flight(model_call.fly, land)
        self._flights.add(flight)
        flight.task.add_done_callback(landed)
        return flight

    def _billed(
        self,
        lookup: Lookup,
        model_call: ModelCall,
        completion: dict[str, Any] | None,
        entry_id: str | None,
    ) -> Provenance:
        """Return what a call cost, and log how it went."""
        provenance = provenance_of(
            completion or {},
            asked=lookup.request.scope.model,
            latency_s=model_call.timing.seconds,
            prices=self._prices,
        )
        if self._log is not None:
            self._log.answer(lookup.id, model_call.timing, provenance, entry_id)
        return provenance

    def _headers(self, decision: Decision, entry_id: str | None, lookup: Lookup) -> Headers:
        if not self._settings.response_headers:
            return []
        return headers_of(decision, entry_id, lookup.id)
