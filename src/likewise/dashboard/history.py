"""What the counters came to over time: for the last hour, day and month, in memory.

Samples fall into steps of the clock, so that those of several workers can be added. Whoever wants
more than this, or wants it to outlive the process, has ``/metrics``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from likewise.dashboard.labelled import interval
from likewise.errors import RequestError

SHOWN = (
    "requests",
    "exact_hits",
    "semantic_hits",
    "misses",
    "bypasses",
    "stored",
    "evicted",
    "saved_s",
    "saved_usd",
    "saved_tokens",
    "lookup_s",
    "labels",
    "labels_wrong",
    "audits",
    "audited_wrong",
    "feedback_right",
    "feedback_wrong",
    "faults",
)
"""The counters whose growth is kept, see ``stats``; ``faults`` are those of all kinds."""

SPANS = {"1h": (10, 360), "24h": (300, 288), "30d": (3_600, 720)}
"""By the name of a span: seconds of a step, and how many steps there are."""

SAMPLE_S = 10.0
"""Seconds between two samples."""

OTHER = "other"
_MOST_CATEGORIES = 100

Step = dict[str, dict[str, float]]
"""What was counted in a step, by category; ``""`` is for what is of none, such as pressure."""


class History:
    """Steps of three lengths. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: dict[str, OrderedDict[int, Step]] = {name: OrderedDict() for name in SPANS}
        self._before: dict[str, dict[str, float]] | None = None
        self._names: set[str] = set()

    def sample(
        self, counters: Mapping[str, Mapping[str, float]], *, pressure: float, now: float
    ) -> None:
        """Take the counters as they are, and the greatest pressure on any model.

        Args:
            counters: By category and name, growing; the first are what the others begin from.
            pressure: From 0 to 1.
            now: Seconds since the epoch.
        """
        current = {name: _shown(values) for name, values in counters.items()}
        with self._lock:
            before, self._before = self._before, current
            if before is None:
                return
            grown: Step = {}
            for name, values in current.items():
                known = before.get(name, {})
                more = {
                    c: v - known.get(c, 0.0) for c, v in values.items() if v > known.get(c, 0.0)
                }
                if more:
                    _add(grown.setdefault(self._bounded(name), {}), more)
            for span, (step_s, most) in SPANS.items():
                steps = self._steps[span]
                step = steps.setdefault(int(now // step_s), {})
                for name, more in grown.items():
                    _add(step.setdefault(name, {}), more)
                own = step.setdefault("", {})
                own["pressure"] = max(own.get("pressure", 0.0), pressure)
                while len(steps) > most:
                    steps.popitem(last=False)

    def steps(self, span: str) -> dict[str, Step]:
        """Return a span's steps by their number, as text: what workers tell each other.

        Raises:
            RequestError: There is no such span.
        """
        if span not in SPANS:
            msg = f"there is no span {span!r}; there are {', '.join(SPANS)}"
            raise RequestError(msg, param="span")
        with self._lock:
            return {
                str(number): {name: dict(values) for name, values in step.items()}
                for number, step in self._steps[span].items()
            }

    def _bounded(self, name: str) -> str:
        if name not in self._names:
            if len(self._names) >= _MOST_CATEGORIES:
                return OTHER
            self._names.add(name)
        return name


def series(span: str, workers: Sequence[Mapping[str, Step]], *, now: float) -> dict[str, Any]:
    """Return the steps of several workers as one, every step of the span in its place.

    Returns:
        ``span``, ``step_s``, ``times`` (seconds since the epoch, when each step begins),
        ``pressure`` (the greatest of each step, ``None`` where nothing was sampled), and
        ``categories``: by name, lists by counter, only of those that were counted at all, and
        where hits were audited ``wrong``: of those audited since the span began the share that was
        wrong, and the bounds of its interval of 95 %, ``None`` before the first.
    """
    step_s, most = SPANS[span]
    last = int(now // step_s)
    numbers = range(last - most + 1, last + 1)
    place = {str(number): at for at, number in enumerate(numbers)}
    pressure: list[float | None] = [None] * most
    categories: dict[str, dict[str, list[Any]]] = {}
    for steps in workers:
        for number, step in steps.items():
            at = place.get(number)
            if at is None:
                continue
            for name, values in step.items():
                if not name:
                    pressure[at] = max(pressure[at] or 0.0, values.get("pressure", 0.0))
                    continue
                own = categories.setdefault(name, {})
                for counter, value in values.items():
                    own.setdefault(counter, [0.0] * most)[at] += value
    for own in categories.values():
        if "audits" in own:
            own["wrong"] = _errors(own["audits"], own.get("audited_wrong", [0.0] * most))
    return {
        "span": span,
        "step_s": step_s,
        "times": [number * step_s for number in numbers],
        "pressure": pressure,
        "categories": categories,
    }


def _errors(audits: list[float], wrong: list[float]) -> list[Any]:
    found: list[Any] = []
    for asked, erred in zip(accumulate(audits), accumulate(wrong), strict=True):
        bounds = interval(erred, asked)
        found.append(None if bounds is None else [erred / asked, *bounds])
    return found


def _shown(values: Mapping[str, float]) -> dict[str, float]:
    found = {name: values[name] for name in SHOWN if name in values}
    faults = sum(value for name, value in values.items() if name.startswith("fault."))
    return {**found, "faults": faults} if faults else found


def _add(to: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        to[name] = to.get(name, 0.0) + value
