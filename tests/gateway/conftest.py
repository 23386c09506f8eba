from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import urllib3

from likewise.aio import AsyncCache
from likewise.config import parse
from likewise.mock_llm import MockSettings, create_app
from likewise.testing import FakeClock, HashingEmbedder, running

from .support import Gateway, ScriptedModel, gateway_over

Open = Callable[..., Gateway]


@pytest.fixture(scope="session")
def stand_in() -> Iterator[str]:
    """The stand-in model's address, one for all tests of the gateway."""
    with running(create_app(MockSettings(latency_s=0.0))) as url:
        yield url


@pytest.fixture(scope="module")
def lasting(stand_in: str) -> Iterator[Gateway]:
    """One gateway for all tests of a module, where what was asked before does not matter."""
    config = parse({"load": {"max_wait": None}})
    cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
    with gateway_over(config, cache, stand_in) as gateway:
        yield gateway


@pytest.fixture
def open_gateway(stand_in: str, clock: FakeClock) -> Iterator[Open]:
    """Start gateways: ``settings`` as in the file, ``parts`` of the cache, a model's address."""
    urllib3.request("DELETE", f"{stand_in}/requests", retries=False)
    with ExitStack() as stack:

        def start(
            settings: dict[str, Any] | None = None, *, model_url: str = stand_in, **parts: Any
        ) -> Gateway:
            # What these tests look at is what the model said, at once; see test_line.py.
            config = parse({"load": {"max_wait": None}, **(settings or {})})
            defaults: dict[str, Any] = {
                "store": "memory://",
                "embedder": HashingEmbedder(),
                "categories": config.policies,
                "rules": config.rules,
                "clock": clock,
            }
            cache = AsyncCache(**{**defaults, **parts})
            cache.engine.load.terms, cache.engine.force.adapting = config.load, config.adapting
            return stack.enter_context(gateway_over(config, cache, model_url))

        yield start


@pytest.fixture
def gateway(open_gateway: Open) -> Gateway:
    """A gateway over the stand-in, its cache in memory."""
    return open_gateway()


@pytest.fixture
def model() -> Iterator[tuple[ScriptedModel, str]]:
    """A model that the test directs, and its address."""
    scripted = ScriptedModel()
    with running(scripted) as url:
        yield scripted, url


@pytest.fixture
def scripted(model: tuple[ScriptedModel, str]) -> ScriptedModel:
    """A model that the test directs."""
    return model[0]


@pytest.fixture
def directed(open_gateway: Open, model: tuple[ScriptedModel, str]) -> Gateway:
    """A gateway before the scripted model."""
    return open_gateway(model_url=model[1])
