"""Streams of chunks that have choices, as OpenAI's chat and text completions send them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from likewise.gateway.wire.sse import data_of, objects_of

JsonObject = dict[str, Any]


class Chunks(NamedTuple):
    """What the chunks of a stream say: beside the choices, of the choices, and whether of all."""

    frame: JsonObject
    choices: list[JsonObject]
    done: bool


def chunks_of(events: Sequence[bytes], is_choice: Callable[[object], bool]) -> Chunks | None:
    """Return what a stream of chunks says, or ``None`` when it is broken.

    ``is_choice`` says whether a part of a choice is one.
    """
    read = objects_of(events)
    if read is None:
        return None
    frame: JsonObject = {}
    found: list[JsonObject] = []
    for chunk in read[0]:
        choices = chunk.pop("choices", None) or []
        if chunk.get("error") or not isinstance(choices, list) or not all(map(is_choice, choices)):
            return None
        found += choices
        for name, value in chunk.items():
            if value is not None or name not in frame:
                frame[name] = value
    if frame.get("usage", ...) is None:
        del frame["usage"]
    return Chunks(frame, found, read[1])


def is_usage_only(event: bytes) -> bool:
    """Return whether an event is the chunk that carries the usage and nothing else."""
    if b'"usage"' not in event:
        return False
    try:
        chunk = msgspec.json.decode(data_of(event) or b"null")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and bool(chunk.get("usage"))
