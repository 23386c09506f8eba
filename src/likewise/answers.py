"""What an answer says, apart from how it is wrapped: its text, normalised, and a short digest.

Two answers are taken as equal when their normalised texts are. A chat completion says what its
messages say; its identifier, its time and its usage are different every time.
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

    That is a text itself, the messages and tool calls of a chat completion, and of any other value
    its JSON with sorted keys.
    """
    if isinstance(answer, str):
        return answer
    if isinstance(answer, dict) and isinstance(answer.get("choices"), list):
        said = list(_said(answer["choices"]))
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


def _said(choices: list[Any]) -> Iterator[str]:
    for choice in choices:
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
