"""The protocols that the stand-in speaks, and what a request must have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from likewise.mock_llm.anthropic import MessageAnswer, anthropic_messages
from likewise.mock_llm.openai import (
    ResponseAnswer,
    TextAnswer,
    response_messages,
    text_messages,
)
from likewise.mock_llm.wire import Answer, Completion, JsonObject

_MAX_CHOICES = 128  # OpenAI's limit for `n`


class Invalid(Exception):  # noqa: N818 - an answer of the model's, no error of ours
    """A request is not as the protocol wants it."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One of them.

    Attributes:
        path: Where it is spoken.
        check: Raises ``Invalid`` for a body that is not as it should be.
        messages: What a body says, as the messages of a chat.
        answer: Makes the answer of a body, the model's name where it gives none, and the number of
            tokens, if given.
    """

    path: str
    check: Callable[[JsonObject], None]
    messages: Callable[[JsonObject], list[JsonObject]]
    answer: Callable[[JsonObject, str, int | None], Answer]


def _chat_messages(body: JsonObject) -> list[JsonObject]:
    messages: list[JsonObject] = body["messages"]
    return messages


def _check_choices(body: JsonObject) -> None:
    if not isinstance(body.get("stream_options") or {}, dict):
        raise Invalid("'stream_options' must be an object.")
    count = body.get("n")
    if count is not None and (type(count) is not int or not 1 <= count <= _MAX_CHOICES):
        raise Invalid(f"'n' must be a whole number from 1 to {_MAX_CHOICES}.")


def _check_messages(body: JsonObject, name: str = "messages") -> None:
    messages: Any = body.get(name)
    if not isinstance(messages, list) or not messages:
        raise Invalid(f"'{name}' must be a list with at least one message.")
    if not all(isinstance(message, dict) for message in messages):
        raise Invalid(f"Every item of '{name}' must be an object.")


def _check_chat(body: JsonObject) -> None:
    _check_messages(body)
    _check_choices(body)


def _check_text(body: JsonObject) -> None:
    if not body.get("prompt") or not isinstance(body["prompt"], str | list):
        raise Invalid("'prompt' must be a string or a list.")
    _check_choices(body)


def _check_response(body: JsonObject) -> None:
    if not isinstance(body.get("input"), str):
        _check_messages(body, "input")


def _check_anthropic(body: JsonObject) -> None:
    if type(body.get("max_tokens")) is not int:
        raise Invalid("max_tokens: Field required")
    _check_messages(body)


def _chat_answer(body: JsonObject, model: str, tokens: int | None) -> Answer:
    return Completion(body, model=model, tokens=tokens)


CHAT = Protocol("/v1/chat/completions", _check_chat, _chat_messages, _chat_answer)
TEXT = Protocol("/v1/completions", _check_text, text_messages, TextAnswer)
RESPONSES = Protocol("/v1/responses", _check_response, response_messages, ResponseAnswer)
MESSAGES = Protocol("/v1/messages", _check_anthropic, anthropic_messages, MessageAnswer)
