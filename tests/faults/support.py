"""What the tests of the promises share: how much to do, gateways, clients."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from starlette.applications import Starlette

from likewise.aio import AsyncCache
from likewise.config import Config, parse
from likewise.embed import Embedder
from likewise.gateway.app import create_app
from likewise.testing import HashingEmbedder

from ..gateway.support import CHAT, Gateway, events_of, gateway_over
from .history import Asker, History, Operation
from .model import Canary

LONG = os.environ.get("LIKEWISE_PROMISES") == "long"
PATIENCE_S = 60.0
"""How long anything may take before a test gives up; nothing is measured with it."""

LOOSE: dict[str, Any] = {"similarity_threshold": 0.9, "guards": [], "ttl": "never"}
"""A category in which questions that share most of their words share an answer."""


def scaled(short: int, long: int) -> int:
    """How much to do: ``short`` in every run of the tests, ``long`` where it is asked for."""
    return long if LONG else short


@contextmanager
def gateway(
    model_url: str,
    *,
    store: str = "memory://",
    settings: dict[str, Any] | None = None,
    embedder: Embedder | None = None,
    **parts: Any,
) -> Iterator[Gateway]:
    """Run a gateway over a store before a model."""
    config = _config(settings)
    cache = _cache(config, store, embedder or HashingEmbedder(), **parts)
    with gateway_over(config, cache, model_url) as running:
        yield running


def _config(settings: dict[str, Any] | None) -> Config:
    return parse({"load": {"max_wait": None}, "categories": {"loose": LOOSE}} | (settings or {}))


def _cache(config: Config, store: str, embedder: Embedder, **parts: Any) -> AsyncCache:
    return AsyncCache(
        store=store,
        embedder=embedder,
        categories=config.policies,
        rules=(),
        examples={},
        **parts,
    )


@dataclass
class Client:
    """Asks a gateway over HTTP and keeps the history of it."""

    url: str
    history: History = field(default_factory=History)
    told: dict[str, str] = field(default_factory=dict)
    """Headers of the latest response, in lower case."""
    _session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(
        self,
        asker: Asker,
        question: str,
        *,
        clock: Any = time.monotonic,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> Operation:
        """Ask once; a connection that breaks is an operation of status 0."""
        assert self._session is not None
        begun = clock()
        sent = asker.headers() | (headers or {})
        try:
            async with self._session.post(
                self.url + CHAT, data=asker.body(question, **fields), headers=sent
            ) as response:
                body = await response.read()
                told, status = dict(response.headers), response.status
        except (aiohttp.ClientError, OSError):
            return self.history.add(Operation(asker, question, begun, clock(), 0))
        self.told = {name.lower(): value for name, value in told.items()}
        return self.history.add(operation(asker, question, begun, clock(), status, told, body))


@asynccontextmanager
async def direct(
    model_url: str,
    *,
    store: str = "memory://",
    settings: dict[str, Any] | None = None,
    **parts: Any,
) -> AsyncIterator[Direct]:
    """Run a gateway in this event loop, without a server between: for very many requests."""
    config = _config(settings)
    config.settings.upstream.base_url = model_url
    cache = _cache(config, store, HashingEmbedder(), **parts)
    app = create_app(config, cache)
    async with app.router.lifespan_context(app):
        yield Direct(app, cache)


@dataclass
class Direct:
    """Calls a gateway's application as a server would."""

    app: Starlette
    cache: AsyncCache

    async def ask(
        self,
        asker: Asker,
        question: str,
        *,
        leaves_after_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> tuple[Operation, bytes]:
        """Ask once; return what came of it, and every byte of the body.

        ``leaves_after_s`` is when the client closes its connection, whatever has come by then.
        """
        loop, left, body = asyncio.get_running_loop(), asyncio.Event(), bytearray()
        head: dict[str, Any] = {}
        sent_headers = asker.headers() | (headers or {})
        sent = [{"type": "http.request", "body": asker.body(question, **fields)}]

        async def receive() -> Any:
            if sent:
                return sent.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                head.update(message)
            elif not left.is_set():
                body.extend(message.get("body", b""))

        scope = {
            "type": "http",
            "method": "POST",
            "path": CHAT,
            "raw_path": CHAT.encode(),
            "query_string": b"",
            "headers": [(n.encode(), v.encode()) for n, v in sent_headers.items()],
        }
        timer = None
        if leaves_after_s is not None:
            timer = loop.call_later(leaves_after_s, left.set)
        begun = clock()
        await self.app(scope, receive, send)
        if timer is not None:
            timer.cancel()
        told = {n.decode(): v.decode("latin-1") for n, v in head.get("headers", [])}
        status = 0 if left.is_set() else head.get("status", 0)
        found = operation(asker, question, begun, clock(), status, told, bytes(body))
        return found, bytes(body)

    async def settle(self) -> None:
        """Return once no call is under way and nothing is being stored."""
        while not self.app.state.calls.idle:  # noqa: ASYNC110 - the gateway tells nobody
            await asyncio.sleep(0)


def operation(  # noqa: PLR0917 - all that is known of it
    asker: Asker,
    question: str,
    begun: float,
    ended: float,
    status: int,
    headers: dict[str, str],
    body: bytes,
) -> Operation:
    """Return what came of a request."""
    told = {name.lower(): value for name, value in headers.items()}
    text = answer_in(body) if status == 200 else None
    return Operation(
        asker,
        question,
        begun,
        ended,
        status,
        told.get("x-cache", ""),
        told.get("x-likewise-reason", ""),
        float(told["age"]) if "age" in told else None,
        told.get("x-likewise-entry", ""),
        None if text is None else Canary.of(text),
    )


def answer_in(body: bytes) -> str | None:
    """Return the text of a whole answer in either form, ``None`` when it is none."""
    try:
        if body.startswith(b"data: "):
            deltas = [c["choices"][0]["delta"] for c in events_of(body) if c.get("choices")]
            return "".join(delta.get("content") or "" for delta in deltas) or None
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (AssertionError, KeyError, IndexError, TypeError, ValueError):
        return None
    return text or None


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(main: Any) -> Any:
    """Run a coroutine to its end."""
    return asyncio.run(main)
