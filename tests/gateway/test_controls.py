from __future__ import annotations

from typing import Any

import openai
import pytest

from likewise.testing import FakeClock

from .conftest import Open
from .support import Gateway, chat

QUESTION = "How tall is the tower?"


def test_no_cache_skips_the_read(gateway: Gateway) -> None:
    """The answer is fetched anew and takes the place of the old one."""
    gateway.ask(QUESTION)
    assert gateway.ask(QUESTION, headers={"cache-control": "no-cache"}) == "BYPASS"
    assert gateway.calls() == 2
    assert gateway.entries == 1
    assert gateway.ask(QUESTION) == "HIT"


def test_no_store_skips_the_write(gateway: Gateway) -> None:
    """The answer is not kept, but a kept one is served."""
    response = gateway.post(chat(QUESTION), {"cache-control": "no-store"})
    assert response.headers["x-cache"] == "MISS"
    assert "x-likewise-entry" not in response.headers
    assert gateway.entries == 0
    gateway.ask(QUESTION)
    assert gateway.ask(QUESTION, headers={"cache-control": "no-store"}) == "HIT"


@pytest.mark.parametrize(
    ("headers", "field"),
    [({"cache-control": "max-age=60"}, None), ({}, {"s-maxage": 60})],
)
def test_max_age(gateway: Gateway, clock: FakeClock, headers: Any, field: Any) -> None:
    """An answer older than the caller takes is fetched anew."""
    body = chat(QUESTION) if field is None else chat(QUESTION, cache=field)
    gateway.ask(QUESTION)
    clock.advance(60)
    assert gateway.post(body, headers).headers["x-cache"] == "HIT"
    clock.advance(1)
    stale = gateway.post(body, headers)
    assert stale.headers["x-cache"] == "MISS"
    assert stale.headers["x-likewise-reason"] == "stale"


def test_ttl_tightens(gateway: Gateway, clock: FakeClock) -> None:
    """A caller's shorter life of an answer holds; a longer one than the category's does not."""
    gateway.post(chat("Short?", cache={"ttl": 10}))
    gateway.post(chat("Long?", cache={"ttl": 1e9}), {"x-likewise-category": "prices"})
    clock.advance(11)
    assert gateway.ask("Short?") == "MISS"
    clock.advance(120)
    assert gateway.ask("Long?", headers={"x-likewise-category": "prices"}) == "MISS"


def test_the_body_field_through_the_client(gateway: Gateway) -> None:
    """LiteLLM's field works from the official client, and never reaches the model."""

    def ask(**cache: Any) -> str:
        with gateway.client() as client:
            raw = client.chat.completions.with_raw_response.create(
                model="stand-in-1",
                messages=[{"role": "user", "content": QUESTION}],
                extra_body={"cache": cache},
            )
        gateway.settle()
        return str(raw.headers["x-cache"])

    assert ask(**{"no-store": True}) == "MISS"
    assert "cache" not in gateway.last()
    assert gateway.entries == 0
    assert ask(ttl=60, namespace="n", category="general") == "MISS"
    assert "cache" not in gateway.last()
    assert ask(namespace="n", category="general") == "HIT"
    assert ask(namespace="m", category="general") == "MISS"
    assert ask(**{"no-cache": True, "namespace": "n", "category": "general"}) == "BYPASS"
    assert ask(**{"use-cache": False}) == "BYPASS"
    assert gateway.entries == 2


def test_a_caller_tightens_the_threshold(open_gateway: Open) -> None:
    """A stricter threshold than the category's holds."""
    gateway = open_gateway({"defaults": {"similarity_threshold": 0.6}})
    gateway.ask("Tell me about the weather in Oslo.")
    near = "Tell me about the weather in Oslo again."
    strict = gateway.post(chat(near, cache={"similarity_threshold": 0.999, "no-store": True}))
    assert strict.headers["x-likewise-reason"] == "below-threshold"
    assert 0.6 <= float(strict.headers["x-likewise-similarity"]) < 0.999
    assert gateway.ask(near) == "HIT"


def test_a_caller_cannot_loosen_the_threshold(gateway: Gateway) -> None:
    """A laxer threshold than the category's changes nothing."""
    gateway.ask("Tell me about the weather in Oslo.")
    loose = chat("Tell me about the climate in Rome.", cache={"similarity_threshold": 0.0})
    response = gateway.post(loose)
    assert response.headers["x-likewise-reason"] == "below-threshold"
    assert 0.1 < float(response.headers["x-likewise-similarity"]) < 0.95


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ({"ttl": -1}, "cache.ttl"),
        ({"ttl": "soon"}, "cache"),
        ({"s-maxage": -1}, "cache.s-maxage"),
        ({"no-cache": "perhaps"}, "cache"),
        ({"namespace": 3}, "cache"),
        ({"similarity_threshold": 1.5}, "cache.similarity_threshold"),
        ({"similarity_treshold": 0.9}, "cache"),
        ({"category": "No Such Name!"}, "cache"),
        (True, "cache"),
    ],
)
def test_wrong_controls(lasting: Gateway, field: object, param: str) -> None:
    """A wrong value is refused with 400, names its place, and costs no call."""
    before = lasting.calls()
    with lasting.client() as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Q"}], extra_body={"cache": field}
        )
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert lasting.calls() == before


def test_an_unknown_control_offers_the_nearest(gateway: Gateway) -> None:
    """A misspelt name is answered with the right one."""
    response = gateway.post(chat("Q", cache={"similarity_treshold": 0.9}))
    assert "similarity_threshold" in response.json()["error"]["message"]
    assert gateway.post(chat("Q"), {"x-likewise-category": "Ü"}).status == 400


def test_categories_by_header_and_rules(open_gateway: Open) -> None:
    """The header names the category; without it the first rule that claims the request does."""
    rules = [
        {"category": "weather", "pattern": "umbrella"},
        {"category": "by-model", "model": "special-*"},
        {"category": "by-system", "system": "accountant"},
    ]
    gateway = open_gateway({"rules": rules})

    def category(body: dict[str, Any], **headers: str) -> str:
        return gateway.post(body, headers).headers["x-likewise-category"]

    assert category(chat("Do I need an umbrella?")) == "weather"
    assert category({**chat("Q"), "model": "special-1"}) == "by-model"
    system = [{"role": "system", "content": "You are an accountant."}]
    assert category({"messages": system + chat("Q")["messages"]}) == "by-system"
    assert category(chat("Q")) == "default"
    named = {"x-likewise-category": " SQL "}
    assert category(chat("Do I need an umbrella?"), **named) == "sql"


def test_unlisted_categories_have_statistics(gateway: Gateway) -> None:
    """A category the configuration does not list appears under its own name."""
    gateway.ask("Q", headers={"x-likewise-category": "pet-names"})
    gateway.ask("Q", headers={"x-likewise-category": "pet-names"})
    found = gateway.cache.stats()["categories"]["pet-names"]
    assert (found["requests"], found["exact_hits"], found["entries"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("text", "headers"),
    [("Q", {"x-likewise-category": "personal"}), ("What is my password for the bank?", {})],
)
def test_personal_is_never_stored(gateway: Gateway, text: str, headers: dict[str, str]) -> None:
    """What is about the asker goes to the model each time."""
    for _ in range(2):
        response = gateway.post(chat(text), headers)
        assert response.headers["x-cache"] == "BYPASS"
        assert response.headers["x-likewise-category"] == "personal"
        assert "x-likewise-entry" not in response.headers
    assert gateway.calls() == 2
    assert gateway.entries == 0


# -- response headers ------------------------------------------------------------------------------


def test_headers_of_a_miss_and_a_hit(open_gateway: Open, clock: FakeClock) -> None:
    """They say what was decided, why, and what a hit saved; the age is the answer's."""
    prices = {"stand-in-1": {"input": 1_000_000, "output": 0}}
    gateway = open_gateway({"prices": prices})
    miss = gateway.post(chat("one two three")).headers
    clock.advance(90.5)
    hit = gateway.post(chat("one two three")).headers
    clock.advance(10)
    again = gateway.post(chat("one two three", stream=True)).headers
    assert (miss["x-cache"], hit["x-cache"]) == ("MISS", "HIT")
    assert miss["x-likewise-reason"] == "no-candidate"
    assert hit["x-likewise-reason"] == "exact"
    assert hit["x-likewise-tier"] == "exact"
    assert hit["x-likewise-category"] == "default"
    assert hit["x-likewise-entry"] == miss["x-likewise-entry"]
    assert hit["x-likewise-similarity"] == "1.0000"
    assert hit["x-likewise-saved-usd"] == "3.000000"
    assert "age" not in miss
    assert (hit["age"], again["age"]) == ("90", "100")  # a hit makes nothing younger
    assert len({h["x-likewise-request-id"] for h in (miss, hit, again)}) == 3


def test_the_age_is_never_negative(gateway: Gateway, clock: FakeClock) -> None:
    """A clock that was set back does not give a negative age."""
    gateway.ask("Q")
    clock.advance(-50)
    assert gateway.post(chat("Q")).headers["age"] == "0"


def test_headers_can_be_hidden(open_gateway: Open) -> None:
    """Told so, the gateway says nothing of itself."""
    gateway = open_gateway({"gateway": {"response_headers": False}})
    for _ in range(2):
        headers = gateway.post(chat("Q")).headers
        assert not [n for n in headers if n.lower().startswith(("x-likewise", "x-cache", "age"))]
    assert gateway.calls() == 1
