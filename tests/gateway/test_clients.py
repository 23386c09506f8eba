from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletion
from pydantic import SecretStr

from .support import Gateway

MODEL = "stand-in-1"
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
]


def user(text: str) -> list[Any]:
    """Return a conversation of one question."""
    return [{"role": "user", "content": text}]


def test_sync_client_miss_then_hit(gateway: Gateway) -> None:
    """The second answer is the first one's, and comes from the cache."""
    with gateway.client() as client:
        raws = []
        for _ in range(2):
            raws.append(
                client.chat.completions.with_raw_response.create(
                    model=MODEL, messages=user("What is a monad?")
                )
            )
            gateway.settle()
    assert [raw.headers["x-cache"] for raw in raws] == ["MISS", "HIT"]
    one, two = (raw.parse() for raw in raws)
    assert isinstance(one, ChatCompletion)
    assert one == two
    assert gateway.calls() == 1


def test_sync_client_streams_miss_then_hit(gateway: Gateway) -> None:
    """A replayed stream adds up to what the model streamed."""
    texts = []
    with gateway.client() as client:
        for _ in range(2):
            with client.chat.completions.create(
                model=MODEL, messages=user("Stream me."), stream=True
            ) as stream:
                chunks = list(stream)
            gateway.settle()
            texts.append("".join(c.choices[0].delta.content or "" for c in chunks))
            assert chunks[-1].choices[0].finish_reason == "stop"
            assert len(chunks) > 3
    assert texts[0] == texts[1] != ""
    assert gateway.calls() == 1


async def test_async_client(gateway: Gateway) -> None:
    """The asynchronous client gets whole answers and streams, missed and hit."""
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="test", max_retries=0
    ) as client:
        whole = await client.chat.completions.create(model=MODEL, messages=user("Hello?"))
        gateway.settle()
        stream = await client.chat.completions.create(
            model=MODEL, messages=user("Hello?"), stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
    assert text == whole.choices[0].message.content
    assert gateway.calls() == 1


def test_stream_helper(gateway: Gateway) -> None:
    """The client's own accumulator reads a replayed stream with its usage."""
    with gateway.client() as client:
        whole = client.chat.completions.create(model=MODEL, messages=user("Helper?"))
        gateway.settle()
        with client.chat.completions.stream(
            model=MODEL, messages=user("Helper?"), stream_options={"include_usage": True}
        ) as stream:
            final = stream.get_final_completion()
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.usage == whole.usage
    assert gateway.calls() == 1


@pytest.mark.parametrize("streams", [(False, False), (False, True), (True, False), (True, True)])
def test_tools(gateway: Gateway, streams: tuple[bool, bool]) -> None:
    """A tool call is the same from the model and from the cache, whatever the forms."""
    calls = []
    with gateway.client() as client:
        for stream in streams:
            asked: dict[str, Any] = {
                "model": MODEL,
                "messages": user("[[tool:get_weather]] in Oslo"),
                "tools": TOOLS,
            }
            if stream:
                with client.chat.completions.stream(**asked) as events:
                    choice: Any = events.get_final_completion().choices[0]
            else:
                choice = client.chat.completions.create(**asked).choices[0]
            gateway.settle()
            (call,) = choice.message.tool_calls
            assert choice.finish_reason == "tool_calls"
            assert json.loads(call.function.arguments)
            calls.append((call.id, call.function.name, call.function.arguments))
    assert calls[0] == calls[1]
    assert gateway.calls() == 1


def test_several_choices(gateway: Gateway) -> None:
    """Three choices are kept and replayed, whole and streamed."""
    with gateway.client() as client:
        first = client.chat.completions.create(model=MODEL, messages=user("Pick."), n=3)
        gateway.settle()
        again = client.chat.completions.create(model=MODEL, messages=user("Pick."), n=3)
        texts = ["", "", ""]
        with client.chat.completions.create(
            model=MODEL, messages=user("Pick."), n=3, stream=True
        ) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
    assert again == first
    assert texts == [choice.message.content for choice in first.choices]
    assert len(set(texts)) == 3
    assert gateway.calls() == 1


def langchain(gateway: Gateway) -> ChatOpenAI:
    """Return LangChain's client with only its base URL changed."""
    return ChatOpenAI(
        model=MODEL,
        base_url=f"{gateway.url}/v1",
        api_key=SecretStr("test"),
        max_retries=0,
        stream_usage=True,
    )


def test_langchain_invoke(gateway: Gateway) -> None:
    """LangChain gets one answer twice, the second time from the cache."""
    llm = langchain(gateway)
    one = llm.invoke("What is a lemma?")
    gateway.settle()
    two = llm.invoke("What is a lemma?")
    assert one.content == two.content != ""
    assert one.response_metadata["token_usage"] == two.response_metadata["token_usage"]
    assert gateway.calls() == 1


def test_langchain_stream(gateway: Gateway) -> None:
    """LangChain streams one answer twice, with its usage, the second time from the cache."""
    totals = []
    for _ in range(2):
        total = AIMessageChunk(content="")
        for chunk in langchain(gateway).stream("Stream a lemma."):
            assert isinstance(chunk, AIMessageChunk)
            total += chunk
        gateway.settle()
        totals.append(total)
    assert totals[0].content == totals[1].content != ""
    assert totals[0].usage_metadata == totals[1].usage_metadata is not None
    assert gateway.calls() == 1


async def test_langchain_async(gateway: Gateway) -> None:
    """LangChain's asynchronous calls hit what its synchronous ones stored."""
    stored = langchain(gateway).invoke("Later?")
    gateway.settle()
    assert (await langchain(gateway).ainvoke("Later?")).content == stored.content
    pieces = [chunk.content async for chunk in langchain(gateway).astream("Later?")]
    assert "".join(map(str, pieces)) == stored.content
    assert gateway.calls() == 1
