"""What is compared, and a policy opened for it: in memory, on a virtual clock, calling nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from likewise.classify.examples import NO_EXAMPLES
from likewise.config import Config, LearningSettings, VerifierSettings
from likewise.durations import seconds
from likewise.embed import Embedder, Vectors
from likewise.engine import Engine
from likewise.opening import from_config
from likewise.replay.workload import Workload
from likewise.service_time import ServiceTime


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for every policy of a comparison.

    Attributes:
        law: That of the model behind.
        slo_s: Within how many seconds a request should be answered.
        lookup_s: Seconds that a lookup takes, which a hit costs and a miss costs on top; ``None``
            takes what it took in this process, where vectors are known already.
        most_wait_s: How long a request may wait for its turn at a model that is full or refuses; 0
            hands the refusal on at once, ``None`` takes what the policy's ``load`` says.
        round_trip_s: Seconds from sending a call to hearing that it is refused. It is what makes
            busy machines ask less often than their pauses would let them.
        streams: Whether answers are streamed, so that the time to the first token is seen.
    """

    law: ServiceTime = field(default_factory=ServiceTime)
    slo_s: float = 2.0
    lookup_s: float | None = 0.003
    most_wait_s: float | None = None
    round_trip_s: float = 0.0
    streams: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """A policy with its name for people."""

    name: str
    config: Config


class Clock:
    """Seconds since the epoch, as the simulation sets them."""

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time it is in the simulation."""
        return self.now


class Blind:
    """An embedder for workloads without a text: it must never be asked."""

    name = "blind"
    dimensions = 8

    def fits(self, text: str) -> bool:
        """False: nothing is embedded."""
        return False

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Raise ``AssertionError``: texts that are hashes have no meaning."""
        raise AssertionError(f"{len(texts)} texts were to be embedded")


def open_engine(config: Config, embedder: Embedder, clock: Clock, *, hashed: bool) -> Engine:
    """Return the engine of a configuration, over an empty store in memory.

    Whether an answer serves a question is known here, so a judge compares answers to the letter
    and no other model is asked. Where texts are ``hashed`` neither verifier nor learning is used,
    and nothing is looked for in them: a hash may look like the number of a card.

    Raises:
        ConfigError: The configuration cannot be opened.
    """
    settings = msgspec.structs.replace(config.settings, store="memory://")
    policies = config.policies
    if hashed:
        policies = replace(
            policies,
            default=replace(policies.default, detect=()),
            categories={n: replace(one, detect=()) for n, one in policies.categories.items()},
        )
        settings = msgspec.structs.replace(
            settings, verifier=VerifierSettings(), learning=LearningSettings()
        )
    engine = from_config(
        replace(config, settings=settings, policies=policies, rules=(), examples=NO_EXAMPLES),
        embedder=embedder,
        clock=clock,
        judge=lambda _question, stored, fresh: stored == fresh,
    )
    engine.audits_aside = True
    return engine


def prices_of(config: Config, workload: Workload) -> NDArray[np.float64]:
    """Return what the model's answer to each request costs in US dollars, shape ``(n,)``.

    The price is that of the workload's model, or else the only one that is configured; without one
    all is free.
    """
    price, given = config.prices.of(workload.model), config.settings.prices
    if price is None and len(given) == 1:
        price = config.prices.of(*given)
    if price is None:
        return np.zeros(len(workload))
    usd = workload.input_tokens * price.input + workload.output_tokens * price.output
    return np.asarray(usd / 1_000_000, np.float64)


def most_wait_s(config: Config, setting: Setting) -> float:
    """Return how long a request may wait for a model that refuses, in seconds."""
    if setting.most_wait_s is not None:
        return setting.most_wait_s
    most = config.settings.load.max_wait
    return 0.0 if most is None else seconds(most, what="load.max_wait")
