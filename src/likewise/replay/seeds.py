"""Repeating a comparison over seeds: means with intervals, and those of paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from likewise.embed import Embedder
from likewise.rebuild import Progress
from likewise.replay.outcome import Outcome
from likewise.replay.policy import Plan, Setting
from likewise.replay.simulate import simulate
from likewise.replay.workload import Workload

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with the half width of its confidence interval."""

    mean: float
    half: float
    seeds: int

    def to_dict(self) -> dict[str, float | None]:
        """Return it ready for JSON; from one seed there is no interval."""
        low = self.mean - self.half if self.seeds > 1 else None
        high = self.mean + self.half if self.seeds > 1 else None
        return {"mean": self.mean, "low": low, "high": high}


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of every policy under every seed.

    Attributes:
        seeds: The seeds.
        outcomes: By policy, in the order given, one for each seed.
    """

    seeds: Sequence[int]
    outcomes: dict[str, list[Outcome]]

    def figures(self) -> dict[str, dict[str, Estimate]]:
        """Return each figure's mean and interval by policy."""
        return {
            name: {key: estimate(values) for key, values in table.items()}
            for name, table in self._tables().items()
        }

    def differences(self) -> dict[str, dict[str, Estimate]]:
        """Return by policy but the first how much each figure is above the first policy's.

        The policies meet the same requests under a seed, so the differences are paired.
        ``traffic_reduction`` is the share of the first policy's requests to the model that a policy
        does without, ``wanted_reduction`` the same of the calls that were wanted.
        """
        tables = self._tables()
        first, *others = tables
        found = {}
        for name in others:
            pairs = {
                key: [mine - base for mine, base in zip(values, tables[first][key], strict=True)]
                for key, values in tables[name].items()
            }
            for key, title in (("upstream", "traffic"), ("wanted", "wanted")):
                both = zip(tables[name][key], tables[first][key], strict=True)
                pairs[f"{title}_reduction"] = [
                    1 - mine / base if base else 0.0 for mine, base in both
                ]
            found[name] = {key: estimate(values) for key, values in pairs.items()}
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return means, intervals and differences ready for JSON."""
        return {
            "seeds": list(self.seeds),
            "confidence": CONFIDENCE,
            "policies": _told(self.figures()),
            "differences": _told(self.differences()),
        }

    def _tables(self) -> dict[str, dict[str, list[float]]]:
        tables = {}
        for name, outcomes in self.outcomes.items():
            rows = [outcome.figures() for outcome in outcomes]
            tables[name] = {key: [row[key] for row in rows] for key in rows[0]}
        return tables


def over_seeds(
    workload_of: Callable[[int], Workload],
    plans: Sequence[Plan],
    setting: Setting,
    *,
    embedder_of: Callable[[Plan], Embedder],
    seeds: Sequence[int] | int,
    progress: Progress = lambda _done, _of: None,
) -> Compared:
    """Run every policy over the workload of every seed.

    Args:
        workload_of: Makes the workload of a seed; every policy meets the same one.
        plans: The policies, the one to compare with first; their names differ.
        setting: As in ``simulate``.
        embedder_of: The embedder of a policy, which knows the texts of every workload.
        seeds: The seeds, or how many, from 0 on.
        progress: Told how many requests are done, of all runs together.

    Raises:
        ConfigError: A policy or a workload is wrong.
    """
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    outcomes: dict[str, list[Outcome]] = {plan.name: [] for plan in plans}
    runs = len(chosen) * len(plans)
    for turn, seed in enumerate(chosen):
        workload = workload_of(seed)
        for place, plan in enumerate(plans):
            before, size = turn * len(plans) + place, len(workload)

            def told(done: int, _of: int, before: int = before, size: int = size) -> None:
                progress(before * size + done, runs * size)

            outcomes[plan.name].append(
                simulate(workload, plan, setting, embedder=embedder_of(plan), progress=told)
            )
    return Compared(chosen, outcomes)


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of values and the half width of its 95 % t-interval.

    >>> found = estimate([1.0, 2.0, 3.0])
    >>> round(found.mean, 3), round(found.half, 3)
    (2.0, 2.484)
    """
    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return Estimate(mean, 0.0, count)
    spread = float(np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(mean, t_quantile(CONFIDENCE, count - 1) * spread, count)


def t_quantile(confidence: float, freedom: int) -> float:
    """Return the ``t`` that Student's distribution keeps within, on both sides, so probably.

    >>> round(t_quantile(0.95, 19), 4)
    2.093
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return the probability of ``[-t, t]``; Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    square, sine = math.cos(angle) ** 2, math.sin(angle)
    total, term = 0.0, 1.0
    if freedom % 2 == 0:
        for i in range(freedom // 2):
            total += term
            term *= square * (2 * i + 1) / (2 * i + 2)
        return sine * total
    term = math.cos(angle)
    for i in range((freedom - 1) // 2):
        total += term
        term *= square * (2 * i + 2) / (2 * i + 3)
    return 2.0 / math.pi * (angle + sine * total)


def _told(table: dict[str, dict[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: found.to_dict() for key, found in row.items()} for name, row in table.items()
    }
