from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
import redis
from hypothesis import settings

from likewise import Cache, Category
from likewise.embed import Vectors
from likewise.errors import StoreError
from likewise.stores import Store, open_store
from likewise.stores.sealed import SealedStore, new_encryption_key
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes tens of seconds, unless it is asked for."""
    if os.environ.get("LIKEWISE_TEST_SLOW"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow; LIKEWISE_TEST_SLOW=1 runs it"))


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


KINDS = ("memory", "sqlite", "redis", "postgres")
REDIS = os.environ.get("LIKEWISE_TEST_REDIS", "redis://127.0.0.1:6379/0")
POSTGRES = os.environ.get("LIKEWISE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")


@pytest.fixture(scope="session")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The address of a new, empty store of a kind; what was made is removed at the end.

    Where its server does not run, the test is skipped, or fails when CI is set.
    """
    made: list[str] = []

    def url(kind: str) -> str:
        name = f"test_{secrets.token_hex(6)}"
        match kind:
            case "memory":
                return "memory://"
            case "sqlite":
                return f"sqlite:///{tmp_path_factory.mktemp(name) / 'a.db'}"
            case "redis":
                found = f"{REDIS}?prefix={name}"
            case _:
                found = f"{POSTGRES}?schema={name}"
        try:
            open_store(found).close()
        except StoreError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        made.append(found)
        return found

    yield url
    for found in made:
        remove_store(found)


def remove_store(url: str) -> None:
    """Take everything of a store out of its server."""
    address, _, name = url.partition("?")
    name = name.partition("=")[2]
    if url.startswith("redis"):
        with redis.Redis.from_url(address) as server:
            for key in list(server.scan_iter(f"{{{name}}}:*", count=1000)):
                server.delete(key)
    else:
        with psycopg.connect(address, autocommit=True) as db:
            db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture(params=[*KINDS, "sealed"])
def store(request: pytest.FixtureRequest, store_url: Callable[[str], str]) -> Iterator[Store]:
    """A new store of each kind, and one whose texts are encrypted."""
    if request.param == "sealed":
        with SealedStore(open_store(store_url("sqlite")), [new_encryption_key()]) as made:
            yield made
        return
    with open_store(store_url(request.param)) as made:
        yield made


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
