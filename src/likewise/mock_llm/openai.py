"""Answers as OpenAI's completions and responses have them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from likewise.mock_llm.composed import ComposedAnswer, as_system
from likewise.mock_llm.wire import Choice, JsonObject, event_of, pieces_of

_Told = tuple[str, JsonObject]


class TextAnswer(ComposedAnswer):
    """The answer to a request for a completion of a text."""

    last = b"data: [DONE]\n\n"

    def __init__(self, body: JsonObject, model: str, tokens: int | None) -> None:
        super().__init__(body, text_messages(body), model, tokens)
        self._echo = str(body["prompt"]) if body.get("echo") else ""
        self._include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._logprobs = body.get("logprobs") is not None
        self._head = {
            "id": f"cmpl-{self.digest[:24]}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.model,
        }

    def whole(self) -> JsonObject:
        """See ``Answer``."""
        choices = [
            self._part(index, "".join(self._pieces(choice)), choice.finish)
            for index, choice in enumerate(self.choices)
        ]
        return {**self._head, "choices": choices, "usage": self._usage()}

    def events(self) -> Iterator[bytes]:
        """See ``Answer``."""
        head: JsonObject = {**self._head, **({"usage": None} if self._include_usage else {})}
        for index, choice in enumerate(self.choices):
            for piece in self._pieces(choice):
                yield event_of({**head, "choices": [self._part(index, piece, None)]})
            yield event_of({**head, "choices": [self._part(index, "", choice.finish)]})
        if self._include_usage:
            yield event_of({**head, "choices": [], "usage": self._usage()})

    def _pieces(self, choice: Choice) -> list[str]:
        text = choice.content or choice.refusal or choice.arguments
        return pieces_of(f"{self._echo} {text}" if self._echo else text)

    def _part(self, index: int, text: str, finish: str | None) -> JsonObject:
        logprobs: JsonObject | None = None
        if self._logprobs and text:
            tokens = pieces_of(text)
            logprobs = {
                "tokens": tokens,
                "token_logprobs": [-0.5] * len(tokens),
                "top_logprobs": [{token: -0.5} for token in tokens],
                "text_offset": [0] * len(tokens),
            }
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}

    def _usage(self) -> JsonObject:
        prompt, output = self.prompt_tokens, self.output_tokens
        total = prompt + output
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": total}


class ResponseAnswer(ComposedAnswer):
    """The answer to a request for a response."""

    def __init__(self, body: JsonObject, model: str, tokens: int | None) -> None:
        super().__init__(body, response_messages(body), model, tokens)
        self._head: JsonObject = {
            "id": f"resp_{self.digest[:32]}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "model": self.model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": body.get("previous_response_id"),
            "store": body.get("store") is not False,
            "temperature": 1.0,
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools", []),
            "top_p": 1.0,
            "usage": None,
            "metadata": body.get("metadata") or {},
        }

    def whole(self) -> JsonObject:
        """See ``Answer``."""
        prompt, output = self.prompt_tokens, self.output_tokens
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + output,
        }
        cut = self.choice.finish == "length"
        details = {"incomplete_details": {"reason": "max_output_tokens"}} if cut else {}
        status = "incomplete" if cut else "completed"
        return {
            **self._head,
            **details,
            "status": status,
            "output": self._items(status),
            "usage": usage,
        }

    def events(self) -> Iterator[bytes]:
        """See ``Answer``."""
        for number, (name, told) in enumerate(self._told()):
            yield event_of({"type": name, "sequence_number": number, **told}, name=name)

    def _items(self, status: str) -> list[JsonObject]:
        choice, digest = self.choice, self.digest[:24]
        items: list[JsonObject] = []
        if choice.reasoning:
            summary = [{"type": "summary_text", "text": choice.reasoning}]
            items.append({"id": f"rs_{digest}", "type": "reasoning", "summary": summary})
        if choice.tool:
            call = {"call_id": choice.tool_id, "name": choice.tool, "arguments": choice.arguments}
            items.append({"id": f"fc_{digest}", "type": "function_call", "status": status, **call})
            return items
        part: JsonObject = {"type": "refusal", "refusal": choice.refusal}
        if choice.content is not None:
            text = {"text": choice.content, "annotations": [], "logprobs": []}
            part = {"type": "output_text", **text}
        message = {"id": f"msg_{digest}", "type": "message", "status": status}
        items.append({**message, "role": "assistant", "content": [part]})
        return items

    def _told(self) -> Iterator[_Told]:
        yield "response.created", {"response": self._head}
        yield "response.in_progress", {"response": self._head}
        whole = self.whole()
        for index, item in enumerate(whole["output"]):
            yield from _item_told(index, item)
        yield f"response.{whole['status']}", {"response": whole}


def _item_told(index: int, item: JsonObject) -> Iterator[_Told]:
    """Yield one item of a response's output in pieces."""
    at = {"output_index": index, "item_id": item["id"]}
    empty = {"content": [], "summary": [], "arguments": ""}
    begun = {**item, **{name: value for name, value in empty.items() if name in item}}
    if "status" in item:
        begun["status"] = "in_progress"
    yield "response.output_item.added", {"output_index": index, "item": begun}
    if item["type"] == "function_call":
        told = "response.function_call_arguments"
        for piece in pieces_of(item["arguments"]):
            yield f"{told}.delta", {**at, "delta": piece}
        yield f"{told}.done", {**at, "name": item["name"], "arguments": item["arguments"]}
    for place, part in enumerate(item.get("summary", [])):
        where = {**at, "summary_index": place}
        told = "response.reasoning_summary"
        yield f"{told}_part.added", {**where, "part": {**part, "text": ""}}
        for piece in pieces_of(part["text"]):
            yield f"{told}_text.delta", {**where, "delta": piece}
        yield f"{told}_text.done", {**where, "text": part["text"]}
        yield f"{told}_part.done", {**where, "part": part}
    for place, part in enumerate(item.get("content", [])):
        where = {**at, "content_index": place}
        name = "text" if part["type"] == "output_text" else "refusal"
        told = f"response.{part['type']}"
        beside: JsonObject = {"logprobs": []} if name == "text" else {}
        yield "response.content_part.added", {**where, "part": {**part, name: ""}}
        for piece in pieces_of(part[name]):
            yield f"{told}.delta", {**where, "delta": piece, **beside}
        yield f"{told}.done", {**where, name: part[name], **beside}
        yield "response.content_part.done", {**where, "part": part}
    yield "response.output_item.done", {"output_index": index, "item": item}


def text_messages(body: JsonObject) -> list[JsonObject]:
    """Return what a request says, as the messages of a chat."""
    return [{"role": "user", "content": str(body["prompt"])}]


def response_messages(body: JsonObject) -> list[JsonObject]:
    """Return what a request says, as the messages of a chat."""
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return [*as_system(body.get("instructions")), *items]
