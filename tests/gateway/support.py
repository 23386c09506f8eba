"""What the tests of the gateway share: a gateway on a port, and a model that tests direct."""

from __future__ import annotations

import asyncio
import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import urllib3
from starlette.types import Receive, Scope, Send

from likewise.aio import AsyncCache
from likewise.config import Config
from likewise.gateway.app import create_app
from likewise.testing import running

CHAT = "/v1/chat/completions"
PATIENCE_S = 20.0
"""How long a test waits for what must come before it gives up; nothing is measured with it."""

Response = urllib3.BaseHTTPResponse


@dataclass
class Gateway:
    """A gateway that runs, and the model behind it."""

    url: str
    model_url: str
    cache: AsyncCache
    idle: Callable[[], bool]
    http: urllib3.PoolManager = field(repr=False)
    _lines: list[Line] = field(default_factory=list, repr=False)

    def line(
        self, body: object, headers: Mapping[str, str] | None = None, path: str = CHAT
    ) -> Line:
        """Send a request whose answer the test reads piece by piece."""
        self._lines.append(Line(self.url, body, headers, path))
        return self._lines[-1]

    def hang_up(self) -> None:
        """Close every line."""
        for line in self._lines:
            line.leave()

    def post(
        self,
        body: object,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = CHAT,
        settle: bool = True,
    ) -> Response:
        """Send a request, of a chat unless told; waits until its answer is stored or refused."""
        sent = {"authorization": "Bearer test", **(headers or {})}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent.setdefault("content-type", "application/json")
        response = self.http.request("POST", self.url + path, body=data, headers=sent)
        if settle:
            self.settle()
        return response

    def ask(self, text: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> str:
        """Ask a question; return what the cache said: HIT, MISS or BYPASS."""
        response = self.post(chat(text, **fields), headers)
        assert response.status == 200, response.data
        return response.headers["x-cache"]

    def settle(self) -> None:
        """Wait until no answer is under way or being stored."""
        wait_for(self.idle)

    def client(self, api_key: str = "test") -> openai.OpenAI:
        """Return the official client, with only its base URL changed."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key, max_retries=0)

    def anthropic(self, api_key: str = "test") -> anthropic.Anthropic:
        """Return Anthropic's official client, with only its base URL changed."""
        return anthropic.Anthropic(base_url=self.url, api_key=api_key, max_retries=0)

    @property
    def entries(self) -> int:
        """How many answers are kept, as the store and the index agree."""
        count = len(self.cache.engine.catalog)
        assert count == self.cache.engine.store.count()
        return count

    def calls(self, path: str = CHAT) -> int:
        """How many requests for a path the stand-in got."""
        seen = self.http.request("GET", f"{self.model_url}/requests").json()
        return int(seen["calls"].get(path, 0))

    def last(self) -> dict[str, Any]:
        """Return the body the stand-in got last."""
        seen = self.http.request("GET", f"{self.model_url}/requests").json()
        body: dict[str, Any] = seen["last"]
        return body

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

        text = self.http.request("GET", f"{self.url}/metrics").data.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@contextmanager
def gateway_over(config: Config, cache: AsyncCache, model_url: str) -> Iterator[Gateway]:
    """Run a gateway over a cache before the model at ``model_url``."""
    config.settings.upstream.base_url = model_url
    app = create_app(config, cache)
    with running(app) as url, urllib3.PoolManager(retries=False, maxsize=64) as pool:
        gateway = Gateway(url, model_url, cache, lambda: app.state.calls.idle, pool)
        try:
            yield gateway
        finally:
            gateway.hang_up()


def chat(text: str, **fields: Any) -> dict[str, Any]:
    """Return a chat request with one user message."""
    return {"model": "stand-in-1", "messages": [{"role": "user", "content": text}], **fields}


def wait_for(holds: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.002)


def events_of(body: bytes) -> list[dict[str, Any]]:
    """Return the chunks of a stream, which must be well-formed down to its bytes."""
    assert body.endswith(b"data: [DONE]\n\n")
    events = body.removesuffix(b"\n\n").split(b"\n\n")
    assert all(event.startswith(b"data: ") and b"\n" not in event for event in events)
    return [json.loads(event[6:]) for event in events[:-1]]


class Line:
    """A client's connection on which a test reads piece by piece."""

    def __init__(
        self, url: str, body: object, headers: Mapping[str, str] | None = None, path: str = CHAT
    ) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            str(parts.hostname), parts.port, timeout=PATIENCE_S
        )
        sent = {"content-type": "application/json", "authorization": "Bearer test"}
        self._connection.request("POST", path, json.dumps(body), {**sent, **(headers or {})})
        self._response: http.client.HTTPResponse | None = None

    @property
    def response(self) -> http.client.HTTPResponse:
        """The response, once its headers are there."""
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    def event(self) -> bytes:
        """Return the next event, without the blank line that ends it."""
        lines = []
        while (line := self.response.readline()) not in (b"\n", b""):
            lines.append(line)
        return b"".join(lines).rstrip(b"\n")

    def rest(self) -> bytes:
        """Return everything that is still to come."""
        return self.response.read()

    def leave(self) -> None:
        """Close the connection whatever is still to come."""
        if self._connection.sock is not None:
            self._connection.sock.close()
        if self._response is not None:
            self._response.close()
        self._connection.close()


class Call:
    """A request that a scripted model got; the test says how it is answered."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.raw_headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        self.headers = {n.decode(): v.decode("latin-1") for n, v in scope["headers"]}
        self.body = body
        self.left = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._moves: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def start(
        self, status: int = 200, headers: Sequence[tuple[str, str]] = (), *, kind: str = ""
    ) -> None:
        """Send status and headers."""
        sent = [(n.encode(), v.encode()) for n, v in headers]
        if kind:
            sent.append((b"content-type", kind.encode()))
        self._move({"type": "http.response.start", "status": status, "headers": sent})

    def start_stream(self) -> None:
        """Begin a stream of events."""
        self.start(kind="text/event-stream")

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._move({"type": "http.response.body", "body": data, "more_body": True})

    def say(self, text: str, *, finish: str | None = None, **fields: Any) -> None:
        """Send a chunk of a stream with one choice."""
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        self.send(
            b"data: " + json.dumps({**chunk, "choices": [choice], **fields}).encode() + b"\n\n"
        )

    def finish(self, data: bytes = b"") -> None:
        """Send the end of the body."""
        self._move({"type": "http.response.body", "body": data})

    def answer(self, value: object, status: int = 200) -> None:
        """Answer with JSON."""
        self.start(status, kind="application/json")
        self.finish(json.dumps(value).encode())

    def break_off(self) -> None:
        """Close the connection in the middle of the body."""
        self._move(None)

    def _move(self, move: dict[str, Any] | None) -> None:
        self._loop.call_soon_threadsafe(self._moves.put_nowait, move)

    async def run(self, receive: Receive, send: Send) -> None:
        """Make the test's moves until the body ends or the client leaves."""
        watching = asyncio.ensure_future(self._watch(receive))
        try:
            while (move := await self._moves.get()) is not None:
                await send(move)
                if move["type"] == "http.response.body" and not move.get("more_body"):
                    return
        finally:
            watching.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()
        self._moves.put_nowait(None)


class ScriptedModel:
    """A model whose every move a test decides; an ASGI application."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Call] = queue.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        call = Call(scope, body)
        self._calls.put(call)
        await call.run(receive, send)

    def call(self) -> Call:
        """Return the next request, once it is there."""
        return self._calls.get(timeout=PATIENCE_S)

    @property
    def waiting(self) -> int:
        """How many requests came that no test has taken."""
        return self._calls.qsize()


def completion(text: str = "An answer.", **fields: Any) -> dict[str, Any]:
    """Return a whole answer."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        **fields,
    }
