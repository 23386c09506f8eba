"""What came of a simulated policy: figures over all, by category and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]
Mask = NDArray[np.bool_]

BUCKETS = 60
"""Parts into which the time of a run is cut."""


class Way(IntEnum):
    """How a request was answered."""

    EXACT = 0
    SEMANTIC = 1
    CALLED = 2
    """A miss or a bypass for which the model was called."""
    JOINED = 3
    """A miss that shared a call under way."""
    RESCUED = 4
    """A stale answer in place of the model's refusal."""
    FAILED = 5


class Truth(IntEnum):
    """What is known of a served answer."""

    NONE = 0
    """Nothing was served from the cache."""
    RIGHT = 1
    WRONG = 2
    UNKNOWN = 3
    """The log's labels do not tell."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of each request under one policy, by column of shape ``(n,)``, and of its calls.

    Attributes:
        name: The policy's.
        slo_s: Within how many seconds a request should be answered.
        categories: Names, to which ``category`` points.
        at_s: When each request came, seconds since the beginning.
        category: Place in ``categories``.
        way: See ``Way``.
        truth: See ``Truth``.
        outdated: Whether the answer served had changed since it was stored.
        stale: Whether the answer served was past its time to live.
        wanted: Whether it needed a call of its own, whether or not the model took it.
        latency_s: Seconds to the whole answer, or to the failure.
        usd: What the model's answer to it costs; paid by who called, saved by who did not.
        calls_s: When each request reached the model, refused ones and those aside among them.
        calls_of: The category of each.
        refused: How many of them the model refused.
        audits: How many were made to check a hit.
        refreshes: How many to fetch a fresh answer aside.
        pressure: Load of the model, 0 to 1, sampled at even intervals.
        stored: Entries held at the end.
        wall_s: Seconds that the simulation took.
        length_s: Seconds from the first request to the last one's answer.
    """

    name: str
    slo_s: float
    categories: Sequence[str]
    at_s: Floats
    category: NDArray[np.int64]
    way: Codes
    truth: Codes
    outdated: Mask
    stale: Mask
    wanted: Mask
    latency_s: Floats
    usd: Floats
    calls_s: Floats
    calls_of: NDArray[np.int64]
    refused: int
    audits: int
    refreshes: int
    pressure: Floats
    stored: int
    wall_s: float
    length_s: float = field(default=0.0)

    def since(self, at_s: float) -> Outcome:
        """Return what came of the requests from a time on, seconds since the beginning.

        Pressure, refusals and what is held at the end are those of the whole run.
        """
        chosen = self.at_s >= at_s
        calls = self.calls_s >= at_s
        columns = (
            "at_s",
            "category",
            "way",
            "truth",
            "outdated",
            "stale",
            "latency_s",
            "usd",
            "wanted",
        )
        return replace(
            self,
            **{name: getattr(self, name)[chosen] for name in columns},
            calls_s=self.calls_s[calls],
            calls_of=self.calls_of[calls],
        )

    def figures(self) -> dict[str, float]:
        """Return the figures over all; see ``docs/replay.md``."""
        found = self._figures(np.ones(len(self.at_s), bool), len(self.calls_s))
        return {
            **found,
            "refused": float(self.refused),
            "audits": float(self.audits),
            "refreshes": float(self.refreshes),
            "entries": float(self.stored),
            "pressure_mean": float(self.pressure.mean()) if len(self.pressure) else 0.0,
            "pressure_max": float(self.pressure.max()) if len(self.pressure) else 0.0,
        }

    def by_category(self) -> dict[str, dict[str, float]]:
        """Return the figures of each category that was asked for."""
        return {
            name: self._figures(self.category == place, int((self.calls_of == place).sum()))
            for place, name in enumerate(self.categories)
            if (self.category == place).any()
        }

    def over_time(self, buckets: int = BUCKETS) -> list[dict[str, float]]:
        """Return the figures of even parts of the time, each with ``t_s``, where it begins."""
        edges = np.linspace(0.0, self.length_s or 1.0, buckets + 1)
        of = np.clip(np.searchsorted(edges, self.at_s, "right") - 1, 0, buckets - 1)
        calls = np.clip(np.searchsorted(edges, self.calls_s, "right") - 1, 0, buckets - 1)
        counts = np.bincount(calls, minlength=buckets) if len(calls) else np.zeros(buckets)
        parts = np.array_split(self.pressure, buckets)
        return [
            {
                "t_s": float(edges[place]),
                **self._figures(of == place, int(counts[place])),
                "pressure": float(parts[place].mean()) if len(parts[place]) else 0.0,
            }
            for place in range(buckets)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything ready for JSON."""
        requests = len(self.at_s)
        return {
            "name": self.name,
            **self.figures(),
            "by_category": self.by_category(),
            "over_time": self.over_time(),
            "wall_s": self.wall_s,
            "requests_per_minute": 60.0 * requests / self.wall_s if self.wall_s else 0.0,
        }

    def _figures(self, chosen: Mask, calls: int) -> dict[str, float]:
        way, truth = self.way[chosen], self.truth[chosen]
        ways = np.bincount(way, minlength=len(Way))
        truths = np.bincount(truth, minlength=len(Truth))
        requests = int(chosen.sum())
        hits = int(ways[Way.EXACT] + ways[Way.SEMANTIC] + ways[Way.RESCUED])
        judged = int(truths[Truth.RIGHT] + truths[Truth.WRONG])
        outdated, stale = int(self.outdated[chosen].sum()), int(self.stale[chosen].sum())
        failed = int(ways[Way.FAILED])
        latency = self.latency_s[chosen]
        answered = latency[way != Way.FAILED]
        p50, p90, p99 = (
            (float(v) for v in np.percentile(answered, (50, 90, 99)))
            if len(answered)
            else (0.0, 0.0, 0.0)
        )
        paid = (way == Way.CALLED).astype(bool)
        usd = self.usd[chosen]
        free = ~paid & (way != Way.FAILED)
        return {
            "requests": float(requests),
            "exact_hits": float(ways[Way.EXACT]),
            "semantic_hits": float(ways[Way.SEMANTIC]),
            "hit_rate": _share(hits, requests),
            "joined": float(ways[Way.JOINED]),
            "right": float(truths[Truth.RIGHT]),
            "wrong": float(truths[Truth.WRONG]),
            "unjudged": float(truths[Truth.UNKNOWN]),
            "wrong_per_hit": _share(int(truths[Truth.WRONG]), judged),
            "wrong_per_request": _share(int(truths[Truth.WRONG]), requests),
            "outdated": float(outdated),
            "outdated_per_hit": _share(outdated, hits),
            "stale": float(stale),
            "stale_per_hit": _share(stale, hits),
            "wanted": float(self.wanted[chosen].sum()),
            "upstream": float(calls),
            "traffic": _share(calls, requests),
            "failed": float(failed),
            "failed_share": _share(failed, requests),
            "p50_s": p50,
            "p90_s": p90,
            "p99_s": p99,
            "mean_s": float(answered.mean()) if len(answered) else 0.0,
            "within_slo": _share(int((answered <= self.slo_s).sum()), requests),
            "saved_usd": float(usd[free].sum()),
            "spent_usd": float(usd[paid].sum()),
        }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
