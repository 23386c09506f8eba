"""``POST /v1/completions``: a text that the model goes on with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from likewise.gateway.wire import chunks
from likewise.gateway.wire.chunks import chunks_of
from likewise.gateway.wire.dialect import (
    Around,
    Dialect,
    JsonObject,
    Usage,
    canonical,
    openai_usage,
)
from likewise.gateway.wire.sse import DONE, event_of, pieces_of
from likewise.request import Request

_NOT_IDENTITY = frozenset({"model", "prompt", "stream", "stream_options", "user"})
_FINISHED = "stop"
_AFFINITY_CHARACTERS = 1_000
"""How much of a prompt tells whose prefix is warm."""


class TextCompletions(Dialect):
    """OpenAI's completions of a plain text."""

    path = "/v1/completions"
    asks_for_usage = True

    def request_of(self, body: JsonObject, around: Around) -> Request | None:
        """See ``Dialect``. The white space around a prompt may change how the model goes on."""
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
            prompt = prompt[0]
        if not prompt or not isinstance(prompt, str | list):
            return None
        question, frame, exact_only = plain_text(prompt)
        temperature = body.get("temperature")
        return Request(
            question=question,
            scope=self.scope_of(body, around, context=frame, without=_NOT_IDENTITY),
            controls=around.asked.controls,
            exact_only=exact_only or _exact_only(body),
            temperature=temperature if isinstance(temperature, int | float) else None,
            path=self.path,
        )

    def is_well_formed(self, answer: object) -> bool:
        """See ``Dialect``."""
        choices = answer.get("choices") if isinstance(answer, dict) else None
        return (
            isinstance(choices, list)
            and bool(choices)
            and all(isinstance(c, dict) and isinstance(c.get("text"), str) for c in choices)
        )

    def why_not_keep(self, answer: object) -> str | None:
        """See ``Dialect``."""
        if not isinstance(answer, dict) or not self.is_well_formed(answer):
            return "no choices"
        for choice in answer["choices"]:
            if choice.get("finish_reason") != _FINISHED:
                return "not finished"
            if not choice["text"].strip():
                return "an empty text"
        return None

    def from_stream(self, events: Sequence[bytes], *, needs_done: bool = True) -> JsonObject | None:
        """See ``Dialect``; without ``needs_done`` it is whole once every choice is finished."""
        read = chunks_of(events, _is_part)
        if read is None:
            return None
        choices: dict[int, JsonObject] = {}
        for part in read.choices:
            _merge(choices, part)
        finished = read.done or (
            not needs_done and all(choice["finish_reason"] for choice in choices.values())
        )
        if not finished or not choices:
            return None
        merged = [choices[index] for index in sorted(choices)]
        return {**read.frame, "object": "text_completion", "choices": merged}

    def to_stream(self, answer: JsonObject, *, include_usage: bool) -> Iterator[bytes]:
        """See ``Dialect``."""
        frame = {k: v for k, v in answer.items() if k not in ("choices", "usage")}
        if include_usage:
            frame["usage"] = None
        for position, choice in enumerate(answer["choices"]):
            index = choice.get("index", position)
            empty = {name: None for name in ("logprobs", "finish_reason") if name in choice}
            for piece in pieces_of(choice["text"]):
                yield _chunk(frame, [{"text": piece, "index": index, **empty}])
            yield _chunk(frame, [{**choice, "text": "", "index": index}])
        if include_usage and answer.get("usage"):
            yield _chunk({**frame, "usage": answer["usage"]}, [])
        yield event_of(DONE)

    def is_usage_only(self, event: bytes) -> bool:
        """See ``Dialect``."""
        return chunks.is_usage_only(event)

    def usage_of(self, answer: JsonObject) -> Usage:
        """See ``Dialect``."""
        return openai_usage(answer, prompt="prompt_tokens", output="completion_tokens")

    def beginning(self, body: JsonObject) -> object:
        """See ``Dialect``."""
        return canonical(body.get("prompt"))[:_AFFINITY_CHARACTERS]


TEXT_COMPLETIONS = TextCompletions()


def plain_text(given: str | list[object]) -> tuple[str, object, str | None]:
    """Return a text as a question, what must be equal beside, and why only equality counts, if so.

    The white space around a text is no part of a question, so it stands beside it. Anything but one
    text is written as JSON, and told apart from a text that spells the same.
    """
    if not isinstance(given, str):
        texts = all(isinstance(text, str) for text in given)
        return canonical(given), "list", "several texts" if texts else "tokens"
    question = given.strip()
    if not question:
        return canonical(given), "space", "nothing but white space"
    begin = len(given) - len(given.lstrip())
    return question, [given[:begin], given[begin + len(question) :]], None


def _exact_only(body: Mapping[str, object]) -> str | None:
    if isinstance(n := body.get("n"), int) and n > 1:
        return "several choices"
    if body.get("echo"):
        return "an answer that repeats the prompt"
    if body.get("suffix"):
        return "a text to be filled in"
    return None


def _is_part(part: object) -> bool:
    return (
        isinstance(part, dict)
        and type(part.get("index", 0)) is int
        and isinstance(part.get("text") or "", str)
        and isinstance(part.get("logprobs") or {}, dict)
    )


def _merge(choices: dict[int, JsonObject], part: JsonObject) -> None:
    index = part.get("index", 0)
    merged = choices.setdefault(index, {"text": "", "index": index, "finish_reason": None})
    for name, value in part.items():
        if name == "text":
            merged["text"] += value or ""
        elif name == "logprobs" and value:
            _merge_logprobs(merged, value)
        elif value is not None or name not in merged:
            merged[name] = value


def _merge_logprobs(merged: JsonObject, value: JsonObject) -> None:
    """Continue the lists of what is told of each token."""
    held = merged.get("logprobs") or {}
    merged["logprobs"] = {
        **held,
        **{
            name: [*held[name], *more]
            if isinstance(more, list) and isinstance(held.get(name), list)
            else more
            for name, more in value.items()
        },
    }


def _chunk(frame: JsonObject, choices: list[JsonObject]) -> bytes:
    return event_of(msgspec.json.encode({**frame, "choices": choices}))
