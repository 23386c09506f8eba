"""Where the graph begins to beat the scan: sets ``CROSSOVER`` of the partitions."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from likewise.embed import Vectors
from likewise.index.flat import Flat
from likewise.index.hnsw import Hnsw
from likewise.rebuild import Progress

SIZES = (500, 1_000, 2_000, 4_000, 8_000, 12_000, 16_000, 24_000, 32_000)
DIMENSIONS = 384
_QUERIES = 200
_ROUNDS = 5
_FLOOR = 0.95
_DECAY = 0.35
"""Gives the first dimensions about the share of the variance that sentence vectors have there."""


def clustered(count: int, *, seed: int, dimensions: int = DIMENSIONS) -> Vectors:
    """Return unit vectors in clusters, as questions are: float32 of shape ``(count, dimensions)``.

    Ten vectors to a centre on average. The variance of the dimensions falls off as it does for
    sentence vectors, a few of which carry most of it: in a space where all count alike, graph
    search is harder than it is on texts.
    """
    rng = np.random.default_rng(seed)
    scale = (1.0 + np.arange(dimensions)) ** -_DECAY
    centres = rng.normal(size=(max(1, count // 10), dimensions)) * scale
    spread = rng.uniform(0.1, 0.7, size=(count, 1))
    vectors = centres[rng.integers(0, len(centres), count)]
    vectors = vectors + spread * rng.normal(size=(count, dimensions)) * scale
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def measure(progress: Progress) -> dict[str, Any]:
    """Search both ways at growing sizes.

    Returns:
        ``{"sizes": {n: {"flat_us", "hnsw_us", "hnsw_recall_at_1"}}, "crossover": n}``: medians in
        microseconds over rounds that alternate between the two, and the least size measured from
        which on the graph is always the faster.
    """
    vectors = clustered(SIZES[-1], seed=1)
    # Queries near stored vectors and away from them, half and half, as hits and misses are.
    queries = np.concatenate([vectors[:_QUERIES:2], clustered(_QUERIES // 2, seed=2)])
    flat, graph, size = Flat(DIMENSIONS), Hnsw(DIMENSIONS), 0
    sizes: dict[int, dict[str, float]] = {}
    for done, wanted in enumerate(SIZES, start=1):
        flat.add(vectors[size:wanted])
        graph.add(vectors[size:wanted])
        size = wanted
        pairs = [
            (_us(flat.search, queries, _FLOOR), _us(graph.search, queries, _FLOOR))
            for _ in range(_ROUNDS)
        ]
        exact = [flat.search(query, 1, _FLOOR)[0][0] for query in queries]
        found = [graph.search(query, 8, _FLOOR)[0][0] for query in queries]
        sizes[size] = {
            "flat_us": median(pair[0] for pair in pairs),
            "hnsw_us": median(pair[1] for pair in pairs),
            "hnsw_recall_at_1": float(np.mean(np.equal(exact, found))),
        }
        progress(done, len(SIZES))
    slower = [n for n, row in sizes.items() if row["flat_us"] <= row["hnsw_us"]]
    crossover = min((n for n in sizes if n > max(slower, default=0)), default=None)
    return {"sizes": sizes, "crossover": crossover}


def _us(
    search: Callable[[Vectors, int, float], list[tuple[int, float]]], queries: Vectors, floor: float
) -> float:
    started = time.perf_counter()
    for query in queries:
        search(query, 8, floor)
    return (time.perf_counter() - started) / len(queries) * 1e6
