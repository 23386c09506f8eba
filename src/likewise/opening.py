"""Puts an engine together from parts or from a configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from likewise.adaptive import STEADY, Adapting
from likewise.category import Category
from likewise.classify import Classifier
from likewise.classify.examples import Examples, builtin_examples
from likewise.classify.nearest import Nearest, fit_nearest
from likewise.classify.rules import BUILTIN_RULES, Rule, Rules
from likewise.clock import now
from likewise.config import (
    DEFAULT_MAX_ENTRIES,
    DEFAULT_STORE,
    SURE,
    Config,
    EmbeddingSettings,
    IndexSettings,
    LearningSettings,
    Policies,
    Settings,
    load,
)
from likewise.durations import byte_count, seconds
from likewise.embed import Embedder, Sketched, sketcher_of
from likewise.embed.registry import open_embedder
from likewise.engine import Engine
from likewise.errors import ConfigError, EmbedderError
from likewise.index.remote import RemoteIndex
from likewise.learn.judge import FunctionJudge, Judge, JudgeFunction, SimilarJudge
from likewise.learn.judging import Judging
from likewise.learn.learner import Terms
from likewise.learn.trees import require_fitting
from likewise.learn.verifier import load_verifier
from likewise.ledger import LedgerTerms
from likewise.load import LoadTerms
from likewise.rebuild import Progress
from likewise.snapshots import folder_of
from likewise.sources import NO_SOURCES, Versions
from likewise.stores import PgvectorIndex, Store, open_store, sealed

logger = logging.getLogger("likewise")

_CHARACTERS_PER_TOKEN = 4.0
"""Of English text, by rule of thumb: an embedder's server does not tell."""

_LEAST_ACCURACY = 0.6
"""Share of the examples that must be named rightly when they are left out of the fit."""


def assemble(
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
) -> Engine:
    """Return an engine made of the parts given; see ``Cache``."""
    if max_entries < 1:
        msg = f"max_entries is {max_entries}; it is at least 1"
        raise ConfigError(msg)
    policies = categories if isinstance(categories, Policies) else Policies.built_in(categories)
    if embedder is None:
        embedder = EmbeddingSettings().model
    return _engine(
        embedder=open_embedder(embedder) if isinstance(embedder, str) else embedder,
        store=store,
        policies=policies,
        rules=rules,
        classifier=classifier,
        examples=_known(policies) if examples is None else examples,
        sure=SURE,
        max_entries=max_entries,
        max_bytes=_bytes(max_bytes),
        clock=clock,
        progress=progress,
        learning=(Terms() if learning else None) if isinstance(learning, bool) else learning,
        judge=_judge(judge),
        index=index,
        snapshots=snapshots,
    )


def from_config(
    config: Config | str | Path | None,
    *,
    embedder: Embedder | None = None,
    clock: Callable[[], float] = now,
    progress: Progress | None = None,
    judge: Judge | JudgeFunction | None = None,
    aside: bool = False,
) -> Engine:
    """Return the engine that a configuration, or the file at a path, describes.

    ``aside`` serves requests while a large index is still filled. An ``embedder`` or a ``judge``
    given takes the place of the configured one.
    """
    if not isinstance(config, Config):
        config = Config() if config is None else load(config)
    opened = embedder or embedder_of(config.settings.embedding)
    learning, configured = learning_of(config.settings.learning, opened)
    privacy = config.settings.privacy
    engine = _engine(
        embedder=opened,
        store=store_of(config.settings),
        policies=config.policies,
        rules=config.rules,
        classifier=None,
        examples=config.examples,
        sure=config.settings.classification.confidence,
        max_entries=config.settings.max_entries,
        max_bytes=_bytes(config.settings.max_bytes),
        sources=config.sources,
        clock=clock,
        progress=progress,
        judging=judging_of(config),
        learning=learning,
        judge=_judge(judge) or configured,
        ledger=config.ledger,
        embed_usd=_embed_usd(config),
        terms=config.load,
        adapting=config.adapting,
        # Sketches are made of texts.
        gated=config.settings.embedding.gate and privacy.texts != "omit",
        index=index_of(config.settings.index),
        snapshots=_snapshot_of(config.settings),
        snapshot_every_s=seconds(config.settings.index.snapshot_every, what="index"),
        aside=aside,
        reembeds=config.settings.embedding.reembed,
    )
    engine.force.retention_s = retention_of(config.settings)
    return engine


def store_of(settings: Settings, *, create: bool = True) -> Store:
    """Open the store of a configuration, with its texts kept as ``privacy`` says.

    Keys are read from ``LIKEWISE_ENCRYPTION_KEYS``, with commas between, the one that writes first.

    Raises:
        ConfigError: The URL's scheme is unknown, or a key is wrong or missing.
        StoreError: The store cannot be opened.
    """
    given = os.environ.get("LIKEWISE_ENCRYPTION_KEYS", "")
    keys = [key.strip() for key in given.split(",") if key.strip()]
    opened = open_store(settings.store, create=create)
    try:
        return sealed(opened, settings.privacy.texts, keys)
    except BaseException:
        opened.close()
        raise


def retention_of(settings: Settings) -> float | None:
    """Return for how many seconds anything is kept at most; ``None`` for no limit."""
    given = settings.privacy.retention
    return None if given is None else seconds(given, what="privacy.retention")


def _snapshot_of(settings: Settings) -> str:
    """Return where the index is kept; a snapshot holds questions, so encrypted ones have none."""
    snapshot = settings.index.snapshot
    if settings.privacy.texts != "encrypt" or snapshot == "off":
        return snapshot
    if snapshot != "auto":
        msg = "index.snapshot: a snapshot holds questions in clear; with privacy.texts: encrypt "
        raise ConfigError(msg + "leave it out, or set it to off")
    return "off"


def index_of(settings: IndexSettings) -> RemoteIndex | None:
    """Return the remote index that a configuration describes; ``None`` for the local one."""
    if settings.kind == "local" or settings.url is None:
        return None
    return PgvectorIndex(settings.url, timeout_s=seconds(settings.timeout, what="index.timeout"))


def snapshots_of(given: str | Path | None, url: str) -> Path | None:
    """Return where a store's index is kept: ``auto``, ``off`` or a folder."""
    if given is None or given == "off":
        return None
    if given != "auto":
        return Path(given).expanduser()
    try:
        return folder_of(url)
    except RuntimeError as error:
        logger.warning("no cache folder (%s); the index is built anew at each start", error)
        return None


def _judge(judge: Judge | JudgeFunction | None) -> Judge | None:
    if judge is None or isinstance(judge, Judge):
        return judge
    return FunctionJudge(judge)


def learning_of(
    settings: LearningSettings, embedder: Embedder
) -> tuple[Terms | None, Judge | None]:
    """Return how a configuration wants to learn, and its judge; ``None`` judges by equality.

    Raises:
        ConfigError: The judge model is not named.
    """
    if not settings.enabled:
        return None, None
    terms = Terms(risk=settings.risk, share=settings.share, audit_rate=settings.audit_rate)
    match settings.judge:
        case "similar":
            return terms, SimilarJudge(embedder, settings.similar)
        case "model":
            model = settings.judge_model
            if not model.base_url or not model.model:
                msg = "learning.judge: model needs learning.judge_model with base_url and model"
                raise ConfigError(msg)
            # Imported here: nobody else needs an HTTP client.
            from likewise.learn.judge_model import ModelJudge  # noqa: PLC0415

            timeout_s = seconds(model.timeout, what="learning.judge_model.timeout")
            return terms, ModelJudge(
                base_url=model.base_url,
                model=model.model,
                api_key=model.api_key,
                timeout_s=timeout_s,
            )
    return terms, None


def nearest_of(examples: Examples, embedder: Embedder) -> Nearest | None:
    """Return what names categories by examples; ``None`` when that is not to be had.

    One category is no choice, an embedder that cannot tell them apart is of no use, and one that
    fails leaves unnamed requests to the default.
    """
    if len(examples) < 2:
        return None
    try:
        nearest = fit_nearest(examples, embedder)
    except ConfigError as error:
        logger.debug("categories are not named by examples: %s", error)
        return None
    except Exception as error:  # an embedder of somebody else's may raise anything
        reason = str(error) if isinstance(error, EmbedderError) else type(error).__name__
        logger.warning("categories are not named by examples until the next start: %s", reason)
        return None
    if nearest.accuracy < _LEAST_ACCURACY:
        logger.debug(
            "categories are not named by examples: with %s they name %.0f %% of each other",
            embedder.name,
            100 * nearest.accuracy,
        )
        return None
    return nearest


def coarse_of(examples: Examples, embedder: Embedder) -> Nearest | None:
    """Return the same for sketches, where the embedder has any."""
    sketcher = sketcher_of(embedder)
    return None if sketcher is None else nearest_of(examples, Sketched(embedder, sketcher))


def _embed_usd(config: Config) -> float:
    """Return what embedding a character costs: a server's price, or nothing in this process."""
    kind, _, model = config.settings.embedding.model.partition(":")
    price = config.prices.of(model) if kind == "openai" else None
    return 0.0 if price is None else price.of(1.0 / _CHARACTERS_PER_TOKEN, 0.0)


def _bytes(given: int | str | None) -> int | None:
    return None if given is None else byte_count(given, what="max_bytes")


def _known(policies: Policies) -> Examples:
    examples = builtin_examples()
    return {name: examples[name] for name in examples if name in policies.categories}


def judging_of(config: Config) -> Judging | None:
    """Return the verifier that a configuration names, ready to judge, or ``None``.

    Raises:
        ConfigError: It cannot be read or is not the one the configuration was written with.
    """
    settings = config.settings.verifier
    if settings.path is None:
        return None
    folder = Path() if config.path is None else config.path.parent
    return Judging(load_verifier(folder / settings.path, settings.checksum or ""))


def embedder_of(settings: EmbeddingSettings) -> Embedder:
    """Return the embedder that a configuration describes."""
    return open_embedder(
        settings.model,
        path=settings.path,
        base_url=settings.base_url,
        api_key=settings.api_key,
        dimensions=settings.dimensions,
        timeout_s=seconds(settings.timeout, what="embedding.timeout"),
        threads=settings.threads,
    )


def _engine(
    *,
    embedder: Embedder,
    store: Store | str,
    policies: Policies,
    rules: Sequence[Rule],
    classifier: Classifier | None,
    examples: Examples,
    sure: float,
    max_entries: int,
    max_bytes: int | None,
    clock: Callable[[], float],
    progress: Progress | None,
    sources: Versions = NO_SOURCES,
    judging: Judging | None = None,
    learning: Terms | None = None,
    judge: Judge | None = None,
    ledger: LedgerTerms | None = None,
    embed_usd: float = 0.0,
    terms: LoadTerms | None = None,
    adapting: Adapting = STEADY,
    gated: bool = True,
    index: RemoteIndex | None = None,
    snapshots: str | Path | None = None,
    snapshot_every_s: float = 300.0,
    aside: bool = False,
    reembeds: bool = False,
) -> Engine:
    if learning is not None:
        require_fitting()
    opened = open_store(store) if isinstance(store, str) else store
    classifiers: list[tuple[str, Classifier]] = [("rule", Rules(rules))]
    if classifier is not None:
        classifiers.append(("classifier", classifier))
    try:
        return Engine(
            store=opened,
            embedder=embedder,
            policies=policies,
            classifiers=classifiers,
            nearest=nearest_of(examples, embedder),
            coarse=coarse_of(examples, embedder) if gated else None,
            gated=gated,
            sure=sure,
            max_entries=max_entries,
            max_bytes=max_bytes,
            sources=sources,
            clock=clock,
            progress=progress,
            judging=judging,
            learning=learning,
            judge=judge,
            ledger=ledger,
            embed_usd=embed_usd,
            load=terms,
            adapting=adapting,
            index=index,
            snapshots=snapshots_of(snapshots, opened.url),
            snapshot_every_s=snapshot_every_s,
            aside=aside,
            reembeds=reembeds,
        )
    except BaseException:
        opened.close()
        if index is not None:
            index.close()
        raise
