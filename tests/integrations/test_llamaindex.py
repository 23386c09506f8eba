from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import openai
import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.prompts import PromptTemplate

from likewise import Cache, Scope
from likewise.errors import ConfigError
from likewise.integrations.llamaindex import CachedLLM

from .conftest import StandIn

TEXT = "how do I undo the last commit in git"


class StandInLLM(CustomLLM):
    """An ``LLM`` over an OpenAI-compatible server: theirs wants an older ``openai``."""

    base_url: str
    model: str = "m"
    temperature: float = 0.1
    odd: Any = None

    @property
    def metadata(self) -> LLMMetadata:
        """A chat model, by its own word one that calls functions."""
        return LLMMetadata(
            model_name=self.model, is_chat_model=True, is_function_calling_model=True
        )

    def _ask(self, text: str, messages: Any = None, **kwargs: Any) -> Any:
        client = openai.OpenAI(base_url=self.base_url, api_key="k", max_retries=0)
        asked = messages or [{"role": "user", "content": text}]
        return client.chat.completions.create(model=self.model, messages=asked, **kwargs)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Ask."""
        raw = self._ask("", _plain(messages), **kwargs)
        said = raw.choices[0].message
        calls = [call.model_dump() for call in said.tool_calls or ()]
        message = ChatMessage(
            role=MessageRole.ASSISTANT,
            content=said.content or "",
            additional_kwargs={"tool_calls": calls} if calls else {},
        )
        return ChatResponse(message=message, raw=raw)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Ask."""
        raw = self._ask(prompt, **kwargs)
        return CompletionResponse(text=raw.choices[0].message.content or "", raw=raw)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        """Ask for a stream."""

        def pieces() -> Iterator[ChatResponse]:
            said = ""
            for raw in self._ask("", _plain(messages), stream=True, **kwargs):
                delta = raw.choices[0].delta.content or ""
                said += delta
                message = ChatMessage(role=MessageRole.ASSISTANT, content=said)
                yield ChatResponse(message=message, delta=delta, raw=raw)

        return pieces()

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Ask for a stream."""

        def pieces() -> Iterator[CompletionResponse]:
            said = ""
            for raw in self._ask(prompt, stream=True, **kwargs):
                delta = raw.choices[0].delta.content or ""
                said += delta
                yield CompletionResponse(text=said, delta=delta, raw=raw)

        return pieces()


def _plain(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    return [{"role": str(m.role.value), "content": m.content or "-"} for m in messages]


Wrapping = Callable[..., CachedLLM]


@pytest.fixture
def wrapped(door: Cache, model: StandIn) -> Wrapping:
    """Wrap a model over the stand-in; arguments of the wrapper by keyword, ``of`` the model's."""

    def wrap(of: dict[str, Any] | None = None, **options: Any) -> CachedLLM:
        inner = StandInLLM(base_url=model.base_url, **(of or {}))
        return CachedLLM(inner, door, **{"category": "loose", **options})

    return wrap


def user(text: str) -> ChatMessage:
    """Return a user's message."""
    return ChatMessage(role=MessageRole.USER, content=text)


def test_miss_and_hit(wrapped: Wrapping, model: StandIn) -> None:
    """In both forms, which are not the same request."""
    llm = wrapped()
    first, second = llm.chat([user("one")]), llm.chat([user("one")])
    assert second.message == first.message
    assert second.raw["usage"] == first.raw.usage.model_dump(mode="json")  # type: ignore[union-attr, index]
    texts = [llm.complete("one").text for _ in range(2)]
    assert texts[0] == texts[1]
    assert model.calls == 2


def test_what_means_the_same_hits(wrapped: Wrapping, model: StandIn) -> None:
    """By the category of the wrapper."""
    llm = wrapped()
    first = llm.chat([user(TEXT)])
    assert llm.chat([user(TEXT.replace("last", "very last"))]).message == first.message
    assert model.calls == 1


@pytest.mark.parametrize("form", ["chat", "complete"])
def test_streams(wrapped: Wrapping, model: StandIn, form: str) -> None:
    """Either is served from the other; pieces add up to the whole."""
    llm = wrapped()
    asked: Any = [user("one")] if form == "chat" else "one"
    other: Any = [user("two")] if form == "chat" else "two"
    stream, whole = getattr(llm, f"stream_{form}"), getattr(llm, form)
    first, second = list(stream(asked)), list(stream(asked))
    text = "".join(piece.delta for piece in first)
    assert (
        text
        == "".join(piece.delta for piece in second)
        == str(whole(asked)).removeprefix("assistant: ")
    )
    assert len(second) > 1
    assert str(second[-1]) == str(first[-1])
    said = str(whole(other))
    assert str(list(stream(other))[-1]) == said
    assert model.calls == 2


def test_a_stream_that_is_left_is_not_kept(wrapped: Wrapping, door: Cache) -> None:
    """Nor is what was cut, or is empty."""
    llm = wrapped()
    stream = llm.stream_chat([user("one")])
    next(stream)
    stream.close()
    llm.chat([user("one [[finish:length]]")])
    list(llm.stream_chat([user("two [[finish:length]]")]))
    assert door.stats()["entries"] == 0


@pytest.mark.parametrize("form", ["chat", "complete"])
async def test_coroutines(wrapped: Wrapping, model: StandIn, form: str) -> None:
    """The same, awaited."""
    llm = wrapped()
    asked: Any = [user("one")] if form == "chat" else "one"
    other: Any = [user("two")] if form == "chat" else "two"
    stream, whole = getattr(llm, f"astream_{form}"), getattr(llm, f"a{form}")

    async def last(pieces: AsyncIterator[Any]) -> Any:
        return [piece async for piece in pieces][-1]

    first = await whole(asked)
    assert str(await whole(asked)) == str(await last(await stream(asked))) == str(first)
    assert str(await last(await stream(other))) == str(await whole(other))
    assert model.calls == 2


@pytest.mark.parametrize(
    ("of", "kwargs", "before"),
    [
        ({"model": "other"}, {}, []),
        ({"temperature": 0.5}, {}, []),
        ({"system_prompt": "s"}, {}, []),
        ({"odd": user}, {}, []),
        ({}, {"max_tokens": 9}, []),
        ({}, {}, [ChatMessage(role=MessageRole.SYSTEM, content="s")]),
        ({}, {}, [user("zero"), ChatMessage(role=MessageRole.ASSISTANT, content="z")]),
    ],
)
def test_answers_never_cross(
    wrapped: Wrapping,
    model: StandIn,
    of: dict[str, Any],
    kwargs: dict[str, Any],
    before: list[ChatMessage],
) -> None:
    """Model, settings, arguments, context: any of them makes it another request."""
    wrapped().chat([user("one")])
    for _ in range(2):
        wrapped(of).chat([*before, user("one")], **kwargs)
    assert model.calls == 2


def test_scopes_are_apart(wrapped: Wrapping, model: StandIn) -> None:
    """Every tenant for itself."""
    for scope in (None, Scope(tenant="a"), Scope(namespace="b")):
        wrapped(scope=scope).chat([user("one")])
    assert model.calls == 3


def test_pictures_and_tools_go_by_the_letter(wrapped: Wrapping, model: StandIn) -> None:
    """A near question does not hit; an equal one does."""
    llm = wrapped()
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    picture = ImageBlock(image=b"iVBORw0KGgo=", image_mimetype="image/png")
    for very in ("", "", "very "):
        said = llm.chat([user(f"{TEXT} {very}now [[tool:weather]]")], tools=tools)
        assert said.message.additional_kwargs["tool_calls"]
        text = f"{TEXT} {very}soon"
        llm.chat([ChatMessage(role=MessageRole.USER, blocks=[*user(text).blocks, picture])])
    assert model.calls == 4


def test_settings_that_cannot_be_told_apart(wrapped: Wrapping, door: Cache, model: StandIn) -> None:
    """Nothing is cached then, unless the caller says what tells them apart."""
    odd = {"odd": functools.partial(print)}
    for _ in range(2):
        wrapped(odd).chat([user("one")])
    assert model.calls == 2
    assert door.stats()["categories"]["default"]["faults"]["integration"] == 2
    for _ in range(2):
        wrapped(odd, identity="mine").chat([user("one")])
    assert model.calls == 3


def test_llamaindex_takes_it_for_a_model(wrapped: Wrapping, model: StandIn) -> None:
    """``predict`` goes through it; it does not say that it calls functions."""
    llm = wrapped()
    template = PromptTemplate("What is {thing}?")
    assert llm.predict(template, thing="one") == llm.predict(template, thing="one")
    assert model.calls == 1
    assert not llm.metadata.is_function_calling_model
    assert llm.metadata.is_chat_model


def test_faults_are_misses(wrapped: Wrapping, door: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that is out of order, or an entry of somebody else's, fails no call."""
    llm = wrapped()
    request = llm._of_chat([user("one")], {})
    assert request is not None
    door.try_keep(request, {"llamaindex": 1})
    assert llm.chat([user("one")]).message.content

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    for name in ("lookup", "try_keep"):
        monkeypatch.setattr(door, name, broken)
    assert llm.chat([user("one")]).message.content
    assert door.stats()["categories"]["default"]["faults"]["integration"] == 3
    with pytest.raises(ConfigError):
        wrapped(category="No Name")
