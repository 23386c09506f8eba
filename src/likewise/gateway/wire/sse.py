"""Server-sent events: splitting a byte stream into events, and reading what they carry.

Format: WHATWG HTML, section 9.2 "Server-sent events".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

_EOL = rb"(?:\r\n|\n|\r(?!\n|\Z))"
_END = re.compile(_EOL + _EOL)
"""A blank line. A carriage return at the very end waits: a line feed may follow it."""

_LINE = re.compile(rb"\r\n|\n|\r")
DONE = b"[DONE]"

_PIECE = re.compile(r"\S*\s*\S*\s*\S*\s*", re.DOTALL)


class Splitter:
    """Cuts a byte stream into events; the pieces it returns join to the stream, byte for byte."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that ``data`` completes, each with the blank line that ends it."""
        buffer = self._rest + data
        events = []
        start = 0
        for match in _END.finditer(buffer):
            events.append(buffer[start : match.end()])
            start = match.end()
        self._rest = buffer[start:]
        return events

    def rest(self) -> bytes:
        """Return what came after the last whole event, and forget it."""
        rest, self._rest = self._rest, b""
        return rest


def data_of(event: bytes) -> bytes | None:
    """Return the data of an event, or ``None`` when it has none (a comment, a keep-alive)."""
    plain = event.count(b"\n") == 2 and event.endswith(b"\n\n") and b"\r" not in event
    if plain and event.startswith(b"data: "):
        return event[6:-2]
    lines = [line[5:] for line in _LINE.split(event) if line.startswith(b"data:")]
    if not lines:
        return None
    return b"\n".join(line.removeprefix(b" ") for line in lines)


def event_of(data: bytes) -> bytes:
    """Return ``data``, which has no line break, as an event."""
    return b"data: " + data + b"\n\n"


def named_event(name: str, data: bytes) -> bytes:
    """Return ``data``, which has no line break, as an event with a name."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def objects_of(events: Sequence[bytes]) -> tuple[list[dict[str, Any]], bool] | None:
    """Return the JSON objects that events carry, and whether ``[DONE]`` was said.

    ``None`` when one of them is no JSON object.
    """
    found: list[dict[str, Any]] = []
    done = False
    for event in events:
        data = data_of(event)
        if data is None:
            continue
        if data.strip() == DONE:
            done = True
            continue
        try:
            value = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        found.append(value)
    return found, done


def pieces_of(text: str) -> list[str]:
    """Return a stored text in the pieces in which it is replayed, about three words each."""
    return [piece for piece in _PIECE.findall(text) if piece]
