from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import httpx2
import openai
import pytest

from likewise import AsyncCache, Cache
from likewise.errors import ConfigError
from likewise.integrations import httpx as over_httpx
from likewise.integrations import httpx2 as over_httpx2
from likewise.testing import FakeClock

from .conftest import StandIn

LIBRARIES = {"httpx": (httpx, over_httpx), "httpx2": (httpx2, over_httpx2)}
Asking = Callable[..., Any]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A library and the module for it."""
    return LIBRARIES[request.param]


@pytest.fixture
def client(door: Cache, model: StandIn, library: tuple[Any, Any]) -> Iterator[openai.OpenAI]:
    """OpenAI's client over the cache."""
    with client_of(door, model, library) as made:
        yield made


def client_of(
    door: Cache, model: StandIn, library: tuple[Any, Any], *, key: str = "k", **options: Any
) -> openai.OpenAI:
    """Return OpenAI's client over a cache."""
    lib, ours = library
    http = lib.Client(transport=ours.CachingTransport(door, **options))
    return openai.OpenAI(base_url=model.base_url, api_key=key, http_client=http, max_retries=0)


def ask(client: openai.OpenAI, text: str, **more: Any) -> Any:
    """Ask a question; return the raw response, its headers among the rest."""
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return client.chat.completions.with_raw_response.create(model="m", messages=messages, **more)


def outcome(client: openai.OpenAI, text: str, **more: Any) -> str:
    """Ask a question; return what the cache said."""
    return str(ask(client, text, **more).headers["x-cache"])


def stream(client: openai.OpenAI, text: str, **more: Any) -> tuple[str, list[Any]]:
    """Ask for a stream; return its text and its chunks."""
    messages: Any = [{"role": "user", "content": text}]
    chunks = list(client.chat.completions.create(model="m", messages=messages, stream=True, **more))
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks


def test_the_second_answer_is_the_first_one(client: openai.OpenAI, model: StandIn) -> None:
    """To the letter, with its usage; and the headers tell what the cache did."""
    first, second = ask(client, "one"), ask(client, "one")
    assert first.parse() == second.parse()
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
    assert first.headers["x-likewise-entry"] == second.headers["x-likewise-entry"]
    assert second.headers["x-likewise-tier"] == "exact"
    assert second.headers["age"] == "0"
    assert int(second.headers["x-likewise-saved-tokens"]) > 0
    assert first.headers["x-likewise-request-id"] != second.headers["x-likewise-request-id"]
    assert model.calls == 1


def test_what_means_the_same_hits(client: openai.OpenAI, model: StandIn) -> None:
    """The caller's category decides, and the header does not reach the model."""
    loose = {"extra_headers": {"X-Likewise-Category": "loose"}}
    ask(client, "how do I undo the last commit in git", **loose)
    hit = ask(client, "how do I undo the very last commit in git", **loose)
    assert (hit.headers["x-cache"], hit.headers["x-likewise-tier"]) == ("HIT", "semantic")
    assert model.calls == 1


def test_streams_are_kept_and_replayed(client: openai.OpenAI, model: StandIn) -> None:
    """In either form, whoever asked first; a usage only for who asked for it."""
    first, chunks = stream(client, "one")
    assert model.last["stream_options"] == {"include_usage": True}
    assert not any(chunk.usage for chunk in chunks)
    again, chunks = stream(client, "one", stream_options={"include_usage": True})
    assert again == first != ""
    assert chunks[-1].usage is not None
    whole = ask(client, "one").parse()
    assert whole.choices[0].message.content == first
    assert whole.usage == chunks[-1].usage
    ask(client, "two")
    assert stream(client, "two")[0]
    assert model.calls == 2


def test_a_stream_that_is_left_is_not_kept(client: openai.OpenAI, model: StandIn) -> None:
    """One that is left at its last event is: it was whole."""
    messages: Any = [{"role": "user", "content": "one two three four five six seven"}]
    with client.chat.completions.create(model="m", messages=messages, stream=True) as left:
        next(iter(left))
    text = "one two three four five six seven"
    assert outcome(client, text) == "MISS"
    assert outcome(client, text) == "HIT"


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"max_tokens": 9},
        {"extra_headers": {"X-Likewise-Namespace": "b"}},
        {"extra_headers": {"OpenAI-Organization": "b"}},
        {"extra_query": {"version": "b"}},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "one"}]},
        {"messages": [{"role": "user", "content": "zero"}, {"role": "assistant", "content": "z"},
                      {"role": "user", "content": "one"}]},
    ],
)  # fmt: skip
def test_answers_never_cross(client: openai.OpenAI, change: dict[str, Any]) -> None:
    """Parameters, namespace, context, address: any of them makes it another request."""
    assert outcome(client, "one") == "MISS"
    assert outcome(client, "one", **change) == "MISS"
    assert outcome(client, "one", **change) == "HIT"


def test_keys_and_servers_never_share(
    door: Cache, model: StandIn, library: tuple[Any, Any]
) -> None:
    """Two API keys are two tenants, and two addresses are two models."""
    other = StandIn(model.url.replace("127.0.0.1", "localhost"))
    clients = [
        client_of(door, model, library),
        client_of(door, model, library, key="other"),
        client_of(door, other, library),
    ]
    with ExitStack() as stack:
        for made in clients:
            stack.enter_context(made)
            assert outcome(made, "one") == "MISS"
        assert [outcome(made, "one") for made in clients] == ["HIT"] * 3


def test_controls_of_the_caller(client: openai.OpenAI, model: StandIn) -> None:
    """The body's ``cache`` and ``Cache-Control`` are obeyed and kept from the model."""
    never = {"extra_body": {"cache": {"no-store": True}}}
    assert [outcome(client, "one", **never) for _ in range(2)] == ["MISS", "MISS"]
    assert "cache" not in model.last
    fresh = {"extra_headers": {"Cache-Control": "no-cache"}}
    assert outcome(client, "one", **fresh) == "BYPASS"
    assert outcome(client, "one") == "HIT"
    with pytest.raises(openai.BadRequestError, match=r"cache\.ttl"):
        ask(client, "one", extra_body={"cache": {"ttl": -1}})


def test_what_is_not_whole_is_not_kept(client: openai.OpenAI, model: StandIn) -> None:
    """Errors, truncated answers and streams that break off reach the client and are forgotten."""
    with pytest.raises(openai.InternalServerError):
        ask(client, "one [[status:500]]")
    assert [outcome(client, "one [[finish:length]]") for _ in range(2)] == ["MISS", "MISS"]
    for _ in range(2):
        with pytest.raises((openai.APIError, httpx.HTTPError, httpx2.HTTPError)):
            stream(client, "one two three four [[cut]]")
    assert model.calls == 5


def test_other_requests_pass_through(client: openai.OpenAI, model: StandIn) -> None:
    """Other paths, and chat requests whose shape is for the model to judge."""
    assert [found.id for found in client.models.list()]
    with pytest.raises(openai.BadRequestError):
        ask(client, "", messages=[])
    raw = client._client.post(f"{model.base_url}/chat/completions", content=b"{no json")
    assert raw.status_code == 400
    assert "x-cache" not in raw.headers


def test_a_stale_answer_is_served_and_fetched_anew(
    door: Cache, client: openai.OpenAI, model: StandIn, clock: FakeClock
) -> None:
    """Aside, once, within ``stale_while_revalidate``."""
    brief = {"extra_headers": {"X-Likewise-Category": "brief"}}
    ask(client, "one", **brief)
    clock.advance(90)
    assert outcome(client, "one", **brief) == "STALE"
    for _ in range(500):
        if outcome(client, "one", **brief) == "HIT":
            break
    assert outcome(client, "one", **brief) == "HIT"
    assert model.calls == 2
    assert door.stats()["entries"] == 1


def test_a_stale_answer_stands_in_for_a_failure(
    door: Cache,
    model: StandIn,
    clock: FakeClock,
    library: tuple[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the model says 500, or nothing at all."""
    lib, _ = library
    fails: list[Any] = []

    def respond(request: Any) -> Any:
        if fails and isinstance(fails[0], Exception):
            raise fails[0]
        content = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
        return lib.Response(fails[0] if fails else 200, json=content)

    brief = {"extra_headers": {"X-Likewise-Category": "brief"}}
    with client_of(door, model, library, transport=lib.MockTransport(respond)) as client:
        ask(client, "one", **brief)
        clock.advance(300)
        for fault in (500, lib.ConnectError("away")):
            fails[:] = [fault]
            assert outcome(client, "one", **brief) == "STALE"
        with pytest.raises(openai.APIConnectionError):
            ask(client, "two", **brief)
        fails[:] = [404]
        with pytest.raises(openai.NotFoundError):
            ask(client, "one", **brief)
        monkeypatch.setattr(door.engine, "fetch", lambda _, hit: replace(hit, answer="text"))
        fails[:] = [500]
        with pytest.raises(openai.InternalServerError):
            ask(client, "one", **brief)


def test_faults_of_the_cache_fail_no_request(
    door: Cache, client: openai.OpenAI, model: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it breaks, the model is asked; the fault is counted."""
    ask(client, "one")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    engine = door.engine
    for name in ("start", "exact", "count", "keep"):
        with monkeypatch.context() as patch:
            patch.setattr(engine, name, broken)
            assert ask(client, "two").parse().choices[0].message.content
            assert stream(client, "three", extra_body={"cache": {"ttl": 9}})[0]
            assert "cache" not in model.last
    assert door.stats()["categories"]["default"]["faults"]["integration"] == 4


def test_usage_can_be_told_as_none(door: Cache, model: StandIn, library: tuple[Any, Any]) -> None:
    """With ``usage_on_hit="zero"``; and ``stream_usage=False`` leaves the body as it is."""
    options: dict[str, Any] = {"usage_on_hit": "zero", "stream_usage": False}
    with client_of(door, model, library, **options) as client:
        stream(client, "two")
        assert "stream_options" not in model.last
        assert ask(client, "one").parse().usage.total_tokens > 0
        assert ask(client, "one").parse().usage.total_tokens == 0


def test_an_entry_that_is_no_completion_is_a_miss(
    door: Cache, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that shares the store may have kept anything."""
    keep = door.try_keep
    with monkeypatch.context() as patch:
        patch.setattr(door, "try_keep", lambda **found: keep(**{**found, "answer": "text"}))
        ask(client, "one")
    refused = ask(client, "one")
    assert (refused.headers["x-cache"], refused.headers["x-likewise-reason"]) == ("MISS", "gone")
    assert outcome(client, "one") == "HIT"


async def test_coroutines(parts: dict[str, Any], model: StandIn, library: tuple[Any, Any]) -> None:
    """The same for ``AsyncOpenAI``: miss and hit, streaming and not."""
    lib, ours = library
    async with AsyncCache(**parts) as cache:
        http = lib.AsyncClient(transport=ours.AsyncCachingTransport(cache))
        async with openai.AsyncOpenAI(
            base_url=model.base_url, api_key="k", http_client=http, max_retries=0
        ) as client:
            create = client.chat.completions.create
            asked: Any = {"model": "m", "messages": [{"role": "user", "content": "one"}]}
            texts = []
            for _ in range(2):
                chunks = [c async for c in await create(**asked, stream=True)]
                assert not any(chunk.usage for chunk in chunks)
                texts.append("".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
            whole = await create(**asked)
            assert texts[0] == texts[1] == whole.choices[0].message.content
            assert whole.usage is not None
            assert model.calls == 1
            with pytest.raises(openai.BadRequestError):
                await create(**asked, extra_body={"cache": {"ttl": -1}})
            assert [found.id async for found in client.models.list()]


async def test_stale_answers_for_coroutines(
    parts: dict[str, Any], model: StandIn, clock: FakeClock, library: tuple[Any, Any]
) -> None:
    """Fetched anew aside, and in place of a failure; closing waits for what is under way."""
    lib, ours = library
    fails: list[int] = []

    def respond(request: Any) -> Any:
        content = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
        return lib.Response(fails[0] if fails else 200, json=content)

    headers = {"X-Likewise-Category": "brief"}
    body = {"model": "m", "messages": [{"role": "user", "content": "one"}]}
    async with AsyncCache(**parts) as cache:
        transport = ours.AsyncCachingTransport(cache, lib.MockTransport(respond))
        async with lib.AsyncClient(transport=transport, base_url=model.base_url) as http:

            async def say() -> str:
                response = await http.post("/chat/completions", json=body, headers=headers)
                return str(response.headers["x-cache"])

            assert await say() == "MISS"
            clock.advance(90)
            assert await say() == "STALE"
            await transport.aclose()
            assert await say() == "HIT"
            clock.advance(300)
            fails[:] = [503]
            assert await say() == "STALE"


@pytest.mark.parametrize("name", ["httpx", "httpx2", "langchain", "litellm", "llamaindex"])
def test_a_missing_package_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    package = {
        "langchain": "langchain_core.caches",
        "litellm": "litellm.caching.caching",
        "llamaindex": "llama_index.core.base.llms.types",
    }.get(name, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"likewise.integrations.{name}", raising=False)
    with pytest.raises(ConfigError, match=rf"pip install 'likewise\[{name}\]'"):
        importlib.import_module(f"likewise.integrations.{name}")
