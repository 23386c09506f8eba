"""Eviction policies beside each other, on requests that repeat as people's do."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from likewise.bench.prompts import Prompt
from likewise.eviction import DEFAULT_EVICTION, POLICIES, Eviction, Named, Protecting
from likewise.rebuild import Progress

CAPACITIES = (0.05, 0.10, 0.25)
REQUESTS = 200_000
_EXPONENTS = (0.6, 1.2)
_DRIFT = 0.1
"""Share of a category's questions that change their popularity over the stream."""

_TOKENS = {"chat": 320, "code": 260, "creative": 420, "sql": 70, "math": 160, "medical": 220}
_MEAN_TOKENS = 150
_SPREAD = 0.8
_BYTES_PER_TOKEN, _OVERHEAD = 4, 1_000
_TOKENS_PER_S, _FIRST_TOKEN_S = 60.0, 0.4


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what its answer takes to keep and to make: bytes, and seconds of a model."""

    key: str
    size: int
    cost: float


def stream_of(prompts: Sequence[Prompt], *, requests: int, seed: int) -> list[Asked]:
    """Return requests that repeat the questions of some prompts, after Zipf's law by category.

    Each category has an exponent of its own, and a tenth of its questions trade their popularity
    half-way. Two prompts with one ``answer_key`` are one question. The prompts have no answers: the
    length of each is drawn once, log-normal around a mean of its category.
    """
    rng = np.random.default_rng(seed)
    by_category: dict[str, dict[str, int]] = {}
    for prompt in prompts:
        by_category.setdefault(prompt.category, {})[prompt.answer_key] = len(prompt.text)
    names = sorted(by_category)
    weights = np.array([len(by_category[name]) for name in names], np.float64) ** 0.5
    counts = rng.multinomial(requests, weights / weights.sum())
    asked: list[list[Asked]] = []
    for name, count in zip(names, counts, strict=True):
        keys = sorted(by_category[name])
        rng.shuffle(keys)
        exponent = rng.uniform(*_EXPONENTS)
        odds = np.arange(1, len(keys) + 1, dtype=np.float64) ** -exponent
        tokens = np.exp(
            rng.normal(np.log(_TOKENS.get(name, _MEAN_TOKENS)), _SPREAD, size=len(keys))
        )
        questions = [
            Asked(
                f"{name}/{key}",
                int(_OVERHEAD + by_category[name][key] + _BYTES_PER_TOKEN * length),
                float(_FIRST_TOKEN_S + length / _TOKENS_PER_S),
            )
            for key, length in zip(keys, tokens, strict=True)
        ]
        first = rng.choice(len(keys), size=count // 2, p=odds / odds.sum())
        moved = rng.permutation(len(keys))[: max(2, int(_DRIFT * len(keys)))]
        odds[moved] = odds[rng.permutation(moved)]
        second = rng.choice(len(keys), size=count - count // 2, p=odds / odds.sum())
        asked.append([questions[place] for place in np.concatenate([first, second])])
    return _interleaved(asked, random.Random(seed))  # noqa: S311 - a sample, not a secret


def measure(
    prompts: Sequence[Prompt], *, requests: int, seed: int, progress: Progress
) -> dict[str, dict[str, dict[str, float]]]:
    """Run every policy over one stream, at shares of the bytes that all its questions take.

    Returns:
        By capacity and policy ``hit_rate``, ``byte_hit_rate`` and ``cost_saved``, the share of the
        model's seconds that hits saved. ``default`` is the one in use; ``default+returns`` the same
        with the guess whether an entry returns. ``belady`` knows the future: it keeps nothing that
        is not asked for again, and lets go what is asked for again the latest (L. Belady, IBM
        Systems Journal 1966), or the latest for its size, whichever is better.
    """
    stream = stream_of(prompts, requests=requests, seed=seed)
    footprint = sum({asked.key: asked.size for asked in stream}.values())
    makers: dict[str, Callable[[], Eviction]] = {"default": POLICIES[DEFAULT_EVICTION]}
    makers |= {name: make for name, make in POLICIES.items() if name != DEFAULT_EVICTION}
    makers["default+returns"] = lambda: Protecting(POLICIES[DEFAULT_EVICTION]())
    found: dict[str, dict[str, dict[str, float]]] = {}
    steps, done = len(CAPACITIES) * (len(makers) + 1), 0
    for capacity in CAPACITIES:
        room = int(capacity * footprint)
        row = found[f"{capacity:.2f}"] = {}
        for name, make in makers.items():
            row[name] = _shares(stream, _hits(stream, Named(make()), room))
            progress(done := done + 1, steps)
        foreseen = [_shares(stream, _foreseen(stream, room, by_size=way)) for way in (False, True)]
        row["belady"] = {name: max(way[name] for way in foreseen) for name in foreseen[0]}
        progress(done := done + 1, steps)
    return found


def _interleaved(parts: Sequence[Sequence[Asked]], rng: random.Random) -> list[Asked]:
    """Return all requests in one order that keeps each part's own."""
    turns = [place for place, part in enumerate(parts) for _ in part]
    rng.shuffle(turns)
    queues = [iter(part) for part in parts]
    return [next(queues[turn]) for turn in turns]


def _hits(stream: Iterable[Asked], policy: Named, room: int) -> list[bool]:
    """Return which requests a cache of ``room`` bytes under a policy answers."""
    hits = []
    for asked in stream:
        hit = asked.key in policy.places
        hits.append(hit)
        if hit:
            policy.touch(asked.key)
            continue
        if asked.size > room:
            continue
        policy.add(asked.key, asked.size, asked.cost)
        while policy.bytes > room:
            policy.evict()
    return hits


def _foreseen(stream: Sequence[Asked], room: int, *, by_size: bool) -> list[bool]:
    """Return which requests a cache answers that knows the future."""
    never = 2 * len(stream)
    following: list[int] = [0] * len(stream)
    last: dict[str, int] = {}
    for place in range(len(stream) - 1, -1, -1):
        key = stream[place].key
        following[place] = last.get(key, never)
        last[key] = place
    held: dict[str, int] = {}
    sizes: dict[str, int] = {}
    heap: list[tuple[float, int, str]] = []
    used = 0
    hits = []
    for place, asked in enumerate(stream):
        hits.append(asked.key in held)
        if asked.key in held:
            used -= sizes[asked.key]
            del held[asked.key]
        if following[place] == never:
            continue
        used += asked.size
        sizes[asked.key] = asked.size
        held[asked.key] = following[place]
        far = (following[place] - place) * asked.size if by_size else following[place]
        heapq.heappush(heap, (-float(far), following[place], asked.key))
        while used > room:
            _, turn, key = heapq.heappop(heap)
            if held.get(key) == turn:
                del held[key]
                used -= sizes[key]
    return hits


def _shares(stream: Sequence[Asked], hits: Sequence[bool]) -> dict[str, float]:
    served = [asked for asked, hit in zip(stream, hits, strict=True) if hit]
    return {
        "hit_rate": len(served) / len(stream),
        "byte_hit_rate": sum(a.size for a in served) / sum(a.size for a in stream),
        "cost_saved": sum(a.cost for a in served) / sum(a.cost for a in stream),
    }
