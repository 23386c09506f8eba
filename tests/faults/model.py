"""A model that names in each answer whom it was made for, and that fails as it is told to."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from ..gateway.support import completion

_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream")]

DEFECTS = (
    "garbage",
    "not-json",
    "length",
    "content_filter",
    "empty",
    "refusal",
    "no-choices",
    "no-finish",
    "no-done",
    "error-event",
    "cut",
)
"""What may be wrong with an answer of status 200."""


@dataclass(frozen=True)
class Behaviour:
    """How the model answers a request.

    Attributes:
        status: Of the response.
        defect: One of ``DEFECTS``, empty for none.
        delay_s: Before the answer begins.
        padding: Characters added to the answer.
    """

    status: int = 200
    defect: str = ""
    delay_s: float = 0.0
    padding: int = 0

    @property
    def succeeds(self) -> bool:
        """Whether the answer is whole and a success."""
        return self.status == 200 and not self.defect


GOOD = Behaviour()


@dataclass(frozen=True)
class Canary:
    """What an answer says of itself.

    Attributes:
        serial: Numbers the calls in the order in which they began.
        key: ``Authorization`` of whoever it was made for.
        model: Name of the model that was asked.
        system: The system prompt.
        question: The last user turn.
    """

    serial: int
    key: str
    model: str
    system: str
    question: str

    @classmethod
    def of(cls, text: str) -> Canary:
        """Read an answer."""
        serial, key, model, system, question = json.loads(text.partition("\n")[0])
        return cls(serial, key, model, system, question)

    @property
    def text(self) -> str:
        """The answer, on one line."""
        return json.dumps([self.serial, self.key, self.model, self.system, self.question])


@dataclass(frozen=True)
class Told:
    """A call that the model got: what it said, how, and when it began."""

    canary: Canary
    behaviour: Behaviour
    begun: float


@dataclass
class Model:
    """An ASGI application; ``behave`` decides on each call and may be changed at any time."""

    behave: Callable[[Canary], Behaviour] = lambda _: GOOD
    told: dict[int, Told] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    """Calls whose answer was handed over to the last byte."""
    paths: Counter[str] = field(default_factory=Counter)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> int:
        """How many calls have begun."""
        return len(self.told)

    @property
    def latest(self) -> int:
        """Number of the call that began last."""
        with self._lock:
            return max(self.told, default=0)

    @property
    def successes(self) -> set[int]:
        """Calls that were answered whole and as a success."""
        return {n for n in self.whole if self.told[n].behaviour.succeeds}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        if scope["type"] != "http":
            return
        self.paths[scope["path"]] += 1
        body = await _body(receive)
        if not scope["path"].endswith("/chat/completions"):
            await _whole(send, 200, _JSON, b'{"bytes": %d}' % len(body))
            return
        asked = json.loads(body)
        canary, behaviour = self._take(scope, asked)
        if behaviour.delay_s:
            await asyncio.sleep(behaviour.delay_s)
        if behaviour.status != 200:
            error = {"error": {"message": f"status {behaviour.status}", "type": "x"}}
            await _whole(send, behaviour.status, _JSON, json.dumps(error).encode())
            return
        pieces = _pieces(canary, behaviour, stream=bool(asked.get("stream")))
        kind = _EVENTS if asked.get("stream") else _JSON
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        for piece in pieces:
            await send(_piece(piece, more=True))
        if behaviour.defect == "cut":
            return  # the server closes the connection without the end that HTTP requires
        self.whole.add(canary.serial)
        await send(_piece(b"", more=False))

    def _take(self, scope: Scope, asked: dict[str, Any]) -> tuple[Canary, Behaviour]:
        headers = dict(scope["headers"])
        system = [m["content"] for m in asked["messages"] if m["role"] == "system"]
        with self._lock:
            canary = Canary(
                next(self._numbers),
                headers.get(b"authorization", b"").decode(),
                asked["model"],
                "".join(system),
                asked["messages"][-1]["content"],
            )
            behaviour = self.behave(canary)
            self.told[canary.serial] = Told(canary, behaviour, time.monotonic())
        return canary, behaviour


def _pieces(canary: Canary, behaviour: Behaviour, *, stream: bool) -> list[bytes]:
    """Return the body of an answer, with what is wrong with it."""
    defect = behaviour.defect
    text = canary.text + ("\n" + "x" * behaviour.padding if behaviour.padding else "")
    said = completion("" if defect == "empty" else text)
    choice = said["choices"][0]
    if defect == "refusal":
        choice["message"] |= {"refusal": "I will not."}
    if defect in ("length", "content_filter"):
        choice["finish_reason"] = defect
    if defect in ("no-finish", "error-event"):
        choice["finish_reason"] = None
    if defect == "no-choices":
        said["choices"] = []
    if defect == "not-json":
        return [b"data: {not json\n\ndata: [DONE]\n\n" if stream else b'{"choices": [']
    if defect == "garbage":
        return [bytes(range(128, 256))]
    if not stream:
        body = json.dumps(said).encode()
        return [body[: len(body) // 2]] if defect == "cut" else [body]
    events = _events(said, canary)
    if defect == "error-event":
        events += [_event({"error": {"message": "overloaded"}})]
    if defect not in ("no-done", "cut", "error-event"):
        events.append(b"data: [DONE]\n\n")
    return events[:2] if defect == "cut" else events


def _events(said: dict[str, Any], canary: Canary) -> list[bytes]:
    frame = {"id": f"c{canary.serial}", "object": "chat.completion.chunk", "created": 1}
    frame["model"] = canary.model
    events = []
    for choice in said["choices"]:
        text = choice["message"]["content"] or ""
        step = max(1, len(text) // 3 + 1)
        cuts = [text[i : i + step] for i in range(0, len(text), step)]
        for at, part in enumerate(cuts):
            delta = {"content": part} | ({"role": "assistant"} if not at else {})
            if not at and "refusal" in choice["message"]:
                delta["refusal"] = choice["message"]["refusal"]
            events.append(_event({**frame, "choices": [{"index": 0, "delta": delta}]}))
        end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
        events.append(_event({**frame, "choices": [end]}))
    return events


def _event(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(parts)


async def _whole(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send(_piece(body, more=False))


def _piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
