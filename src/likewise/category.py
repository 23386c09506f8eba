"""A kind of question with one policy, and the taxonomy that ships.

The built-in values come from reasoning about the kinds of question and from prompts written for
this project; they are cautious on purpose. Measure your own traffic before you loosen one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from likewise.durations import byte_count, seconds
from likewise.errors import ConfigError
from likewise.eviction import DEFAULT_EVICTION, POLICIES, RETURNS
from likewise.guards import GUARDS
from likewise.sensitive import DEFAULT_DETECTORS, DETECTORS

DEFAULT = "default"
"""Name of the category of requests that nothing else claims."""

PRIORITIES = ("low", "normal", "high")
"""Who yields first to the load of the model."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of question and the policy under which its answers are reused.

    Attributes:
        name: Lower case letters, digits, ``_``, ``.`` and ``-``; at most 64 characters.
        similarity_threshold: Least cosine similarity of a semantic hit, 0 to 1; higher is stricter.
        probability_threshold: Least probability of being right, by the verifier, of a semantic hit;
            ``None`` leaves the decision to similarity and guards.
        error_budget: Wrong answers per hit that are tolerated, above 0 and below 1; learning in
            service moves the threshold as far as this allows.
        ttl: How long an answer may be served, in seconds or as ``"2m"``; ``None`` means for ever.
        cue_ttl: The most an answer may live when its question has a cue of haste, such as "today"
            or "latest"; ``None`` makes no difference between questions.
        stale_while_revalidate: For how long after its time an answer may still be served while a
            fresh one is fetched aside, see RFC 5861; ``None`` for not at all.
        stale_if_error: For how long after its time an answer may be served when the model fails
            (500, 502, 503, 504, or no answer); ``None`` for not at all.
        stale_on_429: Whether a model that refuses for its load counts as failing, too.
        refresh_ahead: Fetch a fresh answer aside when one that is asked for often is served in this
            last share of its life, such as 0.1; ``None`` for not at all.
        quota: What is guaranteed to this category: a share of the cache's ``max_entries`` and
            ``max_bytes`` when it is a fraction up to 1.0, a whole number of entries, or a text such
            as ``"64MB"``; ``None`` guarantees an equal part of what no other is guaranteed. What a
            category leaves unused is lent to the others.
        eviction: Which of its entries goes when room is needed: a name of ``POLICIES``, with
            ``+returns`` behind it to spare what is expected back.
        strict: True keeps this policy as it is however loaded the model is, see ``adaptive``.
        priority: ``low``, ``normal`` or ``high``: those of low priority yield first to the load, in
            how far their policies adapt and in whose calls wait.
        similarity_floor: How far down load may take the ``similarity_threshold``; without it as far
            as the configuration's ``load.relax`` says.
        probability_floor: The same for the ``probability_threshold``, as certified by labels for
            the ``pressure_budget``; ``None`` does not move it.
        pressure_budget: Wrong answers per hit that are tolerated under full load, for which
            learning certifies the floor; ``None`` tolerates no more than ever.
        ttl_limit: The most that load may make of the ``ttl``; ``None`` sets no limit of its own.
        stale_under_pressure: For how long beyond that an answer may be served while the model is
            near its limits; ``None`` for not at all.
        gate: Coarse cosine below which a question is a miss without being embedded, 0 to 1; 0
            embeds every one, ``None`` takes what the threshold leads to expect, see ``gate``.
        cacheable: False keeps the category out of the cache altogether.
        exact_only: True serves only requests that are equal to the letter.
        guards: Names of the checks on the raw texts that may veto a candidate.
        tool_results: Whether answers are kept that follow what a tool has said: whoever speaks
            through a tool could else speak to later callers.
        alike_per_minute: How many answers of one tenant are kept in a minute whatever they are;
            beyond that only those to questions that are like nothing kept. ``None`` for no bound.
        detect: Kinds of secrets and personal data; a question or an answer that holds any is not
            cached, see ``sensitive``.
        max_turns: A conversation of more user turns than this is served by the exact tier only.
        max_temperature: A request sampled hotter than this is served by the exact tier only.
        epoch: Raise it to revoke every answer stored before, at once.
        description: A sentence for people.
        calm: Set by ``adaptive`` only: the policy as it was before load moved it.

    Raises:
        ConfigError: A value is out of its range.
    """

    name: str
    similarity_threshold: float = field(default=0.95, kw_only=True)
    probability_threshold: float | None = field(default=None, kw_only=True)
    error_budget: float = field(default=0.02, kw_only=True)
    ttl: float | str | None = field(default=86400.0, kw_only=True)
    cue_ttl: float | str | None = field(default=900.0, kw_only=True)
    stale_while_revalidate: float | str | None = field(default=None, kw_only=True)
    stale_if_error: float | str | None = field(default=None, kw_only=True)
    stale_on_429: bool = field(default=False, kw_only=True)
    refresh_ahead: float | None = field(default=None, kw_only=True)
    quota: float | str | None = field(default=None, kw_only=True)
    eviction: str = field(default=DEFAULT_EVICTION, kw_only=True)
    strict: bool = field(default=False, kw_only=True)
    priority: str = field(default="normal", kw_only=True)
    similarity_floor: float | None = field(default=None, kw_only=True)
    probability_floor: float | None = field(default=None, kw_only=True)
    pressure_budget: float | None = field(default=None, kw_only=True)
    ttl_limit: float | str | None = field(default=None, kw_only=True)
    stale_under_pressure: float | str | None = field(default=None, kw_only=True)
    gate: float | None = field(default=None, kw_only=True)
    cacheable: bool = field(default=True, kw_only=True)
    exact_only: bool = field(default=False, kw_only=True)
    guards: tuple[str, ...] = field(default=tuple(GUARDS), kw_only=True)
    tool_results: bool = field(default=False, kw_only=True)
    alike_per_minute: int | None = field(default=600, kw_only=True)
    detect: tuple[str, ...] = field(default=DEFAULT_DETECTORS, kw_only=True)
    max_turns: int = field(default=4, kw_only=True)
    max_temperature: float = field(default=1.0, kw_only=True)
    epoch: int = field(default=0, kw_only=True)
    description: str = field(default="", kw_only=True)
    calm: Category | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        where = f"category {self.name!r}"
        check_name(self.name)
        self._check_thresholds(where)
        self._check_load(where)
        self._check_times(where)
        self._check_room(where)
        object.__setattr__(self, "guards", tuple(self.guards))
        for guard in self.guards:
            if guard not in GUARDS:
                msg = f"{where}: no guard is called {guard!r}; there are: {', '.join(GUARDS)}"
                raise ConfigError(msg)
        if self.alike_per_minute is not None and self.alike_per_minute < 1:
            msg = f"{where}: alike_per_minute is {self.alike_per_minute}; it is at least 1"
            raise ConfigError(msg)
        object.__setattr__(self, "detect", tuple(self.detect))
        for kind in self.detect:
            if kind not in DETECTORS:
                msg = f"{where}: detect knows no {kind!r}; there are: {', '.join(DETECTORS)}"
                raise ConfigError(msg)
        if self.max_turns < 1:
            msg = f"{where}: max_turns is {self.max_turns}; it is at least 1"
            raise ConfigError(msg)
        if not self.max_temperature >= 0:
            msg = f"{where}: max_temperature is {self.max_temperature}; it is at least 0"
            raise ConfigError(msg)

    def _check_thresholds(self, where: str) -> None:
        if not 0 <= self.similarity_threshold <= 1:
            msg = (
                f"{where}: similarity_threshold is {self.similarity_threshold}; it is a cosine "
                "similarity between 0 and 1, and higher is stricter"
            )
            raise ConfigError(msg)
        if self.probability_threshold is not None and not 0 <= self.probability_threshold <= 1:
            msg = (
                f"{where}: probability_threshold is {self.probability_threshold}; it is a "
                "probability between 0 and 1, and higher is stricter"
            )
            raise ConfigError(msg)
        if not 0 < self.error_budget < 1:
            msg = (
                f"{where}: error_budget is {self.error_budget}; it is a share of the hits above 0 "
                "and below 1, such as 0.02"
            )
            raise ConfigError(msg)

    def _check_load(self, where: str) -> None:
        if self.priority not in PRIORITIES:
            msg = (
                f"{where}: no priority is called {self.priority!r}; there are: "
                f"{', '.join(PRIORITIES)}"
            )
            raise ConfigError(msg)
        for floor, bar in (
            ("similarity_floor", "similarity_threshold"),
            ("probability_floor", "probability_threshold"),
        ):
            value, above = getattr(self, floor), getattr(self, bar)
            if value is not None and not 0 <= value <= (1.0 if above is None else above):
                msg = (
                    f"{where}: {floor} is {value}; it is what load may take the {bar} down to, "
                    f"from 0 to {1.0 if above is None else above}"
                )
                raise ConfigError(msg)
        if self.gate is not None and not 0 <= self.gate <= 1:
            msg = (
                f"{where}: gate is {self.gate}; it is a coarse similarity between 0 and 1, and 0 "
                "embeds every question"
            )
            raise ConfigError(msg)
        budget = self.pressure_budget
        if budget is not None and not self.error_budget <= budget < 1:
            msg = (
                f"{where}: pressure_budget is {budget}; it is the share of hits that may be wrong "
                f"under full load, from the error_budget of {self.error_budget} on and below 1"
            )
            raise ConfigError(msg)

    def _check_times(self, where: str) -> None:
        if isinstance(self.ttl, str):
            never = self.ttl.strip().lower() == "never"
            object.__setattr__(
                self, "ttl", None if never else seconds(self.ttl, what=f"{where}: ttl")
            )
        elif self.ttl is not None:
            object.__setattr__(self, "ttl", seconds(self.ttl, what=f"{where}: ttl"))
        for name in (
            "cue_ttl",
            "stale_while_revalidate",
            "stale_if_error",
            "ttl_limit",
            "stale_under_pressure",
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, seconds(value, what=f"{where}: {name}"))
        if self.refresh_ahead is not None and not 0 < self.refresh_ahead < 1:
            msg = (
                f"{where}: refresh_ahead is {self.refresh_ahead}; it is the last share of an "
                "answer's life, above 0 and below 1, such as 0.1"
            )
            raise ConfigError(msg)

    def _check_room(self, where: str) -> None:
        if isinstance(self.quota, str):
            byte_count(self.quota, what=f"{where}: quota")
        elif self.quota is not None and (not self.quota > 0 or (self.quota > 1 and self.quota % 1)):
            msg = (
                f"{where}: quota is {self.quota}; write a share up to 1.0, a whole number of "
                "entries, or bytes such as 64MB"
            )
            raise ConfigError(msg)
        if self.eviction.removesuffix(RETURNS) not in POLICIES:
            msg = (
                f"{where}: no eviction is called {self.eviction!r}; there are: "
                f"{', '.join(POLICIES)}, each with {RETURNS} behind it if you like"
            )
            raise ConfigError(msg)

    @property
    def ttl_s(self) -> float | None:
        """The time to live in seconds; ``None`` means for ever."""
        # __post_init__ turned every text into seconds.
        return None if self.ttl is None else float(self.ttl)

    @property
    def budgets(self) -> tuple[float, ...]:
        """Wrong answers per hit that are tolerated, and, if others are under load, those."""
        if self.pressure_budget in (None, self.error_budget):
            return (self.error_budget,)
        return (self.error_budget, self.pressure_budget)

    def grace_s(self, *, on_error: bool = False) -> float:
        """Return for how many seconds after its time an answer may still be served."""
        if self.stale_while_revalidate is None and self.stale_if_error is None:
            return 0.0
        graces = [self.stale_while_revalidate, self.stale_if_error if on_error else None]
        return max((float(grace) for grace in graces if grace is not None), default=0.0)

    def guaranteed_entries(self, max_entries: int) -> float | None:
        """Return how many entries the quota guarantees; ``None`` when it says nothing of them."""
        if self.quota is None or isinstance(self.quota, str):
            return None
        if isinstance(self.quota, float) and self.quota <= 1:
            return self.quota * max_entries
        return float(self.quota)

    def guaranteed_bytes(self, max_bytes: int) -> float | None:
        """Return how many bytes the quota guarantees; ``None`` when it says nothing of them."""
        if isinstance(self.quota, str):
            return float(byte_count(self.quota, what="quota"))
        if isinstance(self.quota, float) and self.quota <= 1:
            return self.quota * max_bytes
        return None

    def renamed(self, name: str) -> Category:
        """Return this policy under another category's name."""
        return replace(self, name=name)


def check_name(name: str) -> str:
    """Return ``name`` when it can name a category.

    Raises:
        ConfigError: It cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = (
            name if isinstance(name, str) and len(name) <= 64 else f"of type {type(name).__name__}"
        )
        msg = (
            f"category name {shown!r} is not valid: use 1 to 64 lower case letters, digits, "
            "'_', '.' or '-', beginning with a letter or digit"
        )
        raise ConfigError(msg)
    return name


_DAY_S = 86400.0

_TAXONOMY = (
    Category(
        "code",
        similarity_threshold=0.95,
        ttl=30 * _DAY_S,
        description="Programming questions: how to do a thing, what an error means.",
    ),
    Category(
        "sql",
        similarity_threshold=0.97,
        ttl=7 * _DAY_S,
        description="Questions that become a query; another value is another answer.",
    ),
    Category(
        "math",
        similarity_threshold=0.97,
        ttl=90 * _DAY_S,
        description="Calculations and word problems; another number is another answer.",
    ),
    Category(
        "general",
        similarity_threshold=0.94,
        ttl=7 * _DAY_S,
        description="General knowledge that changes slowly.",
    ),
    Category(
        "chat",
        similarity_threshold=0.95,
        ttl=_DAY_S,
        max_turns=2,
        description="Conversation and open requests.",
    ),
    Category(
        "creative",
        exact_only=True,
        ttl=3600.0,
        description="Stories, poems, ideas: asked again to get something new.",
    ),
    Category(
        "medical",
        similarity_threshold=0.97,
        ttl=7 * _DAY_S,
        strict=True,
        description="Health questions without a person's own data.",
    ),
    Category(
        "legal",
        similarity_threshold=0.97,
        ttl=7 * _DAY_S,
        strict=True,
        description="Questions of law; jurisdiction and date matter.",
    ),
    Category(
        "finance",
        similarity_threshold=0.96,
        ttl=_DAY_S,
        strict=True,
        description="How money, tax and accounts work; not quotes.",
    ),
    Category(
        "prices",
        similarity_threshold=0.96,
        ttl=120.0,
        strict=True,
        description="Prices, rates and quotes: right for minutes.",
    ),
    Category(
        "news",
        similarity_threshold=0.96,
        ttl=600.0,
        strict=True,
        description="News, weather, scores: right for minutes.",
    ),
    Category(
        "tech_support",
        similarity_threshold=0.94,
        ttl=14 * _DAY_S,
        description="Installing, configuring and repairing systems.",
    ),
    Category(
        "customer_faq",
        similarity_threshold=0.92,
        ttl=7 * _DAY_S,
        description="Questions that one fixed reply of a company answers.",
    ),
    Category(
        "translation",
        similarity_threshold=0.98,
        ttl=90 * _DAY_S,
        description="Texts to translate; another word is another answer.",
    ),
    Category(
        "personal",
        cacheable=False,
        description="Anything about the person who asks. Never stored, never served.",
    ),
)

TAXONOMY: Mapping[str, Category] = MappingProxyType({c.name: c for c in _TAXONOMY})
"""The built-in categories by name."""
