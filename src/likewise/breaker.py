"""A circuit breaker: stop asking a server that keeps failing, and try again later."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from threading import Lock


class BreakerState(Enum):
    """What a breaker lets through."""

    CLOSED = "closed"  # every call
    OPEN = "open"  # none
    HALF_OPEN = "half-open"  # one, on trial


class CircuitBreaker:
    """Opens after ``failures`` consecutive failures, and stays open for ``open_s`` seconds.

    After that one caller at a time is let through on trial: its success closes the breaker, its
    failure opens it for another ``open_s``. A caller on trial that never reports back loses its
    turn after ``open_s``. Ask ``allow`` before a call and report the outcome after it::

        if not breaker.allow():
            raise EmbedderError(...)
        try:
            answer = call()
        except OSError:
            breaker.record_failure()
            raise
        breaker.record_success()

    ``clock`` returns seconds from any fixed point. Safe to use from many threads.

    Raises:
        ValueError: ``failures`` is below 1 or ``open_s`` is not above 0.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        open_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures < 1 or open_s <= 0:
            raise ValueError(f"failures={failures}, open_s={open_s}: give at least 1 and above 0")
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._lock = Lock()
        self._failed = 0
        # Until when nothing is let through; None while closed.
        self._shut_until_s: float | None = None

    @property
    def state(self) -> BreakerState:
        """Closed, open, or half-open when the next caller would be on trial."""
        with self._lock:
            if self._shut_until_s is None:
                return BreakerState.CLOSED
            if self._clock() < self._shut_until_s:
                return BreakerState.OPEN
            return BreakerState.HALF_OPEN

    @property
    def retry_in_s(self) -> float:
        """Seconds until a caller may be let through; 0 when one may be now."""
        with self._lock:
            if self._shut_until_s is None:
                return 0.0
            return max(0.0, self._shut_until_s - self._clock())

    def allow(self) -> bool:
        """Whether to make the call. In the half-open state True goes to one caller only."""
        with self._lock:
            if self._shut_until_s is None:
                return True
            now = self._clock()
            if now < self._shut_until_s:
                return False
            self._shut_until_s = now + self._open_s  # everyone else waits for the trial
            return True

    def record_success(self) -> None:
        """The call worked: close the breaker and forget past failures."""
        with self._lock:
            self._failed = 0
            self._shut_until_s = None

    def record_failure(self) -> None:
        """The call failed: open the breaker if this is one too many in a row."""
        with self._lock:
            self._failed += 1
            if self._failed >= self._limit:
                self._shut_until_s = self._clock() + self._open_s
