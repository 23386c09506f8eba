"""From a request that was read to its answer: lookup, replay, or one shared call to the model."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import msgspec
from starlette.types import Send

from likewise.aio import AsyncCache
from likewise.category import Category
from likewise.config import GatewaySettings
from likewise.errors import ConfigError, RequestError, UpstreamError
from likewise.gateway.calls import Calls
from likewise.gateway.client import leaving, send_whole, until_gone
from likewise.gateway.exchange import Exchange
from likewise.gateway.flight import Listener
from likewise.gateway.metrics import Metrics
from likewise.gateway.pool import Pool
from likewise.gateway.reply import JSON, Reply, headers_of, ready, served
from likewise.gateway.upstream import Headers
from likewise.gateway.watching import Watcher
from likewise.gateway.wire.dialect import Call, Dialect
from likewise.lookup import Lookup
from likewise.policy import Bypass, Decision, Hit, Miss, Reason

_FAILURES = frozenset({500, 502, 503, 504, 529})
"""What RFC 5861 counts as an error of the model, and Anthropic's word for one that is overloaded;
its refusal for load is a choice of its own."""

_LIMITED = 429


class Answering:
    """Answers the requests of all endpoints.

    Args:
        cache: Where answers may be.
        pool: Whether anybody could be asked.
        calls: Asks the model.
        settings: Of the gateway.
        metrics: Told of decisions.
        log: Told of them as well.
    """

    def __init__(
        self,
        *,
        cache: AsyncCache,
        pool: Pool,
        calls: Calls,
        settings: GatewaySettings,
        metrics: Metrics,
        log: Watcher | None = None,
    ) -> None:
        self._cache = cache
        self._pool = pool
        self._calls = calls
        self._settings = settings
        self._metrics = metrics
        self._log = log

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request.

        Raises:
            RequestError: What it asks of the cache cannot be.
        """
        try:
            lookup = self._cache.engine.start(exchange.call.request)
        except ConfigError as error:
            raise RequestError(str(error)) from error
        decision, body = self._at_once(exchange.call, lookup)
        if decision is None or body is None:
            decision = await self._resumed(exchange.call.dialect, lookup, decision)
        lookup_s = time.perf_counter() - lookup.started
        self._metrics.decided(decision, lookup_s)
        if self._log is not None:
            self._log.request(lookup, decision, lookup_s)
        if isinstance(decision, Hit):
            exchange.reader.remember(exchange.read)
            await self._serve(exchange, lookup, decision, body)
        else:
            await self._ask(exchange, lookup, decision)

    # -- out of the cache -------------------------------------------------------------------------

    def _at_once(self, call: Call, lookup: Lookup) -> tuple[Decision | None, bytes | None]:
        """Return what the exact tier says, and the body of an answer that is at hand."""
        engine = self._cache.engine
        decision = engine.guarded(lookup, engine.exact)
        if call.stream or call.echo or not isinstance(decision, Hit):
            return decision, None
        held = engine.at_hand(lookup, decision)
        body = None if held is None else ready(held, call.dialect, self._settings.usage_on_hit)
        if held is None or body is None:
            return decision, None
        return engine.count(lookup, decision.with_answer(None, held.provenance)), body

    async def _resumed(
        self, dialect: Dialect, lookup: Lookup, decision: Decision | None
    ) -> Decision:
        decision = await self._cache.resume(lookup, decision)
        if isinstance(decision, Hit) and not dialect.is_well_formed(decision.answer):
            # A library that shares the store may keep anything as an answer.
            return Miss(decision.category, Reason.GONE)
        return decision

    async def _serve(
        self, exchange: Exchange, lookup: Lookup, hit: Hit, body: bytes | None
    ) -> None:
        """Answer from cache; a ``body`` that is ready goes out as it is."""
        call, scope, send = exchange.call, exchange.scope, exchange.send
        if hit.audit is None:
            self._calls.refresh(call, lookup, hit, scope)
        headers = self._headers(hit, hit.entry_id, lookup)
        if body is not None:
            await send_whole(send, 200, [JSON, *headers], body)
            return
        await Reply(call, headers).send_answer(
            served(hit.answer, self._settings.usage_on_hit), send
        )
        if hit.audit is not None:
            self._calls.audit(call, lookup, hit, scope)

    async def _send_stale(self, reply: Reply, lookup: Lookup, stale: Hit, send: Send) -> None:
        reply = replace(reply, headers=self._headers(stale, stale.entry_id, lookup))
        await reply.send_answer(served(stale.answer, self._settings.usage_on_hit), send)

    def _headers(self, decision: Decision, entry_id: str | None, lookup: Lookup) -> Headers:
        if not self._settings.response_headers:
            return []
        return headers_of(decision, entry_id, lookup.id)

    # -- from the model ---------------------------------------------------------------------------

    async def _ask(self, exchange: Exchange, lookup: Lookup, decision: Miss | Bypass) -> None:
        """Answer with what the model says."""
        call, scope, send = exchange.call, exchange.scope, exchange.send
        shares = isinstance(decision, Miss) and not call.request.controls.no_store
        if shares and not self._calls.is_shared(lookup):
            late = await self._stored_meanwhile(call.dialect, lookup, decision)
            if late is not None:
                self._metrics.shared()
                headers = self._headers(decision, late[0], lookup)
                await Reply(call, headers).send_answer(late[1], send)
                return
        if await self._down(call, lookup, decision, send):
            return
        shared, listener = self._calls.board(call, lookup, decision, scope, shares=shares)
        reply = Reply(
            call,
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
            stale = await self._instead(reply.call.dialect, lookup, policy, listener)
            if stale is not None:
                await self._send_stale(reply, lookup, stale, send)
                return
        await reply.pass_on(listener, send)

    async def _down(self, call: Call, lookup: Lookup, decision: Miss | Bypass, send: Send) -> bool:
        """Serve a stale answer at once while no replica answers; return whether there was one."""
        policy = self._cache.engine.force.policies.of(decision.category)
        if not isinstance(decision, Miss) or policy.stale_if_error is None:
            return False
        if not self._pool.is_down(call.request.scope.model):
            return False
        stale = await self._cache.stale(lookup)
        if stale is None or not call.dialect.is_well_formed(stale.answer):
            return False
        await self._send_stale(Reply(call, []), lookup, stale, send)
        return True

    async def _instead(
        self, dialect: Dialect, lookup: Lookup, policy: Category, listener: Listener
    ) -> Hit | None:
        """Return a stale answer when the model fails and the policy allows one."""
        try:
            status = (await listener.head()).status
        except UpstreamError as error:
            status = error.status
        if status not in _FAILURES and not (status == _LIMITED and policy.stale_on_429):
            return None
        stale = await self._cache.stale(lookup)
        return stale if stale is not None and dialect.is_well_formed(stale.answer) else None

    async def _stored_meanwhile(
        self, dialect: Dialect, lookup: Lookup, decision: Miss | Bypass
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
        if not isinstance(found, Hit) or not dialect.is_well_formed(found.answer):
            return None
        return found.entry_id, found.answer
