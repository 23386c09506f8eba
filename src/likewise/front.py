"""What both front doors share: opening, building requests, reading what costs no waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from likewise.category import Category, check_name
from likewise.classify import Classifier
from likewise.classify.examples import Examples
from likewise.classify.rules import BUILTIN_RULES, Rule
from likewise.clock import now
from likewise.config import DEFAULT_MAX_ENTRIES, DEFAULT_STORE, Config, Policies
from likewise.durations import seconds
from likewise.embed import Embedder
from likewise.engine import Engine
from likewise.errors import ConfigError
from likewise.index.remote import RemoteIndex
from likewise.learn.judge import Judge, JudgeFunction
from likewise.learn.learner import Terms
from likewise.load import Load
from likewise.opening import assemble, from_config
from likewise.policy import Hit
from likewise.rebuild import Progress
from likewise.request import Controls, Request
from likewise.scope import Scope
from likewise.sources import check_source
from likewise.stores import Store

T = TypeVar("T")

_NO_SCOPE = Scope()


class Front:
    """What both doors share: opening, building requests, and reading what costs no waiting."""

    def __init__(
        self,
        *,
        store: Store | str = DEFAULT_STORE,
        embedder: Embedder | str | None = None,
        categories: Iterable[Category] | Policies = (),
        rules: Sequence[Rule] = BUILTIN_RULES,
        classifier: Classifier | None = None,
        examples: Examples | None = None,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        max_bytes: int | str | None = None,
        clock: Callable[[], float] = now,
        progress: Progress | None = None,
        learning: Terms | bool = False,
        judge: Judge | JudgeFunction | None = None,
        index: RemoteIndex | None = None,
        snapshots: str | Path | None = "auto",
    ) -> None:
        self._use(
            assemble(
                store=store,
                embedder=embedder,
                categories=categories,
                rules=rules,
                classifier=classifier,
                examples=examples,
                max_entries=max_entries,
                max_bytes=max_bytes,
                clock=clock,
                progress=progress,
                learning=learning,
                judge=judge,
                index=index,
                snapshots=snapshots,
            )
        )

    @classmethod
    def open(
        cls,
        config: Config | str | Path | None = None,
        *,
        embedder: Embedder | None = None,
        progress: Progress | None = None,
        judge: Judge | JudgeFunction | None = None,
        aside: bool = False,
    ) -> Self:
        """Open the cache that a configuration file describes; without one, the built-in defaults.

        With ``aside`` it is open while a large index is still filled: what is there is found. An
        ``embedder`` or a ``judge`` given takes the place of the configured one.

        Raises:
            ConfigError: The configuration is wrong.
            StoreError: The store cannot be opened.
            EmbedderError: The embedder cannot be loaded.
        """
        return cls._over(
            from_config(config, embedder=embedder, progress=progress, judge=judge, aside=aside)
        )

    @classmethod
    def _over(cls, engine: Engine) -> Self:
        front = cls.__new__(cls)
        front._use(engine)
        return front

    def _use(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """The parts, for the gateway and the integrations."""
        return self._engine

    @property
    def load(self) -> Load:
        """The pressure on the models behind; tell it of calls that this cache does not make."""
        return self._engine.load

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
    sources: Sequence[str] = (),
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
        sources=tuple(check_source(name) for name in sources),
    )
    return Request(question, _NO_SCOPE if scope is None else scope, controls)


def answered_meanwhile(engine: Engine, request: Request) -> Hit | None:
    """Return the hit on an answer that another call stored since this one's lookup, if any."""
    lookup = engine.start(request)
    decision = engine.guarded(lookup, engine.exact)
    if isinstance(decision, Hit) and not decision.stale_s:
        decision = engine.finish(lookup, decision)
    return decision if isinstance(decision, Hit) and not decision.stale_s else None
