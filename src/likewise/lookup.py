"""A request on its way through the cache, and what is in force while it is."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import msgspec

from likewise.adaptive import STEADY, Adapting, under_pressure
from likewise.category import Category
from likewise.config import Policies
from likewise.freshness import has_cue
from likewise.learn.judging import Judging
from likewise.naming import Naming, strictest
from likewise.receipts import Receipt
from likewise.request import Request
from likewise.sources import Versions
from likewise.teaching import Teaching

_MOST_CALM = 4_000
"""Policies held as a question or the ledger has changed them."""


Step = tuple[str, int, int]
"""A step's name, when it began and when it ended, in nanoseconds since the epoch."""

_UNTIMED = nullcontext()

_ID_BYTES, _IDS_AT_ONCE = 16, 256


class _Step:
    """Times a step, from entering it to leaving it."""

    __slots__ = ("_began", "_name", "_steps")

    def __init__(self, steps: list[Step], name: str) -> None:
        self._steps, self._name = steps, name

    def __enter__(self) -> None:
        self._began = time.time_ns()

    def __exit__(self, *_: object) -> None:
        self._steps.append((self._name, self._began, time.time_ns()))


class Meter(msgspec.Struct):
    """What a lookup has come to so far, whoever holds a copy of it.

    Attributes:
        embed_s: Seconds of embedding, ``None`` without any.
        coarse: The greatest coarse cosine, ``None`` when the gate did not look.
        receipt: Of the decision that was made last.
        steps: The steps it took, for a trace; ``None`` when nobody asks for them.
    """

    embed_s: float | None = None
    coarse: float | None = None
    receipt: Receipt | None = None
    steps: list[Step] | None = None

    def step(self, name: str) -> AbstractContextManager[None]:
        """Time a step while the context lasts, if anybody asks for it."""
        return _UNTIMED if self.steps is None else _Step(self.steps, name)


class Lookup(msgspec.Struct, frozen=True):
    """A request on its way through the cache.

    It is made and changed several times a request, which a frozen dataclass takes ten times as
    long for.

    Attributes:
        request: What was asked.
        policy: Under which it is decided; the default's until something has named the category.
        scope: Digest of its scope.
        key: Its identity in the exact tier.
        started: When, by ``time.perf_counter``.
        id: The request's.
        naming: What named its category, ``None`` until something has.
        pair: Identity of the question within its category, by which feedback and labels find it.
        dry: Leave no trace of it, for explanations.
        on_error: Whether the model has failed, so that more staleness may be allowed.
        pressure: Load of the model behind when it began, 0 to 1.
        meter: What it has cost so far.
    """

    request: Request
    policy: Category
    scope: bytes
    key: bytes
    started: float
    id: str
    naming: Naming | None
    pair: bytes
    dry: bool = False
    on_error: bool = False
    pressure: float = 0.0
    meter: Meter = msgspec.field(default_factory=Meter)


@dataclass(slots=True)
class InForce:
    """What may change while the cache runs; every part reads it anew for each request.

    Attributes:
        policies: The policy of every category.
        sources: Versions of what answers are made of.
        judging: The verifier, if there is one.
        teaching: What learns in service, if anything does.
        adapting: How far policies follow the load of the model.
        resting: Categories that are served by the exact tier only, because they do not earn more.
        retention_s: Seconds for which anything is kept at most.
    """

    policies: Policies
    sources: Versions
    judging: Judging | None = None
    teaching: Teaching | None = None
    adapting: Adapting = STEADY
    resting: frozenset[str] = frozenset()
    retention_s: float | None = None
    _calm: dict[tuple[str, bool, bool], tuple[Category, Category]] = field(
        default_factory=dict, init=False, repr=False
    )
    """By name, whether it rests and whether haste counts: a policy, and what that makes of it."""

    def policy(self, names: Sequence[str], request: Request, pressure: float) -> Category:
        """Return the strictest of some categories' policies for one question, under a load."""
        if pressure <= 0.0 and len(names) == 1:
            return self.calm(names[0], request)
        return self._under(pressure, [self.calm(name, request) for name in names])

    def taught(self, names: Sequence[str], request: Request, pressure: float) -> Category:
        """Return the same with the thresholds that labels have given each of them."""
        return self._under(pressure, [self.learned(self.calm(name, request)) for name in names])

    def calm(self, name: str, request: Request) -> Category:
        """Return a category's policy for one question: a cue of haste shortens its time to live."""
        policy = self.policies.of(name)
        rests, limit, ttl_s = name in self.resting, policy.cue_ttl, policy.ttl_s
        hastes = (
            limit is not None
            and (ttl_s is None or ttl_s > float(limit))
            and has_cue(request.question)
        )
        if not rests and not hastes:
            return policy
        place = name, rests, hastes
        known = self._calm.get(place)
        if known is None or known[0] is not policy:
            changed = replace(
                policy,
                exact_only=policy.exact_only or rests,
                ttl=limit if hastes else policy.ttl,
            )
            if len(self._calm) >= _MOST_CALM:
                self._calm.clear()
            known = self._calm[place] = policy, changed
        return known[1]

    def learned(self, policy: Category) -> Category:
        """Return a policy with the thresholds that labels have given it."""
        return policy if self.teaching is None else self.teaching.in_force(policy)

    def _under(self, pressure: float, policies: Sequence[Category]) -> Category:
        return strictest([under_pressure(p, pressure, self.adapting) for p in policies])


def new_request_id() -> str:
    """Return a fresh identifier that cannot be guessed."""
    while True:
        try:
            return "req-" + _ids.pop()
        except IndexError:
            # The system is asked for many at once: each time costs as much as half a decision.
            lot = secrets.token_hex(_ID_BYTES * _IDS_AT_ONCE)
            size = 2 * _ID_BYTES
            _ids.extend(lot[place : place + size] for place in range(0, len(lot), size))


_ids: list[str] = []
"""Drawn and not used yet; taking one is a single step, so that no two threads get the same."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.clear)
