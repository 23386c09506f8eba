"""What an answer says, apart from how it is wrapped: its text, normalised, and a short digest.

Two answers are taken as equal when their normalised texts are. An answer in a protocol of models
says what its messages say; its identifier, its time and its usage are different every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec

_DIGEST_BYTES = 7
"""So that a digest is a positive number in every database."""


def answer_text(answer: object) -> str:
    """Return what an answer says.

    That is a text itself, the texts and tool calls of a completion, a response or a message, and of
    any other value its JSON with sorted keys.
    """
    if isinstance(answer, str):
        return answer
    if isinstance(answer, dict):
        said = list(_said_in(answer))
        if said:
            return "\n".join(said)
    try:
        return msgspec.json.encode(answer, order="sorted").decode()
    except (TypeError, ValueError, RecursionError):
        return ""


def normalised(answer: object) -> str:
    """Return what an answer says, without case and without runs of white space.

    >>> normalised("  Use   git RESET. ")
    'use git reset.'
    """
    return " ".join(answer_text(answer).casefold().split())


def answer_digest(answer: object) -> int:
    """Return a number that two answers share when they say the same; never 0.

    56 bits of BLAKE2b: among a million answers two differ and share it by chance once in 100,000.
    """
    text = normalised(answer).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=_DIGEST_BYTES).digest(), "big") or 1


def _said_in(answer: dict[str, Any]) -> Iterator[str]:
    if isinstance(choices := answer.get("choices"), list):
        yield from _said(choices)
    elif answer.get("object") == "response" and isinstance(output := answer.get("output"), list):
        for item in output:
            if isinstance(item, dict):
                content = item.get("content")
                yield from _blocks(content if item.get("type") == "message" else [item])
    elif answer.get("type") == "message":
        yield from _blocks(answer.get("content"))


def _blocks(content: object) -> Iterator[str]:
    """Yield the texts and the calls among some blocks; what was only thought is not said."""
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, dict):
            continue
        if isinstance(text := block.get("text") or block.get("refusal"), str):
            yield text
        elif str(block.get("type")).endswith(("_call", "tool_use")):
            given = block.get("arguments", block.get("input"))
            if not isinstance(given, str):
                given = msgspec.json.encode(given, order="sorted").decode()
            yield f"{block.get('name')} {given}"


def _said(choices: list[Any]) -> Iterator[str]:
    for choice in choices:
        if isinstance(choice, dict) and isinstance(choice.get("text"), str):
            yield choice["text"]
            continue
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            continue
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif content:
            yield msgspec.json.encode(content, order="sorted").decode()
        for call in message.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                yield f"{function.get('name')} {function.get('arguments')}"
