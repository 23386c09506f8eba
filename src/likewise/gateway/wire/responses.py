"""``POST /v1/responses``: from the body to a canonical request.

Its answers as streams are in ``responses_stream``.

A server that keeps responses (``store``, which is true unless it is said) lets later requests go on
from one by its identifier. An answer from cache has the identifier of the response that the model
made, and that the same tenant's key may go on from; so ``store`` is part of what must be equal, and
a caller who writes ``store: true`` is served equal questions only. What depends on something that
the server holds is never cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

from likewise.gateway.wire import responses_stream
from likewise.gateway.wire.dialect import (
    Around,
    Dialect,
    JsonObject,
    Usage,
    canonical,
    openai_usage,
)
from likewise.gateway.wire.sse import named_event
from likewise.request import TOOL_RESULTS, Request

_NOT_IDENTITY = frozenset(
    {
        "input",
        "instructions",
        "metadata",
        "model",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "tool_choice",
        "tools",
        "user",
    }
)
_STATE = ("background", "conversation", "previous_response_id", "prompt")
"""Fields that refer to what the server holds, or ask it to hold the answer's making."""

_OF_TOOLS = ("_call", "_output")
"""How the types of items end in which a tool is called or has said something."""

_SYSTEM_ROLES = ("system", "developer")
_TEXTS = ("input_text", "output_text")
_KEPT = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})
"""What may be in an answer that is kept: text, and calls that the caller carries out. Tools of the
server have looked something up or done something, which is not to be taken for new."""


class Responses(Dialect):
    """OpenAI's responses."""

    path = "/v1/responses"
    identity_headers = ("openai-beta",)
    echoes = MappingProxyType(
        {
            "metadata": {},
            "prompt_cache_key": None,
            "prompt_cache_retention": None,
            "safety_identifier": None,
            "user": None,
        }
    )

    def request_of(self, body: JsonObject, around: Around) -> Request | None:
        """See ``Dialect``. The question is the last text of the user's last item."""
        given = body.get("input")
        items = [_message(given)] if isinstance(given, str) else given
        if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
            return None
        instructions = body.get("instructions")
        question, frame, exact_only = _question(items[-1])
        keeps = body.get("store") is not False
        if body.get("store") is True:
            exact_only = exact_only or "the caller may go on from the answer by its identifier"
        temperature = body.get("temperature")
        tools = {k: body[k] for k in ("tools", "tool_choice") if body.get(k) is not None}
        earlier = _without_ids([*items[:-1], frame])
        return Request(
            question=question,
            scope=self.scope_of(
                body,
                around,
                context=[instructions, earlier, keeps],
                without=_NOT_IDENTITY,
                tools=tools or None,
            ),
            controls=around.asked.controls,
            exact_only=_exact_only(body, items) or exact_only,
            turns=sum(item.get("role") == "user" for item in items),
            temperature=temperature if isinstance(temperature, int | float) else None,
            system="\n".join(
                [
                    *([instructions] if isinstance(instructions, str) else []),
                    *(_text(item) for item in items if item.get("role") in _SYSTEM_ROLES),
                ]
            ),
            path=self.path,
            stateful=any(body.get(name) for name in _STATE)
            or any(item.get("type") == "item_reference" for item in items),
        )

    def is_well_formed(self, answer: object) -> bool:
        """See ``Dialect``."""
        output = answer.get("output") if isinstance(answer, dict) else None
        return isinstance(output, list) and all(map(_is_item, output))

    def why_not_keep(self, answer: object) -> str | None:
        """See ``Dialect``."""
        if not isinstance(answer, dict) or not self.is_well_formed(answer):
            return "no output"
        if answer.get("status") != "completed" or answer.get("error"):
            return "not finished"
        says = False
        for item in answer["output"]:
            kind = item.get("type")
            if kind not in _KEPT:
                return "an item of a tool of the server's"
            if item.get("status", "completed") != "completed":
                return "not finished"
            parts = item.get("content") or [] if kind == "message" else []
            if any(part.get("type") == "refusal" for part in parts):
                return "a refusal"
            says = says or kind.endswith("_call")
            says = says or any(str(part.get("text") or "").strip() for part in parts)
        return None if says else "an empty message"

    def from_stream(self, events: Sequence[bytes], *, needs_done: bool = True) -> JsonObject | None:
        """See ``Dialect``."""
        return responses_stream.from_stream(events)

    def to_stream(self, answer: JsonObject, *, include_usage: bool) -> Iterator[bytes]:
        """See ``Dialect``."""
        return responses_stream.to_stream(answer)

    def usage_of(self, answer: JsonObject) -> Usage:
        """See ``Dialect``."""
        return openai_usage(answer, prompt="input_tokens", output="output_tokens")

    def beginning(self, body: JsonObject) -> object:
        """See ``Dialect``."""
        given = body.get("input")
        return [body.get("instructions"), given[:2] if isinstance(given, list) else given]

    def error_event(self, message: str, *, status: int, position: int) -> bytes:
        """See ``Dialect``."""
        told = {
            "type": "error",
            "code": "upstream_error",
            "message": message,
            "param": None,
            "sequence_number": position,
        }
        return named_event("error", canonical(told).encode())


RESPONSES = Responses()


def _message(text: str) -> JsonObject:
    return {"role": "user", "content": text}


def _question(last: JsonObject) -> tuple[str, JsonObject, str | None]:
    """Return the question, what stands in its place, and why only equality counts, if so."""
    content = last.get("content")
    if last.get("role") != "user" or last.get("type", "message") != "message":
        # Which of several earlier calls it is about must not be lost with the identifiers.
        frame = {"call_id": last["call_id"]} if "call_id" in last else {}
        return canonical(_without_ids([last])), frame, "the last item is not the user's"
    fields = {k: v for k, v in last.items() if k not in ("content", "type", "id", "status")}
    if isinstance(content, str):
        return content, {"fields": fields, "before": []}, None
    if isinstance(content, list) and content and all(map(_is_text_part, content)):
        *before, part = content
        return part["text"], {"fields": fields, "before": before}, None
    return canonical(content), {"fields": fields}, _why_not_text(content)


def _exact_only(body: JsonObject, items: list[JsonObject]) -> str | None:
    kinds = [str(item.get("type", "message")) for item in items]
    # Before all else: what follows a tool's result may not even be kept.
    if any(kind.endswith(_OF_TOOLS) for kind in kinds):
        return TOOL_RESULTS
    if body.get("tools"):
        return "tools"
    for item, kind in zip(items, kinds, strict=True):
        if kind != "message":
            return "items that are no messages"
        content = item.get("content")
        if not isinstance(content, str) and not (
            isinstance(content, list) and all(map(_is_said, content))
        ):
            return _why_not_text(content)
    return None


def _without_ids(items: list[JsonObject]) -> list[JsonObject]:
    """Return ``items`` as they are the same whoever answered: their identifiers are random.

    Reasoning keeps its own: a server may hold what it stands for.
    """
    numbers: dict[str, str] = {}
    result = []
    for item in items:
        if item.get("type") == "reasoning":
            result.append(item)
            continue
        copy = {name: value for name, value in item.items() if name not in ("id", "status")}
        if "call_id" in copy:
            copy["call_id"] = numbers.setdefault(str(copy["call_id"]), f"call-{len(numbers)}")
        if copy.get("type") == "message":
            del copy["type"]
        result.append(copy)
    return result


def _is_item(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    return all(
        item.get(name) is None
        or (isinstance(item[name], list) and all(isinstance(part, dict) for part in item[name]))
        for name in ("content", "summary")
    )


def _is_text_part(part: object) -> bool:
    return (
        isinstance(part, dict)
        and part.get("type") == "input_text"
        and len(part) == 2
        and isinstance(part.get("text"), str)
    )


def _is_said(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in _TEXTS


def _why_not_text(content: object) -> str:
    if isinstance(content, list) and all(map(_is_said, content)):
        return "text with more fields"
    return "images, audio or files"


def _text(item: JsonObject) -> str:
    content: Any = item.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
