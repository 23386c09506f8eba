"""The two front doors: ``Cache`` for threads, ``AsyncCache`` for coroutines, over one engine."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from likewise.category import Category, check_name
from likewise.classify import Classifier
from likewise.classify.rules import BUILTIN_RULES, Rule
from likewise.config import DEFAULT_MAX_ENTRIES, DEFAULT_STORE, Config, Policies
from likewise.durations import seconds
from likewise.embed import Embedder
from likewise.engine import Engine, Lookup
from likewise.entry import Entry, Provenance
from likewise.errors import ConfigError
from likewise.explain import Explanation, explain
from likewise.opening import assemble, from_config
from likewise.policy import Bypass, Decision, Hit
from likewise.rebuild import Progress
from likewise.request import Controls, Request
from likewise.scope import Scope
from likewise.stores import Store

T = TypeVar("T")

_NO_SCOPE = Scope()


class _Front:
    """What both doors share: opening, building requests, and reading what costs no waiting."""

    def __init__(
        self,
        *,
        store: Store | str = DEFAULT_STORE,
        embedder: Embedder | str | None = None,
        categories: Iterable[Category] | Policies = (),
        rules: Sequence[Rule] = BUILTIN_RULES,
        classifier: Classifier | None = None,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        clock: Callable[[], float] = time.time,
        progress: Progress | None = None,
    ) -> None:
        self._use(
            assemble(
                store=store,
                embedder=embedder,
                categories=categories,
                rules=rules,
                classifier=classifier,
                max_entries=max_entries,
                clock=clock,
                progress=progress,
            )
        )

    @classmethod
    def open(
        cls, config: Config | str | Path | None = None, *, progress: Progress | None = None
    ) -> Self:
        """Open the cache that a configuration file describes; without one, the built-in defaults.

        Raises:
            ConfigError: The configuration is wrong.
            StoreError: The store cannot be opened.
            EmbedderError: The embedder cannot be loaded.
        """
        return cls._over(from_config(config, progress=progress))

    @classmethod
    def _over(cls, engine: Engine) -> Self:
        front = cls.__new__(cls)
        front._use(engine)
        return front

    def _use(self, engine: Engine) -> None:
        self._engine = engine

    def stats(self) -> dict[str, Any]:
        """Return what was asked, served and saved since this cache was opened, by category.

        The dictionary is ready for JSON: ``entries``, ``store``, ``embedder``, ``index`` and
        ``categories``, each with its counters, its ``reasons`` and its ``hit_rate``.
        """
        return self._engine.statistics()


def request_of(
    question: object,
    *,
    category: str | None = None,
    scope: Scope | None = None,
    similarity_threshold: float | None = None,
    max_age: float | str | None = None,
    ttl: float | str | None = None,
) -> Request:
    """Return a request made of plain arguments.

    Raises:
        ConfigError: An argument is wrong; the message says which.
    """
    if not isinstance(question, str):
        msg = f"question: expected a text, got {type(question).__name__}"
        raise ConfigError(msg)
    if similarity_threshold is not None and not 0 <= similarity_threshold <= 1:
        msg = f"similarity_threshold: {similarity_threshold} is not between 0 and 1"
        raise ConfigError(msg)
    controls = Controls(
        category=None if category is None else check_name(category),
        max_age_s=None if max_age is None else seconds(max_age, what="max_age"),
        ttl_s=None if ttl is None else seconds(ttl, what="ttl"),
        similarity_threshold=similarity_threshold,
    )
    return Request(question, _NO_SCOPE if scope is None else scope, controls)


class Cache(_Front):
    """A semantic cache whose policy is that of the question's category.

    >>> from likewise.testing import HashingEmbedder
    >>> cache = Cache(store="memory://", embedder=HashingEmbedder())
    >>> cache.check("How do I undo a commit?", category="code").reason
    <Reason.NO_CANDIDATE: 'no-candidate'>
    >>> entry = cache.store("How do I undo a commit?", "git revert HEAD", category="code")
    >>> cache.check("How do I undo a commit?", category="code").answer
    'git revert HEAD'
    >>> cache.close()

    Safe to use from many threads. A fault of the cache makes ``check`` a miss, never an error.

    Args:
        store: A ``Store``, or the URL of one: ``sqlite:///FILE`` or ``memory://``.
        embedder: An ``Embedder``, or the name of one; the default is ``all-MiniLM-L6-v2``.
        categories: Policies put beside the built-in ones, or in place of those of the same name;
            one named ``default`` is that of every category not listed. ``Policies`` instead are
            taken as they are, without the built-in ones.
        rules: Name the category of requests that name none.
        classifier: Asked when no rule claims a request.
        max_entries: Most entries over all categories.
        clock: Seconds since the epoch.
        progress: Called with done and total while the index is rebuilt from the store.

    Raises:
        ConfigError: An argument is wrong.
        StoreError: The store cannot be opened.
        EmbedderError: The embedder cannot be loaded.
    """

    def _use(self, engine: Engine) -> None:
        super()._use(engine)
        self._flights: dict[bytes, Future[Any]] = {}
        self._flights_lock = threading.Lock()

    def check(
        self,
        question: str,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        similarity_threshold: float | None = None,
        max_age: float | str | None = None,
    ) -> Decision:
        """Decide whether a stored answer may be reused for ``question``.

        Args:
            question: What is asked.
            category: The kind of question; without one, rules and then the default decide.
            scope: What must be equal for an answer to be reusable at all.
            similarity_threshold: Accept nothing less similar; cannot loosen the category's.
            max_age: Accept no answer older than this, in seconds or as ``"2m"``.

        Raises:
            ConfigError: An argument is wrong.
        """
        return self.lookup(
            request_of(
                question,
                category=category,
                scope=scope,
                similarity_threshold=similarity_threshold,
                max_age=max_age,
            )
        )

    def lookup(self, request: Request) -> Decision:
        """Decide on a whole request; see ``check``."""
        engine = self._engine
        lookup = engine.start(request)
        decision = engine.guarded(lookup, engine.exact)
        if decision is None:
            decision = engine.guarded(lookup, engine.semantic)
        return engine.finish(lookup, decision)

    def store(
        self,
        question: str,
        answer: object,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        ttl: float | str | None = None,
        provenance: Provenance | None = None,
    ) -> Entry | None:
        """Keep an answer for ``question``; it takes the place of an older one.

        Args:
            question: What was asked.
            answer: Any JSON value.
            category: As in ``check``.
            scope: As in ``check``.
            ttl: Keep it no longer than this; cannot outlast the category's.
            provenance: Where the answer came from and what it cost.

        Returns:
            The entry, or ``None`` when the category is not cacheable or the question is empty.

        Raises:
            ConfigError: An argument is wrong.
            StoreError: The store refused; nothing was kept.
        """
        request = request_of(question, category=category, scope=scope, ttl=ttl)
        return self._engine.keep(request, answer, provenance=provenance)

    def answer(
        self,
        question: str,
        compute: Callable[[], T],
        *,
        category: str | None = None,
        scope: Scope | None = None,
    ) -> T:
        """Return the cached answer, or compute it once and store it.

        Threads that ask the same question at the same time share one call of ``compute``; an
        exception it raises reaches all of them. A store that fails costs only the reuse.
        """
        request = request_of(question, category=category, scope=scope)
        decision = self.lookup(request)
        if isinstance(decision, Hit):
            return cast(T, decision.answer)
        if isinstance(decision, Bypass):
            return compute()
        key = self._engine.start(request).key
        with self._flights_lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if not leads:
            return cast(T, flight.result())
        try:
            answer = self._lead(request, compute, flight)
        finally:
            with self._flights_lock:
                del self._flights[key]
        return answer

    def _lead(self, request: Request, compute: Callable[[], T], flight: Future[Any]) -> T:
        """Compute for all who wait on ``flight``, unless another call did since the lookup."""
        try:
            late = _answered_meanwhile(self._engine, request)
            if late is not None:
                flight.set_result(late.answer)
                return cast(T, late.answer)
            started = time.perf_counter()
            answer = compute()
        except BaseException as error:
            flight.set_exception(error)
            raise
        flight.set_result(answer)
        provenance = Provenance(latency_s=time.perf_counter() - started)
        self._engine.try_keep(request, answer, provenance=provenance)
        return answer

    def feedback(self, entry_id: str, *, correct: bool, question: str | None = None) -> bool:
        """Say whether an entry answered rightly; a pair marked wrong is never served again.

        Without a ``question`` the one the entry served last is meant. An answer that was wrong for
        the entry's own question is dropped.

        Returns:
            Whether the entry is known.

        Raises:
            StoreError: The verdict could not be kept.
        """
        return self._engine.verdict(entry_id, correct=correct, question=question)

    def drop(self, entry_id: str) -> bool:
        """Delete one entry; return whether there was one.

        Raises:
            StoreError: The store failed; the entry is served no more by this process.
        """
        return bool(self._engine.forget([entry_id]))

    def clear(self, *, category: str | None = None, scope: Scope | None = None) -> int:
        """Delete the entries of a category, of a scope, of both, or all; return how many.

        Raises:
            StoreError: The store failed.
        """
        digest = None if scope is None else scope.digest()
        return self._engine.clear(category=category, scope=digest)

    def explain(
        self, question: str, *, category: str | None = None, scope: Scope | None = None
    ) -> Explanation:
        """Return how a question would be decided and why; counts nothing, serves nothing."""
        return explain(self._engine, request_of(question, category=category, scope=scope))

    def close(self) -> None:
        """Save the statistics and close the store."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncCache(_Front):
    """``Cache`` for coroutines: the same names, awaited.

    Misses of the exact tier embed in a thread; hits and writes do their I/O in a thread. Everything
    else runs where it is called, because it never waits.
    """

    def _use(self, engine: Engine) -> None:
        super()._use(engine)
        self._embedding = ThreadPoolExecutor(os.cpu_count(), "likewise-embed")
        # Writes wait for one another, and for a locked file: reads have threads of their own.
        self._reads = ThreadPoolExecutor(4, "likewise-read")
        self._writes = ThreadPoolExecutor(2, "likewise-write")
        self._flights: dict[bytes, asyncio.Future[Any]] = {}

    @property
    def engine(self) -> Engine:
        """The parts, for the gateway."""
        return self._engine

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
        return await self.resume(self._engine.start(request))

    async def resume(self, lookup: Lookup) -> Decision:
        """Decide on a lookup that was started."""
        engine = self._engine
        decision = engine.guarded(lookup, engine.exact)
        if decision is None:
            decision = await self._run(
                self._embedding, lambda: engine.guarded(lookup, engine.semantic)
            )
        if isinstance(decision, Hit):
            return await self._run(self._reads, engine.finish, lookup, decision)
        return engine.finish(lookup, decision)

    async def store(
        self,
        question: str,
        answer: object,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        ttl: float | str | None = None,
        provenance: Provenance | None = None,
    ) -> Entry | None:
        """See ``Cache.store``."""
        request = request_of(question, category=category, scope=scope, ttl=ttl)
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
    ) -> Entry | None:
        """Keep the answer to a whole request; a fault is counted and gives ``None``."""
        return await self._run(
            self._writes,
            lambda: self._engine.try_keep(
                request, answer, provenance=provenance, entry_id=entry_id
            ),
        )

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
            return cast(T, decision.answer)
        if isinstance(decision, Bypass):
            return await compute()
        key = self._engine.start(request).key
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._compute(request, compute))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return cast(T, await asyncio.shield(flight))

    def _landed(self, key: bytes, flight: asyncio.Future[Any]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # Every caller may have left: then nobody else looks at it.

    async def _compute(self, request: Request, compute: Callable[[], Awaitable[T]]) -> T:
        late = _answered_meanwhile(self._engine, request)
        if late is not None:
            return cast(T, late.answer)
        started = time.perf_counter()
        answer = await compute()
        provenance = Provenance(latency_s=time.perf_counter() - started)
        await self.try_keep(request, answer, provenance=provenance)
        return answer

    async def feedback(self, entry_id: str, *, correct: bool, question: str | None = None) -> bool:
        """See ``Cache.feedback``."""
        return await self._run(
            self._writes, lambda: self._engine.verdict(entry_id, correct=correct, question=question)
        )

    async def drop(self, entry_id: str) -> bool:
        """See ``Cache.drop``."""
        return bool(await self._run(self._writes, self._engine.forget, [entry_id]))

    async def clear(self, *, category: str | None = None, scope: Scope | None = None) -> int:
        """See ``Cache.clear``."""
        digest = None if scope is None else scope.digest()
        return await self._run(
            self._writes, lambda: self._engine.clear(category=category, scope=digest)
        )

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


def _answered_meanwhile(engine: Engine, request: Request) -> Hit | None:
    """Return the hit on an answer that another call stored since this one's lookup, if any."""
    lookup = engine.start(request)
    decision = engine.guarded(lookup, engine.exact)
    if isinstance(decision, Hit):
        decision = engine.finish(lookup, decision)
    return decision if isinstance(decision, Hit) else None
