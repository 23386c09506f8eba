"""Pressure: how loaded the model behind is, from 0 (idle) to 1 (overloaded).

Each model has a gauge. What the gateway sees of its calls (how many are under way, how long they
take, which are refused or fail) and what the model's server says of itself are turned into demands
from 0 to 1, and the greatest of them is what the pressure moves towards: fast upwards, slowly
downwards, and with hysteresis, so that policies do not flap.

Whoever asks takes no lock: an event leaves behind one immutable state, from which the pressure at
any later moment follows.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

ANY = "*"
"""Stands for every model: a server's own figures may not say which model they are of."""

TOO_MANY = 429
NO_ANSWER = 599
"""Stands for the status of a call that got none: no connection, no answer in time."""

_MOST_MODELS = 100
_OTHER = "other"

_FREE_IN_FLIGHT = 0.5
"""Share of the limit from which on calls under way are a demand; it is 1 at the limit."""

_BUSY_LATENCY = 2.0
"""Multiple of the target at which a latency's demand is 1; it is 0 at the target."""

_NEWEST_LATENCY = 0.2
_NEWEST_OUTCOME = 0.05
"""Weights of the newest call in the moving averages."""

_TOLERATED_FAILURES, _FULL_FAILURES = 0.05, 0.25
"""Shares of calls that fail at which their demand is 0 and 1."""

_HALF_LIFE_S = 10.0
"""In which what was seen of past calls loses half its weight while no new ones end."""

_FREE_CACHE = 0.85
"""Share of a server's KV cache from which on its use is a demand; it is 1 when all is used."""

_STEP_S, _MOST_STEPS = 0.5, 64
"""How long a state is good without an event, and into how many parts a longer time is cut."""

_LEAST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""How long a refusal for load holds the pressure up: what it asks for, within these bounds."""


@dataclass(frozen=True, slots=True)
class LoadTerms:
    """How pressure is found; times in seconds.

    Attributes:
        target_latency_s: Latency of a whole call that the operator holds for good; ``None`` leaves
            latency out.
        target_first_token_s: The same for the time to a stream's first token.
        max_in_flight: Calls that the model serves at once; ``None`` leaves their number out.
        rise_s: Time constant of the way up.
        fall_s: Time constant of the way down.
        engage: Pressure from which on policies follow it.
        release: Pressure below which they no longer do.
    """

    target_latency_s: float | None = None
    target_first_token_s: float | None = None
    max_in_flight: int | None = None
    rise_s: float = 1.0
    fall_s: float = 30.0
    engage: float = 0.2
    release: float = 0.1


@dataclass(frozen=True, slots=True)
class ServerSample:
    """What a model's server says of itself.

    Attributes:
        running: Requests that it is working on.
        waiting: Requests that wait for their turn.
        cache: Share of its KV cache in use, 0 to 1; ``None`` when it does not say.
    """

    running: float
    waiting: float
    cache: float | None = None

    @property
    def demand(self) -> float:
        """The demand it stands for: 1 when as many wait as run, or the KV cache is full."""
        queue = self.waiting / max(self.running, 1.0)
        cache = 0.0 if self.cache is None else _ramp(self.cache, _FREE_CACHE, 1.0)
        return max(_clipped(queue), cache)


@dataclass(frozen=True, slots=True)
class _State:
    """A gauge as an event left it: it moves from ``value`` at ``at`` towards ``target``."""

    value: float = 0.0
    at: float = 0.0
    target: float = 0.0
    engaged: bool = False


@dataclass(slots=True)
class _Gauge:
    """One model's; written under the lock of ``Load``."""

    state: _State
    started: list[float] = field(default_factory=list)
    latency: float = 0.0
    latency_at: float = -math.inf
    first_token: float = 0.0
    first_token_at: float = -math.inf
    failing: float = 0.0
    failing_at: float = -math.inf
    paused_until: float = 0.0
    samples: dict[str, tuple[ServerSample, float]] = field(default_factory=dict)
    """By who said it, with until when it is believed."""


class Load:
    """The pressure of every model. Safe to use from many threads.

    Args:
        terms: How pressure is found.
        clock: Seconds from any fixed point.
    """

    def __init__(
        self, terms: LoadTerms | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.terms = terms or LoadTerms()
        self._clock = clock
        self._lock = threading.Lock()
        self._gauges: dict[str, _Gauge] = {}

    # -- reading ----------------------------------------------------------------------------------

    def of(self, model: str) -> float:
        """Return the pressure of a model in force, 0 to 1: 0 while it is too little to act on."""
        if not self._gauges:
            return 0.0
        now = self._clock()
        # One that came too late for a gauge of its own shares that of its like.
        name = model if model in self._gauges else _OTHER
        return max(self._in_force(name, now), self._in_force(ANY, now))

    def _refreshed(self, gauge: _Gauge, now: float) -> _State:
        """Return a gauge's state, brought up to now when its last event is some time ago.

        Demands fade, and pauses end, without anything happening. Somebody who writes is not waited
        for: the state is as good as it was.
        """
        if now - gauge.state.at > _STEP_S and self._lock.acquire(blocking=False):
            try:
                self._move(gauge, now)
            finally:
                self._lock.release()
        return gauge.state

    def report(self) -> dict[str, dict[str, Any]]:
        """Return each model's pressure with what it comes from, ready for JSON."""
        now = self._clock()
        with self._lock:
            for gauge in self._gauges.values():
                self._move(gauge, now)
            return {
                name: {
                    "pressure": self._in_force(name, now),
                    "level": self._level(gauge.state, now),
                    "in_flight": len(gauge.started),
                    "demands": self._demands(gauge, now),
                }
                for name, gauge in self._gauges.items()
            }

    # -- what is seen of calls --------------------------------------------------------------------

    def began(self, model: str) -> None:
        """Take note that a call has begun."""
        now = self._clock()
        with self._lock:
            gauge = self._gauge(model, now)
            gauge.started.append(now)
            self._move(gauge, now)

    def first_token(self, model: str, seconds: float) -> None:
        """Take note of the time that a stream took to its first token."""
        now = self._clock()
        with self._lock:
            gauge = self._gauge(model, now)
            gauge.first_token = _blended(gauge.first_token, seconds, now - gauge.first_token_at)
            gauge.first_token_at = now
            self._move(gauge, now)

    def ended(
        self,
        model: str,
        seconds: float,
        status: int | None = 200,
        retry_after_s: float | None = None,
    ) -> None:
        """Take note that a call has ended.

        Args:
            model: Which one was asked.
            seconds: How long ago it began.
            status: HTTP status of the answer, ``NO_ANSWER`` without one; ``None`` of a call that
                was given up, which says nothing of the model.
            retry_after_s: For how long a refusal asks to be left alone.
        """
        now = self._clock()
        failed = status is not None and (status == TOO_MANY or status >= 500)
        with self._lock:
            gauge = self._gauge(model, now)
            if gauge.started:
                place = bisect_left(gauge.started, now - seconds)
                del gauge.started[min(place, len(gauge.started) - 1)]
            if status is None:
                self._move(gauge, now)
                return
            if not failed:
                gauge.latency = _blended(gauge.latency, seconds, now - gauge.latency_at)
                gauge.latency_at = now
            share = _faded(gauge.failing, now - gauge.failing_at)
            gauge.failing = share + _NEWEST_OUTCOME * (failed - share)
            gauge.failing_at = now
            if failed and retry_after_s is not None:
                pause = min(max(retry_after_s, _LEAST_PAUSE_S), _LONGEST_PAUSE_S)
                gauge.paused_until = max(gauge.paused_until, now + pause)
            self._move(gauge, now)

    @contextmanager
    def call(self, model: str) -> Iterator[None]:
        """Take note of a call for as long as the block runs; an exception is no answer."""
        began = self._clock()
        self.began(model)
        status = NO_ANSWER
        try:
            yield
            status = 200
        finally:
            self.ended(model, self._clock() - began, status)

    def sampled(
        self, model: str, sample: ServerSample, *, valid_s: float, source: str = ""
    ) -> None:
        """Take what a model's server says of itself, which is believed for ``valid_s``.

        Servers of one model, told apart by ``source``, count together.
        """
        now = self._clock()
        with self._lock:
            gauge = self._gauge(model, now)
            gauge.samples[source] = (sample, now + valid_s)
            self._move(gauge, now)

    # -- inside -----------------------------------------------------------------------------------

    def _gauge(self, model: str, now: float) -> _Gauge:
        """Return a model's gauge, brought up to now before anything is changed in it."""
        gauge = self._gauges.get(model)
        if gauge is None and len(self._gauges) >= _MOST_MODELS:
            model = _OTHER
            gauge = self._gauges.get(model)
        if gauge is None:
            gauge = self._gauges[model] = _Gauge(_State(at=now))
        self._move(gauge, now)
        return gauge

    def _move(self, gauge: _Gauge, now: float) -> None:
        """Bring a gauge up to now, and set what it moves towards from here.

        After a time without events it goes there by steps: demands fade on the way.
        """
        state = gauge.state
        steps = min(max(int((now - state.at) / _STEP_S), 1), _MOST_STEPS)
        for step in range(1, steps + 1):
            at = now if step == steps else state.at + (now - state.at) / (steps - step + 1)
            level = self._level(state, at)
            target = max(self._demands(gauge, at).values())
            state = _State(level, at, target, self._engaged(state, level))
        gauge.state = state

    def _level(self, state: _State, now: float) -> float:
        gap = state.value - state.target
        constant = self.terms.fall_s if gap > 0 else self.terms.rise_s
        return state.target + gap * math.exp(-max(now - state.at, 0.0) / constant)

    def _engaged(self, state: _State, level: float) -> bool:
        return level >= (self.terms.release if state.engaged else self.terms.engage)

    def _in_force(self, model: str, now: float) -> float:
        gauge = self._gauges.get(model)
        if gauge is None:
            return 0.0
        state = self._refreshed(gauge, now)
        if state.value == state.target == 0.0:
            return 0.0
        level = self._level(state, now)
        return _clipped(level) if self._engaged(state, level) else 0.0

    def _demands(self, gauge: _Gauge, now: float) -> dict[str, float]:
        terms = self.terms
        demands = {
            "failures": _ramp(
                _faded(gauge.failing, now - gauge.failing_at), _TOLERATED_FAILURES, _FULL_FAILURES
            ),
            "refusals": float(now < gauge.paused_until),
            "server": _together(gauge.samples, now),
        }
        if terms.max_in_flight is not None:
            share = len(gauge.started) / terms.max_in_flight
            demands["in_flight"] = _ramp(share, _FREE_IN_FLIGHT, 1.0)
        if terms.target_latency_s is not None:
            seen = _faded(gauge.latency, now - gauge.latency_at)
            waiting = now - gauge.started[0] if gauge.started else 0.0
            demands["latency"] = _ramp(
                max(seen, waiting) / terms.target_latency_s, 1, _BUSY_LATENCY
            )
        if terms.target_first_token_s is not None:
            seen = _faded(gauge.first_token, now - gauge.first_token_at)
            demands["first_token"] = _ramp(seen / terms.target_first_token_s, 1, _BUSY_LATENCY)
        return demands


def _together(samples: dict[str, tuple[ServerSample, float]], now: float) -> float:
    """Return the demand of a model's servers: their requests summed, their fullest cache."""
    known = [sample for sample, until in samples.values() if now < until]
    if not known:
        return 0.0
    caches = [sample.cache for sample in known if sample.cache is not None]
    return ServerSample(
        sum(sample.running for sample in known),
        sum(sample.waiting for sample in known),
        max(caches, default=None),
    ).demand


def _blended(old: float, new: float, age_s: float) -> float:
    """Return a moving average with a new latency in it; what is old counts less."""
    return new + _faded(1.0 - _NEWEST_LATENCY, age_s) * (old - new)


def _faded(value: float, age_s: float) -> float:
    return float(value * 0.5 ** (age_s / _HALF_LIFE_S))


def _ramp(value: float, low: float, high: float) -> float:
    return _clipped((value - low) / (high - low))


def _clipped(value: float) -> float:
    return min(max(value, 0.0), 1.0)
