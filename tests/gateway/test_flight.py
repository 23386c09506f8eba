from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from likewise.errors import UpstreamError
from likewise.gateway.flight import Flight, Head

from .support import (
    Gateway,
    Response,
    ScriptedModel,
    chat,
    completion,
    events_of,
    wait_for,
)


def text_of(response: Response) -> str:
    """Return the text of an answer in either form."""
    if response.headers["content-type"].startswith("text/event-stream"):
        deltas = [c["choices"][0]["delta"] for c in events_of(response.data) if c["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)
    return str(response.json()["choices"][0]["message"]["content"])


def at_once(gateway: Gateway, bodies: list[dict[str, Any]]) -> list[Response]:
    """Send requests at the same time and return their answers."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        found = list(pool.map(lambda body: gateway.post(body, settle=False), bodies))
    gateway.settle()
    return found


def test_fifty_share_one_call(gateway: Gateway) -> None:
    """Fifty who ask the same at the same time, streaming or not, cost one call."""
    bodies = [chat("[[slow:0.2]] Same?", stream=n % 2 == 0) for n in range(50)]
    responses = at_once(gateway, bodies)
    assert {r.status for r in responses} == {200}
    assert len({text_of(r) for r in responses}) == 1
    assert gateway.calls() == 1
    assert gateway.entries == 1
    streams = [r for r in responses if "event-stream" in r.headers["content-type"]]
    assert len(streams) == 25
    assert len({r.headers["x-likewise-entry"] for r in responses}) == 1


def test_fifty_share_one_fast_call(gateway: Gateway) -> None:
    """A call that lands while others are still looked up is not made again."""
    for number in range(4):
        responses = at_once(gateway, [chat(f"Fast {number}?") for _ in range(50)])
        assert len({text_of(r) for r in responses}) == 1
        assert gateway.calls() == number + 1
        assert gateway.entries == number + 1


def test_the_leader_leaves(directed: Gateway, scripted: ScriptedModel) -> None:
    """The others get the whole answer, and it is stored, when the one who caused it leaves."""
    leader = directed.line(chat("Q", stream=True))
    call = scripted.call()
    call.start_stream()
    call.say("one ")
    assert b'"one "' in leader.event()
    streaming = directed.line(chat("Q", stream=True))
    whole = directed.line(chat("Q"))
    assert b'"one "' in streaming.event()
    wait_for(lambda: directed.metric("likewise_shared_calls_total") == 2)
    leader.leave()
    call.say("two", finish="stop")
    call.finish(b"data: [DONE]\n\n")
    assert b'"two"' in streaming.event()
    assert json.loads(whole.rest())["choices"][0]["message"]["content"] == "one two"
    directed.settle()
    assert directed.entries == 1
    assert not call.left.is_set()
    assert directed.ask("Q") == "HIT"
    assert scripted.waiting == 0


@pytest.mark.parametrize("stream", [True, False])
def test_all_leave(directed: Gateway, scripted: ScriptedModel, stream: bool) -> None:
    """The call is given up, nothing is stored or leaks, and the next request works."""
    lines = [directed.line(chat("Q", stream=stream)) for _ in range(3)]
    call = scripted.call()
    wait_for(lambda: directed.metric("likewise_shared_calls_total") == 2)
    if stream:
        call.start_stream()
        call.say("one ")
        assert all(b'"one "' in line.event() for line in lines)
    for line in lines:
        line.leave()
    assert call.left.wait(20)
    directed.settle()
    assert directed.entries == 0
    assert directed.metric("likewise_upstream_in_flight") == 0
    again = directed.line(chat("Q"))
    scripted.call().answer(completion("Now."))
    assert json.loads(again.rest())["choices"][0]["message"]["content"] == "Now."
    directed.settle()
    assert directed.entries == 1


async def test_a_call_given_up_cannot_be_joined() -> None:
    """Between the last listener's leaving and the end of the call nobody can board it."""
    started = asyncio.Event()

    async def fly(flight: Flight) -> None:
        started.set()
        await asyncio.Event().wait()

    async def land(flight: Flight) -> None:
        raise AssertionError("there is nothing to land")

    flight = Flight(fly, land)
    listener = flight.join()
    await started.wait()
    before = flight.joinable
    listener.leave()
    assert (before, flight.joinable, flight.task.done()) == (True, False, False)
    with pytest.raises(UpstreamError, match="given up"):
        await listener.head()


async def test_a_call_that_fails_by_our_fault_ends() -> None:
    """An error nobody foresaw in the middle of a body reaches the listeners as an error."""

    async def fly(flight: Flight) -> None:
        flight.begin(Head(200, []))
        await flight.add(b"one")
        raise ZeroDivisionError

    async def land(flight: Flight) -> None:
        raise AssertionError("there is nothing to land")

    flight = Flight(fly, land)
    listener = flight.join()
    seen = []
    with pytest.raises(UpstreamError):
        async for piece in listener.pieces():
            seen.append(piece)  # noqa: PERF401 - what came before the error counts
    assert seen == [b"one"]
    assert isinstance(flight.task.exception(), ZeroDivisionError)


@pytest.mark.parametrize(
    ("headers", "change"),
    [
        ({"authorization": "Bearer other"}, {}),
        ({}, {"model": "other"}),
        ({}, {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]}),
        ({"x-likewise-namespace": "n"}, {}),
        ({"cache-control": "no-store"}, {}),
        ({"cache-control": "no-cache"}, {}),
        ({"x-likewise-category": "personal"}, {}),
    ],
)
def test_these_never_share(
    directed: Gateway,
    scripted: ScriptedModel,
    headers: dict[str, str],
    change: dict[str, Any],
) -> None:
    """Another tenant, model, context or wish has a call of its own."""
    one = directed.line(chat("Q"))
    first = scripted.call()
    two = directed.line({**chat("Q"), **change}, headers)
    second = scripted.call()
    first.answer(completion("for one"))
    second.answer(completion("for two"))
    assert b"for one" in one.rest()
    assert b"for two" in two.rest()


def test_errors_reach_all(directed: Gateway, scripted: ScriptedModel) -> None:
    """All who share a call get its error, with status, headers and body."""
    lines = [directed.line(chat("Q", stream=n == 1)) for n in range(3)]
    call = scripted.call()
    wait_for(lambda: directed.metric("likewise_shared_calls_total") == 2)
    call.start(429, [("retry-after", "7")], kind="application/json")
    call.finish(b'{"error": {"message": "slow down"}}')
    for line in lines:
        assert line.response.status == 429
        assert line.response.headers["retry-after"] == "7"
        assert line.rest() == b'{"error": {"message": "slow down"}}'
    directed.settle()
    assert directed.entries == 0


def test_a_broken_call_reaches_all(directed: Gateway, scripted: ScriptedModel) -> None:
    """When the model dies, each who shares the call is told."""
    lines = [directed.line(chat("Q", stream=n == 1)) for n in range(3)]
    call = scripted.call()
    wait_for(lambda: directed.metric("likewise_shared_calls_total") == 2)
    call.start_stream()
    call.say("one ")
    call.break_off()
    for number, line in enumerate(lines):
        if number == 1:
            assert b'"one "' in line.event()
            assert json.loads(line.event()[6:])["error"]["code"] == "upstream_error"
            assert line.rest() == b""
        else:
            assert line.response.status == 502
    directed.settle()
    assert directed.entries == 0


def test_a_passed_through_call_is_given_up_too(directed: Gateway, scripted: ScriptedModel) -> None:
    """The call of a path that the cache does not know ends when its client leaves."""
    line = directed.line({}, path="/v1/responses")
    call = scripted.call()
    call.start_stream()
    call.say("one ")
    assert b'"one "' in line.event()
    line.leave()
    assert call.left.wait(20)
