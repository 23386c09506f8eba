"""``AsyncCache``: the front door for coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, Self, TypeVar, cast

from likewise.breaker import CircuitBreaker
from likewise.category import Category
from likewise.engine import Engine
from likewise.entry import Entry, Provenance, decode_answer
from likewise.explain import Explanation, explain
from likewise.front import Front, answered_meanwhile, request_of
from likewise.functions import CallReader
from likewise.lookup import Lookup
from likewise.policy import Bypass, Decision, Hit, Miss, Reason
from likewise.request import Request
from likewise.scope import Scope

P = ParamSpec("P")
T = TypeVar("T")

_EMBED_THREADS = 16
_FETCH_S = 0.25
"""Longest a hit waits for the store; after that the model is asked."""


class AsyncCache(Front):
    """``Cache`` for coroutines: the same names, awaited.

    Misses of the exact tier embed in a thread; hits and writes do their I/O in a thread. Everything
    else runs where it is called, because it never waits.
    """

    def _use(self, engine: Engine) -> None:
        super()._use(engine)
        # More than there are processors: what comes while these are busy is embedded together.
        self._embedding = ThreadPoolExecutor(_EMBED_THREADS, "likewise-embed")
        # Writes wait for one another, and for a locked file: reads have threads of their own.
        self._reads = ThreadPoolExecutor(4, "likewise-read")
        self._writes = ThreadPoolExecutor(2, "likewise-write")
        if engine.learner is not None:
            engine.learner.background = True
        self._patience = CircuitBreaker(failures=3, open_s=5.0)
        self._flights: dict[tuple[bytes, bytes], asyncio.Future[Any]] = {}

    async def check(
        self,
        question: str,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        similarity_threshold: float | None = None,
        max_age: float | str | None = None,
    ) -> Decision:
        """See ``Cache.check``."""
        return await self.lookup(
            request_of(
                question,
                category=category,
                scope=scope,
                similarity_threshold=similarity_threshold,
                max_age=max_age,
            )
        )

    async def lookup(self, request: Request) -> Decision:
        """See ``Cache.lookup``."""
        engine = self._engine
        lookup = engine.start(request)
        return await self.resume(lookup, engine.guarded(lookup, engine.exact))

    async def resume(self, lookup: Lookup, decision: Decision | None) -> Decision:
        """Go on with a lookup of which the exact tier has said ``decision``."""
        engine = self._engine
        if decision is None and not engine.embeds(lookup):
            decision = engine.guarded(lookup, engine.semantic)
        if decision is None:
            decision = await self._run(
                self._embedding, lambda: engine.guarded(lookup, engine.semantic)
            )
        if isinstance(decision, Hit):
            decision = await self.fetch(lookup, decision)
        return engine.count(lookup, decision)

    async def stale(self, lookup: Lookup) -> Hit | None:
        """Return a stale answer to serve in place of the model's failure, if the policy allows."""
        engine = self._engine
        decision = await self._run(self._embedding, lambda: engine.guarded(lookup, engine.stale))
        if isinstance(decision, Hit):
            decision = await self.fetch(lookup, decision)
        if not isinstance(decision, Hit):
            return None
        engine.receipts.close(lookup.id, decision)
        engine.stats.add(decision.category, stale_hits=1)
        return decision

    async def fetch(self, lookup: Lookup, hit: Hit) -> Decision:
        """Fetch a hit's answer; a store that is slow is a miss, and is left alone for a while."""
        held = self._engine.at_hand(lookup, hit)
        if held is not None:
            return hit.with_answer(decode_answer(held.answer), held.provenance)
        if self._patience.allow():
            try:
                with lookup.meter.step("fetch"):
                    fetched = await asyncio.wait_for(
                        self._run(self._reads, self._engine.fetch, lookup, hit), _FETCH_S
                    )
            except TimeoutError as error:
                self._patience.record_failure()
                self._engine.faults.report(hit.category, "slow-store", error)
            else:
                self._patience.record_success()
                return fetched
        return Miss(hit.category, Reason.STORE_FAULT)

    async def store(
        self,
        question: str,
        answer: object,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        ttl: float | str | None = None,
        sources: Sequence[str] = (),
        provenance: Provenance | None = None,
    ) -> Entry | None:
        """See ``Cache.store``."""
        request = request_of(question, category=category, scope=scope, ttl=ttl, sources=sources)
        return await self._run(
            self._writes, lambda: self._engine.keep(request, answer, provenance=provenance)
        )

    async def try_keep(
        self,
        request: Request,
        answer: object,
        *,
        provenance: Provenance | None = None,
        entry_id: str | None = None,
        sources: str | None = None,
        since: bytes | None = None,
    ) -> Entry | None:
        """Keep the answer to a whole request; a fault is counted and gives ``None``."""
        return await self._run(
            self._writes,
            lambda: self._engine.try_keep(
                request,
                answer,
                provenance=provenance,
                entry_id=entry_id,
                sources=sources,
                since=since,
            ),
        )

    async def audited(self, lookup: Lookup, hit: Hit, answer: object) -> None:
        """Learn from the model's answer to a question that a hit has answered meanwhile."""
        await self._run(self._writes, self._engine.audited, lookup, hit, answer)

    async def answer(
        self,
        question: str,
        compute: Callable[[], Awaitable[T]],
        *,
        category: str | None = None,
        scope: Scope | None = None,
    ) -> T:
        """See ``Cache.answer``. A caller that is cancelled does not stop the others' call."""
        request = request_of(question, category=category, scope=scope)
        decision = await self.lookup(request)
        if isinstance(decision, Hit):
            if decision.reason is Reason.REVALIDATING:
                self._flight(request, compute)
            return cast(T, decision.answer)
        if isinstance(decision, Bypass):
            return await compute()
        try:
            return cast(T, await asyncio.shield(self._flight(request, compute)))
        except Exception:
            stale = await self.stale(self._engine.start(request))
            if stale is None:
                raise
            return cast(T, stale.answer)

    def cached(
        self,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        question: str | None = None,
        ignore: Sequence[str] = (),
    ) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]:
        """See ``Cache.cached``; this one is for coroutine functions."""

        def decorate(
            function: Callable[P, Coroutine[Any, Any, T]],
        ) -> Callable[P, Coroutine[Any, Any, T]]:
            calls = CallReader(
                function,
                awaited=True,
                question=question,
                ignore=ignore,
                category=category,
                scope=scope,
            )

            @wraps(function)
            async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
                asked, within = calls.read(args, kwargs)
                return await self.answer(
                    asked, lambda: function(*args, **kwargs), category=category, scope=within
                )

            return wrapper

        return decorate

    def _flight(
        self, request: Request, compute: Callable[[], Awaitable[Any]]
    ) -> asyncio.Future[Any]:
        """Return the call that is under way for a question, or begin one."""
        # Nobody joins a call from before a purge.
        key = self._engine.purge, self._engine.start(request).key
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._compute(request, compute, key[0]))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return flight

    def _landed(self, key: tuple[bytes, bytes], flight: asyncio.Future[Any]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # Every caller may have left: then nobody else looks at it.

    async def _compute(
        self, request: Request, compute: Callable[[], Awaitable[T]], since: bytes
    ) -> T:
        late = answered_meanwhile(self._engine, request)
        if late is not None:
            return cast(T, late.answer)
        started = time.perf_counter()
        with self._engine.load.call(request.scope.model):
            answer = await compute()
        provenance = Provenance(latency_s=time.perf_counter() - started)
        await self.try_keep(request, answer, provenance=provenance, since=since)
        return answer

    async def feedback(self, entry_id: str, *, correct: bool, question: str | None = None) -> bool:
        """See ``Cache.feedback``."""
        return await self._run(
            self._writes, lambda: self._engine.verdict(entry_id, correct=correct, question=question)
        )

    async def drop(self, entry_id: str) -> bool:
        """See ``Cache.drop``."""
        return bool(await self._run(self._writes, self._engine.upkeep.forget, [entry_id]))

    async def clear(
        self,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        tenant: str | None = None,
    ) -> int:
        """See ``Cache.clear``."""
        digest = None if scope is None else scope.digest()
        clear = self._engine.upkeep.clear
        return await self._run(
            self._writes, lambda: clear(category=category, scope=digest, tenant=tenant)
        )

    async def override(self, name: str, settings: Mapping[str, Any] | None) -> Category:
        """See ``Engine.override``."""
        return await self._run(self._writes, self._engine.book.override, name, settings)

    async def revoke(self, category: str) -> int:
        """See ``Engine.revoke``."""
        return await self._run(self._writes, self._engine.revoke, category)

    async def explain(
        self, question: str, *, category: str | None = None, scope: Scope | None = None
    ) -> Explanation:
        """See ``Cache.explain``."""
        request = request_of(question, category=category, scope=scope)
        return await self._run(self._embedding, explain, self._engine, request)

    async def tidy(self) -> None:
        """Delete what has expired and save the statistics; the gateway does so now and then."""
        await self._run(self._writes, self._engine.tidy)

    async def close(self) -> None:
        """See ``Cache.close``."""
        await self._run(self._writes, self._engine.close)
        self._embedding.shutdown(wait=False)
        self._reads.shutdown(wait=False)
        self._writes.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, pool: ThreadPoolExecutor, step: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, step, *args)
