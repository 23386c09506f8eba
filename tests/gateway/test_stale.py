"""Stale answers through the gateway: while a fresh one is fetched, and when the model fails."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from likewise.category import Category
from likewise.gateway.refresh import Refreshes
from likewise.policy import Hit, Reason, Tier
from likewise.testing import FakeClock, running

from .conftest import Open
from .support import Gateway, ScriptedModel, chat, completion, wait_for

ASKED = "How do I undo a commit in git?"
HEADERS = {"x-likewise-category": "git"}


def open_stale(open_gateway: Open, model_url: str | None = None, **policy: Any) -> Gateway:
    """A gateway whose category lives for an hour."""
    url = {} if model_url is None else {"model_url": model_url}
    return open_gateway({"categories": {"git": {"ttl": "1h", **policy}}}, **url)


def test_a_stale_answer_is_served_and_refreshed_once(open_gateway: Open, clock: FakeClock) -> None:
    """Labelled as stale; the model is asked aside, and the next caller gets what it said."""
    gateway = open_stale(open_gateway, stale_while_revalidate="10m")
    gateway.ask(ASKED, headers=HEADERS)
    clock.advance(3700)
    response = gateway.post(chat(ASKED), HEADERS)
    assert response.headers["x-cache"] == "STALE"
    assert response.headers["x-likewise-reason"] == "stale-while-revalidate"
    assert response.headers["age"] == "3700"
    assert gateway.calls() == 2
    again = gateway.post(chat(ASKED), HEADERS)
    assert again.headers["x-cache"] == "HIT"
    assert again.headers["age"] == "0"
    assert gateway.calls() == 2
    row = gateway.cache.stats()["categories"]["git"]
    assert (row["stale_hits"], row["refreshes"]) == (1, 1)
    assert gateway.entries == 1


def test_without_a_budget_nothing_is_refreshed(open_gateway: Open, clock: FakeClock) -> None:
    """The stale answer is served all the same."""
    gateway = open_gateway(
        {
            "categories": {"git": {"ttl": "1h", "stale_while_revalidate": "10m"}},
            "gateway": {"refreshes_per_minute": 0},
        }
    )
    gateway.ask(ASKED, headers=HEADERS)
    clock.advance(3700)
    assert gateway.ask(ASKED, headers=HEADERS) == "STALE"
    assert gateway.calls() == 1


def test_what_is_asked_for_often_is_refreshed_ahead(open_gateway: Open, clock: FakeClock) -> None:
    """In the last share of its life, from the third hit on."""
    gateway = open_stale(open_gateway, refresh_ahead=0.1)
    gateway.ask(ASKED, headers=HEADERS)
    for _ in range(3):
        assert gateway.ask(ASKED, headers=HEADERS) == "HIT"
    assert gateway.calls() == 1
    clock.advance(3300)
    assert gateway.ask(ASKED, headers=HEADERS) == "HIT"
    assert gateway.calls() == 2
    clock.advance(600)
    assert gateway.ask(ASKED, headers=HEADERS) == "HIT"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_model_gives_way_to_a_stale_answer(
    open_gateway: Open,
    clock: FakeClock,
    model: tuple[ScriptedModel, str],
    status: int,
    *,
    stream: bool,
) -> None:
    """For the errors of RFC 5861, in the form the client asked for, labelled."""
    scripted, url = model
    gateway = open_stale(open_gateway, url, stale_if_error="1d")
    ask_aside(gateway, scripted, lambda call: call.answer(completion("old")))
    clock.advance(3700)
    response = ask_aside(
        gateway,
        scripted,
        lambda call: call.answer({"error": {"message": "no"}}, status=status),
        stream=stream,
    )
    assert response.status == 200
    assert response.headers["x-cache"] == "STALE"
    assert response.headers["x-likewise-reason"] == "stale-if-error"
    assert b"old" in response.data
    assert gateway.cache.stats()["categories"]["git"]["stale_hits"] == 1


@pytest.mark.parametrize(("allowed", "status"), [(False, 429), (True, 200)])
def test_a_refusal_for_load_is_an_error_only_where_the_category_says_so(
    open_gateway: Open,
    clock: FakeClock,
    model: tuple[ScriptedModel, str],
    status: int,
    *,
    allowed: bool,
) -> None:
    """RFC 5861 does not count 429; 400 is the client's own in any case."""
    scripted, url = model
    gateway = open_stale(open_gateway, url, stale_if_error="1d", stale_on_429=allowed)
    ask_aside(gateway, scripted, lambda call: call.answer(completion("old")))
    clock.advance(3700)
    refused = {"error": {"message": "no"}}
    response = ask_aside(gateway, scripted, lambda call: call.answer(refused, status=429))
    assert response.status == status
    response = ask_aside(gateway, scripted, lambda call: call.answer(refused, status=400))
    assert response.status == 400


def test_a_model_that_is_gone_gives_way_too(open_gateway: Open, clock: FakeClock) -> None:
    """No connection is an error like others; past the grace it comes through."""
    scripted = ScriptedModel()
    with running(scripted) as url:
        gateway = open_stale(open_gateway, url, stale_if_error="1h")
        ask_aside(gateway, scripted, lambda call: call.answer(completion("old")))
    clock.advance(3700)
    assert gateway.post(chat(ASKED), HEADERS).headers["x-cache"] == "STALE"
    clock.advance(3600)
    assert gateway.post(chat(ASKED), HEADERS).status == 502


def test_a_source_in_a_header_revokes(open_gateway: Open) -> None:
    """An answer made of a source is served until the source has a new version."""
    gateway = open_gateway({"sources": {"handbook": "1"}})
    gateway.cache.engine.force.sources = {"handbook": "1"}
    headers = {**HEADERS, "x-likewise-sources": "handbook, wiki"}
    assert gateway.ask(ASKED, headers=headers) == "MISS"
    assert gateway.ask(ASKED, headers=HEADERS) == "HIT"
    gateway.cache.engine.force.sources = {"handbook": "2"}
    assert gateway.ask(ASKED, headers=HEADERS) == "MISS"
    wrong = gateway.post(chat(ASKED), {**HEADERS, "x-likewise-sources": "a=b"})
    assert wrong.status == 400
    assert b"source" in wrong.data


def test_the_budget_fills_up_again() -> None:
    """So many at once, then as many a minute."""
    clock = FakeClock(0.0)
    refreshes = Refreshes(2, clock)
    stale = Hit("e", "git", Tier.EXACT, Reason.REVALIDATING, 1.0, 0.9, 10.0)
    policy = Category("git")
    assert [refreshes.due(stale, policy) for _ in range(3)] == [True, True, False]
    clock.advance(30)
    assert [refreshes.due(stale, policy) for _ in range(2)] == [True, False]


def ask_aside(gateway: Gateway, scripted: ScriptedModel, act: Any, *, stream: bool = False) -> Any:
    """Ask on another thread while the test moves the model; return the response."""
    found: list[Any] = []
    body = chat(ASKED, stream=True) if stream else chat(ASKED)
    asking = threading.Thread(target=lambda: found.append(gateway.post(body, HEADERS)))
    asking.start()
    act(scripted.call())
    asking.join()
    wait_for(gateway.idle)
    return found[0]
