"""The configuration: one YAML file, every key checked by name.

``Settings`` mirrors the file; ``load`` turns it into the objects the rest of the program uses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import UNSET, Meta, UnsetType

from likewise import schema
from likewise.adaptive import Adapting
from likewise.category import DEFAULT, TAXONOMY, Category, check_name
from likewise.classify.examples import (
    NO_EXAMPLES,
    Examples,
    builtin_examples,
    merged,
    read_examples,
)
from likewise.classify.rules import BUILTIN_RULES, Rule
from likewise.durations import byte_count, seconds
from likewise.errors import ConfigError
from likewise.ledger import LedgerTerms
from likewise.load import LoadTerms
from likewise.prices import Price as PerToken
from likewise.prices import Prices
from likewise.sources import check_source

DEFAULT_STORE = "sqlite:///likewise.db"
DEFAULT_MAX_ENTRIES = 100_000
SURE = 0.6
"""Confidence from which on the category that examples name is believed without reserve."""

_MOST_RENAMED = 1_000
"""Names that are not listed for which the default's policy is held."""

_LEAST_THRESHOLD = 0.5
"""Below it nearly everything is similar: a sign that a distance was meant."""

Duration = int | float | str
Positive = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Share = Annotated[float, Meta(ge=0, le=1)]
Price = Annotated[float, Meta(ge=0)]


class PolicySettings(msgspec.Struct, kw_only=True):
    """The policy of one category; what is not given comes from ``defaults``."""

    similarity_threshold: float | UnsetType = UNSET
    probability_threshold: float | UnsetType | None = UNSET
    error_budget: float | UnsetType = UNSET
    ttl: Duration | UnsetType | None = UNSET
    cue_ttl: Duration | UnsetType | None = UNSET
    stale_while_revalidate: Duration | UnsetType | None = UNSET
    stale_if_error: Duration | UnsetType | None = UNSET
    stale_on_429: bool | UnsetType = UNSET
    refresh_ahead: float | UnsetType | None = UNSET
    quota: int | float | str | UnsetType | None = UNSET
    eviction: str | UnsetType = UNSET
    strict: bool | UnsetType = UNSET
    priority: str | UnsetType = UNSET
    similarity_floor: float | UnsetType | None = UNSET
    probability_floor: float | UnsetType | None = UNSET
    pressure_budget: float | UnsetType | None = UNSET
    ttl_limit: Duration | UnsetType | None = UNSET
    stale_under_pressure: Duration | UnsetType | None = UNSET
    gate: float | UnsetType | None = UNSET
    cacheable: bool | UnsetType = UNSET
    exact_only: bool | UnsetType = UNSET
    guards: list[str] | UnsetType = UNSET
    tool_results: bool | UnsetType = UNSET
    alike_per_minute: int | UnsetType | None = UNSET
    detect: list[str] | UnsetType = UNSET
    max_turns: int | UnsetType = UNSET
    max_temperature: float | UnsetType = UNSET
    epoch: Annotated[int, Meta(ge=0, le=2**53)] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    examples: list[str] | str | UnsetType = UNSET


class ClassificationSettings(msgspec.Struct, kw_only=True):
    """Naming the category of a request by examples, where neither caller nor rule does."""

    enabled: bool = True
    builtin_examples: bool = True
    confidence: Share = SURE


class RuleSettings(msgspec.Struct, kw_only=True):
    """A rule that names the category of the requests it claims."""

    category: str
    pattern: str | None = None
    model: str | None = None
    path: str | None = None
    system: str | None = None


class _Discreet(msgspec.Struct, kw_only=True):
    """Settings whose keys stay out of ``repr``."""

    def __repr__(self) -> str:
        values = msgspec.structs.asdict(self).items()
        shown = (f"{k}={'***' if v and k.endswith('_key') else repr(v)}" for k, v in values)
        return f"{type(self).__name__}({', '.join(shown)})"


class EmbeddingSettings(_Discreet, kw_only=True):
    """Which model turns a question into a vector, and where it runs."""

    model: str = "all-MiniLM-L6-v2"
    path: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    dimensions: Positive | None = None
    timeout: Duration = "2s"
    threads: Positive = 1
    gate: bool = True
    reembed: bool = True


class VerifierSettings(msgspec.Struct, kw_only=True):
    """The pair verifier that ``likewise tune`` wrote."""

    path: str | None = None
    checksum: str | None = None


class JudgeModelSettings(_Discreet, kw_only=True):
    """The model that judges answers, at any OpenAI-compatible server."""

    base_url: str | None = None
    model: str | None = None
    api_key: str | None = None
    timeout: Duration = "30s"


class LearningSettings(msgspec.Struct, kw_only=True):
    """Learning in service."""

    enabled: bool = False
    judge: Literal["exact", "similar", "model"] = "exact"
    similar: Share = 0.9
    judge_model: JudgeModelSettings = msgspec.field(default_factory=JudgeModelSettings)
    risk: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    share: bool = True
    audit_rate: Share = 0.02


class ReplicaSettings(_Discreet, kw_only=True):
    """One server of the models behind the gateway."""

    base_url: str
    api_key: str | None = None
    models: list[str] = msgspec.field(default_factory=list)
    max_in_flight: Positive | None = None
    metrics_url: str | None = None


class UpstreamSettings(_Discreet, kw_only=True):
    """The model behind the gateway."""

    base_url: str | None = None
    api_key: str | None = None
    metrics_url: str | None = None
    replicas: list[ReplicaSettings] = msgspec.field(default_factory=list)
    connect_timeout: Duration = "5s"
    timeout: Duration = "10m"
    stream_usage: bool = True


class KeySettings(_Discreet, kw_only=True):
    """A key of the admin API, as a hash."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    hash: str
    role: Literal["read", "write", "admin"] = "read"


class GatewaySettings(_Discreet, kw_only=True):
    """The HTTP side of the gateway."""

    host: str = "127.0.0.1"
    port: Port = 8700
    max_body_bytes: Positive = 32 * 1024 * 1024
    response_headers: bool = True
    usage_on_hit: Literal["replay", "zero"] = "replay"
    admin_key: str | None = None
    keys: list[KeySettings] = msgspec.field(default_factory=list)
    acts_per_minute: Positive = 600
    audit_log: str | None = None
    log: str | None = None
    log_texts: Literal["hash", "keep"] = "hash"
    refreshes_per_minute: Annotated[int, Meta(ge=0)] = 60


class LoadSettings(msgspec.Struct, kw_only=True):
    """How the load of the model is found, how far policies follow it, and how requests wait."""

    target_latency: Duration | None = None
    target_first_token: Duration | None = None
    max_in_flight: Positive | None = None
    rise: Duration = "1s"
    fall: Duration = "30s"
    engage: Share = 0.2
    release: Share = 0.1
    relax: Share = 0.0
    stretch: Price = 0.0
    stale_above: Share = 0.8
    max_wait: Duration | None = "5s"
    max_waiting: Annotated[int, Meta(ge=0)] = 1_000
    metrics_every: Duration = "2s"


class IndexSettings(msgspec.Struct, kw_only=True):
    """Where vectors are searched, and what of the index is kept on disk for the next start."""

    kind: Literal["local", "pgvector"] = "local"
    url: str | None = None
    timeout: Duration = "250ms"
    snapshot: str = "auto"
    snapshot_every: Duration = "5m"


class PrivacySettings(msgspec.Struct, kw_only=True):
    """What becomes of texts at rest, and for how long anything is kept at most."""

    texts: Literal["keep", "encrypt", "omit"] = "keep"
    retention: Duration | None = None


class TelemetrySettings(msgspec.Struct, kw_only=True):
    """Where traces go, and in which form log lines are written."""

    traces: Literal["off", "otlp", "console"] = "off"
    endpoint: str | None = None
    sample: Share = 1.0
    service: str = "likewise"
    logs: Literal["text", "json"] = "text"


class LedgerSettings(msgspec.Struct, kw_only=True):
    """How costs and savings are weighed, and what follows."""

    machine_usd_per_hour: Price = 0.0
    window: Positive = 1_000
    windows: Positive = 3
    switch: bool = False
    retry: Duration = "1d"


class PriceSettings(msgspec.Struct, kw_only=True):
    """What a model costs, in US dollars per million tokens."""

    input: Price
    output: Price


class Settings(msgspec.Struct, kw_only=True):
    """The configuration file."""

    upstream: UpstreamSettings = msgspec.field(default_factory=UpstreamSettings)
    store: str = DEFAULT_STORE
    max_entries: int = DEFAULT_MAX_ENTRIES
    max_bytes: int | str | None = None
    index: IndexSettings = msgspec.field(default_factory=IndexSettings)
    embedding: EmbeddingSettings = msgspec.field(default_factory=EmbeddingSettings)
    defaults: PolicySettings = msgspec.field(default_factory=PolicySettings)
    categories: dict[str, PolicySettings] = msgspec.field(default_factory=dict)
    rules: list[RuleSettings] = msgspec.field(default_factory=list)
    builtin_categories: bool = True
    builtin_rules: bool = True
    classification: ClassificationSettings = msgspec.field(default_factory=ClassificationSettings)
    verifier: VerifierSettings = msgspec.field(default_factory=VerifierSettings)
    learning: LearningSettings = msgspec.field(default_factory=LearningSettings)
    load: LoadSettings = msgspec.field(default_factory=LoadSettings)
    gateway: GatewaySettings = msgspec.field(default_factory=GatewaySettings)
    ledger: LedgerSettings = msgspec.field(default_factory=LedgerSettings)
    privacy: PrivacySettings = msgspec.field(default_factory=PrivacySettings)
    telemetry: TelemetrySettings = msgspec.field(default_factory=TelemetrySettings)
    prices: dict[str, PriceSettings] = msgspec.field(default_factory=dict)
    sources: dict[str, str | int] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy of every category, listed or not."""

    default: Category = field(default_factory=lambda: Category(DEFAULT))
    categories: Mapping[str, Category] = field(default_factory=lambda: dict(TAXONOMY))
    _renamed: dict[str, Category] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def of(self, name: str) -> Category:
        """Return the policy of a category; one that is not listed takes the default's.

        It is the same object every time, but for very many names that are not listed.
        """
        policy = self.categories.get(name)
        if policy is not None:
            return policy
        policy = self._renamed.get(name)
        if policy is None:
            # Its values are checked once more, which costs more than the decision itself.
            policy = self.default.renamed(name)
            if len(self._renamed) < _MOST_RENAMED:
                self._renamed[name] = policy
        return policy

    @classmethod
    def built_in(cls, categories: Iterable[Category] = ()) -> Policies:
        """Return the built-in taxonomy with ``categories`` put in or in place of its own."""
        listed = {**TAXONOMY, **{category.name: category for category in categories}}
        return cls(listed.pop(DEFAULT, Category(DEFAULT)), listed)


@dataclass(frozen=True, slots=True)
class Config:
    """A checked configuration.

    ``settings`` holds the file's values; ``policies``, ``rules`` and ``examples`` are what they
    mean.
    """

    settings: Settings = field(default_factory=Settings)
    policies: Policies = field(default_factory=Policies)
    rules: tuple[Rule, ...] = BUILTIN_RULES
    examples: Examples = field(default_factory=builtin_examples)
    path: Path | None = None

    @property
    def load(self) -> LoadTerms:
        """How the pressure on a model is found."""
        given = self.settings.load
        return LoadTerms(
            target_latency_s=_optional(given.target_latency, "load.target_latency"),
            target_first_token_s=_optional(given.target_first_token, "load.target_first_token"),
            max_in_flight=self._max_in_flight,
            rise_s=seconds(given.rise, what="load.rise"),
            fall_s=seconds(given.fall, what="load.fall"),
            engage=given.engage,
            release=min(given.release, given.engage),
        )

    @property
    def _max_in_flight(self) -> int | None:
        """Calls that all replicas serve at once; ``None`` when one of them has no limit."""
        given = self.settings.load.max_in_flight
        replicas = self.settings.upstream.replicas
        limits = [replica.max_in_flight or given for replica in replicas] or [given]
        return None if None in limits else sum(limit or 0 for limit in limits)

    @property
    def ledger(self) -> LedgerTerms:
        """How costs and savings are weighed."""
        given = self.settings.ledger
        return LedgerTerms(
            machine_usd_per_hour=given.machine_usd_per_hour,
            window=given.window,
            windows=given.windows,
            switch=given.switch,
            retry_s=seconds(given.retry, what="ledger.retry"),
        )

    @property
    def prices(self) -> Prices:
        """What calls to models cost."""
        given = self.settings.prices.items()
        return Prices({name: PerToken(price.input, price.output) for name, price in given})

    @property
    def adapting(self) -> Adapting:
        """How far policies follow the load."""
        given = self.settings.load
        return Adapting(given.relax, given.stretch, given.stale_above)

    @property
    def sources(self) -> dict[str, str]:
        """Versions in force of what answers are made of."""
        return {name: str(version) for name, version in self.settings.sources.items()}


def load(path: str | Path) -> Config:
    """Read the configuration file at ``path``.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or a key or value is wrong. The message
            names the key and its place, and offers the nearest valid one.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        msg = f"cannot read the config {path}: {reason}; check the path given by --config"
        raise ConfigError(msg) from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        msg = f"the config {path} is not valid YAML{place}: {problem}"
        raise ConfigError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"the config {path} is not valid YAML: {type(error).__name__}: {error}"
        raise ConfigError(msg) from error
    try:
        return parse(data, where=f"{path}:", path=path)
    except RecursionError as error:
        msg = f"the config {path} is nested too deeply, or holds itself by an alias"
        raise ConfigError(msg) from error


def parse(data: object, *, where: str = "config:", path: Path | None = None) -> Config:
    """Check a configuration given as plain data, as YAML yields it; see ``load``."""
    settings = schema.read(Settings, schema.expand(data, where), where)
    try:
        _check_timeouts(settings)
        for name in settings.sources:
            try:
                check_source(name)
            except ConfigError as error:
                msg = f"sources: {name[:64]!r}: {error}"
                raise ConfigError(msg) from error
        if settings.max_bytes is not None:
            byte_count(settings.max_bytes, what="max_bytes")
        policies = _policies(settings)
        folder = Path() if path is None else path.parent
        examples = _examples(settings, policies, folder)
        return Config(settings, policies, _rules(settings), examples, path)
    except ConfigError as error:
        msg = f"{where} {error}"
        raise ConfigError(msg) from error


def _policies(settings: Settings) -> Policies:
    if settings.max_entries < 1:
        msg = f"max_entries: {settings.max_entries} is too small; it is at least 1"
        raise ConfigError(msg)
    default = merged_policy(Category(DEFAULT), settings.defaults, "defaults")
    listed = dict(TAXONOMY) if settings.builtin_categories else {}
    if settings.defaults.error_budget is not UNSET:
        # The taxonomy says nothing of budgets: the user's word holds for all of it.
        listed = {
            name: replace(category, error_budget=default.error_budget)
            for name, category in listed.items()
        }
    for name, given in settings.categories.items():
        base = listed.get(check_name(name)) or default.renamed(name)
        listed[name] = merged_policy(base, given, f"categories.{name}")
    return Policies(listed.pop(DEFAULT, default), listed)


def share_limits(config: Config, workers: int) -> None:
    """Give a worker its part of the limits that all of them are to keep together."""
    settings = config.settings
    limited: list[LoadSettings | ReplicaSettings] = [settings.load, *settings.upstream.replicas]
    for given in limited:
        if given.max_in_flight is not None:
            given.max_in_flight = max(1, given.max_in_flight // workers)
    settings.load.max_waiting = math.ceil(settings.load.max_waiting / workers)


def _check_timeouts(settings: Settings) -> None:
    seconds(settings.embedding.timeout, what="embedding.timeout")
    seconds(settings.learning.judge_model.timeout, what="learning.judge_model.timeout")
    seconds(settings.upstream.timeout, what="upstream.timeout")
    seconds(settings.upstream.connect_timeout, what="upstream.connect_timeout")
    seconds(settings.ledger.retry, what="ledger.retry")
    seconds(settings.index.snapshot_every, what="index.snapshot_every")
    if seconds(settings.index.timeout, what="index.timeout") <= 0.0:
        msg = "index.timeout: 0 would wait for no search; give at least 1ms"
        raise ConfigError(msg)
    _check_index(settings)
    for name in (
        "target_latency",
        "target_first_token",
        "rise",
        "fall",
        "max_wait",
        "metrics_every",
    ):
        _optional(getattr(settings.load, name), f"load.{name}")


def _check_index(settings: Settings) -> None:
    index = settings.index
    if index.kind == "local":
        if index.url is not None:
            msg = "index.url: only a remote index has one; add kind: pgvector, or leave it out"
            raise ConfigError(msg)
        return
    if index.url is None:
        msg = f"index: kind {index.kind} needs url: postgresql://HOST/DATABASE"
        raise ConfigError(msg)
    if settings.store.startswith("memory://"):
        msg = (
            f"index: kind {index.kind} needs a store that outlives the process; write sqlite:///, "
            "redis:// or postgresql://"
        )
        raise ConfigError(msg)


def _optional(value: Duration | None, what: str) -> float | None:
    return None if value is None else seconds(value, what=what)


def merged_policy(base: Category, given: PolicySettings, where: str) -> Category:
    """Return a policy with what is given in place of its own.

    Raises:
        ConfigError: A value is wrong; ``where`` names its place in the message.
    """
    values = {k: v for k, v in msgspec.structs.asdict(given).items() if v is not UNSET}
    values.pop("examples", None)
    threshold = values.get("similarity_threshold")
    if threshold is not None and threshold < _LEAST_THRESHOLD:
        msg = (
            f"{where}.similarity_threshold: {threshold} would serve unrelated answers; it is a "
            f"cosine similarity from {_LEAST_THRESHOLD} to 1, higher is stricter (a distance d is "
            "a similarity of 1 - d)"
        )
        raise ConfigError(msg)
    names = (name for name in PolicySettings.__struct_fields__ if name != "examples")
    current = {name: getattr(base, name) for name in names}
    return Category(base.name, **{**current, **values})


def _examples(settings: Settings, policies: Policies, folder: Path) -> Examples:
    """Return the examples to classify by: those that ship, and those of the file."""
    if not settings.classification.enabled:
        return NO_EXAMPLES
    if settings.defaults.examples is not UNSET:
        msg = "defaults.examples: the default is what is like no example; give them to a category"
        raise ConfigError(msg)
    parts: list[Examples] = []
    if settings.classification.builtin_examples:
        known = builtin_examples()
        parts.append({name: known[name] for name in known if name in policies.categories})
    for name, given in settings.categories.items():
        where = f"categories.{name}.examples"
        if isinstance(given.examples, str):
            parts.append({name: read_examples(folder / given.examples, what=where)})
        elif given.examples is not UNSET:
            texts = [text.strip() for text in given.examples if text.strip()]
            if not texts:
                msg = f"{where}: there is none; write prompts of this category, or leave it out"
                raise ConfigError(msg)
            parts.append({name: texts})
    return merged(parts)


def _rules(settings: Settings) -> tuple[Rule, ...]:
    own = tuple(Rule(**msgspec.structs.asdict(given)) for given in settings.rules)
    return own + (BUILTIN_RULES if settings.builtin_rules else ())
