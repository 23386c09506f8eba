"""What the stand-in answers: text that belongs to the messages, whole or as chunks.

The shapes of a chat are here, those of the other protocols in ``protocols``.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar

# 32 of them: one byte of the digest, modulo 32, picks a word without bias.
_VOCABULARY = """
    amber anchor basket bridge candle canyon cedar copper desert ember feather garden granite
    harbor island juniper kettle lantern maple meadow needle orchard pebble planet quartz river
    saddle silver thunder timber velvet walnut
"""
_WORDS = tuple(_VOCABULARY.split())
_UNICODE = "Grüße 🙂 👩‍🚀 日本語のテキスト, 简体中文, 한국어."
_DIRECTIVE = re.compile(r"\[\[(\w+)(?::([^\[\]]*))?\]\]")
_PIECE = re.compile(r"(?:\S+\s*){1,3}")

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer, before it takes the shape of a protocol."""

    finish: str
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    tool: str | None = None
    tool_id: str = ""
    arguments: str = ""

    def message(self) -> JsonObject:
        """Return it as a message of a chat."""
        texts = {"content": self.content, "refusal": self.refusal}
        message: JsonObject = {"role": "assistant", **texts}
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        if self.tool is not None:
            function = {"name": self.tool, "arguments": self.arguments}
            message["tool_calls"] = [{"id": self.tool_id, "type": "function", "function": function}]
        return message

    def deltas(self) -> Iterator[JsonObject]:
        """Yield it as the deltas of a chat."""
        yield {"role": "assistant", "content": "" if self.content is not None else None}
        for name, text in (
            ("reasoning_content", self.reasoning),
            ("content", self.content),
            ("refusal", self.refusal),
        ):
            for piece in pieces_of(text or ""):
                yield {name: piece}
        if self.tool is not None:
            yield from self._tool_deltas(self.tool)

    def _tool_deltas(self, name: str) -> Iterator[JsonObject]:
        function = {"name": name, "arguments": ""}
        first = {"index": 0, "id": self.tool_id, "type": "function", "function": function}
        yield {"tool_calls": [first]}
        for piece in re.findall(r".{1,9}", self.arguments):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}

    def count_words(self) -> int:
        """Return the number of words, which stand for tokens."""
        parts = (self.content, self.refusal, self.reasoning, self.tool, self.arguments)
        return sum(count_words(part) for part in parts if part)


def pieces_of(text: str) -> list[str]:
    """Return a text in the pieces in which it is streamed, of up to three words each."""
    return _PIECE.findall(text)


def event_of(data: JsonObject, *, name: str | None = None) -> bytes:
    """Return an event of a stream, with its name where the protocol gives it one."""
    head = b"" if name is None else b"event: %s\n" % name.encode()
    return head + b"data: %s\n\n" % json.dumps(data, ensure_ascii=False).encode()


def compose(digest: str, directives: Mapping[str, str], tokens: int | None) -> Choice:
    """Return the answer that belongs to a digest (64 hex digits), of so many tokens, if given."""
    short = digest[:8]
    if "tool" in directives:
        arguments = json.dumps({"reference": short, "limit": int(digest[8], 16)})
        finish = directives.get("finish", "tool_calls")
        tool = directives["tool"]
        return Choice(finish, tool=tool, tool_id=f"call_{digest[:24]}", arguments=arguments)
    finish = directives.get("finish", "stop")
    if "refusal" in directives:
        return Choice(finish, refusal=f"The stand-in declines to answer, case {short}.")
    tail = f" {_UNICODE}" if "unicode" in directives else ""
    reasoning = f"Considering case {short} step by step." if "reasoning" in directives else None
    return Choice(finish, content=_write_text(digest, tokens) + tail, reasoning=reasoning)


def _write_text(digest: str, tokens: int | None = None) -> str:
    """Return 20 to 60 words, or ``tokens``: a sentence with the digest's first 8 digits, filler."""
    noise = hashlib.shake_256(digest.encode()).digest(64 if tokens is None else tokens + 64)
    opening = f"Stand-in answer {digest[:8]}."
    length = 17 + noise[0] % 41 if tokens is None else max(tokens - 3, 0)
    words = [_WORDS[byte % len(_WORDS)] for byte in noise[1 : 1 + length]]
    sentences = (words[at : at + 8] for at in range(0, len(words), 8))
    text = " ".join([opening, *(" ".join(part).capitalize() + "." for part in sentences)])
    return text if tokens is None or tokens >= 3 else " ".join(opening.split()[-tokens:])


def hash_messages(messages: list[JsonObject], choice: int = 0) -> str:
    """Return what tells one answer to some messages, in hex digits."""
    identity = [messages, choice] if choice else messages
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def read_text(message: JsonObject) -> str:
    """Return a message's text, whether its content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def find_directives(messages: list[JsonObject]) -> dict[str, str]:
    """Return the directives of the last user message, by name."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return dict(_DIRECTIVE.findall(read_text(message)))
    return {}


def count_words(text: str) -> int:
    """Return the number of words, which stand for tokens."""
    return len(text.split())


class Answer(ABC):
    """The answer to one valid request, in the shapes of its protocol."""

    last: ClassVar[bytes] = b""
    """What ends a stream, after its events."""

    directives: dict[str, str]
    choices: list[Choice]

    @abstractmethod
    def whole(self) -> JsonObject:
        """Return the answer as one object."""

    @abstractmethod
    def events(self) -> Iterator[bytes]:
        """Yield the events of a stream."""

    @property
    def output_tokens(self) -> int:
        """Tokens of all choices together."""
        return sum(choice.count_words() for choice in self.choices)


class Completion(Answer):
    """The answer to a request for a chat completion."""

    last = b"data: [DONE]\n\n"

    def __init__(self, body: JsonObject, *, model: str, tokens: int | None = None) -> None:
        messages: list[JsonObject] = body["messages"]
        digest = hash_messages(messages)
        self.directives = find_directives(messages)
        self.choices = [
            compose(hash_messages(messages, index), self.directives, tokens)
            for index in range(body.get("n") or 1)
        ]
        self.include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._head: JsonObject = {
            "id": f"chatcmpl-{digest[:24]}",
            "created": int(time.time()),
            "model": body.get("model") or model,
        }
        prompt = sum(count_words(read_text(message)) for message in messages)
        answer = self.output_tokens
        self._usage: dict[str, int] = {"prompt_tokens": prompt, "completion_tokens": answer}
        self._usage["total_tokens"] = prompt + answer

    def whole(self) -> JsonObject:
        """See ``Answer``."""
        choices = [
            {"index": index, "message": choice.message(), "finish_reason": choice.finish}
            for index, choice in enumerate(self.choices)
        ]
        end = {"choices": choices, "usage": self._usage}
        return {**self._head, "object": "chat.completion", **end}

    def events(self) -> Iterator[bytes]:
        """See ``Answer``."""
        return map(event_of, self._chunks())

    def _chunks(self) -> Iterator[JsonObject]:
        """Yield the stream's chunks; several choices take turns, as they do at OpenAI."""
        for row in zip_longest(*(choice.deltas() for choice in self.choices)):
            for index, delta in enumerate(row):
                if delta is not None:
                    yield self._chunk([{"index": index, "delta": delta, "finish_reason": None}])
        for index, choice in enumerate(self.choices):
            yield self._chunk([{"index": index, "delta": {}, "finish_reason": choice.finish}])
        if self.include_usage:
            yield {**self._chunk([]), "usage": self._usage}

    def _chunk(self, choices: list[JsonObject]) -> JsonObject:
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": choices}
        return {**chunk, "usage": None} if self.include_usage else chunk
