"""``POST /v1/chat/completions``: from the body to a canonical request.

Its answers are in ``completion``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from likewise.gateway.wire import chunks, completion
from likewise.gateway.wire.dialect import (
    Around,
    Call,
    Dialect,
    JsonObject,
    Usage,
    canonical,
    openai_usage,
)
from likewise.request import TOOL_RESULTS, Request
from likewise.scope import Scope

PATH = "/v1/chat/completions"

_NOT_IDENTITY = frozenset(
    {
        "cache",
        "messages",
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
        "functions",
        "function_call",
        "user",
    }
)
"""Fields that are part of the scope elsewhere, or that do not change what the answer says."""

_TOOL_FIELDS = ("tools", "tool_choice", "functions", "function_call")
_SYSTEM_ROLES = ("system", "developer")


class Chat(Dialect):
    """OpenAI's chat completions."""

    path = PATH
    asks_for_usage = True

    def request_of(self, body: JsonObject, around: Around) -> Request | None:
        """See ``Dialect``."""
        messages = body.get("messages")
        if not (
            isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages)
        ):
            return None
        question, exact_only = _question(messages[-1])
        temperature = body.get("temperature")
        return Request(
            question=question,
            scope=_scope(
                body,
                messages,
                tenant=around.tenant,
                namespace=around.asked.namespace,
                query=around.query,
            ),
            controls=around.asked.controls,
            exact_only=_exact_only(body, messages) or exact_only,
            turns=sum(m.get("role") == "user" for m in messages),
            temperature=temperature if isinstance(temperature, int | float) else None,
            system="\n".join(_text(m) for m in messages if m.get("role") in _SYSTEM_ROLES),
            path=PATH,
        )

    def is_well_formed(self, answer: object) -> bool:
        """See ``Dialect``."""
        return completion.is_well_formed(answer)

    def why_not_keep(self, answer: object) -> str | None:
        """See ``Dialect``."""
        return completion.why_not_keep(answer)

    def from_stream(self, events: Sequence[bytes], *, needs_done: bool = True) -> JsonObject | None:
        """See ``Dialect``; without ``needs_done`` it is whole once every choice is finished."""
        return completion.from_stream(events, needs_done=needs_done)

    def to_stream(self, answer: JsonObject, *, include_usage: bool) -> Iterator[bytes]:
        """See ``Dialect``."""
        return completion.to_stream(answer, include_usage=include_usage)

    def is_usage_only(self, event: bytes) -> bool:
        """See ``Dialect``."""
        return chunks.is_usage_only(event)

    def usage_of(self, answer: JsonObject) -> Usage:
        """See ``Dialect``."""
        return openai_usage(answer, prompt="prompt_tokens", output="completion_tokens")

    def beginning(self, body: JsonObject) -> object:
        """See ``Dialect``."""
        return body.get("messages", [])[:2]


CHAT = Chat()


def read_chat(
    data: bytes, headers: Mapping[str, str], *, tenant: str, query: str = ""
) -> Call | None:
    """Return the chat request in ``data``; see ``Dialect.read``."""
    return CHAT.read(data, headers, tenant=tenant, query=query)


def _question(last: dict[str, Any]) -> tuple[str, str | None]:
    """Return the question, and why only the exact tier may serve it, if so."""
    content = last.get("content")
    if last.get("role") != "user":
        return canonical(_without_ids([last])), "the last message is not the user's"
    if isinstance(content, str):
        return content, None
    if _is_text(content):
        return _text(last), None
    return canonical(content), _why_not_text(content)


def _exact_only(body: Mapping[str, Any], messages: list[dict[str, Any]]) -> str | None:
    # Before all else: what follows a tool's result may not even be kept.
    if any(m.get("role") in ("tool", "function") or m.get("tool_calls") for m in messages):
        return TOOL_RESULTS
    if body.get("tools") or body.get("functions"):
        return "tools"
    for message in messages:
        if isinstance(content := message.get("content"), list) and not _is_text(content):
            return _why_not_text(content)
    if isinstance(n := body.get("n"), int) and n > 1:
        return "several choices"
    return None


def _scope(
    body: Mapping[str, Any],
    messages: list[dict[str, Any]],
    *,
    tenant: str,
    namespace: str,
    query: str,
) -> Scope:
    *earlier, last = _without_ids(messages)
    frame = {name: value for name, value in last.items() if name != "content"}
    if not isinstance(content := last.get("content"), str) and not _is_text(content):
        # A question that is the JSON of parts must not be taken for one that spells this JSON.
        frame["content"] = "parts"
    parameters = {name: value for name, value in body.items() if name not in _NOT_IDENTITY}
    # A list is no object: no field of a body can be taken for a query.
    outer = [parameters, query] if query else parameters
    tools = {name: body[name] for name in _TOOL_FIELDS if body.get(name) is not None}
    return Scope(
        tenant=tenant,
        namespace=namespace,
        model=str(body.get("model", "")),
        context=canonical([*earlier, frame]),
        tools=canonical(tools) if tools else "",
        parameters=canonical(outer),
    )


def _without_ids(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ``messages`` with tool calls numbered: their identifiers differ from call to call."""
    if not any("tool_calls" in m or "tool_call_id" in m for m in messages):
        return messages
    numbers: dict[str, str] = {}

    def number(identifier: object) -> str:
        return numbers.setdefault(str(identifier), f"call-{len(numbers)}")

    result = []
    for message in messages:
        copy = dict(message)
        if isinstance(calls := message.get("tool_calls"), list):
            copy["tool_calls"] = [
                {**call, "id": number(call.get("id"))} if isinstance(call, dict) else call
                for call in calls
            ]
        if "tool_call_id" in message:
            copy["tool_call_id"] = number(message["tool_call_id"])
        result.append(copy)
    return result


def _is_text(content: object) -> bool:
    """Return whether ``content`` is a list of parts that are text and nothing else."""
    return isinstance(content, list) and all(
        _is_text_part(part) and len(part) == 2 and isinstance(part.get("text"), str)
        for part in content
    )


def _is_text_part(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text"


def _why_not_text(content: object) -> str:
    if isinstance(content, list) and all(_is_text_part(part) for part in content):
        return "text with more fields"
    return "images, audio or files"


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    return ""
