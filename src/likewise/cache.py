"""``Cache``: the front door for threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import wraps
from typing import Any, ParamSpec, Self, TypeVar, cast

from likewise.category import DEFAULT
from likewise.engine import Engine
from likewise.entry import Entry, Provenance
from likewise.explain import Explanation, explain
from likewise.front import Front, answered_meanwhile, request_of
from likewise.functions import CallReader
from likewise.lookup import Lookup
from likewise.policy import Bypass, Decision, Hit, Reason
from likewise.request import Request
from likewise.scope import Scope

P = ParamSpec("P")
T = TypeVar("T")


class Cache(Front):
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
        store: A ``Store``, or the URL of one: ``sqlite:///FILE``, ``redis://HOST``,
            ``postgresql://HOST/DATABASE`` or ``memory://``.
        embedder: An ``Embedder``, or the name of one; the default is ``all-MiniLM-L6-v2``.
        categories: Policies put beside the built-in ones, or in place of those of the same name;
            one named ``default`` is that of every category not listed. ``Policies`` instead are
            taken as they are, without the built-in ones.
        rules: Name the category of requests that name none.
        classifier: Asked when no rule claims a request.
        examples: Prompts by category, from which the others' categories are told; without them
            those of the built-in categories. An empty mapping is none.
        max_entries: Most entries over all categories.
        max_bytes: Most bytes of questions, answers and vectors, a number or such as ``"2GiB"``.
        clock: Seconds since the epoch.
        progress: Called with done and total while the index is rebuilt from the store.
        learning: Whether, or on which terms, to learn from answers which entries may be reused.
        judge: Tells whether two answers serve the same question: a ``Judge``, or a function of
            question, stored answer and fresh answer; without one equal answers do.
        index: A server that searches the vectors, such as ``stores.PgvectorIndex``; it is closed
            with the cache. Without one they are searched in this process.
        snapshots: Folder for the index, so that the next start need not build it anew; ``"auto"``
            is beside a file of SQLite, else in the cache folder; ``None`` keeps none.

    Raises:
        ConfigError: An argument is wrong.
        StoreError: The store cannot be opened.
        EmbedderError: The embedder cannot be loaded.
    """

    def _use(self, engine: Engine) -> None:
        super()._use(engine)
        self._flights: dict[tuple[bytes, bytes], Future[Any]] = {}
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
        lookup = self._engine.start(request)
        return self.resume(lookup, self._engine.guarded(lookup, self._engine.exact))

    def resume(self, lookup: Lookup, decision: Decision | None) -> Decision:
        """Go on with a lookup of which the exact tier has said ``decision``."""
        if decision is None:
            decision = self._engine.guarded(lookup, self._engine.semantic)
        return self._engine.finish(lookup, decision)

    def store(
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
        """Keep an answer for ``question``; it takes the place of an older one.

        Args:
            question: What was asked.
            answer: Any JSON value.
            category: As in ``check``.
            scope: As in ``check``.
            ttl: Keep it no longer than this; cannot outlast the category's.
            sources: What it was made of; a new version of one in the config revokes it at once.
            provenance: Where the answer came from and what it cost.

        Returns:
            The entry, or ``None`` when the category is not cacheable or the question is empty.

        Raises:
            ConfigError: An argument is wrong.
            StoreError: The store refused; nothing was kept.
        """
        request = request_of(question, category=category, scope=scope, ttl=ttl, sources=sources)
        return self._engine.keep(request, answer, provenance=provenance)

    def try_keep(
        self,
        request: Request,
        answer: object,
        *,
        provenance: Provenance | None = None,
        entry_id: str | None = None,
        sources: str | None = None,
        since: bytes | None = None,
    ) -> Entry | None:
        """Keep the answer to a whole request; a fault is counted and gives ``None``.

        ``since`` is ``engine.purge`` as it was when the answer was asked for: what was asked for
        before a purge or a revocation is not kept after it.
        """
        return self._engine.try_keep(
            request,
            answer,
            provenance=provenance,
            entry_id=entry_id,
            sources=sources,
            since=since,
        )

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
            if decision.reason is Reason.REVALIDATING:
                self._refresh_aside(request, compute)
            return cast(T, decision.answer)
        if isinstance(decision, Bypass):
            return compute()
        try:
            return self._flown(request, compute)
        except Exception:
            stale = self.stale(self._engine.start(request))
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
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return a decorator that answers calls of a function as ``answer`` does.

        One argument is the question; all others, and the function's name, are part of the scope.

        >>> from likewise.testing import HashingEmbedder
        >>> cache = Cache(store="memory://", embedder=HashingEmbedder())
        >>> @cache.cached(category="code")
        ... def ask(question: str, model: str = "small") -> str:
        ...     return f"{model} was asked"
        >>> ask("How do I undo a commit?"), ask("How do I undo a commit?", model="large")
        ('small was asked', 'large was asked')
        >>> cache.stats()["entries"]
        2
        >>> cache.close()

        Args:
            category: As in ``check``.
            scope: What must be equal beside the other arguments.
            question: The parameter that is the question; without one the first.
            ignore: Parameters that do not change the answer, such as ``self`` or a client.

        Raises:
            ConfigError: The function is a coroutine function or a generator, or has no such
                parameter. A call raises it when its question is no text, or another argument is no
                JSON value.
        """

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            calls = CallReader(
                function,
                awaited=False,
                question=question,
                ignore=ignore,
                category=category,
                scope=scope,
            )

            @wraps(function)
            def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
                asked, within = calls.read(args, kwargs)
                return self.answer(
                    asked, lambda: function(*args, **kwargs), category=category, scope=within
                )

            return wrapper

        return decorate

    def _refresh_aside(self, request: Request, compute: Callable[[], Any]) -> None:
        """Compute on a thread, unless a call for the same question is under way already."""
        with self._flights_lock:
            if self._flight_key(request) in self._flights:
                return
        thread = threading.Thread(
            target=self._refresh, args=(request, compute), name="likewise-refresh", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no thread is to be had; the caller has its answer
            self._engine.faults.report(DEFAULT, "refresh", error)

    def _refresh(self, request: Request, compute: Callable[[], Any]) -> None:
        try:
            self._flown(request, compute)
        except Exception as error:
            self._engine.faults.report(DEFAULT, "refresh", error)

    def stale(self, lookup: Lookup) -> Hit | None:
        """Return a stale answer to serve in place of the model's failure, if the policy allows."""
        engine = self._engine
        decision = engine.guarded(lookup, engine.stale)
        if isinstance(decision, Hit):
            decision = engine.fetch(lookup, decision)
        if not isinstance(decision, Hit):
            return None
        engine.receipts.close(lookup.id, decision)
        engine.stats.add(decision.category, stale_hits=1)
        return decision

    def _flown(self, request: Request, compute: Callable[[], T]) -> T:
        """Compute once for all who ask the same at the same time."""
        key = self._flight_key(request)
        with self._flights_lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if not leads:
            return cast(T, flight.result())
        try:
            answer = self._lead(request, compute, flight, since=key[0])
        finally:
            with self._flights_lock:
                del self._flights[key]
        return answer

    def _flight_key(self, request: Request) -> tuple[bytes, bytes]:
        """Return what identifies a call; nobody joins one from before a purge."""
        return self._engine.purge, self._engine.start(request).key

    def _lead(
        self, request: Request, compute: Callable[[], T], flight: Future[Any], *, since: bytes
    ) -> T:
        """Compute for all who wait on ``flight``, unless another call did since the lookup."""
        try:
            late = answered_meanwhile(self._engine, request)
            if late is not None:
                flight.set_result(late.answer)
                return cast(T, late.answer)
            started = time.perf_counter()
            with self._engine.load.call(request.scope.model):
                answer = compute()
        except BaseException as error:
            flight.set_exception(error)
            raise
        flight.set_result(answer)
        provenance = Provenance(latency_s=time.perf_counter() - started)
        self._engine.try_keep(request, answer, provenance=provenance, since=since)
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
        return bool(self._engine.upkeep.forget([entry_id]))

    def clear(
        self,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        tenant: str | None = None,
    ) -> int:
        """Delete the entries for which all that is given holds, or everything; return how many.

        Raises:
            StoreError: The store failed.
        """
        digest = None if scope is None else scope.digest()
        return self._engine.upkeep.clear(category=category, scope=digest, tenant=tenant)

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
