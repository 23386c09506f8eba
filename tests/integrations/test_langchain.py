from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from likewise import Cache, Scope
from likewise.errors import ConfigError
from likewise.integrations.langchain import LikewiseCache

from .conftest import StandIn


@pytest.fixture
def kept(door: Cache) -> LikewiseCache:
    """The cache as LangChain sees it, of the loose category."""
    return LikewiseCache(door, category="loose")


def chat(model: StandIn, cache: BaseCache, **options: Any) -> ChatOpenAI:
    """Return LangChain's model over the stand-in."""
    given: dict[str, Any] = {"model_name": "m", "max_retries": 0, **options}
    return ChatOpenAI(base_url=model.base_url, api_key=SecretStr("k"), cache=cache, **given)


def test_miss_and_hit(kept: LikewiseCache, model: StandIn) -> None:
    """The second answer is the first one, message, metadata and all."""
    llm = chat(model, kept)
    first, second = llm.invoke("one"), llm.invoke("one")
    assert model.calls == 1
    assert (second.content, second.response_metadata) == (first.content, first.response_metadata)
    assert isinstance(second, AIMessage)
    assert second.usage_metadata is not None


def test_what_means_the_same_hits(kept: LikewiseCache, model: StandIn) -> None:
    """By the category of the cache object."""
    llm = chat(model, kept)
    first = llm.invoke("how do I undo the last commit in git")
    assert llm.invoke("how do I undo the very last commit in git").content == first.content
    assert model.calls == 1


async def test_coroutines(kept: LikewiseCache, model: StandIn) -> None:
    """They hit what others stored, and the reverse."""
    llm = chat(model, kept)
    first = await llm.ainvoke("one")
    assert (await llm.ainvoke("one")).content == llm.invoke("one").content == first.content
    assert model.calls == 1
    await kept.aclear()
    await llm.ainvoke("one")
    assert model.calls == 2


def test_streams(kept: LikewiseCache, model: StandIn) -> None:
    """What a model that streams inside has said is kept; ``stream`` asks where it does not."""
    streams = chat(model, kept, streaming=True, stream_usage=True)
    first, second = streams.invoke("one"), streams.invoke("one")
    assert first.content == second.content != ""
    assert second.usage_metadata is not None
    assert model.calls == 1
    whole = chat(model, kept, disable_streaming=True)
    texts = ["".join(str(c.content) for c in whole.stream("two")) for _ in range(2)]
    assert texts[0] == texts[1] != ""
    assert model.calls == 2


def test_stream_goes_past_the_cache(kept: LikewiseCache, model: StandIn) -> None:
    """LangChain asks no cache then: if that changes, the documentation has to."""
    llm = chat(model, kept)
    for _ in range(2):
        list(llm.stream("one"))
    assert model.calls == 2


HISTORY: list[BaseMessage] = [HumanMessage("zero"), AIMessage("z", id="run-1"), HumanMessage("one")]


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"model_name": "other"}, [HumanMessage("one")]),
        ({"temperature": 0.5}, [HumanMessage("one")]),
        ({"stop_sequences": ["x"]}, [HumanMessage("one")]),
        ({}, [SystemMessage("s"), HumanMessage("one")]),
        ({}, HISTORY),
        ({}, [HumanMessage("one", name="b")]),
    ],
)
def test_answers_never_cross(
    kept: LikewiseCache, model: StandIn, options: dict[str, Any], messages: list[BaseMessage]
) -> None:
    """Another model, other parameters or another context are another request."""
    chat(model, kept).invoke("one")
    llm = chat(model, kept, **options)
    for _ in range(2):
        llm.invoke(messages)
    assert model.calls == 2


def test_what_does_not_reach_the_model_is_not_identity(kept: LikewiseCache, model: StandIn) -> None:
    """Earlier answers carry numbers that differ from run to run."""
    llm = chat(model, kept)
    for number in range(2):
        said = AIMessage(
            "z", id=f"run-{number}", response_metadata={"id": number},
            usage_metadata={"input_tokens": number, "output_tokens": 0, "total_tokens": number},
        )  # fmt: skip
        llm.invoke([HumanMessage("zero"), said, HumanMessage("one")])
    assert model.calls == 1


def test_scopes_are_apart(door: Cache, model: StandIn) -> None:
    """Every tenant and namespace for itself."""
    for scope in (None, Scope(tenant="a"), Scope(namespace="b"), Scope(parameters="c")):
        chat(model, LikewiseCache(door, scope=scope)).invoke("one")
    assert model.calls == 4


def test_tools_go_by_the_letter(kept: LikewiseCache, model: StandIn) -> None:
    """A near question with tools does not hit; an equal one gets its tool call back."""

    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    llm = chat(model, kept).bind_tools([weather])
    calls = [
        llm.invoke(f"how is the {very}weather in the town of Paris [[tool:weather]]").tool_calls
        for very in ("", "", "very ")
    ]
    assert calls[0] == calls[1] != []
    assert model.calls == 2


def test_what_is_not_whole_is_not_kept(kept: LikewiseCache, model: StandIn) -> None:
    """Neither what was cut, nor what is empty."""
    llm = chat(model, kept)
    for _ in range(2):
        llm.invoke("one [[finish:length]]")
    assert model.calls == 2
    kept.update("[]", "", [Generation(text=" ")])
    kept.update("[]", "", [])
    assert kept.lookup("[]", "") is None


def test_models_of_texts(door: Cache) -> None:
    """``LLM`` gives a text as it is; one that spells a list of messages is still a text."""
    kept = LikewiseCache(door)
    llm = FakeListLLM(responses=["a", "b", "c"], cache=kept)
    assert [llm.invoke("one"), llm.invoke("one"), llm.invoke("[1]")] == ["a", "a", "b"]
    assert [llm.invoke("[1]"), llm.invoke("two")] == ["b", "c"]


def test_texts_and_messages_are_apart(kept: LikewiseCache) -> None:
    """The same question in either form is another request."""
    kept.update("one", "m", [Generation(text="a")])
    assert kept.lookup(dumps([HumanMessage("one")]), "m") is None
    assert kept.lookup("one", "m") == [Generation(text="a")]


def test_the_global_cache(kept: LikewiseCache, model: StandIn) -> None:
    """``set_llm_cache`` takes it as well."""
    before = get_llm_cache()
    set_llm_cache(kept)
    try:
        llm = ChatOpenAI(base_url=model.base_url, api_key=SecretStr("k"), model="m")
        assert llm.invoke("one").content == llm.invoke("one").content
    finally:
        set_llm_cache(before)
    assert model.calls == 1


def test_only_answers_are_revived(door: Cache, kept: LikewiseCache) -> None:
    """Whatever a store holds: no other class is made of it, and it is a miss."""
    prompt = dumps([HumanMessage("one")])
    evil = {
        "lc": 1, "type": "constructor",
        "id": ["langchain", "prompts", "chat", "ChatPromptTemplate"],
        "kwargs": {"messages": []},
    }  # fmt: skip
    answers: list[Any] = [
        {"langchain": [evil]},
        {"langchain": ["text"]},
        {"langchain": []},
        "text",
        [1],
    ]
    for answer in answers:
        request = kept._read(prompt, "m")
        assert request is not None
        door.try_keep(request, answer)
        assert kept.lookup(prompt, "m") is None
    assert door.stats()["categories"]["default"]["faults"]["integration"] >= 1


def test_what_cannot_be_written_down_is_not_kept(door: Cache, kept: LikewiseCache) -> None:
    """Better no answer than half of one."""
    odd = ChatGeneration(message=AIMessage("a", additional_kwargs={"odd": object()}))
    kept.update("one", "m", [odd])
    assert door.stats()["entries"] == 0


def test_faults_are_misses(
    door: Cache, model: StandIn, monkeypatch: pytest.MonkeyPatch, kept: LikewiseCache
) -> None:
    """A cache that is out of order fails no call."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    llm = chat(model, kept)
    for name in ("lookup", "try_keep"):
        monkeypatch.setattr(door, name, broken)
    assert llm.invoke("one").content
    assert door.stats()["categories"]["default"]["faults"]["integration"] == 2


def test_clear_and_category(door: Cache, model: StandIn, kept: LikewiseCache) -> None:
    """Clearing keeps to the object's category, if it has one."""
    chat(model, kept).invoke("one")
    chat(model, LikewiseCache(door, category="code")).invoke("one")
    kept.clear()
    assert door.stats()["entries"] == 1
    LikewiseCache(door).clear()
    assert door.stats()["entries"] == 0
    with pytest.raises(ConfigError):
        LikewiseCache(door, category="No Name")


def test_temperature_and_choices_are_read(kept: LikewiseCache) -> None:
    """Of both forms in which LangChain describes a model."""
    described = json.dumps({"kwargs": {"model_name": "m", "temperature": 1.5, "n": 2}})
    for text in (
        f"{described}---[('stop', None)]",
        "[('model', 'm'), ('n', 2), ('temperature', 1.5)]",
    ):
        request = kept._read(dumps([HumanMessage("one")]), text)
        assert request is not None
        assert (request.scope.model, request.temperature) == ("m", 1.5)
        assert request.exact_only == "several choices"
    odd = kept._read("one", "{'no': <literal>}")
    assert odd is not None
    assert odd.scope.model == ""
