"""The model behind, as a queue on the virtual clock; and the fit of its law to a log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from likewise.errors import ConfigError
from likewise.replay.log import LogLine
from likewise.service_time import ServiceTime

C = TypeVar("C")

_LEAST_LINES = 20
_LIMITED = 429
_STEEPEST = 16.0
"""Slowdown beyond which no fit looks: a full model that takes seventeen times as long."""

Column = NDArray[np.float64]


class Upstream(Generic[C]):
    """Serves calls of any kind ``C`` by the law of ``service_time``.

    Args:
        law: How long calls take, and how many may wait.
        started: Told of each call that starts: the call, the seconds from then to its first token
            and to its end. Who is told must call ``ended`` at that time.
    """

    def __init__(self, law: ServiceTime, started: Callable[[C, float, float], None]) -> None:
        self._law = law
        self._started = started
        self._line: deque[tuple[C, float]] = deque()
        self.in_service = 0

    @property
    def waiting(self) -> int:
        """Calls that wait in line."""
        return len(self._line)

    def offer(self, call: C, output_tokens: float) -> bool:
        """Take a call, to be served now or later; ``False`` is a refusal, as by 429."""
        if self._law.admits(self.in_service):
            self._start(call, output_tokens)
            return True
        if self._law.refuses(len(self._line)):
            return False
        self._line.append((call, output_tokens))
        return True

    def ended(self) -> None:
        """Take note that a call has ended; the next in line starts."""
        self.in_service -= 1
        if self._line and self._law.admits(self.in_service):
            self._start(*self._line.popleft())

    def _start(self, call: C, output_tokens: float) -> None:
        self.in_service += 1
        law, count = self._law, self.in_service
        self._started(call, law.seconds(0, count), law.seconds(output_tokens, count))


@dataclass(frozen=True, slots=True)
class Fit:
    """A law fitted to a log.

    Attributes:
        law: The law.
        lines: Answers it was fitted to.
        error: Median of the relative errors of the latencies it gives for them.
        queued: Whether the log shows a queue; else the capacity is only known to be no less, and
            is put at the most calls that were seen under way.
    """

    law: ServiceTime
    lines: int
    error: float
    queued: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {"lines": self.lines, "median_error": self.error, "queued": self.queued}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a log says of the calls it saw answered, by column."""

    latency: Column
    first: Column
    tokens: Column
    in_flight: Column


def fit(lines: Sequence[LogLine]) -> Fit:
    """Estimate a model's law from what was logged of its answers, by least squares.

    A call that begins as one of ``n`` under way, itself among them, starts at once while ``n`` is
    no more than the capacity ``c``; else it waits for ``n - c`` others, which leave at the rate
    ``c / S`` with ``S`` the mean time of a call in a full model. For each ``c`` the other
    parameters are those of least squares over latencies and, where they were logged, times to the
    first token; the best ``c`` wins, the least one among equals that explain a queue. Errors are
    weighed by the inverse of what is usual under the same load, so that quiet hours count, too.

    Args:
        lines: Lines of the log whose ``event`` is ``answer``; others are passed over.

    Raises:
        ConfigError: There are too few answers with ``latency_s``, ``completion_tokens`` and
            ``in_flight``.
    """
    usable = [
        (x.latency_s, x.first_token_s, x.completion_tokens, x.in_flight)
        for x in lines
        if x.event == "answer"
        and (x.status or 200) < 300
        and x.latency_s is not None
        and x.latency_s > 0
        and x.completion_tokens is not None
        and x.in_flight is not None
        and x.in_flight > 0
    ]
    if len(usable) < _LEAST_LINES:
        msg = (
            f"the log has {len(usable)} answers with latency_s, completion_tokens and in_flight; "
            f"a fit needs {_LEAST_LINES}: give --capacity, --first-token and --token instead"
        )
        raise ConfigError(msg)
    table = np.array([[np.nan if v is None else v for v in row] for row in usable], np.float64)
    seen = _Seen(*table.T)
    most = int(seen.in_flight.max())
    tried = sorted({*range(1, min(most, 32) + 1), *np.geomspace(1, most, 48).astype(int).tolist()})
    found = [(*_best_slowdown(seen, capacity), capacity) for capacity in tried]
    error, slowdown, (first_token_s, token_s), capacity = min(found, key=lambda row: row[0])
    queued = error < 0.98 * found[-1][0]
    if not queued:
        error, slowdown, (first_token_s, token_s), capacity = found[-1]
    refused = any(x.status == _LIMITED for x in lines if x.event == "answer")
    law = ServiceTime(
        capacity=capacity,
        first_token_s=first_token_s,
        token_s=token_s,
        slowdown=slowdown,
        most_waiting=max(most - capacity, 0) if refused else None,
    )
    predicted = _predicted(seen, capacity, slowdown, first_token_s, token_s)
    relative = np.abs(predicted - seen.latency) / seen.latency
    return Fit(law, len(usable), float(np.median(relative)), queued)


def _best_slowdown(seen: _Seen, capacity: int) -> tuple[float, float, tuple[float, float]]:
    """Return the least error, and the slowdown and the times that give it, for one capacity."""
    low, high = 0.0, _STEEPEST
    best = min((_solved(seen, capacity, s) for s in np.linspace(low, high, 33)), key=lambda r: r[0])
    width = (high - low) / 32
    for _ in range(8):
        near = np.linspace(max(best[1] - width, 0.0), min(best[1] + width, high), 9)
        best = min((_solved(seen, capacity, float(s)) for s in near), key=lambda r: r[0])
        width /= 4
    return best


def _solved(
    seen: _Seen, capacity: int, slowdown: float
) -> tuple[float, float, tuple[float, float]]:
    """Return the error and the two times that least squares give for a capacity and a slowdown."""
    factor, full, line = _shape(seen, capacity, slowdown)
    usual = seen.tokens.mean()
    rows = [np.column_stack([factor + line * full, seen.tokens * factor + line * full * usual])]
    wanted, weights = [seen.latency], [_weights(seen.latency, seen.in_flight)]
    told = ~np.isnan(seen.first)
    if told.any():
        waits = line[told] * full
        rows.append(np.column_stack([factor[told] + waits, waits * usual]))
        wanted.append(seen.first[told])
        weights.append(_weights(seen.first[told], seen.in_flight[told]))
    weight = np.concatenate(weights)
    matrix, right = np.concatenate(rows) * weight[:, None], np.concatenate(wanted) * weight
    times = np.linalg.lstsq(matrix, right, rcond=None)[0]
    if (times < 0).any():  # the other alone explains what there is to explain
        ways = [_alone(matrix, right, place) for place in (0, 1)]
        times = min(ways, key=lambda way: float(((matrix @ way - right) ** 2).sum()))
    error = float(((matrix @ times - right) ** 2).sum())
    return error, slowdown, (float(times[0]), float(times[1]))


def _weights(values: Column, in_flight: Column) -> Column:
    """Return the inverse of the mean of the values that were seen under the same load.

    Not of each value itself: whoever is by chance early would count more than who is late.
    """
    load = in_flight.astype(np.int64)
    means = np.bincount(load, values) / np.maximum(np.bincount(load), 1)
    found: Column = 1.0 / np.maximum(means[load], 1e-3)
    return found


def _alone(matrix: Column, right: Column, place: int) -> Column:
    """Return the two times when only the one at ``place`` counts, which is never below 0."""
    column = matrix[:, place]
    times = np.zeros(2)
    times[place] = max(float(column @ right) / (float(column @ column) or 1.0), 0.0)
    return times


def _shape(seen: _Seen, capacity: int, slowdown: float) -> tuple[Column, float, Column]:
    """Return each call's factor, that of a full model, and for how many full calls it waited."""
    serving = np.minimum(seen.in_flight, capacity)
    factor = 1.0 + slowdown * (serving - 1) / capacity
    full = 1.0 + slowdown * (capacity - 1) / capacity
    return factor, full, np.maximum(seen.in_flight - capacity, 0) / capacity


def _predicted(
    seen: _Seen, capacity: int, slowdown: float, first_token_s: float, token_s: float
) -> Column:
    factor, full, line = _shape(seen, capacity, slowdown)
    waits = line * full * (first_token_s + token_s * seen.tokens.mean())
    found: Column = (first_token_s + token_s * seen.tokens) * factor + waits
    return found
