"""Answers as Anthropic's messages have them."""

from __future__ import annotations

from collections.abc import Iterator

from likewise.mock_llm.composed import ComposedAnswer, as_system
from likewise.mock_llm.wire import JsonObject, count_words, event_of, pieces_of, read_text

_Told = tuple[str, JsonObject]


class MessageAnswer(ComposedAnswer):
    """The answer to a request for a message of Anthropic's."""

    def __init__(self, body: JsonObject, model: str, tokens: int | None) -> None:
        super().__init__(body, anthropic_messages(body), model, tokens)
        system = body.get("system")
        marked = isinstance(system, list) and any("cache_control" in block for block in system)
        written = count_words(read_text({"content": system})) if marked else 0
        self._usage: JsonObject = {
            "input_tokens": self.prompt_tokens - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": 0,
            "output_tokens": self.output_tokens,
            "service_tier": "standard",
        }
        self._head: JsonObject = {
            "id": f"msg_{self.digest[:24]}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
        }

    def whole(self) -> JsonObject:
        """See ``Answer``."""
        return {
            **self._head,
            "content": list(self._blocks()),
            **self._end(self._stop_reason()),
            "usage": self._usage,
        }

    def events(self) -> Iterator[bytes]:
        """See ``Answer``."""
        for name, told in self._told():
            yield event_of({"type": name, **told}, name=name)

    def _told(self) -> Iterator[_Told]:
        usage = {**self._usage, "output_tokens": 1}
        begun = {**self._head, "content": [], **self._end(None), "usage": usage}
        yield "message_start", {"message": begun}
        for index, block in enumerate(self._blocks()):
            deltas = list(_deltas(block))
            cut = {delta[0] for delta in deltas}
            empty = {name: {} if name == "input" else "" for name in cut}
            yield "content_block_start", {"index": index, "content_block": {**block, **empty}}
            if not index:
                yield "ping", {}
            for _, delta in deltas:
                yield "content_block_delta", {"index": index, "delta": delta}
            yield "content_block_stop", {"index": index}
        usage = {"output_tokens": self._usage["output_tokens"]}
        yield "message_delta", {"delta": self._end(self._stop_reason()), "usage": usage}
        yield "message_stop", {}

    def _end(self, reason: str | None) -> JsonObject:
        return {"stop_reason": reason, "stop_sequence": None, "stop_details": None}

    def _stop_reason(self) -> str:
        if self.choice.refusal:
            return "refusal"
        reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
        return reasons.get(self.choice.finish, self.choice.finish)

    def _blocks(self) -> Iterator[JsonObject]:
        choice = self.choice
        if choice.reasoning:
            signature = f"sig-{self.digest[:40]}"
            yield {"type": "thinking", "thinking": choice.reasoning, "signature": signature}
        if choice.tool:
            given = {"reference": self.digest[:8], "limit": int(self.digest[8], 16)}
            identifier = f"toolu_{self.digest[:24]}"
            yield {"type": "tool_use", "id": identifier, "name": choice.tool, "input": given}
        else:
            yield {"type": "text", "text": choice.content or choice.refusal or ""}


def _deltas(block: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Yield the pieces of a block, each with the name of the field that it is a piece of."""
    for name in ("text", "thinking"):
        for piece in pieces_of(block.get(name, "")):
            yield name, {"type": f"{name}_delta", name: piece}
    if "signature" in block:
        yield "signature", {"type": "signature_delta", "signature": block["signature"]}
    if "input" in block:
        given = block["input"]
        spelled = f'{{"reference": "{given["reference"]}", "limit": {given["limit"]}}}'
        yield "input", {"type": "input_json_delta", "partial_json": ""}
        for at in range(0, len(spelled), 9):
            yield "input", {"type": "input_json_delta", "partial_json": spelled[at : at + 9]}


def anthropic_messages(body: JsonObject) -> list[JsonObject]:
    """Return what a request says, as the messages of a chat."""
    return [*as_system(body.get("system")), *body["messages"]]
