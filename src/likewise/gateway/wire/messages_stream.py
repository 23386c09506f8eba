"""A message of ``/v1/messages`` as the events of a stream, and back.

Blocks come one after the other, each with a beginning, pieces and an end; the reason to stop and
the count of output tokens come at the end of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from likewise.gateway.wire.sse import named_event, objects_of, pieces_of

JsonObject = dict[str, Any]

_PIECES = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""The deltas that go on with a text, and its name: there, and but for the last in the block."""

_DELTAS = {
    "text": (("text", "text_delta"),),
    "thinking": (("thinking", "thinking_delta"), ("signature", "signature_delta")),
}
"""What is told in pieces of a block, in order."""

_AT_THE_END = ("stop_details", "stop_reason", "stop_sequence")
_Told = tuple[str, JsonObject]


def from_stream(events: Sequence[bytes], *, needs_done: bool = True) -> JsonObject | None:
    """Return the message that a stream adds up to, or ``None`` when it is broken or ended early."""
    read = objects_of(events)
    if read is None:
        return None
    stream = _Stream()
    if not all(stream.take(event) for event in read[0]):
        return None
    return stream.message(needs_done=needs_done)


class _Stream:
    """A message that is put together."""

    def __init__(self) -> None:
        self._message: JsonObject | None = None
        self._done = False
        self._blocks: dict[int, JsonObject] = {}
        self._inputs: dict[int, str] = {}

    def take(self, event: JsonObject) -> bool:
        """Add an event; return whether it made sense."""
        match event.get("type"):
            case "error":
                return False
            case "message_start":
                return self._start(event.get("message"))
            case "content_block_start":
                return self._begin(event.get("index"), event.get("content_block"))
            case "content_block_delta":
                return self._go_on(event.get("index"), event.get("delta"))
            case "message_delta":
                return self._finish(event)
            case "message_stop":
                self._done = True
        return True  # the end of a block, a sign of life, or something of the future

    def message(self, *, needs_done: bool) -> JsonObject | None:
        """Return the message; ``None`` when it is not whole, or the input of a call no JSON."""
        message = self._message
        if message is None:
            return None
        if not self._done and (needs_done or not message.get("stop_reason")):
            return None
        for index, text in self._inputs.items():
            try:
                self._blocks[index]["input"] = msgspec.json.decode(text) if text.strip() else {}
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return None
        return {**message, "content": [self._blocks[index] for index in sorted(self._blocks)]}

    def _start(self, message: object) -> bool:
        if self._message is not None or not isinstance(message, dict) or message.get("content"):
            return False
        self._message = message
        return True

    def _begin(self, index: object, block: object) -> bool:
        if self._message is None or type(index) is not int or not isinstance(block, dict):
            return False
        self._blocks[index] = block
        return True

    def _go_on(self, index: object, delta: object) -> bool:
        block = self._blocks.get(index) if type(index) is int else None
        if block is None or type(index) is not int or not isinstance(delta, dict):
            return False
        kind = str(delta.get("type"))
        if kind == "citations_delta":
            held = block.get("citations")
            block["citations"] = [*(held if isinstance(held, list) else []), delta.get("citation")]
            return True
        name = _PIECES.get(kind)
        if name is None:
            return False  # what is not known cannot be put together
        piece, told = delta.get(name), block.get(name) or ""
        if kind == "input_json_delta":
            told = self._inputs.get(index, "")
        if not isinstance(piece, str) or not isinstance(told, str):
            return False
        if kind == "input_json_delta":
            self._inputs[index] = told + piece
        else:
            block[name] = told + piece
        return True

    def _finish(self, event: JsonObject) -> bool:
        """Add what is known at the end."""
        message = self._message
        delta, usage = event.get("delta") or {}, event.get("usage") or {}
        if message is None or not isinstance(delta, dict) or not isinstance(usage, dict):
            return False
        message.update(delta)
        message.update({k: v for k, v in event.items() if k not in ("type", "delta", "usage")})
        held = message.get("usage")
        known = {name: value for name, value in usage.items() if value is not None}
        if known or isinstance(held, dict):
            message["usage"] = {**(held if isinstance(held, dict) else {}), **known}
        return True


def to_stream(message: JsonObject) -> Iterator[bytes]:
    """Yield a well-formed message as the events of a stream."""
    for kind, told in _events(message):
        yield named_event(kind, msgspec.json.encode({"type": kind, **told}))


def _events(message: JsonObject) -> Iterator[_Told]:
    usage = message.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    opening: JsonObject = {**message, "content": []}
    opening.update({name: None for name in _AT_THE_END if name in message})
    if "output_tokens" in usage:
        opening["usage"] = {**usage, "output_tokens": 0}
    yield "message_start", {"message": opening}
    for index, block in enumerate(message["content"]):
        yield from _block(index, block)
        if index == 0:
            yield "ping", {}
    delta = {name: message[name] for name in _AT_THE_END if name in message}
    yield "message_delta", {"delta": delta, "usage": _last(usage)}
    yield "message_stop", {}


def _last(usage: JsonObject) -> JsonObject:
    """Return the usage that ends a stream: all counts, of which those of the output are new."""
    beside = ("output_tokens_details", "server_tool_use")
    return {k: v for k, v in usage.items() if k.endswith("_tokens") or k in beside}


def _block(index: int, block: JsonObject) -> Iterator[_Told]:
    kind = block["type"]
    opening = dict(block)
    deltas: list[JsonObject] = []
    for name, delta in _DELTAS.get(kind, ()):
        if isinstance(text := block.get(name), str) and text:
            opening[name] = ""
            cut = [text] if name == "signature" else pieces_of(text)
            deltas += [{"type": delta, name: piece} for piece in cut]
    if kind.endswith("tool_use") and isinstance(block.get("input"), dict):
        opening["input"] = {}
        spelled = msgspec.json.encode(block["input"]).decode()
        deltas += [{"type": "input_json_delta", "partial_json": p} for p in pieces_of(spelled)]
    if isinstance(block.get("citations"), list) and block["citations"]:
        opening["citations"] = []
        cited = [{"type": "citations_delta", "citation": c} for c in block["citations"]]
        deltas = [*cited, *deltas]
    yield "content_block_start", {"index": index, "content_block": opening}
    yield from (("content_block_delta", {"index": index, "delta": delta}) for delta in deltas)
    yield "content_block_stop", {"index": index}
