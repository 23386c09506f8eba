"""How much memory, how many replicas and how large a store a number of requests a day needs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from likewise.errors import ConfigError

_DAY_S = 86_400.0
_GIB = 2.0**30


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the plan rests on; every one can be replaced by a figure of your own.

    Attributes:
        requests_per_day: To plan for.
        hit_rate: Share of the requests that are hits.
        keep_s: Seconds for which an answer is kept, on average.
        kept: Share of the misses whose answer is kept.
        bytes_per_entry: Memory of an entry: its vector, its place in the index, its question.
        document_bytes: Store of an entry: its answer, question and vector.
        lookups_per_core_s: Lookups that a core decides in a second, embeddings included.
        peak: How many times its mean the traffic is in its busiest minute.
        utilisation: Share of a core that may be busy at the peak.
        memory_gib: Memory of a replica that entries may take.
        cores: Cores of a replica.
    """

    requests_per_day: float
    hit_rate: float = 0.3
    keep_s: float = 7 * _DAY_S
    kept: float = 0.9
    bytes_per_entry: float = 1_300.0
    document_bytes: float = 4_000.0
    lookups_per_core_s: float = 250.0
    peak: float = 3.0
    utilisation: float = 0.6
    memory_gib: float = 16.0
    cores: int = 4


@dataclass(frozen=True, slots=True)
class Capacity:
    """A plan.

    Attributes:
        inputs: What it rests on.
        entries: Entries alive at once.
        memory_gib: Memory for all of them.
        store_gib: Store for all of them.
        writes_per_s: Answers kept a second, on average.
        peak_per_s: Requests a second in the busiest minute.
        model_calls_per_s: Calls that reach the model then.
        replicas_by_cpu: Replicas that decide so many lookups.
        replicas_by_memory: Replicas that hold the entries, each its shard.
        replicas: Replicas needed, at least two so that one may fail.
    """

    inputs: Inputs
    entries: float
    memory_gib: float
    store_gib: float
    writes_per_s: float
    peak_per_s: float
    model_calls_per_s: float
    replicas_by_cpu: int
    replicas_by_memory: int
    replicas: int

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


FORMULAS = (
    "entries = requests_per_day * (1 - hit_rate) * kept * keep_s / 86400",
    "memory = entries * bytes_per_entry; store = entries * document_bytes",
    "peak_per_s = requests_per_day / 86400 * peak",
    "replicas_by_cpu = peak_per_s / (lookups_per_core_s * cores * utilisation)",
    "replicas_by_memory = memory / memory_gib",
    "replicas = max(2, replicas_by_cpu, replicas_by_memory)",
)
"""How the plan follows from its inputs."""


def plan(inputs: Inputs) -> Capacity:
    """Return what a number of requests a day needs.

    Raises:
        ConfigError: An input is out of its range.
    """
    _check(inputs)
    entries = (
        inputs.requests_per_day * (1.0 - inputs.hit_rate) * inputs.kept * inputs.keep_s / _DAY_S
    )
    memory = entries * inputs.bytes_per_entry / _GIB
    peak_per_s = inputs.requests_per_day / _DAY_S * inputs.peak
    per_replica = inputs.lookups_per_core_s * inputs.cores * inputs.utilisation
    by_cpu = math.ceil(peak_per_s / per_replica)
    by_memory = math.ceil(memory / inputs.memory_gib)
    return Capacity(
        inputs,
        entries,
        memory,
        entries * inputs.document_bytes / _GIB,
        inputs.requests_per_day / _DAY_S * (1.0 - inputs.hit_rate) * inputs.kept,
        peak_per_s,
        peak_per_s * (1.0 - inputs.hit_rate),
        by_cpu,
        by_memory,
        max(2, by_cpu, by_memory),
    )


def _check(inputs: Inputs) -> None:
    for name, value in asdict(inputs).items():
        share = name in {"hit_rate", "kept", "utilisation"}
        least = 0.0 if name in {"hit_rate", "kept"} else 1e-9
        most = 1.0 if share else math.inf
        if not least <= value <= most or not math.isfinite(value):
            kind = "a share from 0 to 1" if share else "a number above 0"
            msg = f"--{name.replace('_', '-')}: {value} is not {kind}"
            raise ConfigError(msg)
