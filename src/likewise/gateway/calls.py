"""The calls to the model under way: who shares them, and what becomes of their answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from likewise.aio import AsyncCache
from likewise.config import GatewaySettings
from likewise.entry import Provenance, new_entry_id
from likewise.gateway.bill import provenance_of
from likewise.gateway.call import ModelCall
from likewise.gateway.flight import Flight, Listener
from likewise.gateway.metrics import Metrics
from likewise.gateway.pool import Pool
from likewise.gateway.refresh import Refreshes
from likewise.gateway.reply import whole
from likewise.gateway.watching import Watcher
from likewise.gateway.wire.dialect import Call
from likewise.lookup import Lookup
from likewise.policy import Bypass, Hit, Miss, Reason
from likewise.prices import Prices
from likewise.sources import written


@dataclass(frozen=True, slots=True)
class Shared:
    """A call under way that others may join.

    ``entry_id`` is that of the entry its answer becomes, ``None`` when it is not to be kept;
    ``brings_usage`` says whether the model was asked for a stream's usage, ``echo`` what its answer
    repeats of the request, ``purge`` which was the latest when it began: nobody joins a call from
    before one.
    """

    flight: Flight
    entry_id: str | None
    brings_usage: bool
    echo: dict[str, Any]
    purge: bytes


class Calls:
    """Makes the calls of all endpoints. Lives in one event loop.

    Args:
        cache: Where answers are kept.
        pool: Who may be asked.
        settings: Of the gateway.
        stream_usage: Whether the model may be asked for a stream's usage.
        prices: What calls cost.
        metrics: Told of them.
        log: Told how they went.
    """

    def __init__(
        self,
        *,
        cache: AsyncCache,
        pool: Pool,
        settings: GatewaySettings,
        stream_usage: bool,
        prices: Prices,
        metrics: Metrics,
        log: Watcher | None = None,
    ) -> None:
        self._cache = cache
        self._pool = pool
        self._stream_usage = stream_usage
        self._prices = prices
        self._metrics = metrics
        self._log = log
        self._shared: dict[bytes, Shared] = {}
        self._flights: set[Flight] = set()
        self._refreshes = Refreshes(settings.refreshes_per_minute, time.monotonic)
        self._refreshing: set[bytes] = set()

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

    def is_shared(self, lookup: Lookup) -> bool:
        """Return whether a call for the same question is under way."""
        return lookup.key in self._shared

    def board(
        self,
        call: Call,
        lookup: Lookup,
        decision: Miss | Bypass,
        scope: Scope,
        *,
        shares: bool,
    ) -> tuple[Shared, Listener]:
        """Join the call that is under way for the same question, or begin one."""
        found = self._shared.get(lookup.key) if shares else None
        purge = self._cache.engine.purge
        alike = found is not None and found.echo == call.echo and found.purge == purge
        if found is not None and alike and found.flight.joinable:
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
        begun = Shared(flight, entry_id, model_call.brings_usage, call.echo, purge)
        if shares:
            self._shared[lookup.key] = begun
        return begun, flight.join()

    def refresh(self, call: Call, lookup: Lookup, hit: Hit, scope: Scope) -> None:
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

    def audit(self, call: Call, lookup: Lookup, hit: Hit, scope: Scope) -> None:
        """Ask the model what it would have said to a question that a hit has answered."""
        if self._pool.ended:
            return
        model_call = self._model_call(call, scope, hit.category, add_usage=False)

        async def land(flight: Flight) -> None:
            answer = whole(flight, call.dialect)
            self._billed(lookup, model_call, answer, None)
            if answer is not None and not call.dialect.why_not_keep(answer):
                await self._cache.audited(lookup, hit, answer)

        self._launch(lookup, model_call, land)

    def _model_call(self, call: Call, scope: Scope, category: str, *, add_usage: bool) -> ModelCall:
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
        self, call: Call, lookup: Lookup, model_call: ModelCall, entry_id: str | None
    ) -> Flight:
        # As they are now: the answer is made of these, whatever comes into force meanwhile.
        engine = self._cache.engine
        sources, since = written(call.request.controls.sources, engine.force.sources), engine.purge

        async def land(flight: Flight) -> None:
            answer = whole(flight, call.dialect)
            keeps = answer is not None and not call.dialect.why_not_keep(answer)
            provenance = self._billed(lookup, model_call, answer, entry_id if keeps else None)
            if entry_id is None:
                return
            if answer is None or not keeps:
                self._metrics.refused()
                return
            await self._cache.try_keep(
                call.request,
                call.dialect.kept(answer),
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
        answer: dict[str, Any] | None,
        entry_id: str | None,
    ) -> Provenance:
        """Return what a call cost, and log how it went."""
        answer = answer or {}
        provenance = provenance_of(
            answer,
            model_call.call.dialect.usage_of(answer),
            asked=lookup.request.scope.model,
            latency_s=model_call.timing.seconds,
            prices=self._prices,
        )
        if self._log is not None:
            self._log.answer(lookup.id, model_call.timing, provenance, entry_id)
        return provenance
