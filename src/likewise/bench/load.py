"""A static policy and one that follows the load, before a model that is driven over its capacity.

Both are run for real, one after the other: the stand-in model, a gateway, and requests that come
when they come. Then the simulator of ``replay`` predicts both runs from the same workload and the
same law of the model.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from likewise.bench.prompts import Embedded, Prompt, read_prompts, sample
from likewise.config import Config, parse
from likewise.demo.server import server
from likewise.durations import seconds
from likewise.rebuild import Progress
from likewise.replay import (
    Arrivals,
    Plan,
    Setting,
    Workload,
    arrivals_of,
    generate,
    simulate,
)
from likewise.replay.workload import Changes, demo_prompts
from likewise.service_time import ServiceTime

if TYPE_CHECKING:
    from likewise.bench.drive import Answered

MODEL = "stand-in-1"
SECONDS, COMPRESS = 90.0, 20.0
"""How long a run takes, and how many seconds of the traffic pass in one: half an hour."""

LAW = ServiceTime(capacity=1, first_token_s=0.2, token_s=0.004, slowdown=0.5)
"""Of the model: about 0.8 s for a usual answer when it is idle, half as much again when full. Its
capacity is chosen by ``overloaded``."""

OVERLOAD = 1.1
"""How many times its capacity the static policy's calls would keep busy, on average."""

VOLATILE = {"sql": "2m", "voice_assistant": "2m", "customer_faq": "10m"}
"""Categories whose answers are taken to age within the half hour, and how long the operator serves
them: results of queries, what a voice assistant is asked (weather, traffic, stocks), and what a
shop is (stock, delivery). None of them is strict."""

STRETCH = 4.0
"""Under full load their answers may be served five times as long."""

VOLATILE_SHARE = 0.5
"""Share of the requests that ask for these."""

WARM_RATE = 40.0
"""Requests a second, for short answers, that warm the cache before the measured traffic."""

CALM_LIVES = 50.0
"""Mean time until such an answer truly changes, in multiples of its time to live: an operator who
wants one hit in a hundred to be outdated at most, if hits come evenly, chooses it so."""

BUDGET = 0.02
_WAIT = "10m"
_RISE_S, _FALL_S = 1.0, 3.0


ROWS = 400
"""Most prompts per category of a folder."""

MOST_RATE = 30.0
"""Requests a second of a run: more of a trace are left out by chance, for the machine that drives
model, gateway and clients at once has other limits than the model."""

_RATE, _CV = 1.5, 3.0
"""Requests a second of uncompressed traffic where there is no trace, and how bursty it is: the
coefficient of variation of the gaps."""


def prompts_of(folder: Path | None, *, rows: int, seed: int) -> list[Prompt]:
    """Return the prompts of a folder, a sample of each category, or else the demo's.

    Raises:
        ConfigError: The folder holds none.
    """
    if folder is None:
        return demo_prompts()
    return sample(read_prompts(folder), seed=seed, rows_per_category=rows)


def arrivals_for(trace: str | None, *, seconds: float, compress: float, seed: int) -> Arrivals:
    """Return what arrives within ``seconds`` of the run.

    Raises:
        ConfigError: The trace cannot be read.
    """
    spec = trace or f"gamma:{_RATE}:{_CV}"
    most = int(4 * _RATE * seconds * compress) if trace is None or ":" in trace else None
    found = arrivals_of(spec, count=most, seed=seed).compressed(compress)
    count = int(np.searchsorted(found.times_s, seconds))
    return _thinned(found.first(max(count, 1)), most=int(MOST_RATE * seconds), seed=seed)


def _thinned(arrivals: Arrivals, *, most: int, seed: int) -> Arrivals:
    """Return at most so many of the arrivals, chosen by chance: the bursts keep their shape."""
    if len(arrivals) <= most:
        return arrivals
    chosen = np.sort(np.random.default_rng([seed, 7]).permutation(len(arrivals))[:most])
    return Arrivals(
        arrivals.times_s[chosen], arrivals.input_tokens[chosen], arrivals.output_tokens[chosen]
    )


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is driven.

    Attributes:
        workload: The requests, in the compressed time; the first ``warm_s`` warm the cache.
        warm_s: When the measured traffic begins.
        configs: The policies by name.
        law: That of the model.
    """

    workload: Workload
    warm_s: float
    configs: Mapping[str, dict[str, Any]]
    law: ServiceTime


def scenario(
    prompts: Sequence[Prompt],
    arrivals: Arrivals,
    *,
    base: Mapping[str, Any] | None = None,
    compress: float = COMPRESS,
    law: ServiceTime = LAW,
    volatile: float = VOLATILE_SHARE,
    truth: float = CALM_LIVES,
    seed: int = 0,
) -> Scenario:
    """Return a workload and the two policies that meet it.

    Args:
        prompts: What may be asked.
        arrivals: When, in the time of the run.
        base: A policy to begin with, as YAML yields it: one that ``likewise tune
            --pressure-budget`` wrote has floors. Without one the built-in policies hold.
        compress: How many seconds of the traffic pass in one: times to live are divided by it.
        law: That of the model.
        volatile: Share of the requests that ask for what ages within the half hour; the rest is in
            proportion to the prompts.
        truth: Mean time until an answer that ages truly changes, in multiples of its time to live.
        seed: Of every draw.
    """
    names = sorted({prompt.category for prompt in prompts})
    lives = {name: seconds(VOLATILE[name]) / compress for name in names if name in VOLATILE}
    warm_s = len(arrivals) / WARM_RATE
    workload = generate(
        prompts,
        _with_warming(arrivals, warm_s),
        mix=_mix(prompts, set(lives), volatile),
        lifetimes_s={name: truth * life for name, life in lives.items()},
        seed=seed,
        model=MODEL,
        name="bench load",
    )
    return Scenario(
        workload,
        warm_s,
        {
            "static": _config(base, lives, law, adaptive=False),
            "adaptive": _config(base, lives, law, adaptive=True),
        },
        law,
    )


def overloaded(found: Scenario, known: Embedded, folder: Path | None = None) -> int:
    """Return a capacity that the static policy drives the model over, see ``OVERLOAD``.

    Its calls are those of a simulation with a model that is never full.
    """
    free = replace(found, law=replace(found.law, capacity=10_000))
    config = _parsed({**found.configs["static"], "load": {"max_wait": None}}, folder)
    row = _simulated(
        free, "free", config, embedder=known, lookup_s=0.0, progress=lambda _done, _of: None
    )
    tokens = found.workload.output_tokens[found.workload.times_s >= found.warm_s].mean()
    call_s = found.law.first_token_s + float(tokens) * found.law.token_s
    length_s = float(found.workload.times_s[-1]) - found.warm_s
    busy = row["upstream"] * call_s * (1.0 + found.law.slowdown) / max(length_s, 1.0)
    return max(1, int(busy / OVERLOAD))


def _with_warming(arrivals: Arrivals, warm_s: float) -> Arrivals:
    """Return as many evenly spaced requests for short answers, and then the arrivals."""
    count = len(arrivals)
    shortest = np.ones(count, np.int64)
    return Arrivals(
        np.concatenate([np.arange(count) / WARM_RATE, warm_s + arrivals.times_s]),
        np.concatenate([arrivals.input_tokens, arrivals.input_tokens]),
        np.concatenate([shortest, arrivals.output_tokens]),
    )


def _mix(prompts: Sequence[Prompt], aging: Collection[str], share: float) -> dict[str, float]:
    """Return the share of each category: those whose answers age have ``share`` of all, evenly."""
    counts = Counter(prompt.category for prompt in prompts)
    calm = {name: count for name, count in counts.items() if name not in aging}
    if not aging or not calm:
        return dict(counts)
    rest = (1.0 - share) / sum(calm.values())
    return {name: count * rest for name, count in calm.items()} | {
        name: share / len(aging) for name in aging
    }


def _config(
    base: Mapping[str, Any] | None, lives: Mapping[str, float], law: ServiceTime, *, adaptive: bool
) -> dict[str, Any]:
    """Return a policy: the two differ only in whether it follows the load."""
    data: dict[str, Any] = {**(base or {})}
    categories = {name: dict(policy) for name, policy in (data.get("categories") or {}).items()}
    for name, life in lives.items():
        categories[name] = {**categories.get(name, {}), "ttl": life, "cue_ttl": None}
    load: dict[str, Any] = {
        "max_in_flight": law.capacity,
        "max_wait": _WAIT,
        "max_waiting": 100_000,
    }
    if adaptive:
        load |= {"stretch": STRETCH, "rise": _RISE_S, "fall": _FALL_S}
    else:
        for policy in categories.values():
            policy.pop("probability_floor", None)
            policy.pop("pressure_budget", None)
    return {**data, "categories": categories, "load": load, "store": "memory://"}


def measure(
    found: Scenario, known: Embedded, *, progress: Callable[[str], Progress], folder: Path | None
) -> dict[str, Any]:
    """Run both policies for real, then simulate them.

    Args:
        found: What is driven.
        known: Embedder of the simulator, which knows the texts; the gateways load their own.
        progress: Returns what is told of a step's progress, given its name.
        folder: Where the policies' other files lie, when they name some.

    Returns:
        For ``static`` and ``adaptive``: ``requests``, ``upstream``, ``p50_s``, ``p99_s``,
        ``hit_rate``, ``wrong_per_hit``, ``outdated_per_hit``, ``stale_per_hit``, ``failed`` and
        ``lookup_s``; ``traffic_reduction``; and the same of the simulator under ``simulated``,
        with ``error``, the relative error of its predictions.
    """
    real = {
        name: _judged(found, *_run(config, found, progress(name), folder))
        for name, config in found.configs.items()
    }
    # What a lookup costs is the machine's; the rest is the simulator's to find out.
    lookup_s = float(np.median([row["hit_s"] for row in real.values()]))
    predicted = {
        name: _simulated(
            found,
            name,
            _parsed(config, folder),
            embedder=known,
            lookup_s=lookup_s,
            progress=progress(f"simulating {name}"),
        )
        for name, config in found.configs.items()
    }
    return {
        **real,
        "traffic_reduction": _reduction(real),
        "simulated": {
            **predicted,
            "traffic_reduction": _reduction(predicted),
            "error": {
                f"{name}.{key}": _off(predicted[name][key], real[name][key])
                for name in real
                for key in ("upstream", "p50_s", "p99_s")
            },
        },
        "seconds": float(found.workload.times_s[-1] - found.warm_s),
        "capacity": found.law.capacity,
    }


def _reduction(rows: Mapping[str, Mapping[str, float]]) -> float:
    return 1.0 - rows["adaptive"]["upstream"] / rows["static"]["upstream"]


def _off(predicted: float, seen: float) -> float:
    return predicted / seen - 1.0 if seen else 0.0


def _run(
    config: Mapping[str, Any], found: Scenario, progress: Progress, folder: Path | None
) -> tuple[list[Answered], int]:
    """Drive one gateway; return what came back, and how many requests reached the model."""
    law = found.law
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likewise-load-")))
        model = stack.enter_context(
            server(
                *("mock-llm", "--port", "0", "--model", MODEL),
                *("--capacity", str(law.capacity), "--slowdown", str(law.slowdown)),
                *("--latency", f"{1000 * law.first_token_s}ms"),
                *("--token-latency", f"{1000 * law.token_s}ms"),
            )
        )
        path = (folder or home) / f".likewise-load-{home.name}.yaml"
        path.write_text(json.dumps(config), "utf-8")
        stack.callback(path.unlink)
        gateway = stack.enter_context(
            server("serve", "--port", "0", "--upstream", model, "--config", str(path))
        )
        from likewise.bench.drive import drive  # noqa: PLC0415 - an HTTP client is slow to import

        return drive(gateway, model, found.workload, from_s=found.warm_s, progress=progress)


def _judged(found: Scenario, answers: Sequence[Answered], upstream: int) -> dict[str, Any]:
    """Return the figures of a run, each hit judged by the answer's key and by when it was made."""
    workload = found.workload
    changes = Changes(workload)
    questions = [workload.questions[place] for place in workload.question_of.tolist()]
    made: dict[str, tuple[str, float]] = {}
    for question, answer in zip(questions, answers, strict=True):
        if answer.outcome == "MISS" and answer.status == 200 and answer.entry_id:
            done_s = answer.began_s + answer.seconds
            # Of requests that shared one call the first is as good as any.
            made.setdefault(answer.entry_id, (question.answer_key, done_s))
    measured = workload.times_s >= found.warm_s
    pairs = [
        (question, answer)
        for question, answer, counts in zip(questions, answers, measured, strict=True)
        if counts
    ]
    hits = wrong = outdated = stale = 0
    for question, answer in pairs:
        if answer.outcome not in {"HIT", "STALE"}:
            continue
        hits += 1
        stale += answer.outcome == "STALE"
        key, done_s = made.get(answer.entry_id, ("", 0.0))
        wrong += key != question.answer_key
        at_s = answer.began_s + answer.seconds
        outdated += changes.version(question, at_s) != changes.version(question, done_s)
    answered = [a for _, a in pairs if a.status == 200]
    latencies = np.array([a.seconds for a in answered])
    served = [a.seconds for a in answered if a.outcome in {"HIT", "STALE"}]
    return {
        "requests": len(pairs),
        "upstream": upstream,
        "p50_s": float(np.percentile(latencies, 50)),
        "p99_s": float(np.percentile(latencies, 99)),
        "hit_rate": hits / len(pairs),
        "wrong_per_hit": wrong / max(hits, 1),
        "outdated_per_hit": outdated / max(hits, 1),
        "wrong_or_outdated_per_hit": (wrong + outdated) / max(hits, 1),
        "stale_per_hit": stale / max(hits, 1),
        # Those that were to warm the cache count as well: without them the figures mean nothing.
        "failed": sum(answer.status != 200 for answer in answers),
        "hit_s": float(np.median(served)) if served else 0.0,
    }


def _simulated(
    found: Scenario,
    name: str,
    config: Config,
    *,
    embedder: Embedded,
    lookup_s: float,
    progress: Progress,
) -> dict[str, Any]:
    outcome = simulate(
        found.workload,
        Plan(name, config),
        Setting(law=found.law, lookup_s=lookup_s, streams=False),
        embedder=embedder,
        progress=progress,
    )
    figures = outcome.since(found.warm_s).figures()
    keys = ("requests", "upstream", "p50_s", "p99_s", "hit_rate", "wrong_per_hit")
    more = ("outdated_per_hit", "stale_per_hit", "failed")
    both = figures["wrong_per_hit"] + figures["outdated_per_hit"]
    return {key: figures[key] for key in (*keys, *more)} | {"wrong_or_outdated_per_hit": both}


def _parsed(config: dict[str, Any], folder: Path | None) -> Config:
    parsed = parse(msgspec.to_builtins(config))
    return parsed if folder is None else replace(parsed, path=folder / "policy.yaml")
