"""A model's answer in its two forms: whole, and as a stream of chunks.

What is stored is always the whole form. A stream is put together into it by merging deltas, and a
stored answer is cut into chunks again when a stream is asked for. Fields this module does not know
are carried along both ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from likewise.gateway.wire.sse import DONE, data_of, event_of

JsonObject = dict[str, Any]

_FINISHED = ("stop", "tool_calls", "function_call")
_WHOLE_VALUES = ("role", "type", "id", "object", "model", "finish_reason")
"""Texts that a delta repeats rather than continues."""

_PIECE = re.compile(r"\S*\s*\S*\s*\S*\s*", re.DOTALL)
"""A stored text is replayed about three words a chunk."""


def why_not_keep(completion: object) -> str | None:
    """Return why an answer may not be stored, or ``None`` when it is whole and successful."""
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not isinstance(choices, list) or not choices:
        return "no choices"
    return next((reason for choice in choices if (reason := _defect(choice))), None)


def _defect(choice: object) -> str | None:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return "a choice without a message"
    if choice.get("finish_reason") not in _FINISHED:
        return "not finished"
    if message.get("refusal"):
        return "a refusal"
    content = message.get("content")
    if isinstance(content, str):
        content = content.strip()
    if not (content or message.get("tool_calls") or message.get("function_call")):
        return "an empty message"
    return None


def is_well_formed(completion: object) -> bool:
    """Return whether an answer has what it takes to be cut into chunks."""
    choices = completion.get("choices") if isinstance(completion, dict) else None
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(c, dict) and isinstance(c.get("message"), dict) for c in choices)
    )


def from_stream(events: Sequence[bytes], *, needs_done: bool = True) -> JsonObject | None:
    """Return the whole form of a stream, or ``None`` when it is broken or ended early.

    Without ``needs_done`` a stream in which every choice is finished is whole as well.
    """
    result: JsonObject = {}
    choices: dict[int, JsonObject] = {}
    done = False
    for event in events:
        data = data_of(event)
        if data is None:
            continue
        if data.strip() == DONE:
            done = True
            continue
        try:
            chunk = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(chunk, dict) or chunk.get("error"):
            return None
        deltas = chunk.pop("choices", None) or []
        if not isinstance(deltas, list) or not all(map(_is_delta, deltas)):
            return None
        for choice in deltas:
            _merge_choice(choices, choice)
        for name, value in chunk.items():
            if value is not None or name not in result:
                result[name] = value
    finished = done or (
        not needs_done and all(choice["finish_reason"] for choice in choices.values())
    )
    if not finished or not choices:
        return None
    if result.get("usage", ...) is None:
        del result["usage"]
    result["object"] = "chat.completion"
    result["choices"] = [_closed(choices[index]) for index in sorted(choices)]
    return result


def to_stream(completion: JsonObject, *, include_usage: bool) -> Iterator[bytes]:
    """Yield a whole answer as the events of a well-formed stream."""
    frame = {k: v for k, v in completion.items() if k not in ("choices", "usage", "object")}
    frame["object"] = "chat.completion.chunk"
    if include_usage:
        frame["usage"] = None
    for position, choice in enumerate(completion["choices"]):
        index = choice.get("index", position)
        extra = {k: v for k, v in choice.items() if k not in ("message", "finish_reason", "index")}
        for delta in _deltas(choice["message"]):
            yield _chunk(frame, index, delta, None)
        yield _chunk(frame, index, {}, choice.get("finish_reason"), extra)
    if include_usage and completion.get("usage"):
        last = {**frame, "choices": [], "usage": completion["usage"]}
        yield event_of(msgspec.json.encode(last))
    yield event_of(DONE)


def is_usage_only(event: bytes) -> bool:
    """Return whether an event is the chunk that carries the usage and nothing else."""
    if b'"usage"' not in event:
        return False
    try:
        chunk = msgspec.json.decode(data_of(event) or b"null")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(chunk, dict) and chunk.get("choices") == [] and bool(chunk.get("usage"))


def _is_delta(choice: object) -> bool:
    return (
        isinstance(choice, dict)
        and isinstance(choice.get("index", 0), int)
        and isinstance(choice.get("delta") or {}, dict)
    )


def _merge_choice(choices: dict[int, JsonObject], choice: JsonObject) -> None:
    index = choice.get("index", 0)
    merged = choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
    for name, value in choice.items():
        if name == "delta":
            merge(merged["message"], value or {})
        else:
            merge(merged, {name: value})


def merge(target: JsonObject, delta: JsonObject) -> None:
    """Add a delta to what came before: texts are continued, lists merged by ``index``."""
    for name, value in delta.items():
        current = target.get(name)
        if value is None:
            target.setdefault(name, None)
        elif isinstance(value, str) and isinstance(current, str):
            repeated = name in _WHOLE_VALUES or (name == "name" and current == value)
            target[name] = (value or current) if repeated else current + value
        elif isinstance(value, dict):
            if not isinstance(current, dict):
                current = target[name] = {}
            merge(current, value)
        elif isinstance(value, list):
            if not isinstance(current, list):
                current = target[name] = []
            _merge_list(current, value)
        else:
            target[name] = value


def _merge_list(target: list[Any], items: list[Any]) -> None:
    for item in items:
        index = item.get("index") if isinstance(item, dict) else None
        same = None
        if index is not None:
            same = next(
                (o for o in target if isinstance(o, dict) and o.get("index") == index), None
            )
        if same is not None:
            merge(same, item)
            continue
        fresh: Any = item
        if isinstance(item, dict):
            fresh = {}
            merge(fresh, item)
        target.append(fresh)


def _closed(choice: JsonObject) -> JsonObject:
    """Return a merged choice as the whole form has it: tool calls carry no index there."""
    message = choice["message"]
    message.setdefault("role", "assistant")
    message.setdefault("content", None)
    calls = message.get("tool_calls")
    if isinstance(calls, list) and all(isinstance(call, dict) for call in calls):
        # Some servers leave the index out, or send something else.
        if all(isinstance(call.get("index"), int) for call in calls):
            calls.sort(key=lambda call: call["index"])
        for call in calls:
            call.pop("index", None)
    return choice


def _deltas(message: JsonObject) -> Iterator[JsonObject]:
    """Yield an opening with everything that cannot be cut, then the texts, then the tool calls."""
    texts = {k: v for k, v in message.items() if isinstance(v, str) and v and k != "role"}
    calls = message.get("tool_calls")
    calls = calls if isinstance(calls, list) and all(isinstance(c, dict) for c in calls) else []
    opening = {"role": message.get("role", "assistant"), "content": message.get("content")}
    for name, value in message.items():
        if name in texts:
            # Clients look for the content's beginning here; the other texts begin where they begin.
            opening.update({name: ""} if name == "content" else {})
        elif name != "tool_calls" or not calls:
            opening[name] = value
    yield opening
    for name in sorted(texts, key=lambda name: name == "content"):  # reasoning goes first
        yield from ({name: piece} for piece in _pieces(texts[name]))
    for index, call in enumerate(calls):
        yield from _call_deltas(index, call)


def _call_deltas(index: int, call: JsonObject) -> Iterator[JsonObject]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        yield {"tool_calls": [{**call, "index": index}]}
        return
    opening = {**call, "function": {**function, "arguments": ""}}
    yield {"tool_calls": [{**opening, "index": index}]}
    for piece in _pieces(function["arguments"]):
        yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _pieces(text: str) -> Iterator[str]:
    return (piece for piece in _PIECE.findall(text) if piece)


def _chunk(
    frame: JsonObject,
    index: int,
    delta: JsonObject,
    finish_reason: str | None,
    extra: JsonObject | None = None,
) -> bytes:
    choice = {"index": index, "delta": delta, **(extra or {}), "finish_reason": finish_reason}
    return event_of(msgspec.json.encode({**frame, "choices": [choice]}))
