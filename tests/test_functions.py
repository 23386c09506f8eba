from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from likewise import AsyncCache, Cache, Category, Scope
from likewise.errors import ConfigError
from likewise.testing import HashingEmbedder

LOOSE = Category("loose", similarity_threshold=0.8, guards=())


class Model:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def ask(self, question: str, *, model: str = "small") -> str:
        """Answer with the number of the call."""
        self.calls.append(question)
        return f"{model} {len(self.calls)}"


@pytest.fixture
def door() -> Iterator[Cache]:
    """A cache in memory with a loose category."""
    with Cache(store="memory://", embedder=HashingEmbedder(), categories=[LOOSE]) as cache:
        yield cache


def test_a_call_is_answered_by_an_equal_or_a_near_one(door: Cache) -> None:
    """The first argument is the question; the function runs once for what means the same."""
    model = Model()
    ask = door.cached(category="loose")(model.ask)
    first = ask("how do I undo the last commit in git")
    assert ask(question="how do I undo the last commit in git") == first
    assert ask("how do I undo the very last commit in git") == first
    assert len(model.calls) == 1


def test_other_arguments_are_identity(door: Cache) -> None:
    """A default, and the same value given, are one; another value, or function, is not."""
    model = Model()

    @door.cached()
    def ask(question: str, model_name: str = "small", *parts: object, **more: object) -> str:
        return model.ask(question, model=model_name)

    @door.cached()
    def other(question: str, model_name: str = "small") -> str:
        return model.ask(question, model=model_name)

    assert ask("one") == ask("one", "small") == ask("one", model_name="small")
    assert len({ask("one"), ask("one", "large"), ask("one", x=1), ask("one", x=True)}) == 4
    assert len({ask("one", x=1.0), ask("one", x="1"), ask("one", "small", 1), other("one")}) == 4
    assert len(model.calls) == 8


def test_scopes_are_apart(door: Cache) -> None:
    """The scope given is identity as well, all of it."""
    model = Model()

    def ask(question: str) -> str:
        return model.ask(question)

    scopes = [None, Scope(tenant="a"), Scope(tenant="b"), Scope(parameters="a")]
    answers = {door.cached(scope=scope)(ask)("one") for scope in scopes}
    assert len(answers) == len(scopes)


def test_methods_and_what_is_ignored(door: Cache) -> None:
    """A parameter can be named as the question, and others left out of identity."""

    class Agent:
        def __init__(self) -> None:
            self.model = Model()

        @door.cached(question="text", ignore=["self", "trace"])
        def ask(self, trace: object, text: str) -> str:
            return self.model.ask(text)

    agent = Agent()
    assert agent.ask(object(), "one") == agent.ask(object(), text="one")
    assert agent.model.calls == ["one"]
    assert Agent.ask.__name__ == "ask"


def test_an_error_reaches_the_caller_and_is_not_kept(door: Cache) -> None:
    """The function runs again after it failed."""
    fails = [True, False]

    @door.cached()
    def ask(question: str) -> str:
        if fails.pop(0):
            raise RuntimeError(question)
        return "fine"

    with pytest.raises(RuntimeError, match="one"):
        ask("one")
    assert ask("one") == ask("one") == "fine"


def test_wrong_uses_are_told(door: Cache) -> None:
    """At decoration where that is possible, else at the call, with the parameter's name."""

    async def coroutine(question: str) -> str:
        return question

    def generator(question: str) -> Iterator[str]:
        yield question

    def nothing() -> str:
        return ""

    def plain(question: Any, other: Any = None) -> str:
        return str(question)

    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (coroutine, {}, "take AsyncCache.cached"),
        (generator, {}, "is a generator"),
        (nothing, {}, "no parameter that is the question"),
        (plain, {"question": "text"}, "no parameter text"),
        (plain, {"ignore": ["self"]}, "no parameter self"),
        (plain, {"category": "No Name"}, "category"),
    ]
    for function, options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            door.cached(**options)(function)
    ask = door.cached()(plain)
    with pytest.raises(ConfigError, match="question: expected a text, got int"):
        ask(1)
    for value in (object(), {1: 2}, float("nan"), [b""], {1}):
        with pytest.raises(ConfigError, match=r"other is .*, no JSON value"):
            ask("one", value)
    with pytest.raises(TypeError):
        ask()  # type: ignore[call-arg]
    assert door.stats()["entries"] == 0


async def test_coroutine_functions() -> None:
    """They run once for all who ask at the same time."""
    calls = 0
    async with AsyncCache(store="memory://", embedder=HashingEmbedder()) as cache:

        @cache.cached()
        async def ask(question: str) -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)
            return f"{question} {calls}"

        assert set(await asyncio.gather(*(ask("one") for _ in range(5)))) == {"one 1"}
        assert await ask("one") == "one 1"
        with pytest.raises(ConfigError, match=r"take Cache\.cached"):
            cache.cached()(lambda question: question)
    assert calls == 1
