from __future__ import annotations

from typing import Any

import pytest

from likewise.answers import answer_digest, answer_text

SAID = [
    {"choices": [{"message": {"content": "Yes."}}]},
    {"choices": [{"text": "Yes."}]},
    {
        "object": "response",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "message", "content": [{"type": "output_text", "text": "Yes."}]},
        ],
    },
    {
        "type": "message",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "text", "text": "Yes."},
        ],
    },
]


@pytest.mark.parametrize("answer", SAID)
def test_an_answer_is_what_it_says(answer: dict[str, Any]) -> None:
    """In any protocol: not what was thought on the way, nor identifiers, times and usage."""
    assert answer_text(answer) == "Yes."
    assert answer_digest({**answer, "id": "1", "usage": {}}) == answer_digest("yes.")


def test_calls_of_tools_are_said() -> None:
    """With their arguments, whatever the call is named."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    assert answer_text({"object": "response", "output": [call]}) == "f {}"
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert answer_text({"type": "message", "content": [use]}) == "f {}"


def test_anything_else_is_its_json() -> None:
    """Whatever a library keeps."""
    assert answer_text({"b": 1, "a": 2}) == '{"a":2,"b":1}'
    assert answer_text({"type": "message", "content": "x"}) == '{"content":"x","type":"message"}'
