"""``POST /v1/messages``, Anthropic's protocol: from the body to a canonical request.

Its answers as streams are in ``messages_stream``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from likewise.gateway.wire import messages_stream
from likewise.gateway.wire.dialect import Around, Dialect, JsonObject, Usage, canonical, count
from likewise.gateway.wire.shape import anthropic_error
from likewise.gateway.wire.sse import named_event
from likewise.request import TOOL_RESULTS, Request

_NOT_IDENTITY = frozenset(
    {
        "cache_control",
        "messages",
        "metadata",
        "model",
        "service_tier",
        "stream",
        "system",
        "tool_choice",
        "tools",
    }
)
_FINISHED = ("end_turn", "stop_sequence", "tool_use")
_KEPT = frozenset({"text", "tool_use", "thinking", "redacted_thinking"})
"""What may be in an answer that is kept: text, and calls that the caller carries out. Tools of the
server have looked something up or done something, which is not to be taken for new."""

_OF_TOOLS = ("tool_use", "tool_result")
"""How the types of blocks end in which a tool is called or has said something."""

_WRITE, _WRITE_FOR_AN_HOUR, _READ = 1.25, 2.0, 0.1
"""What prompt tokens that go to or come from the model's own cache cost, as multiples of the list
price: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching, November 2025."""


class Messages(Dialect):
    """Anthropic's messages."""

    path = "/v1/messages"
    identity_headers = ("anthropic-beta", "anthropic-version")
    error_body = staticmethod(anthropic_error)

    def request_of(self, body: JsonObject, around: Around) -> Request | None:
        """See ``Dialect``. The question is the last text of the user's last message."""
        messages = body.get("messages")
        if not (
            isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages)
        ):
            return None
        messages = _without_ids(
            [{**message, "content": _blocks(message.get("content"))} for message in messages]
        )
        system = _blocks(body.get("system"))
        question, frame, exact_only = _question(messages[-1])
        tools = {name: _unmarked(body[name]) for name in ("tools", "tool_choice") if body.get(name)}
        temperature = body.get("temperature")
        return Request(
            question=question,
            scope=self.scope_of(
                body,
                around,
                context=[system, messages[:-1], frame],
                without=_NOT_IDENTITY,
                tools=tools or None,
            ),
            controls=around.asked.controls,
            exact_only=_exact_only(body, [system, *(m["content"] for m in messages)]) or exact_only,
            turns=sum(message.get("role") == "user" for message in messages),
            temperature=temperature if isinstance(temperature, int | float) else None,
            system=_text(system),
            path=self.path,
            stateful=bool(body.get("container")),
        )

    def is_well_formed(self, answer: object) -> bool:
        """See ``Dialect``."""
        content = answer.get("content") if isinstance(answer, dict) else None
        return isinstance(content, list) and all(
            isinstance(block, dict) and isinstance(block.get("type"), str) for block in content
        )

    def why_not_keep(self, answer: object) -> str | None:
        """See ``Dialect``."""
        if not isinstance(answer, dict) or not self.is_well_formed(answer):
            return "no content"
        if answer.get("stop_reason") not in _FINISHED:
            return "not finished"
        content = answer["content"]
        if any(block["type"] not in _KEPT for block in content):
            return "a block of a tool of the server's"
        says = any(b["type"] == "tool_use" or str(b.get("text") or "").strip() for b in content)
        return None if says else "an empty message"

    def from_stream(self, events: Sequence[bytes], *, needs_done: bool = True) -> JsonObject | None:
        """See ``Dialect``; without ``needs_done`` it is whole once it has a reason to stop."""
        return messages_stream.from_stream(events, needs_done=needs_done)

    def to_stream(self, answer: JsonObject, *, include_usage: bool) -> Iterator[bytes]:
        """See ``Dialect``."""
        return messages_stream.to_stream(answer)

    def usage_of(self, answer: JsonObject) -> Usage:
        """See ``Dialect``. The prompt's tokens are those that no cache had, written and read."""
        found = answer.get("usage")
        found = found if isinstance(found, dict) else {}
        plain = count(found.get("input_tokens"))
        if plain is None:
            return Usage(None, count(found.get("output_tokens")), None)
        written = count(found.get("cache_creation_input_tokens")) or 0
        read = count(found.get("cache_read_input_tokens")) or 0
        by_life = found.get("cache_creation")
        by_life = by_life if isinstance(by_life, dict) else {}
        long = min(count(by_life.get("ephemeral_1h_input_tokens")) or 0, written)
        charged = (
            plain + (written - long) * _WRITE + long * _WRITE_FOR_AN_HOUR + read * _READ
            if written or read
            else plain
        )
        return Usage(plain + written + read, count(found.get("output_tokens")), charged)

    def beginning(self, body: JsonObject) -> object:
        """See ``Dialect``."""
        return [body.get("system"), body.get("messages", [])[:2]]

    def error_event(self, message: str, *, status: int, position: int) -> bytes:
        """See ``Dialect``."""
        return named_event("error", anthropic_error(message, status=status, code=None))


MESSAGES = Messages()


def _blocks(content: object) -> object:
    """Return content as blocks, of which a string is one, without how long they may be cached.

    What is neither is for the model to judge, and stays as it is.
    """
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        return content
    return [
        {**block, "content": _unmarked(block["content"])}
        if isinstance(block, dict) and "content" in block
        else block
        for block in _unmarked(content)
    ]


def _unmarked(value: Any) -> Any:
    """Return a list of objects without their ``cache_control``: it changes the price alone."""
    if not isinstance(value, list):
        return value
    return [
        {name: part for name, part in item.items() if name != "cache_control"}
        if isinstance(item, dict)
        else item
        for item in value
    ]


def _question(last: JsonObject) -> tuple[str, object, str | None]:
    """Return the question, what stands in its place, and why only equality counts, if so."""
    content = last["content"]
    fields = {name: value for name, value in last.items() if name != "content"}
    if last.get("role") != "user":
        return canonical(content), [fields], "the last message is not the user's"
    if isinstance(content, list) and content and _is_text(content[-1]):
        *before, block = content
        return block["text"], [fields, before], None
    return canonical(content), [fields], _why_not_text(content)


def _exact_only(body: JsonObject, contents: list[object]) -> str | None:
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    kinds = [block.get("type") if isinstance(block, dict) else None for block in blocks]
    # Before all else: what follows a tool's result may not even be kept.
    if any(isinstance(kind, str) and kind.endswith(_OF_TOOLS) for kind in kinds):
        return TOOL_RESULTS
    if body.get("tools") or body.get("mcp_servers"):
        return "tools"
    for content in contents:
        for block in content if isinstance(content, list) else []:
            kind = block.get("type") if isinstance(block, dict) else None
            if not _is_text(block) and kind not in ("thinking", "redacted_thinking"):
                return _why_not_text(content)
    return None


def _without_ids(messages: list[JsonObject]) -> list[JsonObject]:
    """Return ``messages`` with tool calls numbered: their identifiers differ from call to call."""
    numbers: dict[str, str] = {}

    def numbered(block: object) -> object:
        if not isinstance(block, dict):
            return block
        for kind, name in (("tool_use", "id"), ("tool_result", "tool_use_id")):
            if block.get("type") == kind and name in block:
                number = numbers.setdefault(str(block[name]), f"call-{len(numbers)}")
                return {**block, name: number}
        return block

    return [
        {**message, "content": [numbered(block) for block in message["content"]]}
        if isinstance(message["content"], list)
        else message
        for message in messages
    ]


def _is_text(block: object) -> bool:
    return (
        isinstance(block, dict)
        and block.get("type") == "text"
        and len(block) == 2
        and isinstance(block.get("text"), str)
    )


def _why_not_text(content: object) -> str:
    texts = isinstance(content, list) and all(
        isinstance(block, dict) and block.get("type") == "text" for block in content
    )
    return "text with more fields" if texts else "images, documents or files"


def _text(system: object) -> str:
    blocks = system if isinstance(system, list) else []
    return "\n".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))
