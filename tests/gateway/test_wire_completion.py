from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.gateway.wire.chunks import is_usage_only
from likewise.gateway.wire.completion import (
    from_stream,
    is_well_formed,
    to_stream,
    why_not_keep,
)
from likewise.gateway.wire.sse import event_of

from .support import completion, events_of

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
NAME = st.text(alphabet="abcdefghijklmnop_", min_size=1, max_size=12).map(lambda n: f"x_{n}")
# Lists of objects with an "index" are put together by it, in streams as in this cache.
SCALAR = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT
EXTRA = st.dictionaries(NAME, SCALAR | st.lists(SCALAR, max_size=3), max_size=2)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("abc123", min_size=1, max_size=8),
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.text("get_x", min_size=1, max_size=8), "arguments": TEXT}
            ),
        }
    ),
    max_size=3,
)
LOGPROBS = st.none() | st.fixed_dictionaries(
    {
        "content": st.lists(
            st.fixed_dictionaries(
                {
                    "token": TEXT,
                    "logprob": st.floats(-9, 0),
                    "bytes": st.lists(st.integers(0, 255), max_size=3),
                    "top_logprobs": st.lists(
                        st.fixed_dictionaries({"token": TEXT, "logprob": st.floats(-9, 0)}),
                        max_size=2,
                    ),
                }
            ),
            max_size=3,
        )
    }
)


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    """Return whole answers of every shape a model may give."""
    choices = []
    for index in range(draw(st.integers(1, 3))):
        message: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | TEXT)}
        message |= draw(EXTRA)
        message |= draw(st.sampled_from([{}, {"refusal": None}, {"reasoning_content": "Hm, so."}]))
        if calls := draw(CALLS):
            message["tool_calls"] = calls
        choice: dict[str, Any] = {"index": index, "message": message}
        choice |= draw(st.sampled_from([{}, {"stop_reason": None}, {"content_filter": {"a": 1}}]))
        if draw(st.booleans()):
            choice["logprobs"] = draw(LOGPROBS)
        choices.append({**choice, "finish_reason": draw(st.sampled_from(["stop", "tool_calls"]))})
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "details": {"cached_tokens": 0}}
    return {**completion(), "choices": choices, "usage": usage, **draw(EXTRA)}


@given(completions())
def test_a_stream_loses_nothing(whole: dict[str, Any]) -> None:
    """Cut into chunks and put together again, an answer is what it was."""
    assert from_stream(list(to_stream(whole, include_usage=True))) == whole


@given(completions())
def test_a_stream_without_usage_loses_the_usage_only(whole: dict[str, Any]) -> None:
    """A client that did not ask for the usage gets everything else."""
    expected = {name: value for name, value in whole.items() if name != "usage"}
    assert from_stream(list(to_stream(whole, include_usage=False))) == expected


@given(completions())
def test_streams_are_well_formed(whole: dict[str, Any]) -> None:
    """One id, one role and one finish reason per choice, the usage in the last chunk alone."""
    chunks = events_of(b"".join(to_stream(whole, include_usage=True)))
    assert {chunk["id"] for chunk in chunks} == {whole["id"]}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk["usage"] for chunk in chunks] == [None] * (len(chunks) - 1) + [whole["usage"]]
    assert chunks[-1]["choices"] == []
    for index in range(len(whole["choices"])):
        mine = [c["choices"][0] for c in chunks[:-1] if c["choices"][0]["index"] == index]
        assert ["role" in choice["delta"] for choice in mine] == [True] + [False] * (len(mine) - 1)
        finished = [choice["finish_reason"] for choice in mine]
        assert finished[:-1] == [None] * (len(mine) - 1)
        assert finished[-1] == whole["choices"][index]["finish_reason"]


@given(st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_any_json_in_a_stream_is_survived(value: Any) -> None:
    """A chunk of any shape is merged or gives up the stream; it never raises."""
    for chunk in (value, {"choices": value}, {"choices": [value]}, {"choices": [{"delta": value}]}):
        found = from_stream([event_of(json.dumps(chunk).encode()), event_of(b"[DONE]")])
        assert found is None or is_well_formed(found)
    assert isinstance(why_not_keep(value), str)


def stream_of(*deltas: dict[str, Any], **last: Any) -> list[bytes]:
    """Return a stream of one choice."""
    chunks: list[dict[str, Any]] = [
        {"id": "a", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks[-1]["choices"][0] |= {"finish_reason": "stop", **last}
    return [event_of(json.dumps(chunk).encode()) for chunk in chunks] + [event_of(b"[DONE]")]


def message_of(events: list[bytes]) -> dict[str, Any]:
    """Return the message a stream adds up to."""
    whole = from_stream(events)
    assert whole is not None
    message: dict[str, Any] = whole["choices"][0]["message"]
    return message


def test_split_tool_arguments() -> None:
    """Calls that arrive in turns are put together by their index; an empty id changes nothing."""

    def part(index: int, identifier: str, name: str, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        call = {"index": index, "id": identifier, "type": "function", "function": function}
        return {"tool_calls": [call]}

    message = message_of(
        stream_of(
            {"role": "assistant", "content": None},
            part(1, "b", "second", '{"y":'),
            part(0, "a", "first", '{"x'),
            part(0, "", "", '": 1}'),
            part(1, "", "", " 2}"),
        )
    )
    calls = [
        (c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]
    ]
    assert calls == [("a", "first", '{"x": 1}'), ("b", "second", '{"y": 2}')]
    assert all("index" not in call for call in message["tool_calls"])


def test_repeated_role_and_finish_reason() -> None:
    """Servers that repeat the role in each delta are read like those that do not."""
    events = stream_of({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"})
    assert message_of(events) == {"role": "assistant", "content": "ab"}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [event_of(b"[DONE]")],
        stream_of({"content": "a"})[:-1],
        [event_of(b'{"error": {"message": "x"}}'), *stream_of({"content": "a"})],
        [event_of(b"<html>"), *stream_of({"content": "a"})],
        [event_of(b'{"choices": [3]}'), *stream_of({"content": "a"})],
        [event_of(b'{"choices": [{"index": [], "delta": {}}]}'), *stream_of({"content": "a"})],
    ],
)
def test_a_broken_stream_is_no_answer(events: list[bytes]) -> None:
    """Without [DONE], with an error in it, or with what is no chunk, nothing can be kept."""
    assert from_stream(events) is None


def test_comments_and_error_null_are_no_harm() -> None:
    """Keep-alive comments, and the null error some servers send, do not spoil a stream."""
    events = [b": ping\n\n", event_of(b'{"error": null, "choices": []}')]
    assert message_of([*events, *stream_of({"content": "a"})])["content"] == "a"


def test_a_choice_without_an_index() -> None:
    """Some servers leave the index of the only choice out; it is replayed as the first."""
    whole = completion()
    del whole["choices"][0]["index"]
    chunks = events_of(b"".join(to_stream(whole, include_usage=False)))
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0}


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "length"}, "not finished"),
        ({"finish_reason": "content_filter"}, "not finished"),
        ({"finish_reason": None}, "not finished"),
        ({"message": {"role": "assistant", "content": ""}}, "an empty message"),
        ({"message": {"role": "assistant", "content": " \n"}}, "an empty message"),
        ({"message": {"content": None, "tool_calls": []}}, "an empty message"),
        ({"message": {"content": "x", "refusal": "no"}}, "a refusal"),
        ({"message": None}, "a choice without a message"),
    ],
)
def test_what_is_not_kept(choice: dict[str, Any], reason: str) -> None:
    """One choice that is not whole and successful is enough."""
    good = completion()["choices"][0]
    assert why_not_keep({"choices": [good]}) is None
    assert why_not_keep({"choices": [good, {**good, **choice}]}) == reason


def test_usage_only() -> None:
    """Only a chunk with usage and without choices is the one that may be hidden."""
    assert is_usage_only(event_of(b'{"choices": [], "usage": {"prompt_tokens": 1}}'))
    assert not is_usage_only(event_of(b'{"choices": [], "usage": null}'))
    assert not is_usage_only(event_of(b'{"choices": [{"delta": {}}], "usage": {"a": 1}}'))
    assert not is_usage_only(event_of(b'{"choices": [{"delta": {"content": "\\"usage\\""}}]}'))
    assert not is_usage_only(b': "usage"\n\n')
