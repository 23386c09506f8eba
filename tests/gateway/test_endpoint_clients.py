"""The makers' own clients against every endpoint that is cached beside chat."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from .conftest import Open
from .support import Gateway

MODEL = "stand-in-1"
TEXT, RESPONSES, EMBEDDINGS, MESSAGES = (
    f"/v1/{name}" for name in ("completions", "responses", "embeddings", "messages")
)
TOOL = {"name": "get_weather", "parameters": {"type": "object"}}
CLAUDE_TOOL: Any = {"name": "get_weather", "input_schema": {"type": "object"}}
SHAPES = ["Plain?", "[[reasoning]] Why?", "[[unicode]] Where?"]


# -- /v1/completions ------------------------------------------------------------------------------


def test_completions_miss_then_hit(gateway: Gateway) -> None:
    """A text is completed once, and told whole and as a stream."""
    asked: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time", "logprobs": 1}
    with gateway.client() as client:
        raws = []
        for _ in range(2):
            raws.append(client.completions.with_raw_response.create(**asked))
            gateway.settle()
        usage: Any = {"include_usage": True}
        with client.completions.create(**asked, stream=True, stream_options=usage) as stream:
            chunks: list[Any] = list(stream)
    assert [raw.headers["x-cache"] for raw in raws] == ["MISS", "HIT"]
    one, two = (raw.parse() for raw in raws)
    assert one == two
    text = one.choices[0].text
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == text != ""
    assert len(chunks) > 4
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == one.usage
    assert gateway.calls(TEXT) == 1


def test_completions_streamed_then_whole(gateway: Gateway) -> None:
    """What a stream was put together from is a whole answer; usage is asked for and hidden."""
    asked: dict[str, Any] = {"model": MODEL, "prompt": "Twice upon a time", "n": 2}
    with gateway.client() as client:
        texts = ["", ""]
        with client.completions.create(**asked, stream=True) as stream:
            for chunk in stream:
                assert len(chunk.choices) == 1
                texts[chunk.choices[0].index] += chunk.choices[0].text
        gateway.settle()
        whole = client.completions.create(**asked)
    assert [choice.text for choice in whole.choices] == texts
    assert len(set(texts)) == 2
    assert whole.usage is not None
    assert gateway.calls(TEXT) == 1


# -- /v1/responses --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("first_streams", [False, True])
def test_responses_in_either_form(gateway: Gateway, text: str, first_streams: bool) -> None:
    """A response is the same object in all four ways from the model and from the cache."""
    asked: dict[str, Any] = {"model": MODEL, "input": text, "instructions": "Be brief."}
    found: list[Any] = []
    with gateway.client() as client:
        for streams in (first_streams, not first_streams, first_streams):
            if streams:
                with client.responses.stream(**asked) as stream:
                    said = "".join(
                        e.delta for e in stream if e.type == "response.output_text.delta"
                    )
                    found.append(stream.get_final_response())
                assert said == found[-1].output_text
            else:
                found.append(client.responses.create(**asked))
            gateway.settle()
    plain = [json.loads(one.to_json(exclude_unset=False)) for one in found]
    for one in plain:
        for item in one["output"]:
            for part in item.get("content") or []:
                part.pop("parsed", None)
    assert plain[0] == plain[1] == plain[2]
    assert found[0].output_text
    assert gateway.calls(RESPONSES) == 1


def test_responses_events_are_numbered(gateway: Gateway) -> None:
    """A replayed stream has the events of a real one, in the same order, with their numbers."""
    kinds = []
    with gateway.client() as client:
        for _ in range(2):
            with client.responses.create(
                model=MODEL, input="[[reasoning]] Events?", stream=True
            ) as stream:
                events = list(stream)
            gateway.settle()
            assert [event.sequence_number for event in events] == list(range(len(events)))
            kinds.append([event.type for event in events])
    assert kinds[0] == kinds[1]
    assert gateway.calls(RESPONSES) == 1


@pytest.mark.parametrize("streams", [False, True])
def test_responses_call_tools(gateway: Gateway, streams: bool) -> None:
    """The call of a function is the same from the model and from the cache, in either form."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "input": "[[tool:get_weather]] in Oslo",
        "tools": [{"type": "function", **TOOL, "strict": False}],
    }
    with gateway.client() as client:
        fresh: Any = client.responses.create(**asked).output[0]
        gateway.settle()
        if streams:
            with client.responses.create(**asked, stream=True) as stream:
                spelled = "".join(
                    e.delta for e in stream if e.type == "response.function_call_arguments.delta"
                )
        else:
            spelled = client.responses.create(**asked).output[0].arguments
    assert json.loads(spelled) == json.loads(fresh.arguments)
    assert gateway.calls(RESPONSES) == 1


async def test_responses_async(gateway: Gateway) -> None:
    """The asynchronous client streams what the model said whole."""
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="test", max_retries=0
    ) as client:
        whole = await client.responses.create(model=MODEL, input="Hello?")
        gateway.settle()
        stream = await client.responses.create(model=MODEL, input="Hello?", stream=True)
        last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    assert last.response == whole
    assert gateway.calls(RESPONSES) == 1


# -- /v1/embeddings -------------------------------------------------------------------------------


def test_embeddings_miss_then_hit(gateway: Gateway) -> None:
    """The client asks for base64 unless told, and gets the same numbers every time."""
    with gateway.client() as client:
        raws = []
        for _ in range(2):
            raws.append(
                client.embeddings.with_raw_response.create(model=MODEL, input=["one", "two"])
            )
            gateway.settle()
        plain = client.embeddings.create(model=MODEL, input=["one", "two"], encoding_format="float")
    assert [raw.headers["x-cache"] for raw in raws] == ["MISS", "HIT"]
    assert gateway.calls(EMBEDDINGS) == 2
    one, two = (raw.parse() for raw in raws)
    assert one == two
    for row, wanted in zip(one.data, plain.data, strict=True):
        assert row.embedding == pytest.approx(wanted.embedding)
        assert len(row.embedding) == 384


def test_one_text_is_a_list_of_one(gateway: Gateway) -> None:
    """A text and a list that has it alone get the same answer; white space makes another text."""
    with gateway.client() as client:
        for given, calls in (
            ("one", 1),
            (["one"], 1),
            ("one ", 2),
            (" one", 3),
            (["one", "one"], 4),
        ):
            client.embeddings.create(model=MODEL, input=given)
            gateway.settle()
            assert gateway.calls(EMBEDDINGS) == calls


def test_tokens_are_texts_too(gateway: Gateway) -> None:
    """LangChain's embeddings send tokens; equal ones are asked for once."""
    with gateway.client() as client:
        for given, calls in (([[1, 2], [3]], 1), ([[1, 2], [3]], 1), ([1, 2], 2), ([[1, 2]], 3)):
            asked: Any = given
            client.embeddings.create(model=MODEL, input=asked)
            gateway.settle()
            assert gateway.calls(EMBEDDINGS) == calls


def test_a_rule_by_path(open_gateway: Open) -> None:
    """Embeddings, which never change, may have a policy of their own."""
    gateway = open_gateway({"rules": [{"category": "vectors", "path": EMBEDDINGS}]})
    with gateway.client() as client:
        raw = client.embeddings.with_raw_response.create(model=MODEL, input="my password")
    assert raw.headers["x-likewise-category"] == "vectors"
    gateway.settle()
    assert gateway.entries == 1


def test_embeddings_are_never_served_by_meaning(open_gateway: Open) -> None:
    """However loose the category, only an equal text has the same vector."""
    gateway = open_gateway({"defaults": {"similarity_threshold": 0.5, "guards": []}})
    with gateway.client() as client:
        for text in ("how do I undo a commit", "how do I undo a commit?"):
            raw = client.embeddings.with_raw_response.create(model=MODEL, input=text)
            gateway.settle()
            assert raw.headers["x-cache"] == "MISS"
            assert raw.headers["x-likewise-reason"] == "exact-only"


# -- /v1/messages ---------------------------------------------------------------------------------


def claude(text: str, **fields: Any) -> dict[str, Any]:
    """Return a request for a message."""
    return {
        "model": MODEL,
        "max_tokens": 500,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("first_streams", [False, True])
def test_messages_in_either_form(gateway: Gateway, text: str, first_streams: bool) -> None:
    """A message is the same object in all four ways from the model and from the cache."""
    asked = claude(text, system="Be brief.")
    found = []
    with gateway.anthropic() as client:
        for streams in (first_streams, not first_streams, first_streams):
            if streams:
                with client.messages.stream(**asked) as stream:
                    said = "".join(stream.text_stream)
                    found.append(json.loads(stream.get_final_message().to_json()))
                assert said == found[-1]["content"][-1]["text"]
            else:
                found.append(json.loads(client.messages.create(**asked).to_json()))
            gateway.settle()
    for one in found:
        for block in one["content"]:
            block.pop("parsed_output", None)
    assert found[0] == found[1] == found[2]
    assert found[0]["stop_reason"] == "end_turn"
    assert found[0]["usage"]["output_tokens"] > 10
    assert gateway.calls(MESSAGES) == 1


def test_messages_events(gateway: Gateway) -> None:
    """A replayed stream has the events of a real one, in the same order."""
    kinds = []
    with gateway.anthropic() as client:
        for _ in range(2):
            with client.messages.create(**claude("Events?"), stream=True) as stream:
                kinds.append([event.type for event in stream])
            gateway.settle()
    assert kinds[0] == kinds[1]
    assert kinds[0][0] == "message_start"
    assert kinds[0][-2:] == ["message_delta", "message_stop"]
    assert gateway.calls(MESSAGES) == 1


@pytest.mark.parametrize("streams", [(False, True), (True, False)])
def test_messages_call_tools(gateway: Gateway, streams: tuple[bool, bool]) -> None:
    """The use of a tool is the same from the model and from the cache, in either form."""
    found: list[Any] = []
    asked = claude("[[tool:get_weather]] in Oslo", tools=[CLAUDE_TOOL])
    with gateway.anthropic() as client:
        for stream in streams:
            if stream:
                with client.messages.stream(**asked) as events:
                    message: Any = events.get_final_message()
            else:
                message = client.messages.create(**asked)
            gateway.settle()
            assert message.stop_reason == "tool_use"
            found.append(message.content[0])
    assert (found[0].id, found[0].input) == (found[1].id, found[1].input)
    assert found[0].input["reference"]
    assert gateway.calls(MESSAGES) == 1


async def test_messages_async(gateway: Gateway) -> None:
    """The asynchronous client streams what was said whole; tokens are counted by the model."""
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, api_key="test", max_retries=0
    ) as client:
        whole: Any = await client.messages.create(**claude("Hello?"))
        gateway.settle()
        async with client.messages.stream(**claude("Hello?")) as stream:
            text = await stream.get_final_text()
        counted = await client.messages.count_tokens(
            model=MODEL, messages=[{"role": "user", "content": "one two"}]
        )
    assert text == whole.content[0].text
    assert counted.input_tokens == 2
    assert gateway.calls(MESSAGES) == 1
    assert gateway.calls(f"{MESSAGES}/count_tokens") == 1


def test_betas_of_messages(gateway: Gateway) -> None:
    """The client's beta calls are cached as well, apart from those with another beta or none."""
    asked: Any = claude("Beta?")
    with gateway.anthropic() as client:
        for betas, calls in ((["a-1"], 1), (["a-1"], 1), (["b-1"], 2)):
            client.beta.messages.create(**asked, betas=betas)
            gateway.settle()
            assert gateway.calls(MESSAGES) == calls
        client.messages.create(**asked)
    assert gateway.calls(MESSAGES) == 3


def test_errors_reach_both_clients(gateway: Gateway) -> None:
    """Errors of the model and of ours are what each client raises its own exceptions for."""
    with gateway.anthropic() as claudes, gateway.client() as openais:
        with pytest.raises(anthropic.RateLimitError, match="on purpose"):
            claudes.messages.create(**claude("[[status:429]]"))
        with pytest.raises(anthropic.BadRequestError, match="cache: ") as raised:
            claudes.messages.create(**claude("Q"), extra_body={"cache": 3})
        assert isinstance(raised.value.body, dict)
        assert raised.value.body["type"] == "error"
        assert raised.value.body["error"]["type"] == "invalid_request_error"
        with pytest.raises(openai.RateLimitError, match="on purpose"):
            openais.responses.create(model=MODEL, input="[[status:429]]")
        with pytest.raises(openai.BadRequestError, match="cache: "):
            openais.embeddings.create(model=MODEL, input="Q", extra_body={"cache": 3})
    assert gateway.entries == 0
