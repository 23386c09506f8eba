from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from likewise import Cache, Category
from likewise.embed import Vectors
from likewise.stores import MemoryStore, SQLiteStore, Store
from likewise.testing import FakeClock, HashingEmbedder

NOW = 1_700_000_000.0

# No wall-clock limit on an example. CI repeats the same examples; other runs look for new ones.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

Open = Callable[..., Cache]


class Compass:
    """An embedder for tests that need exact similarities: each known text points somewhere.

    ``cosines`` gives the cosine of a text with the axis; a text it does not know is at a right
    angle to all of them.
    """

    name = "compass/3"
    dimensions = 3

    def __init__(self, cosines: Mapping[str, float]) -> None:
        self.cosines = dict(cosines)
        self.embedded: list[str] = []

    def fits(self, text: str) -> bool:
        """Whether the whole text is read."""
        return len(text) <= 100

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Point each text to its place."""
        self.embedded += texts
        rows = [self._place(self.cosines.get(text)) for text in texts]
        return np.array(rows, dtype=np.float32)

    @staticmethod
    def _place(cosine: float | None) -> tuple[float, float, float]:
        return (0.0, 0.0, 1.0) if cosine is None else (cosine, (1 - cosine**2) ** 0.5, 0.0)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until a test moves it."""
    return FakeClock(NOW)


@pytest.fixture
def embedder() -> HashingEmbedder:
    """An embedder that needs no model."""
    return HashingEmbedder()


@pytest.fixture
def compass() -> type[Compass]:
    """An embedder whose similarities a test chooses."""
    return Compass


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new store of each kind."""
    made: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "a.db")
    yield made
    made.close()


@pytest.fixture
def open_cache(clock: FakeClock) -> Iterator[Open]:
    """Open caches with the parts a test needs; closes them at the end."""
    opened: list[Cache] = []

    def make(**parts: Any) -> Cache:
        defaults: dict[str, Any] = {
            "store": "memory://",
            "embedder": HashingEmbedder(),
            "rules": (),
            "clock": clock,
        }
        cache = Cache(**{**defaults, **parts})
        opened.append(cache)
        return cache

    yield make
    for cache in opened:
        cache.close()


@pytest.fixture
def cache(open_cache: Open) -> Cache:
    """A cache in memory; its category ``loose`` has a threshold of 0.9 and no guards."""
    return open_cache(categories=[Category("loose", similarity_threshold=0.9, guards=())])
