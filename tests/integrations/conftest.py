from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import urllib3

from likewise import Cache, Category
from likewise.mock_llm import MockSettings, create_app
from likewise.testing import FakeClock, HashingEmbedder, running

CATEGORIES = (
    Category("loose", similarity_threshold=0.8, guards=()),
    Category("brief", ttl=60.0, stale_while_revalidate=60.0, stale_if_error=600.0),
)


@dataclass(frozen=True)
class StandIn:
    """The stand-in model, and what it was asked."""

    url: str

    @property
    def base_url(self) -> str:
        """What an OpenAI client wants."""
        return f"{self.url}/v1"

    @property
    def calls(self) -> int:
        """How many chat requests it got in this test."""
        seen = urllib3.request("GET", f"{self.url}/requests", retries=False).json()
        return int(seen["calls"].get("/v1/chat/completions", 0))

    @property
    def last(self) -> dict[str, Any]:
        """The body it got last."""
        seen = urllib3.request("GET", f"{self.url}/requests", retries=False).json()
        found: dict[str, Any] = seen["last"]
        return found


@pytest.fixture(scope="session")
def stand_in_url() -> Iterator[str]:
    """One stand-in for all tests of integrations."""
    with running(create_app(MockSettings(latency_s=0.0))) as url:
        yield url


@pytest.fixture
def model(stand_in_url: str) -> StandIn:
    """The stand-in, its counters at zero."""
    urllib3.request("DELETE", f"{stand_in_url}/requests", retries=False)
    return StandIn(stand_in_url)


@pytest.fixture
def parts(clock: FakeClock) -> dict[str, Any]:
    """What a cache in memory is made of."""
    return {
        "store": "memory://",
        "embedder": HashingEmbedder(),
        "categories": CATEGORIES,
        "clock": clock,
    }


@pytest.fixture
def door(parts: dict[str, Any]) -> Iterator[Cache]:
    """A cache in memory."""
    with Cache(**parts) as cache:
        yield cache
