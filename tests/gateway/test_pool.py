"""Waiting, failing over and keeping to a warm replica, against models that the test directs."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
import urllib3

from likewise.aio import AsyncCache
from likewise.config import parse
from likewise.errors import ConfigError
from likewise.gateway.app import create_app
from likewise.gateway.call import _retry_after_s
from likewise.testing import FakeClock, HashingEmbedder, running

from .conftest import Open
from .support import CHAT, Gateway, Response, ScriptedModel, chat, completion, wait_for

Several = Callable[..., tuple[str, list[ScriptedModel]]]


@pytest.fixture
def several() -> Iterator[Several]:
    """Start a gateway before several scripted models; return its address and the models."""
    with ExitStack() as stack:

        def start(
            count: int,
            load: dict[str, Any] | None = None,
            *,
            each: Sequence[dict[str, Any]] = (),
            **first: Any,
        ) -> tuple[str, list[ScriptedModel]]:
            models = [ScriptedModel() for _ in range(count)]
            replicas = [{"base_url": stack.enter_context(running(model))} for model in models]
            replicas[0].update(first)
            for replica, own in zip(replicas, each, strict=False):
                replica.update(own)
            config = parse(
                {
                    "upstream": {"api_key": "ours", "replicas": replicas},
                    "load": {"max_wait": "20s", **(load or {})},
                    "gateway": {"admin_key": "key"},
                }
            )
            cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
            return stack.enter_context(running(create_app(config, cache))), models

        yield start


class Asked(threading.Thread):
    """A question that is asked aside."""

    def __init__(self, url: str, body: dict[str, Any], **headers: str) -> None:
        super().__init__(daemon=True)
        self._url, self._body, self._headers = url, body, headers
        self._response: Response | None = None
        self.start()

    def run(self) -> None:
        """Ask."""
        with urllib3.PoolManager(retries=False) as pool:
            self._response = pool.request(
                "POST",
                self._url + CHAT,
                body=json.dumps(self._body).encode(),
                headers={"content-type": "application/json", **self._headers},
            )

    @property
    def response(self) -> Response:
        """The answer, once it is there."""
        self.join(20.0)
        assert self._response is not None, "it never came"
        return self._response


def standing(url: str) -> dict[str, Any]:
    """How the line and the replicas stand."""
    headers = {"authorization": "Bearer key"}
    with urllib3.PoolManager() as pool:
        found: dict[str, Any] = pool.request("GET", f"{url}/admin/load", headers=headers).json()
    return found


def in_line(url: str, count: int) -> None:
    """Wait until so many wait."""
    wait_for(lambda: standing(url)["waiting"] == count)


def test_a_full_model_makes_requests_wait(several: Several) -> None:
    """The second gets its turn when the first is answered."""
    url, (model,) = several(1, {"max_in_flight": 1})
    first = Asked(url, chat("one"))
    call = model.call()
    second = Asked(url, chat("two"))
    in_line(url, 1)
    assert model.waiting == 0
    call.answer(completion("1"))
    assert first.response.status == 200
    model.call().answer(completion("2"))
    assert second.response.status == 200
    found = standing(url)
    assert (found["waited"], found["refused"]) == (1, 0)
    assert found["models"]["stand-in-1"]["in_flight"] == 0


def test_a_wait_that_is_too_long_ends_honestly(several: Several) -> None:
    """With 503 and the time after which it is worth asking again."""
    url, (model,) = several(1, {"max_in_flight": 1, "max_wait": "200ms"})
    first = Asked(url, chat("one"))
    call = model.call()
    refused = Asked(url, chat("two")).response
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "is full" in refused.json()["error"]["message"]
    assert "x-likewise-entry" not in refused.headers
    call.answer(completion())
    assert first.response.status == 200


def test_a_line_that_is_too_long_takes_nobody(several: Several) -> None:
    """Not even for a moment."""
    url, (model,) = several(1, {"max_in_flight": 1, "max_waiting": 1})
    first = Asked(url, chat("one"))
    call = model.call()
    second = Asked(url, chat("two"))
    in_line(url, 1)
    assert Asked(url, chat("three")).response.status == 503
    call.answer(completion())
    model.call().answer(completion())
    assert [first.response.status, second.response.status] == [200, 200]


def test_a_refusal_is_waited_for(several: Several) -> None:
    """The client sees nothing of it, and the others wait as well."""
    url, (model,) = several(1)
    first = Asked(url, chat("one"))
    call = model.call()
    call.start(429, [("retry-after", "1")])
    call.finish()
    second = Asked(url, chat("two"))
    in_line(url, 2)
    assert standing(url)["models"]["stand-in-1"]["demands"]["refusals"] == 1.0
    for _ in range(2):
        model.call().answer(completion())
    assert [first.response.status, second.response.status] == [200, 200]


def test_a_refusal_for_longer_than_we_wait_is_passed_on(several: Several) -> None:
    """As the model said it; who comes next is told the same by us."""
    url, (model,) = several(1, {"max_wait": "500ms"})
    first = Asked(url, chat("one"))
    call = model.call()
    call.start(429, [("retry-after", "30"), ("x-their", "own")])
    call.finish(b"slow down")
    assert first.response.status == 429
    assert (first.response.data, first.response.headers["x-their"]) == (b"slow down", "own")
    second = Asked(url, chat("two")).response
    assert second.status == 429
    assert 25 <= int(second.headers["retry-after"]) <= 30
    assert second.json()["error"]["type"] == "rate_limit_error"


def test_a_refusal_to_one_key_holds_up_that_key_only(
    open_gateway: Open, model: tuple[ScriptedModel, str]
) -> None:
    """Where clients bring keys of their own, one's limit is not another's."""
    scripted, url = model
    gateway = open_gateway({"load": {"max_wait": "300ms"}}, model_url=url)
    first = Asked(gateway.url, chat("one"), authorization="Bearer a")
    call = scripted.call()
    call.start(429, [("retry-after", "30")])
    call.finish()
    assert first.response.status == 429
    assert Asked(gateway.url, chat("two"), authorization="Bearer a").response.status == 429
    third = Asked(gateway.url, chat("three"), authorization="Bearer b")
    scripted.call().answer(completion())
    assert third.response.status == 200
    assert gateway.cache.load.of("stand-in-1") == 0.0


@pytest.mark.parametrize("status", [502, 503, 429])
def test_another_replica_is_asked(several: Several, status: int) -> None:
    """When the first is down or refuses."""
    url, models = several(2)
    asked = Asked(url, chat("one"))
    wait_for(lambda: any(model.waiting for model in models))
    first, second = sorted(models, key=lambda model: -model.waiting)
    call = first.call()
    call.start(status)
    call.finish()
    second.call().answer(completion("from the other"))
    assert asked.response.status == 200
    assert "from the other" in asked.response.data.decode()
    assert standing(url)["failovers"] == 1


def test_a_replica_that_is_not_there_is_passed_over(several: Several) -> None:
    """And after five times not even tried."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    url, models = several(2, base_url=nobody)
    for number in range(14):
        asked = Asked(url, chat(f"question {number}"))
        models[1].call().answer(completion())
        assert asked.response.status == 200
    found = standing(url)
    assert found["failovers"] == 5
    assert [replica["breaker"] for replica in found["replicas"]] == ["open", "closed"]


def test_a_model_that_does_not_answer_is_left_alone(several: Several) -> None:
    """Once its breaker is open, requests wait, and then fail with 503 and when to come back."""
    url, (model,) = several(1, {"max_wait": "100ms"})
    for number in range(5):
        asked = Asked(url, chat(f"question {number}"))
        call = model.call()
        call.start(503)
        call.finish()
        assert asked.response.status == 503
    refused = Asked(url, chat("one more")).response
    assert refused.status == 503
    assert 5 <= int(refused.headers["retry-after"]) <= 10
    assert model.waiting == 0


def test_a_stale_answer_is_served_at_once_while_nobody_answers(
    open_gateway: Open, model: tuple[ScriptedModel, str], clock: FakeClock
) -> None:
    """Where the policy allows one, nobody waits for a model that is known to be down."""
    scripted, url = model
    settings = {
        "load": {"max_wait": "20s"},
        "defaults": {"ttl": 60, "stale_if_error": "1h"},
        "builtin_categories": False,
    }
    gateway = open_gateway(settings, model_url=url)
    asked = Asked(gateway.url, chat("one"))
    scripted.call().answer(completion("kept"))
    assert asked.response.status == 200
    gateway.settle()
    clock.advance(120.0)
    for number in range(5):
        failing = Asked(gateway.url, chat(f"question {number}"))
        call = scripted.call()
        call.start(503)
        call.finish()
        assert failing.response.status == 503
    stale = Asked(gateway.url, chat("one")).response
    assert (stale.status, stale.headers["x-cache"]) == (200, "STALE")
    assert scripted.waiting == 0


def test_a_conversation_stays_with_its_replica(several: Several) -> None:
    """Its next turn goes where its prefix is warm; other conversations are spread."""
    url, models = several(3)
    opening = [{"role": "user", "content": "tell me of the sea"}]
    went: list[int] = []
    for turn in range(4):
        asked = Asked(url, {"model": "m", "messages": opening})
        wait_for(lambda: any(model.waiting for model in models))
        went.append(next(n for n, model in enumerate(models) if model.waiting))
        models[went[-1]].call().answer(completion())
        assert asked.response.status == 200
        opening = [
            *opening,
            {"role": "assistant", "content": "..."},
            {"role": "user", "content": f"and {turn}?"},
        ]
    assert len(set(went[1:])) == 1, "from its second turn on it is known by how it begins"
    others = [Asked(url, chat(f"question {number}")) for number in range(9)]
    wait_for(lambda: sum(model.waiting for model in models) == 9)
    assert [model.waiting for model in models] == [3, 3, 3]
    for model in models:
        while model.waiting:
            model.call().answer(completion())
    assert all(asked.response.status == 200 for asked in others)


def test_models_have_replicas_of_their_own(several: Several) -> None:
    """One that nobody serves is not found."""
    url, models = several(2, models=["llama*"])
    asked = Asked(url, {**chat("one"), "model": "qwen"})
    models[1].call().answer(completion())
    assert asked.response.status == 200
    url, _ = several(1, models=["llama*"])
    assert Asked(url, {**chat("one"), "model": "qwen"}).response.status == 404


def test_a_client_that_leaves_the_line_takes_no_turn(several: Several) -> None:
    """Its place is nobody's, and the next one gets the turn."""
    url, (model,) = several(1, {"max_in_flight": 1})
    first = Asked(url, chat("one"))
    call = model.call()
    with socket.create_connection(tuple(url.removeprefix("http://").split(":"))) as leaver:  # type: ignore[arg-type]
        body = json.dumps(chat("two")).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        leaver.sendall(head.encode() + body)
        in_line(url, 1)
    in_line(url, 0)
    third = Asked(url, chat("three"))
    in_line(url, 1)
    call.answer(completion())
    model.call().answer(completion("3"))
    assert first.response.status == 200
    assert "3" in third.response.json()["choices"][0]["message"]["content"]
    assert standing(url)["replicas"][0]["in_flight"] == 0


def test_pressure_is_in_the_metrics(gateway: Gateway, clock: FakeClock) -> None:
    """Beside the line and the replicas."""
    gateway.ask("How is the weather on the moon?")
    assert gateway.metric("likewise_pressure", model="stand-in-1") == 0.0
    assert gateway.metric("likewise_replica_open", replica="0") == 1.0
    gateway.cache.load.ended("stand-in-1", 0.1, 429, retry_after_s=60.0)
    clock.advance(5.0)
    assert gateway.metric("likewise_pressure", model="stand-in-1") > 0.9


def test_waiting_for_one_model_does_not_stop_another(several: Several) -> None:
    """Each model has a line of its own, for the same tenant as well."""
    url, models = several(2, {"max_in_flight": 1}, each=[{"models": ["a"]}, {"models": ["b"]}])
    busy = Asked(url, {**chat("busy"), "model": "a"})
    call = models[0].call()
    waiting = [Asked(url, {**chat(f"waits {n}"), "model": "a"}) for n in range(2)]
    in_line(url, 2)
    other = Asked(url, {**chat("other"), "model": "b"})
    models[1].call().answer(completion())
    assert other.response.status == 200
    call.answer(completion())
    for _ in waiting:
        models[0].call().answer(completion())
    assert [asked.response.status for asked in (busy, *waiting)] == [200] * 3


def test_who_crowds_the_line_gives_way(
    open_gateway: Open, model: tuple[ScriptedModel, str]
) -> None:
    """One client's many requests leave room for another's first."""
    scripted, url = model
    settings = {"load": {"max_wait": "20s", "max_in_flight": 1, "max_waiting": 3}}
    gateway = open_gateway(settings, model_url=url)
    first = Asked(gateway.url, chat("first"), authorization="Bearer a")
    call = scripted.call()
    crowd = [Asked(gateway.url, chat(f"q{n}"), authorization="Bearer a") for n in range(3)]
    wait_for(lambda: gateway.metric("likewise_waiting") == 3)
    modest = Asked(gateway.url, chat("modest"), authorization="Bearer b")
    wait_for(lambda: gateway.metric("likewise_refused_total") == 1)
    call.answer(completion())
    for _ in range(3):
        scripted.call().answer(completion())
    assert modest.response.status == 200
    assert sorted(asked.response.status for asked in crowd) == [200, 200, 503]
    assert first.response.status == 200


def test_one_that_refuses_is_not_asked_over_and_over(several: Several) -> None:
    """While the other one is full its refusal is passed on."""
    url, models = several(2, {"max_in_flight": 1, "max_wait": None})
    held = Asked(url, chat("held"))
    wait_for(lambda: any(model.waiting for model in models))
    busy, free = sorted(models, key=lambda model: -model.waiting)
    call = busy.call()
    asked = Asked(url, chat("two"))
    refusal = free.call()
    refusal.start(429)
    refusal.finish(b"no")
    assert asked.response.status == 429
    assert free.waiting == 0
    assert standing(url)["failovers"] == 0
    call.answer(completion())
    assert held.response.status == 200


def test_our_own_refusal_is_no_failure_of_the_model(
    open_gateway: Open, model: tuple[ScriptedModel, str], clock: FakeClock
) -> None:
    """A stale answer for 429 is a choice of its own, whoever says 429."""
    scripted, url = model
    settings = {
        "load": {"max_wait": "200ms"},
        "upstream": {"api_key": "ours"},
        "defaults": {"ttl": 60, "stale_if_error": "1h"},
        "builtin_categories": False,
    }
    gateway = open_gateway(settings, model_url=url)
    asked = Asked(gateway.url, chat("one"))
    scripted.call().answer(completion("kept"))
    assert asked.response.status == 200
    gateway.settle()
    clock.advance(120.0)
    refused = Asked(gateway.url, chat("two"))
    call = scripted.call()
    call.start(429, [("retry-after", "30")])
    call.finish()
    assert refused.response.status == 429
    assert Asked(gateway.url, chat("one")).response.status == 429


def test_a_url_and_replicas_are_refused_together() -> None:
    """Which of them would be meant?"""
    config = parse({"upstream": {"base_url": "http://a", "replicas": [{"base_url": "http://b"}]}})
    cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
    with pytest.raises(ConfigError, match="both a base_url and replicas"):
        create_app(config, cache)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [("7", 7, 7), ("0.5", 0.5, 0.5), ("-3", 0, 0), ("Wed, 21 Oct 2099 07:28:00 GMT", 1e6, 1e10)],
)
def test_retry_after_is_read(value: str, least: float, most: float) -> None:
    """Seconds or a date."""
    found = _retry_after_s(value)
    assert found is not None
    assert least <= found <= most


@pytest.mark.parametrize(
    "value", [None, "", "soon", "Wed, 99 Foo", "Mon, 01 Jan 2024 00:00:00 +9999999999999"]
)
def test_what_is_no_retry_after_is_none(value: str | None) -> None:
    """Servers write all sorts of things."""
    assert _retry_after_s(value) is None
