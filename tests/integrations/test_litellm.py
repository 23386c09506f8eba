from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from likewise import Cache, Scope
from likewise.errors import ConfigError

from .conftest import StandIn

# Else importing it asks a server for prices; see LiteLLM's documentation.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

from likewise.integrations.litellm import LikewiseCache

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Pydantic:UserWarning")

Asking = Callable[..., Any]


@pytest.fixture
def installed(door: Cache) -> Iterator[LikewiseCache]:
    """The cache as LiteLLM's own, for a test."""
    litellm.cache = kept = LikewiseCache(door, category="loose")
    yield kept
    litellm.cache = None


@pytest.fixture
def ask(installed: LikewiseCache, model: StandIn) -> Asking:
    """Ask the stand-in through LiteLLM."""

    def asking(text: str, **more: Any) -> Any:
        given = {"messages": [{"role": "user", "content": text}], "model": "openai/m", **more}
        given.setdefault("api_key", "k")
        return litellm.completion(api_base=model.base_url, max_retries=0, **given)

    return asking


def text_of(chunks: Any) -> str:
    """Return what a stream says."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_miss_and_hit(ask: Asking, model: StandIn) -> None:
    """The second answer is the first one, with its usage and its number."""
    first, second = ask("one"), ask("one")
    assert second.choices[0].message.content == first.choices[0].message.content
    assert (second.id, second.usage.total_tokens) == (first.id, first.usage.total_tokens)
    assert model.calls == 1


def test_what_means_the_same_hits(ask: Asking, model: StandIn) -> None:
    """By the category of the cache object, or the one a call names."""
    ask("how do I undo the last commit in git")
    ask("how do I undo the very last commit in git")
    assert model.calls == 1
    ask("how do I undo the last commit in git", cache={"category": "code"})
    assert model.calls == 2
    assert "cache" not in model.last


def test_streams(ask: Asking, model: StandIn) -> None:
    """In either form, whoever asked first."""
    first, again = text_of(ask("one", stream=True)), text_of(ask("one", stream=True))
    assert first == again == ask("one").choices[0].message.content != ""
    whole = ask("two").choices[0].message.content
    assert text_of(ask("two", stream=True)) == whole
    assert model.calls == 2


async def test_coroutines(installed: LikewiseCache, model: StandIn) -> None:
    """They hit what they stored, streaming and not."""

    async def asking(text: str, **more: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        return await litellm.acompletion(
            model="openai/m", messages=messages, api_base=model.base_url, api_key="k", **more
        )

    async def kept(count: int) -> None:
        # LiteLLM stores on a task of its own.
        for _ in range(2_000):
            if installed._likewise.stats()["entries"] >= count:
                break
            await asyncio.sleep(0.01)

    first = await asking("one")
    await kept(1)
    assert (await asking("one")).choices[0].message.content == first.choices[0].message.content
    stream = [chunk async for chunk in await asking("one", stream=True)]
    assert text_of(stream) == first.choices[0].message.content
    stream = [chunk async for chunk in await asking("two", stream=True)]
    await kept(2)
    assert (await asking("two")).choices[0].message.content == text_of(stream)
    assert model.calls == 2
    # What it still has to log would be found never awaited, in some other test.
    await GLOBAL_LOGGING_WORKER.flush()
    await GLOBAL_LOGGING_WORKER.stop()


class Shape(BaseModel):
    """A response format."""

    text: str


@pytest.mark.parametrize(
    "change",
    [
        {"model": "openai/other"},
        {"temperature": 0.5},
        {"max_tokens": 9},
        {"top_k": 3},
        {"extra_body": {"top_k": 3}},
        {"api_key": "other"},
        {"metadata": {"user_api_key": "a"}},
        {"response_format": Shape},
        {"cache": {"namespace": "b"}},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "one"}]},
        {"messages": [{"role": "user", "content": "0"}, {"role": "assistant", "content": "z"},
                      {"role": "user", "content": "one"}]},
    ],
)  # fmt: skip
def test_answers_never_cross(ask: Asking, model: StandIn, change: dict[str, Any]) -> None:
    """Model, parameters, key, proxy's key, context: any of them makes it another request."""
    ask("one")
    for _ in range(2):
        ask("one", **change)
    assert model.calls == 2


def test_what_cannot_change_the_answer_is_not_identity(ask: Asking, model: StandIn) -> None:
    """Who is named as the user, how long to wait, how often to try."""
    ask("one", user="a", timeout=10, metadata={"trace": 1})
    ask("one", user="b", timeout=20, num_retries=1)
    assert model.calls == 1


def test_the_word_of_a_call(ask: Asking, model: StandIn) -> None:
    """``no-cache``, ``no-store`` and ``ttl``, as LiteLLM spells them."""
    ask("one", cache={"no-store": True})
    ask("one")
    ask("one", cache={"no-cache": True})
    assert model.calls == 3
    ask("one", cache={"s-max-age": 0.0, "no-store": True}, caching=True)
    ask("one")
    assert model.calls <= 4


def test_tools_go_by_the_letter(ask: Asking, model: StandIn) -> None:
    """A near question with tools does not hit; an equal one gets its tool call back."""
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    calls = [
        ask(f"how is the {very}weather in the town of Paris [[tool:weather]]", tools=tools)
        .choices[0].message.tool_calls
        for very in ("", "", "very ")
    ]  # fmt: skip
    assert calls[0][0].function.name == calls[1][0].function.name == "weather"
    assert calls[0][0].id == calls[1][0].id
    assert model.calls == 2


def test_what_is_not_whole_is_not_kept(ask: Asking, model: StandIn, door: Cache) -> None:
    """Neither what was cut nor an entry of somebody else's is served."""
    for _ in range(2):
        ask("one [[finish:length]]")
    assert model.calls == 2
    kept = LikewiseCache(door)
    messages = [{"role": "user", "content": "two"}]
    request = kept._read({"messages": messages})
    assert request is not None
    door.try_keep(request, "text")
    assert kept.get_cache(messages=messages) is None
    assert kept._read({"messages": messages, "odd": object()}) is None
    assert kept._read({"messages": []}) is None


def test_scopes_are_apart(door: Cache) -> None:
    """Every scope given for itself, whoever calls."""
    found = set()
    for scope in (None, Scope(tenant="a"), Scope(namespace="b"), Scope(parameters="c")):
        for key in (None, "k"):
            given = {"messages": [{"role": "user", "content": "one"}], "api_key": key}
            request = LikewiseCache(door, scope=scope)._read(given)
            assert request is not None
            found.add(request.scope.digest())
    assert len(found) == 8


def test_faults_are_misses(
    ask: Asking, door: Cache, model: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that is out of order fails no call."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    for name in ("lookup", "try_keep"):
        monkeypatch.setattr(door, name, broken)
    assert ask("one").choices[0].message.content
    assert door.stats()["categories"]["default"]["faults"]["integration"] == 2
    with pytest.raises(ConfigError):
        LikewiseCache(door, category="No Name")
