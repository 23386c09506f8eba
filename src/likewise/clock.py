"""The time of day, by a clock that is never set back."""

from __future__ import annotations

import time
from collections.abc import Callable


class SteadyClock:
    """Seconds since the epoch that never go back, and pass while the clock of the machine does.

    An answer's age is the difference of two times: a clock that is set back in between would make
    it younger than it is. One that is set forward is believed: answers look older, which is safe.
    Safe to call from many threads.

    Args:
        wall: The clock of the machine, seconds since the epoch.
        elapsed: Seconds since any fixed point, which nobody can set.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._ahead_s = wall() - elapsed()

    def __call__(self) -> float:
        """Seconds since the epoch."""
        elapsed_s = self._elapsed()
        # Where two threads meet here the lesser may stay; the next call makes up for it.
        self._ahead_s = max(self._ahead_s, self._wall() - elapsed_s)
        return elapsed_s + self._ahead_s


_steady = SteadyClock()


def now() -> float:
    """Return the seconds since the epoch by the process's one steady clock."""
    return _steady()
