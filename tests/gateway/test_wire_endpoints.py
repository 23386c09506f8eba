"""What is identity in each protocol beside chat, and its answers in their two forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.gateway.wire import CHAT, DIALECTS, EMBEDDINGS, MESSAGES, RESPONSES, TEXT_COMPLETIONS
from likewise.gateway.wire.dialect import Call, Dialect, JsonObject
from likewise.gateway.wire.sse import data_of, event_of
from likewise.request import TOOL_RESULTS, Request

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A"}}
PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,A"}


def read(dialect: Dialect, body: JsonObject, headers: dict[str, str] | None = None) -> Call:
    """Return a request, read."""
    call = dialect.read(json.dumps(body).encode(), headers or {}, tenant="t")
    assert call is not None
    return call


def identity(dialect: Dialect, body: JsonObject, headers: dict[str, str] | None = None) -> bytes:
    """Return what two requests share that one answer may serve by equality."""
    request = read(dialect, body, headers).request
    return request.scope.digest() + request.question.strip().encode()


def asks(dialect: Dialect, body: JsonObject) -> Request:
    """Return what a body asks."""
    return read(dialect, body).request


TEXT_BASE: JsonObject = {"model": "m", "prompt": "Q", "max_tokens": 9}
RESPONSE_BASE: JsonObject = {"model": "m", "input": "Q", "instructions": "Be brief."}
EMBEDDING_BASE: JsonObject = {"model": "m", "input": "Q"}
MESSAGE_BASE: JsonObject = {
    "model": "m",
    "max_tokens": 9,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Q"}],
}


def said(*contents: Any) -> list[JsonObject]:
    """Return messages of two who take turns, the user first."""
    roles = ("user", "assistant")
    return [{"role": roles[at % 2], "content": c} for at, c in enumerate(contents)]


SEPARATES: list[tuple[Dialect, JsonObject, JsonObject]] = [
    *(
        (TEXT_COMPLETIONS, TEXT_BASE, change)
        for change in (
            {"model": "other"},
            {"prompt": " Q"},
            {"prompt": "Q\n"},
            {"prompt": ["Q", "Q"]},
            {"prompt": '["Q","Q"]'},
            {"suffix": "S"},
            {"echo": True},
            {"n": 2},
            {"best_of": 2},
            {"logprobs": 1},
            {"stop": ["x"]},
            {"some_future_field": 1},
        )
    ),
    *(
        (RESPONSES, RESPONSE_BASE, change)
        for change in (
            {"model": "other"},
            {"instructions": "Be long."},
            {"instructions": None},
            {"store": False},
            {"reasoning": {"effort": "high"}},
            {"text": {"format": {"type": "json_object"}}},
            {"include": ["reasoning.encrypted_content"]},
            {"tools": [{"type": "web_search"}]},
            {"tool_choice": "none"},
            {"input": said("A", "B", "Q")},
            {"input": [{"role": "developer", "content": "D"}, *said("Q")]},
            {
                "input": said(
                    [{"type": "input_text", "text": "P"}, {"type": "input_text", "text": "Q"}]
                )
            },
            {"input": said([{"type": "input_text", "text": "Q"}, PICTURE])},
            {"input": [{"role": "user", "content": "Q", "name": "ann"}]},
            {"max_output_tokens": 5},
        )
    ),
    *(
        (EMBEDDINGS, EMBEDDING_BASE, change)
        for change in (
            {"model": "other"},
            {"dimensions": 8},
            {"encoding_format": "base64"},
            {"input": ["Q", "R"]},
            {"input": [1, 2]},
            {"input": "Q "},
            {"some_future_field": 1},
        )
    ),
    *(
        (MESSAGES, MESSAGE_BASE, change)
        for change in (
            {"model": "other"},
            {"max_tokens": 10},
            {"system": "Be long."},
            {"system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
            {"stop_sequences": ["x"]},
            {"temperature": 0.5},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"tools": [{"name": "f", "input_schema": {}}]},
            {"tool_choice": {"type": "any"}},
            {"messages": said("A", "B", "Q")},
            {"messages": said([{"type": "text", "text": "P"}, {"type": "text", "text": "Q"}])},
            {"messages": said([IMAGE, {"type": "text", "text": "Q"}])},
            {"messages": said("Q", "The answer is")},
            {"some_future_field": 1},
        )
    ),
]


@pytest.mark.parametrize(("dialect", "base", "change"), SEPARATES)
def test_what_separates(dialect: Dialect, base: JsonObject, change: JsonObject) -> None:
    """Whatever may change the answer is identity, known to us or not."""
    assert identity(dialect, {**base, **change}) != identity(dialect, base)


@pytest.mark.parametrize(
    ("dialect", "base", "change"),
    [
        (TEXT_COMPLETIONS, TEXT_BASE, {"stream": True, "user": "u", "prompt": ["Q"]}),
        (RESPONSES, RESPONSE_BASE, {"stream": True, "user": "u", "metadata": {"a": "b"}}),
        (RESPONSES, RESPONSE_BASE, {"store": True}),
        (RESPONSES, RESPONSE_BASE, {"input": said("Q")}),
        (
            RESPONSES,
            RESPONSE_BASE,
            {"input": [{"type": "message", "role": "user", "content": "Q"}]},
        ),
        (RESPONSES, RESPONSE_BASE, {"input": said([{"type": "input_text", "text": "Q"}])}),
        (EMBEDDINGS, EMBEDDING_BASE, {"encoding_format": "float", "user": "u"}),
        (MESSAGES, MESSAGE_BASE, {"stream": True, "metadata": {"user_id": "u"}}),
        (MESSAGES, MESSAGE_BASE, {"system": [{"type": "text", "text": "Be brief."}]}),
        (
            MESSAGES,
            MESSAGE_BASE,
            {
                "messages": said(
                    [{"type": "text", "text": "Q", "cache_control": {"type": "ephemeral"}}]
                )
            },
        ),
        (MESSAGES, MESSAGE_BASE, {"cache_control": {"type": "ephemeral"}}),
    ],
)
def test_what_does_not_separate(dialect: Dialect, base: JsonObject, change: JsonObject) -> None:
    """What changes no answer, and another way to write the same, is no identity."""
    assert identity(dialect, {**base, **change}) == identity(dialect, base)


def test_headers_of_a_protocol_separate() -> None:
    """Versions and betas are identity where the protocol has them; other headers are not."""
    for name in MESSAGES.identity_headers:
        assert identity(MESSAGES, MESSAGE_BASE, {name: "x"}) != identity(MESSAGES, MESSAGE_BASE)
        assert identity(MESSAGES, MESSAGE_BASE, {name: "x"}) != identity(
            MESSAGES, MESSAGE_BASE, {name: "y"}
        )
    assert identity(CHAT, {"messages": said("Q")}, {"anthropic-beta": "x"}) == identity(
        CHAT, {"messages": said("Q")}
    )


FIELDS = st.fixed_dictionaries(
    {"messages": st.just(said("Q")), "prompt": st.just("Q"), "input": st.just("Q")},
    optional={"model": st.sampled_from(["m", "n"]), "system": TEXT, "protocol": TEXT, "x": JSON},
)


@given(FIELDS, st.sampled_from(["t", "u"]))
def test_no_body_is_the_same_in_two_protocols(body: JsonObject, tenant: str) -> None:
    """Whatever is asked, another protocol or another tenant has another scope."""
    data = json.dumps(body).encode()
    calls = [d.read(data, {}, tenant=t) for d in DIALECTS for t in (tenant, "other")]
    scopes = [call.request.scope.digest() for call in calls if call is not None]
    assert len(set(scopes)) == len(scopes) == 2 * len(DIALECTS)


def test_no_chat_can_spell_another_protocols_parameters() -> None:
    """What another protocol has as parameters is a list of four, which no chat has."""
    parameters = json.loads(asks(MESSAGES, MESSAGE_BASE).scope.parameters)
    assert isinstance(parameters, list)
    assert len(parameters) == 4
    call = CHAT.read(json.dumps({"messages": said("Q")}).encode(), {}, tenant="t", query="a=b")
    assert call is not None
    assert len(json.loads(call.request.scope.parameters)) == 2


TOOL_CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}
FUNCTION = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "id": "fc_1"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "r"}


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (TEXT_COMPLETIONS, {**TEXT_BASE, "prompt": ["a", "b"]}),
        (TEXT_COMPLETIONS, {**TEXT_BASE, "prompt": [1, 2]}),
        (TEXT_COMPLETIONS, {**TEXT_BASE, "n": 2}),
        (TEXT_COMPLETIONS, {**TEXT_BASE, "echo": True}),
        (TEXT_COMPLETIONS, {**TEXT_BASE, "suffix": "S"}),
        (RESPONSES, {**RESPONSE_BASE, "tools": [{"type": "function", "name": "f"}]}),
        (RESPONSES, {**RESPONSE_BASE, "store": True}),
        (RESPONSES, {**RESPONSE_BASE, "input": [*said("Q"), FUNCTION, OUTPUT]}),
        (RESPONSES, {**RESPONSE_BASE, "input": [FUNCTION, OUTPUT, *said("Q")]}),
        (
            RESPONSES,
            {**RESPONSE_BASE, "input": said([{"type": "input_text", "text": "Q"}, PICTURE])},
        ),
        (RESPONSES, {**RESPONSE_BASE, "input": said([PICTURE], "A", "Q")}),
        (EMBEDDINGS, EMBEDDING_BASE),
        (MESSAGES, {**MESSAGE_BASE, "tools": [{"name": "f", "input_schema": {}}]}),
        (MESSAGES, {**MESSAGE_BASE, "messages": said("Q", [TOOL_CALL], [TOOL_RESULT])}),
        (MESSAGES, {**MESSAGE_BASE, "messages": said("P", [TOOL_CALL], [TOOL_RESULT], "A", "Q")}),
        (MESSAGES, {**MESSAGE_BASE, "messages": said([IMAGE, {"type": "text", "text": "Q"}])}),
        (MESSAGES, {**MESSAGE_BASE, "messages": said([IMAGE], "A", "Q")}),
        (MESSAGES, {**MESSAGE_BASE, "messages": said("Q", "The answer is")}),
        (MESSAGES, {**MESSAGE_BASE, "mcp_servers": [{"url": "u"}]}),
    ],
)
def test_what_only_equality_serves(dialect: Dialect, body: JsonObject) -> None:
    """Tools and their results, pictures, and whatever is not one plain text of the user's."""
    assert asks(dialect, body).exact_only


def test_results_of_tools_go_before_all_other_reasons() -> None:
    """What follows one is not kept unless the category says so, whatever else is true of it."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "r"}
    requests = [
        asks(CHAT, {"messages": [*said("Q"), call, result], "tools": tools, "n": 2}),
        asks(CHAT, {"messages": [call, result, *said([{"type": "image_url"}])], "tools": tools}),
        asks(
            MESSAGES,
            {**MESSAGE_BASE, "messages": said("Q", [TOOL_CALL], [TOOL_RESULT]), "tools": tools},
        ),
        asks(MESSAGES, {**MESSAGE_BASE, "messages": said("Q", [{"type": "mcp_tool_result"}], "R")}),
        asks(
            RESPONSES,
            {
                **RESPONSE_BASE,
                "input": [*said("Q"), FUNCTION, OUTPUT],
                "tools": tools,
                "store": True,
            },
        ),
        asks(RESPONSES, {**RESPONSE_BASE, "input": [{"type": "web_search_call"}, *said("Q")]}),
    ]
    assert {request.exact_only for request in requests} == {TOOL_RESULTS}


@given(st.lists(TEXT, min_size=1, max_size=5), st.integers(0, 4), st.sampled_from(range(3)))
def test_nothing_but_text_is_compared_by_meaning(texts: list[str], at: int, kind: int) -> None:
    """Wherever a picture, a call or its result stands in a conversation."""
    blocks = said(*([{"type": "text", "text": text}] for text in texts))
    blocks[at % len(blocks)]["content"].insert(0, (IMAGE, TOOL_CALL, TOOL_RESULT)[kind])
    assert asks(MESSAGES, {**MESSAGE_BASE, "messages": blocks}).exact_only
    items = said(*([{"type": "input_text", "text": text}] for text in texts))
    place = at % len(items)
    if kind:
        items.insert(place, (FUNCTION, OUTPUT)[kind - 1])
    else:
        items[place]["content"].insert(0, PICTURE)
    assert asks(RESPONSES, {**RESPONSE_BASE, "input": items}).exact_only


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (TEXT_COMPLETIONS, TEXT_BASE),
        (RESPONSES, RESPONSE_BASE),
        (RESPONSES, {**RESPONSE_BASE, "store": False}),
        (MESSAGES, MESSAGE_BASE),
    ],
)
def test_what_meaning_may_serve(dialect: Dialect, body: JsonObject) -> None:
    """One plain text of the user's."""
    request = asks(dialect, body)
    assert (request.question, request.exact_only, request.stateful) == ("Q", None, False)


@pytest.mark.parametrize(
    ("dialect", "change"),
    [
        (RESPONSES, {"previous_response_id": "resp_1"}),
        (RESPONSES, {"conversation": "conv_1"}),
        (RESPONSES, {"background": True}),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}, *said("Q")]}),
        (MESSAGES, {"container": "c1"}),
    ],
)
def test_what_the_server_holds(dialect: Dialect, change: JsonObject) -> None:
    """What refers to the server's own state is neither served nor kept."""
    base = RESPONSE_BASE if dialect is RESPONSES else MESSAGE_BASE
    assert asks(dialect, {**base, **change}).stateful


def test_random_identifiers_of_calls_are_no_identity() -> None:
    """Which call a result belongs to is; what the call is named is not."""

    def turns(one: str, two: str, of: str) -> bytes:
        calls = [{**TOOL_CALL, "id": one}, {**TOOL_CALL, "id": two}]
        result = {**TOOL_RESULT, "tool_use_id": of}
        return identity(MESSAGES, {**MESSAGE_BASE, "messages": said("Q", calls, [result])})

    def items(one: str, two: str, of: str) -> bytes:
        calls = [{**FUNCTION, "call_id": one, "id": one}, {**FUNCTION, "call_id": two, "id": two}]
        return identity(
            RESPONSES, {**RESPONSE_BASE, "input": [*said("Q"), *calls, {**OUTPUT, "call_id": of}]}
        )

    for made in (turns, items):
        assert made("a", "b", "a") == made("c", "d", "c") != made("c", "d", "d")


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (TEXT_COMPLETIONS, {}),
        (TEXT_COMPLETIONS, {"prompt": ""}),
        (TEXT_COMPLETIONS, {"prompt": 3}),
        (RESPONSES, {}),
        (RESPONSES, {"input": []}),
        (RESPONSES, {"input": ["Q"]}),
        (EMBEDDINGS, {}),
        (EMBEDDINGS, {"input": []}),
        (EMBEDDINGS, {"input": "Q", "stream": True}),
        (MESSAGES, {"messages": []}),
        (MESSAGES, {"messages": ["Q"]}),
    ],
)
def test_shapes_that_are_for_the_model_to_judge(dialect: Dialect, body: JsonObject) -> None:
    """A request whose shape we cannot read passes through."""
    assert dialect.read(json.dumps(body).encode(), {}, tenant="t") is None


@given(st.dictionaries(st.sampled_from(["messages", "input", "prompt", "system", "tools"]), JSON))
def test_any_body_is_survived(body: JsonObject) -> None:
    """Whatever a client sends is read or left to the model; nothing raises."""
    for dialect in DIALECTS:
        dialect.read(json.dumps(body).encode(), {}, tenant="t")


# -- answers --------------------------------------------------------------------------------------

LOGPROBS = st.none() | st.integers(0, 3).map(
    lambda n: {"tokens": ["index"] * n, "top_logprobs": [{"index": -0.5}] * n}
)
CHOICES = st.lists(
    st.fixed_dictionaries(
        {"text": TEXT, "logprobs": LOGPROBS, "finish_reason": st.sampled_from(["stop", "length"])}
    ),
    min_size=1,
    max_size=3,
)
TEXTS = CHOICES.map(
    lambda choices: {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
)
ANNOTATIONS = st.lists(st.fixed_dictionaries({"type": st.just("url_citation"), "url": TEXT}))
PARTS = st.fixed_dictionaries(
    {"type": st.just("output_text"), "text": TEXT, "annotations": ANNOTATIONS}
) | st.fixed_dictionaries({"type": st.just("refusal"), "refusal": TEXT})
ITEMS = (
    st.fixed_dictionaries(
        {
            "id": st.just("msg_1"),
            "type": st.just("message"),
            "status": st.just("completed"),
            "role": st.just("assistant"),
            "content": st.lists(PARTS, max_size=3),
        }
    )
    | st.fixed_dictionaries(
        {
            "id": st.just("fc_1"),
            "type": st.just("function_call"),
            "name": st.just("f"),
            "call_id": st.just("c1"),
            "arguments": TEXT,
        }
    )
    | st.fixed_dictionaries(
        {
            "id": st.just("rs_1"),
            "type": st.just("reasoning"),
            "summary": st.lists(
                st.fixed_dictionaries({"type": st.just("summary_text"), "text": TEXT}), max_size=2
            ),
        }
    )
    | st.fixed_dictionaries({"type": st.just("x_future"), "x": JSON})
)
OUTPUTS = st.lists(ITEMS, max_size=3).map(
    lambda output: {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "model": "m",
        "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    }
)
BLOCKS = (
    st.fixed_dictionaries(
        {"type": st.just("text"), "text": TEXT},
        optional={"citations": st.none() | st.lists(JSON, max_size=2)},
    )
    | st.fixed_dictionaries(
        {
            "type": st.just("tool_use"),
            "id": st.just("toolu_1"),
            "name": st.just("f"),
            "input": st.dictionaries(TEXT, JSON, max_size=3),
        }
    )
    | st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXT, "signature": TEXT})
    | st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": TEXT})
    | st.fixed_dictionaries({"type": st.just("x_future"), "x": JSON})
)
CONTENTS = st.lists(BLOCKS, max_size=4).map(
    lambda content: {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 1,
            "cache_creation": {"ephemeral_1h_input_tokens": 0},
            "output_tokens": 2,
            "service_tier": "standard",
        },
    }
)
ANSWERS = st.one_of(
    *(
        st.tuples(st.just(dialect), answers)
        for dialect, answers in (
            (TEXT_COMPLETIONS, TEXTS),
            (RESPONSES, OUTPUTS),
            (MESSAGES, CONTENTS),
        )
    )
)


@given(ANSWERS)
def test_a_stream_loses_nothing(made: tuple[Dialect, JsonObject]) -> None:
    """Cut into events and put together again, an answer is what it was."""
    dialect, answer = made
    assert dialect.is_well_formed(answer)
    events = list(dialect.to_stream(answer, include_usage=True))
    assert dialect.from_stream(events) == answer


@given(ANSWERS)
def test_a_stream_that_ends_early_is_no_answer(made: tuple[Dialect, JsonObject]) -> None:
    """Without its last event nothing can be kept."""
    dialect, answer = made
    events = list(dialect.to_stream(answer, include_usage=False))
    for end in range(len(events)):
        assert dialect.from_stream(events[:end]) is None


@given(OUTPUTS)
def test_what_a_response_says_in_pieces(answer: JsonObject) -> None:
    """Who only adds up the pieces of a stream has the texts and arguments of the whole response."""
    pieces: dict[tuple[int, str, int], str] = {}
    items: list[JsonObject] = []
    for number, event in enumerate(RESPONSES.to_stream(answer, include_usage=False)):
        told = json.loads(data_of(event) or b"")
        assert told["sequence_number"] == number
        assert event.startswith(f"event: {told['type']}\n".encode())
        place = told.get("content_index", told.get("summary_index", 0))
        if told["type"].endswith(".delta"):
            key = told["output_index"], told["type"], place
            pieces[key] = pieces.get(key, "") + told["delta"]
        if told["type"] == "response.output_item.done":
            items.append(told["item"])
    assert items == answer["output"]
    told_in_pieces = sorted(text for text in pieces.values() if text)
    texts = [part.get("text") or part.get("refusal") or "" for part in _parts(answer)]
    calls = [item.get("arguments") or "" for item in answer["output"]]
    assert told_in_pieces == sorted(text for text in (*texts, *calls) if text)


def _parts(answer: JsonObject) -> list[JsonObject]:
    return [
        part
        for item in answer["output"]
        for name in ("content", "summary")
        for part in item.get(name) or []
    ]


@given(st.lists(JSON, max_size=4))
def test_any_json_in_a_stream_is_survived(values: list[Any]) -> None:
    """A stream of any events adds up to a well-formed answer or to none; it never raises."""
    kinds = ("message_start", "content_block_start", "content_block_delta", "message_delta")
    shaped = [
        *values,
        *({"type": kind, "message": v, "delta": v, "index": 0} for kind in kinds for v in values),
        *({"choices": [v]} for v in values),
        *({"type": "response.completed", "response": v} for v in values),
    ]
    events = [event_of(json.dumps(value).encode()) for value in shaped]
    for dialect in DIALECTS:
        for stream in (events, *([event] for event in events)):
            answer = dialect.from_stream([*stream, event_of(b"[DONE]")])
            assert answer is None or isinstance(dialect.why_not_keep(answer), str | None)
        for value in values:
            assert isinstance(dialect.why_not_keep(value), str)
            assert not dialect.is_well_formed(value) or isinstance(value, dict)


NAMES = st.sampled_from(
    [
        "text", "content", "summary", "annotations", "logprobs", "arguments", "input", "name", "id",
        "index", "finish_reason", "citations", "thinking", "signature", "refusal", "status",
    ]
)  # fmt: skip
KINDS = st.sampled_from(
    [
        "message", "output_text", "refusal", "function_call", "custom_tool_call", "reasoning", "x",
        "reasoning_text", "text", "thinking", "tool_use", "redacted_thinking",
    ]
)  # fmt: skip
ODD = st.builds(lambda kind, fields: {**fields, "type": kind}, KINDS, st.dictionaries(NAMES, JSON))
ODDER = st.builds(
    lambda item, name, inner: {**item, name: inner}, ODD, NAMES, st.lists(ODD, max_size=2)
)


@given(st.lists(ODD | ODDER, min_size=1, max_size=2), st.dictionaries(NAMES, JSON))
def test_what_is_well_formed_can_be_streamed(items: list[JsonObject], fields: JsonObject) -> None:
    """However odd it is otherwise: servers of all kinds answer."""
    for dialect, name in (
        (TEXT_COMPLETIONS, "choices"),
        (RESPONSES, "output"),
        (MESSAGES, "content"),
    ):
        answer = {**fields, name: items}
        if dialect.is_well_formed(answer):
            assert list(dialect.to_stream(answer, include_usage=True))
        dialect.why_not_keep(answer)
        dialect.usage_of(answer)


GOOD: list[tuple[Dialect, JsonObject]] = [
    (TEXT_COMPLETIONS, {"choices": [{"text": "An answer.", "finish_reason": "stop"}]}),
    (
        RESPONSES,
        {
            "status": "completed",
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": "An answer."}]}
            ],
        },
    ),
    (EMBEDDINGS, {"data": [{"embedding": [0.1]}]}),
    (MESSAGES, {"content": [{"type": "text", "text": "An answer."}], "stop_reason": "end_turn"}),
]


@pytest.mark.parametrize(("dialect", "answer"), GOOD)
def test_what_is_kept(dialect: Dialect, answer: JsonObject) -> None:
    """A whole answer is kept, by its own protocol alone."""
    assert dialect.why_not_keep(answer) is None
    others = [other for other in DIALECTS if other is not dialect]
    assert all(other.why_not_keep(answer) for other in others)


def output(**item: Any) -> JsonObject:
    """Return a response of one item."""
    return {"output": [{"type": "message", **item}]}


@pytest.mark.parametrize(
    ("dialect", "change", "reason"),
    [
        (TEXT_COMPLETIONS, {"choices": [{"text": "x", "finish_reason": "length"}]}, "not finished"),
        (TEXT_COMPLETIONS, {"choices": [{"text": " ", "finish_reason": "stop"}]}, "an empty text"),
        (RESPONSES, {"status": "incomplete"}, "not finished"),
        (RESPONSES, {"status": "failed"}, "not finished"),
        (RESPONSES, {"error": {"code": "x"}}, "not finished"),
        (RESPONSES, {"output": []}, "an empty message"),
        (RESPONSES, output(content=[{"type": "output_text", "text": " "}]), "an empty message"),
        (RESPONSES, output(content=[{"type": "refusal", "refusal": "No."}]), "a refusal"),
        (RESPONSES, output(status="in_progress"), "not finished"),
        (RESPONSES, output(type="web_search_call"), "an item of a tool of the server's"),
        (EMBEDDINGS, {"data": []}, "no embeddings"),
        (EMBEDDINGS, {"data": [{"embedding": []}]}, "an empty embedding"),
        (MESSAGES, {"stop_reason": "max_tokens"}, "not finished"),
        (MESSAGES, {"stop_reason": "pause_turn"}, "not finished"),
        (MESSAGES, {"stop_reason": "refusal"}, "not finished"),
        (MESSAGES, {"content": []}, "an empty message"),
        (
            MESSAGES,
            {"content": [{"type": "server_tool_use", "name": "web_search"}]},
            "a block of a tool of the server's",
        ),
    ],
)
def test_what_is_not_kept(dialect: Dialect, change: JsonObject, reason: str) -> None:
    """Only complete, successful, untruncated answers are."""
    answer = next(answer for found, answer in GOOD if found is dialect)
    assert dialect.why_not_keep({**answer, **change}) == reason


def test_a_response_whose_last_event_has_no_output() -> None:
    """Its items are those that were done before."""
    item = {"type": "message", "content": [{"type": "output_text", "text": "A"}]}
    events = [
        event_of(json.dumps(event).encode())
        for event in (
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {"status": "completed", "output": []}},
        )
    ]
    assert RESPONSES.from_stream(events) == {"status": "completed", "output": [item]}


def test_a_message_without_its_last_word() -> None:
    """It is whole for who asked for a whole answer, and never kept."""
    answer = next(answer for dialect, answer in GOOD if dialect is MESSAGES)
    events = list(MESSAGES.to_stream(answer, include_usage=False))[:-1]
    assert MESSAGES.from_stream(events) is None
    assert MESSAGES.from_stream(events, needs_done=False) is not None


def test_usage_with_the_models_own_cache() -> None:
    """Tokens that were written to or read from it count, each at its own price."""
    usage = {
        "input_tokens": 100,
        "cache_creation_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 400},
        "cache_read_input_tokens": 2000,
        "output_tokens": 7,
    }
    found = MESSAGES.usage_of({"usage": usage})
    assert (found.prompt, found.output) == (3100, 7)
    assert found.charged == pytest.approx(100 + 600 * 1.25 + 400 * 2.0 + 2000 * 0.1)
    assert MESSAGES.usage_of({}).prompt is None
    assert EMBEDDINGS.usage_of({"usage": {"prompt_tokens": 3}}).output == 0
    assert RESPONSES.usage_of({"usage": {"input_tokens": 3, "output_tokens": 4}}).prompt == 3


def test_an_answer_that_repeats_its_request_is_kept_without() -> None:
    """Metadata and the like are each request's own."""
    call = read(RESPONSES, {**RESPONSE_BASE, "metadata": {"run": "1"}, "user": "ann"})
    assert call.echo == {"metadata": {"run": "1"}, "user": "ann"}
    kept = RESPONSES.kept({"id": "r", "metadata": {"run": "1"}, "user": "ann"})
    assert kept == {"id": "r", "metadata": {}, "user": None}
    assert read(MESSAGES, MESSAGE_BASE).echo == {}
