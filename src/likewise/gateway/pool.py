"""The replicas of the models behind: who gets the next request, and who waits.

A request goes to the replica that served its conversation before, whose prefix cache is warm,
unless that one is much busier than the least loaded; else to the least loaded. A replica that
refuses for load is left alone for as long as it asks, one that keeps failing until its breaker
lets a trial through. While none is to be had, requests wait in line for a bounded time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from likewise.breaker import BreakerState, CircuitBreaker
from likewise.config import LoadSettings, ReplicaSettings, UpstreamSettings
from likewise.durations import seconds
from likewise.errors import ConfigError, UpstreamError
from likewise.gateway.line import Line, Waiter
from likewise.gateway.upstream import Upstream, given_up
from likewise.load import TOO_MANY
from likewise.scope import tenant_of

_FAILURES, _OPEN_S = 5, 10.0
_MOST_SESSIONS = 10_000
_WARM_SLACK = 2
"""How many more calls a session's replica may have under way than the least loaded."""

PAUSE_S = 1.0
"""How long a replica that refuses is left alone where it does not say."""

_LEAST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 60.0

_MOST_PAUSES = 10_000
_ROUNDING_S = 0.001
_UNAVAILABLE = 503


@dataclass(slots=True, eq=False)
class Replica:
    """One server of the models behind.

    Attributes:
        upstream: Its client.
        models: Shell patterns of the models it serves; none are all.
        limit: Most calls at once, ``None`` for no limit.
        metrics_url: Where it tells how busy it is, if it does.
        breaker: Opened by calls in a row that got no answer, or 502, 503 or 504.
        shares_key: Whether all requests go to it with our own key: its refusals concern all.
        in_flight: Calls under way.
        pauses: Until when it asked to be left alone, by tenant; ``""`` stands for all of them.
    """

    upstream: Upstream
    models: tuple[str, ...]
    limit: int | None
    metrics_url: str | None
    breaker: CircuitBreaker
    shares_key: bool
    in_flight: int = 0
    pauses: dict[str, float] = field(default_factory=dict)

    def serves(self, model: str) -> bool:
        """Return whether it has a model."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)

    def whose(self, tenant: str) -> str:
        """Return whom its refusal to a tenant concerns: who has a key of its own, else all."""
        return "" if self.shares_key or tenant == tenant_of(None) else tenant

    def shut_s(self, tenant: str, now: float) -> float:
        """Return for how many seconds it takes nothing of a tenant, 0 when it does."""
        paused = max(self.pauses.get("", 0.0), self.pauses.get(tenant, 0.0))
        return max(paused - now, self.breaker.retry_in_s, 0.0)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a request needs a replica for.

    Attributes:
        model: The model asked for.
        tenant: Who asks.
        priority: Of the request's category.
        session: What tells its conversation apart from others.
        deadline: Until when it waits, by the pool's clock.
    """

    model: str
    tenant: str
    priority: str
    session: bytes
    deadline: float


@dataclass(slots=True)
class Pool:
    """All replicas. Lives in one event loop.

    ``patience_s`` is how many seconds a request waits at most.

    Args:
        settings: Of the upstream.
        load: How long requests wait.
        clock: Seconds from any fixed point.

    Raises:
        ConfigError: No upstream is set, or it is no URL.
    """

    settings: UpstreamSettings
    load: LoadSettings
    clock: Callable[[], float] = time.monotonic
    replicas: list[Replica] = field(init=False)
    patience_s: float = field(init=False, default=0.0)
    waited: int = field(init=False, default=0)
    refused: int = field(init=False, default=0)
    failovers: int = field(init=False, default=0)
    _line: Line[Turn, Replica] = field(init=False, default_factory=Line)
    _sessions: OrderedDict[bytes, Replica] = field(init=False, default_factory=OrderedDict)
    _alarm: asyncio.TimerHandle | None = field(init=False, default=None)
    _hold_s: float = field(init=False, default=1.0)
    _next: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.replicas = [self._replica(given) for given in replicas_of(self.settings)]
        if self.load.max_wait is not None:
            self.patience_s = seconds(self.load.max_wait, what="load.max_wait")

    # -- life -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the connection pools."""
        for replica in self.replicas:
            await replica.upstream.open()

    async def close(self) -> None:
        """Close every connection."""
        if self._alarm is not None:
            self._alarm.cancel()
        for replica in self.replicas:
            await replica.upstream.close()

    async def end(self, head_s: float, body_s: float) -> None:
        """Give up calls because the gateway ends, see ``Upstream.end``."""

        async def empty_line() -> None:
            await asyncio.sleep(head_s)
            self._line.give_up(given_up())

        ends = [replica.upstream.end(head_s, body_s) for replica in self.replicas]
        await asyncio.gather(empty_line(), *ends)

    @property
    def ended(self) -> bool:
        """Whether the gateway has waited long enough for calls under way."""
        return self.replicas[0].upstream.ended

    # -- turns ------------------------------------------------------------------------------------

    def any(self) -> Replica:
        """Return the replica for a request that is passed through: the least loaded that answers.

        Which model it is about is not looked at: those that serve every model go first.
        """
        working = [r for r in self.replicas if r.breaker.state is not BreakerState.OPEN]
        return min(working or self.replicas, key=lambda r: (bool(r.models), r.in_flight))

    def is_down(self, model: str) -> bool:
        """Return whether no replica of a model answers."""
        able = [r for r in self.replicas if r.serves(model)]
        return bool(able) and all(replica.breaker.retry_in_s > 0 for replica in able)

    def others(self, wanted: Turn, tried: Collection[Replica]) -> bool:
        """Return whether there is a replica with a place for a request that was not tried."""
        return bool(self._free(wanted, tried))

    def opens_in_time(self, wanted: Turn) -> bool:
        """Return whether a replica for a request opens before its deadline."""
        now = self.clock()
        return any(
            now + r.shut_s(wanted.tenant, now) < wanted.deadline
            for r in self.replicas
            if r.serves(wanted.model)
        )

    @asynccontextmanager
    async def turn(self, wanted: Turn, tried: Collection[Replica] = ()) -> AsyncIterator[Replica]:
        """Hold a place at a replica; waits for one until the deadline.

        Replicas in ``tried`` are taken only after a wait.

        Raises:
            UpstreamError: There was none in time (429 or 503, with when to ask again), or nobody
                serves the model (404).
        """
        if not any(replica.serves(wanted.model) for replica in self.replicas):
            msg = "no upstream serves this model; upstream.replicas lists the models of each"
            raise UpstreamError(msg, status=404)
        # Those who wait go before those who come, as far as there is a place for them.
        self._serve()
        replica = self._take(wanted, tried)
        if replica is None:
            replica = await self._wait(wanted)
        began = self.clock()
        try:
            yield replica
        finally:
            self._hold_s += 0.1 * (self.clock() - began - self._hold_s)
            replica.in_flight -= 1
            self._serve()

    def refuses(self, replica: Replica, wanted: Turn, retry_after_s: float | None) -> None:
        """Take note that a replica refused for load: it is left alone for a while.

        Where nobody waits each request may find out for itself.
        """
        if not self.patience_s:
            return
        pause = PAUSE_S if retry_after_s is None else retry_after_s
        now, tenant = self.clock(), replica.whose(wanted.tenant)
        until = now + min(max(pause, _LEAST_PAUSE_S), _LONGEST_PAUSE_S)
        # Those that are over are of no use, and every look for the next opening goes over them.
        replica.pauses = {name: end for name, end in replica.pauses.items() if end > now}
        if len(replica.pauses) >= _MOST_PAUSES:
            replica.pauses.clear()  # so many at once: forgetting them costs a refusal each
        replica.pauses[tenant] = max(replica.pauses.get(tenant, 0.0), until)

    def report(self) -> dict[str, Any]:
        """Return how it stands, ready for JSON; no addresses."""
        now = self.clock()
        return {
            "waiting": len(self._line),
            "waited": self.waited,
            "refused": self.refused,
            "failovers": self.failovers,
            "replicas": [
                {
                    "in_flight": replica.in_flight,
                    "limit": replica.limit,
                    "breaker": replica.breaker.state.value,
                    "paused": sum(until > now for until in replica.pauses.values()),
                }
                for replica in self.replicas
            ],
        }

    # -- inside -----------------------------------------------------------------------------------

    def _replica(self, given: ReplicaSettings) -> Replica:
        api_key = given.api_key or self.settings.api_key
        own = msgspec.structs.replace(
            self.settings, base_url=given.base_url, api_key=api_key, replicas=[]
        )
        return Replica(
            Upstream(own),
            tuple(given.models),
            given.max_in_flight or self.load.max_in_flight,
            given.metrics_url,
            CircuitBreaker(failures=_FAILURES, open_s=_OPEN_S, clock=self.clock),
            shares_key=bool(api_key),
        )

    async def _wait(self, wanted: Turn) -> Replica:
        left = wanted.deadline - self.clock()
        if left <= 0 or not self.opens_in_time(wanted):
            raise self._refusal(wanted)
        # Each model has a line of its own: one that is full must not hold up another.
        flow = f"{wanted.tenant}\n{wanted.model}"
        if len(self._line) >= self.load.max_waiting and not self._make_room(flow):
            raise self._refusal(wanted)
        waiter = self._line.join(wanted, flow=flow, priority=wanted.priority)
        self.waited += 1
        self._serve()
        try:
            return await asyncio.wait_for(asyncio.shield(waiter.turn), left)
        except TimeoutError:
            self._withdraw(waiter)
            raise self._refusal(wanted) from None
        except BaseException:
            self._withdraw(waiter)
            raise

    def _make_room(self, flow: str) -> bool:
        """Send the last one away of those who crowd the line, for one of whom few are there."""
        last = self._line.last_of_most(flow)
        if last is None:
            return False
        self._line.leave(last)
        last.turn.set_exception(self._refusal(last.wanted))
        return True

    def _withdraw(self, waiter: Waiter[Turn, Replica]) -> None:
        """Take a waiter out of the line; a turn that it got in the same moment is passed on."""
        self._line.leave(waiter)
        if not waiter.turn.done():
            waiter.turn.cancel()
        elif waiter.turn.exception() is None:
            waiter.turn.result().in_flight -= 1
            self._serve()

    def _serve(self) -> None:
        """Give turns to those who wait, and come back when a replica that is shut opens."""
        self._line.serve(lambda wanted: self._take(wanted, ()))
        if not len(self._line):
            return
        now = self.clock()
        ends = [r.breaker.retry_in_s for r in self.replicas]
        ends += [until - now for r in self.replicas for until in r.pauses.values()]
        if not any(end > 0 for end in ends):
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + min(end for end in ends if end > 0) + _ROUNDING_S
        if self._alarm is not None:
            if self._alarm.when() <= due:
                return
            self._alarm.cancel()
        self._alarm = loop.call_at(due, self._rang)

    def _rang(self) -> None:
        self._alarm = None
        self._serve()

    def _free(self, wanted: Turn, tried: Collection[Replica]) -> list[Replica]:
        """Return the replicas that have a place for a request and were not tried."""
        now = self.clock()
        return [
            r
            for r in self.replicas
            if r not in tried
            and r.serves(wanted.model)
            and (r.limit is None or r.in_flight < r.limit)
            and not r.shut_s(wanted.tenant, now)
        ]

    def _take(self, wanted: Turn, tried: Collection[Replica]) -> Replica | None:
        """Take a place at the best replica that has one."""
        free = self._free(wanted, tried)
        if not free:
            return None
        # Of equals the one whose turn it is.
        self._next = (self._next + 1) % len(free)
        best = min(free[self._next :] + free[: self._next], key=_busyness)
        warm = self._sessions.get(wanted.session)
        if warm in free and warm is not None and warm.in_flight <= best.in_flight + _WARM_SLACK:
            best = warm
        if not best.breaker.allow():
            return None
        self._sessions[wanted.session] = best
        self._sessions.move_to_end(wanted.session)
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)
        best.in_flight += 1
        return best

    def _refusal(self, wanted: Turn) -> UpstreamError:
        """Return the error for a request that got no turn: honest about why, and until when."""
        self.refused += 1
        now = self.clock()
        able = [r for r in self.replicas if r.serves(wanted.model)]
        shut = [replica.shut_s(wanted.tenant, now) for replica in able]
        if all(shut):
            retry_s = min(shut)
            status, why = TOO_MANY, "refuses for now"
            if all(replica.breaker.retry_in_s for replica in able):
                status, why = _UNAVAILABLE, "does not answer"
        else:
            places = sum(replica.limit or 1 for replica in able)
            retry_s = (len(self._line) + 1) * self._hold_s / places
            status, why = _UNAVAILABLE, "is full"
        msg = f"the model behind this gateway {why}; ask again in {math.ceil(max(retry_s, 1))} s"
        return UpstreamError(msg, status=status, retry_after_s=retry_s)


def replicas_of(settings: UpstreamSettings) -> list[ReplicaSettings]:
    """Return the replicas of an upstream; one with a base URL of its own is its only one.

    Raises:
        ConfigError: Both are set, or none is.
    """
    if settings.replicas and settings.base_url is not None:
        msg = (
            "upstream has both a base_url and replicas; make the base_url one of the replicas, or "
            "leave them out when --upstream is given"
        )
        raise ConfigError(msg)
    if settings.replicas:
        return settings.replicas
    if settings.base_url is None:
        msg = "no upstream is set; give --upstream URL, or upstream: {base_url: URL} in the config"
        raise ConfigError(msg)
    return [ReplicaSettings(base_url=settings.base_url, metrics_url=settings.metrics_url)]


def _busyness(replica: Replica) -> float:
    return replica.in_flight / (replica.limit or 1_000)
