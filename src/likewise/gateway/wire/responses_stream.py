"""A response of ``/v1/responses`` as the events of a stream, and back.

Each event has a type, as its name and in its data, and a number. The last one carries the whole
response: what comes before it is for those who cannot wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from likewise.gateway.wire.sse import named_event, objects_of, pieces_of

JsonObject = dict[str, Any]
_Told = tuple[str, JsonObject]

_LAST = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
}
"""The events that end a stream, and the status of their response."""

_DONE_ITEM = "response.output_item.done"
_ARGUMENTS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
"""What is told in pieces of a call of a tool, and under which name."""


def from_stream(events: Sequence[bytes]) -> JsonObject | None:
    """Return the response that ends a stream, or ``None`` when it did not come to its end.

    Some servers leave the output out there: it is put together from the items that were done.
    """
    read = objects_of(events)
    if read is None:
        return None
    items: dict[int, JsonObject] = {}
    for event in read[0]:
        kind = event.get("type")
        if kind == "error":
            return None
        if kind == _DONE_ITEM:
            index, item = event.get("output_index"), event.get("item")
            if isinstance(item, dict) and type(index) is int:
                items[index] = item
        if kind in _LAST:
            response = event.get("response")
            if not isinstance(response, dict):
                return None
            if not response.get("output") and items:
                response["output"] = [items[index] for index in sorted(items)]
            return response
    return None


def to_stream(response: JsonObject) -> Iterator[bytes]:
    """Yield a well-formed response as the events of a stream."""
    for number, (kind, told) in enumerate(_events(response)):
        data = {"type": kind, "sequence_number": number, **told}
        yield named_event(kind, msgspec.json.encode(data))


def _events(response: JsonObject) -> Iterator[_Told]:
    opening = {**response, "status": "in_progress", "output": [], "usage": None}
    yield "response.created", {"response": opening}
    yield "response.in_progress", {"response": opening}
    for index, item in enumerate(response["output"]):
        yield from _item(index, item)
    endings = {status: kind for kind, status in _LAST.items()}
    last = endings.get(str(response.get("status")), "response.completed")
    yield last, {"response": response}


def _item(index: int, item: JsonObject) -> Iterator[_Told]:
    where = {"output_index": index}
    inner = {**where, "item_id": item.get("id", "")}
    kind = str(item.get("type"))
    opening = dict(item)
    if "status" in item:
        opening["status"] = "in_progress"
    for name in ("content", "summary"):
        if item.get(name):
            opening[name] = []
    if kind in _ARGUMENTS:
        opening[_ARGUMENTS[kind][0]] = ""
    yield "response.output_item.added", {**where, "item": opening}
    for place, part in enumerate(item.get("summary") or []):
        yield from _summary({**inner, "summary_index": place}, part)
    for place, part in enumerate(item.get("content") or []):
        yield from _part({**inner, "content_index": place}, part)
    if kind in _ARGUMENTS:
        name, told = _ARGUMENTS[kind]
        text = str(item.get(name) or "")
        yield from ((f"{told}.delta", {**inner, "delta": piece}) for piece in pieces_of(text))
        named = {"name": item["name"]} if name == "arguments" and "name" in item else {}
        yield f"{told}.done", {**inner, **named, name: text}
    yield _DONE_ITEM, {**where, "item": item}


def _summary(where: JsonObject, part: JsonObject) -> Iterator[_Told]:
    told = "response.reasoning_summary"
    text = str(part.get("text") or "")
    yield f"{told}_part.added", {**where, "part": {**part, "text": ""}}
    for piece in pieces_of(text):
        yield f"{told}_text.delta", {**where, "delta": piece}
    yield f"{told}_text.done", {**where, "text": text}
    yield f"{told}_part.done", {**where, "part": part}


def _part(where: JsonObject, part: JsonObject) -> Iterator[_Told]:
    kind = part.get("type")
    if kind == "refusal":
        yield from _spoken(where, part, "refusal", "response.refusal", {})
    elif kind == "reasoning_text":
        yield from _spoken(where, part, "text", "response.reasoning_text", {})
    elif kind == "output_text":
        yield from _spoken(where, part, "text", "response.output_text", {"logprobs": []})
    else:
        yield "response.content_part.added", {**where, "part": part}
        yield "response.content_part.done", {**where, "part": part}


def _spoken(
    where: JsonObject, part: JsonObject, name: str, told: str, beside: JsonObject
) -> Iterator[_Told]:
    """Yield a part that is told in pieces; ``name`` is that of its text."""
    opening = {**part, name: ""}
    lists = [key for key in ("annotations", "logprobs") if isinstance(part.get(key), list)]
    opening.update({key: [] for key in lists})
    yield "response.content_part.added", {**where, "part": opening}
    text = str(part.get(name) or "")
    for piece in pieces_of(text):
        yield f"{told}.delta", {**where, "delta": piece, **beside}
    for place, annotation in enumerate(part["annotations"] if "annotations" in lists else []):
        annotated = {"annotation_index": place, "annotation": annotation}
        yield "response.output_text.annotation.added", {**where, **annotated}
    ended = {name: part.get(name) or [] for name in beside}
    yield f"{told}.done", {**where, name: text, **ended}
    yield "response.content_part.done", {**where, "part": part}
