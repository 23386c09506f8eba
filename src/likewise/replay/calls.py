"""Calls to the model on the virtual clock: they take turns as in the gateway, and reach a queue."""

from __future__ import annotations

from array import array
from asyncio import Future
from collections.abc import Callable
from heapq import heappop, heappush
from typing import cast

from likewise.config import Config
from likewise.gateway.line import Line, Waiter
from likewise.load import TOO_MANY, Load
from likewise.lookup import Lookup
from likewise.policy import Hit
from likewise.replay.policy import Clock, Setting, most_wait_s
from likewise.replay.upstream import Upstream
from likewise.request import Request
from likewise.service_time import RETRY_AFTER_S

NO_TURN = 503
"""Status of a call that got no turn in time."""

_FIRST, _END, _GO, _LATE, _OPEN, _NO = range(6)
_ROUNDING_S = 0.001
"""By how much the gateway comes later than a pause ends."""


class Flight:
    """A call to the model, and who waits for it.

    Attributes:
        place: The request that began it, in the workload.
        request: What it asks.
        lookup: Of that request.
        category: Whose entry its answer becomes.
        riders: The requests that wait for it; none wait for one that is aside.
        keeps: Whether its answer is to be stored.
        tokens: Of its answer.
        hit: The hit that it audits.
        version: How often the answer had changed when the model began to write it.
        begun: When it was sent, seconds since the epoch.
    """

    __slots__ = (
        "begun",
        "category",
        "deadline",
        "hit",
        "keeps",
        "key",
        "lookup",
        "place",
        "request",
        "riders",
        "tokens",
        "version",
        "waiter",
    )

    def __init__(
        self,
        place: int,
        request: Request,
        lookup: Lookup,
        category: str,
        *,
        riders: list[int],
        keeps: bool,
        tokens: int,
        hit: Hit | None = None,
    ) -> None:
        self.place = place
        self.request = request
        self.lookup = lookup
        self.category = category
        self.riders = riders
        self.keeps = keeps
        self.tokens = tokens
        self.hit = hit
        self.key = lookup.key
        self.version = 0
        self.begun = 0.0
        self.deadline = 0.0
        self.waiter: Waiter[Flight, bool] | None = None


class _Turn:
    """Takes the place of the future on which a request of the gateway waits."""

    __slots__ = ("_flight", "_given")

    def __init__(self, flight: Flight, given: Callable[[Flight], None]) -> None:
        self._flight = flight
        self._given = given

    def set_result(self, _: bool) -> None:
        """Take note that it is this one's turn."""
        self._flight.waiter = None
        self._given(self._flight)


class Calls:
    """All calls of a run, and the events that they cause.

    The rules are those of the gateway's pool with one server: at most ``load.max_in_flight`` calls
    at once; after a refusal it is left alone for as long as it asks; who waits does so in the
    gateway's own line, up to ``load.max_wait``.

    Args:
        config: The policy.
        setting: The model's law, and what may stand in for the policy's wait.
        clock: The virtual clock, which events move.
        load: The engine's, told of what it would see in service.
        model: Name of the model.
        priority_of: Of a category.
        started: Told of each call that the model begins to serve.
        landed: Told of each call that has its answer.
        failed: Told of each call that has none, with its status.
    """

    def __init__(
        self,
        config: Config,
        setting: Setting,
        clock: Clock,
        load: Load,
        model: str,
        *,
        priority_of: Callable[[str], str],
        started: Callable[[Flight], None],
        landed: Callable[[Flight], None],
        failed: Callable[[Flight, int], None],
    ) -> None:
        self._clock, self._load, self._model = clock, load, model
        self._begins_at = clock.now
        self._priority_of = priority_of
        self._started, self._landed, self._failed = started, landed, failed
        self._streams = setting.streams
        self._round_trip_s = setting.round_trip_s
        self._patience_s = most_wait_s(config, setting)
        self._limit = config.load.max_in_flight
        self._most_waiting = config.settings.load.max_waiting
        self._shares_key = bool(config.settings.upstream.api_key)
        self._upstream: Upstream[Flight] = Upstream(setting.law, self._begins)
        self._line: Line[Flight, bool] = Line()
        self._pauses: dict[str, float] = {}
        self._in_flight = 0
        self._alarm_at = 0.0
        self._order = 0
        self.heap: list[tuple[float, int, int, Flight | None]] = []
        """Events to come, by the clock's time; the next one first."""
        self.sent_s = array("d")
        """When each call reached the model, seconds since the beginning; refused ones, too."""
        self.sent_for = array("q")
        """For which request."""
        self.refused = 0

    def ask(self, flight: Flight) -> None:
        """Make a call, now or when it is its turn."""
        flight.deadline = self._clock.now + self._patience_s
        self._want(flight)

    def event(self) -> None:
        """Let the next event happen, at its time."""
        self._clock.now, _, kind, flight = heappop(self.heap)
        if flight is None:
            self._serve()
        elif kind == _END:
            self._end(flight)
        elif kind == _FIRST:
            self._load.first_token(self._model, self._clock.now - flight.begun)
        elif kind == _GO:
            self._send(flight)
        elif kind == _NO:
            self._refuse(flight)
        elif flight.waiter is not None:
            self._line.leave(flight.waiter)
            flight.waiter = None
            self._failed(flight, NO_TURN)

    # -- turns ------------------------------------------------------------------------------------

    def _want(self, flight: Flight) -> None:
        if not len(self._line) and self._take(flight):
            self._send(flight)
            return
        left_s = flight.deadline - self._clock.now
        if left_s <= 0 or len(self._line) >= self._most_waiting:
            self._failed(flight, NO_TURN)
            return
        flight.waiter = self._line.join(
            flight,
            flow=flight.request.scope.tenant,
            priority=self._priority_of(flight.category),
            turn=cast("Future[bool]", _Turn(flight, self._given)),
        )
        self._push(left_s, _LATE, flight)
        self._serve()

    def _take(self, flight: Flight) -> bool | None:
        """Take a place for a call if there is one; ``None`` when there is not."""
        if self._limit is not None and self._in_flight >= self._limit:
            return None
        if self._shut_s(flight) > 0:
            return None
        self._in_flight += 1
        return True

    def _shut_s(self, flight: Flight) -> float:
        """Return for how many seconds nothing of a tenant may be sent."""
        tenant = flight.request.scope.tenant
        until = max(self._pauses.get("", 0.0), self._pauses.get(tenant, 0.0))
        return max(until - self._clock.now, 0.0)

    def _given(self, flight: Flight) -> None:
        # Not sent at once: all who have a turn in one moment have it before the first is answered.
        self._push(0.0, _GO, flight)

    def _serve(self) -> None:
        """Give turns to those who wait, and come back when a pause is over."""
        if not len(self._line):
            return
        self._line.serve(self._take)
        now = self._clock.now
        if len(self._line) and self._alarm_at <= now:
            ends = [until for until in self._pauses.values() if until > now]
            if ends:
                self._alarm_at = min(ends) + _ROUNDING_S
                self._push(self._alarm_at - now, _OPEN, None)

    # -- the model --------------------------------------------------------------------------------

    def _send(self, flight: Flight) -> None:
        now = self._clock.now
        flight.begun = now
        self.sent_s.append(now - self._begins_at)
        self.sent_for.append(flight.place)
        self._load.began(self._model)
        if self._upstream.offer(flight, flight.tokens):
            return
        self.refused += 1
        if self._round_trip_s:
            self._push(self._round_trip_s, _NO, flight)
        else:
            self._refuse(flight)

    def _refuse(self, flight: Flight) -> None:
        """Leave the model alone for a while, and ask it again if there is the time."""
        pause_s = float(RETRY_AFTER_S) if self._shares_key else None
        # As in the gateway: a refusal to one client's own key is no word on the model.
        status = TOO_MANY if self._shares_key else None
        self._load.ended(self._model, self._clock.now - flight.begun, status, pause_s)
        if self._patience_s:
            tenant = "" if self._shares_key else flight.request.scope.tenant
            self._pauses[tenant] = self._clock.now + RETRY_AFTER_S
        again = self._clock.now + self._shut_s(flight) < flight.deadline
        self._in_flight -= 1
        self._serve()
        if again:
            self._want(flight)
        else:
            self._failed(flight, TOO_MANY)

    def _begins(self, flight: Flight, first_s: float, whole_s: float) -> None:
        self._started(flight)
        if self._streams:
            self._push(first_s, _FIRST, flight)
        self._push(whole_s, _END, flight)

    def _end(self, flight: Flight) -> None:
        self._load.ended(self._model, self._clock.now - flight.begun, 200)
        self._upstream.ended()
        self._in_flight -= 1
        self._serve()
        self._landed(flight)

    def _push(self, after_s: float, kind: int, flight: Flight | None) -> None:
        self._order += 1
        heappush(self.heap, (self._clock.now + after_s, self._order, kind, flight))
