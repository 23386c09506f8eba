from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from likewise.gateway.wire.completion import from_stream

from .conftest import Open
from .support import Gateway, ScriptedModel, chat, completion, events_of

SHAPES = [
    "Plain question?",
    "[[tool:get_weather]] in Rome",
    "[[reasoning]] why?",
    "[[unicode]] please",
]


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("stored_stream", [False, True])
@pytest.mark.parametrize("asked_stream", [False, True])
def test_replay(gateway: Gateway, text: str, stored_stream: bool, asked_stream: bool) -> None:
    """Whatever form was stored, the form asked for is replayed, with everything in it."""
    usage = {"stream_options": {"include_usage": True}}
    original = gateway.post(chat(text)) if not stored_stream else None
    if original is None:
        gateway.ask(text, stream=True)
        # The stand-in answers the same again; another tenant's request tells what it says whole.
        original = gateway.post(chat(text), {"authorization": "Bearer other"})
    expected: dict[str, Any] = original.json()
    before = gateway.calls()
    replayed = gateway.post(chat(text, stream=asked_stream, **(usage if asked_stream else {})))
    assert replayed.headers["x-cache"] == "HIT"
    assert gateway.calls() == before
    if asked_stream:
        assert replayed.headers["content-type"].startswith("text/event-stream")
        chunks = events_of(replayed.data)
        assert {chunk["id"] for chunk in chunks} == {expected["id"]}
        found = from_stream([e + b"\n\n" for e in replayed.data.split(b"\n\n") if e])
    else:
        found = replayed.json()
    assert found is not None
    (choice,), (wanted,) = found["choices"], expected["choices"]
    present = {k: v for k, v in choice["message"].items() if v is not None}
    assert present == {k: v for k, v in wanted["message"].items() if v is not None}
    assert choice["finish_reason"] == wanted["finish_reason"]
    assert found["usage"] == expected["usage"]
    assert found["model"] == expected["model"]


def test_replay_keeps_what_we_do_not_know(directed: Gateway, scripted: ScriptedModel) -> None:
    """Log probabilities and fields of the future come back as they were, in either form."""
    answer = completion(system_fingerprint="fp", x_future={"deep": [1, {"a": None}]})
    answer["choices"][0] |= {"logprobs": {"content": [{"token": "An", "logprob": -0.1}]}}
    answer["choices"][0]["message"] |= {"annotations": [{"type": "url", "url": "u"}]}
    line = directed.line(chat("Q"))
    scripted.call().answer(answer)
    assert json.loads(line.rest()) == answer
    directed.settle()
    assert directed.post(chat("Q")).json() == answer
    options = {"stream_options": {"include_usage": True}}
    stream = directed.post(chat("Q", stream=True, **options)).data
    assert from_stream([e + b"\n\n" for e in stream.split(b"\n\n") if e]) == answer


def test_usage_is_streamed_to_whom_asked(gateway: Gateway) -> None:
    """On a miss and on a hit, the usage ends a stream when it was asked for and only then."""
    for text in ("First?", "Second?"):
        for options in ({}, {"stream_options": {"include_usage": True}}, {}):
            chunks = events_of(gateway.post(chat(text, stream=True, **options)).data)
            with_usage = [c for c in chunks if c.get("usage")]
            assert len(with_usage) == bool(options)
            assert (chunks[-1]["choices"] == []) == bool(options)
    assert gateway.calls() == 2


def test_zero_usage_on_a_hit(open_gateway: Open) -> None:
    """Set to zero, a hit's usage counts nothing; what it saved is in the headers."""
    gateway = open_gateway({"gateway": {"usage_on_hit": "zero"}})
    first = gateway.post(chat("Q")).json()["usage"]
    assert first["total_tokens"] > 0
    hit = gateway.post(chat("Q"))
    assert set(hit.json()["usage"].values()) == {0}
    assert hit.headers["x-likewise-saved-tokens"] == str(first["total_tokens"])
    options = {"stream_options": {"include_usage": True}}
    last = events_of(gateway.post(chat("Q", stream=True, **options)).data)[-1]
    assert set(last["usage"].values()) == {0}


def test_usage_is_asked_of_the_model_and_hidden(gateway: Gateway) -> None:
    """A stream's usage is asked for on the quiet; nothing else of the request changes."""
    body = chat("Q", stream=True, temperature=0.5, stream_options={"include_obfuscation": False})
    chunks = events_of(gateway.post(body).data)
    assert all(chunk["choices"] for chunk in chunks)
    options = {"include_obfuscation": False, "include_usage": True}
    assert gateway.last() == {**body, "stream_options": options}


def test_usage_is_not_asked_when_told_so(open_gateway: Open) -> None:
    """With ``upstream.stream_usage`` off, the request goes on as it came."""
    gateway = open_gateway({"upstream": {"stream_usage": False}})
    body = chat("Q", stream=True)
    gateway.post(body)
    assert gateway.last() == body
    chunks = events_of(
        gateway.post(chat("Q", stream=True, stream_options={"include_usage": True})).data
    )
    assert all(chunk["choices"] for chunk in chunks)


def test_usage_nobody_asked_for_is_not_hidden(
    open_gateway: Open, model: tuple[ScriptedModel, str]
) -> None:
    """A model that sends the usage unasked is passed through when we did not ask either."""
    gateway = open_gateway({"upstream": {"stream_usage": False}}, model_url=model[1])
    line = gateway.line(chat("Q", stream=True))
    call = model[0].call()
    call.start_stream()
    call.say("Hi.", finish="stop")
    call.send(b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n')
    call.finish(b"data: [DONE]\n\n")
    assert b'"total_tokens": 3' in line.rest()


def test_usage_is_not_asked_for_what_is_not_kept(gateway: Gateway) -> None:
    """A request that will not be stored goes on as it came."""
    body = chat("Q", stream=True)
    gateway.post(body, {"cache-control": "no-store"})
    assert gateway.last() == body


def test_pieces_arrive_as_they_are_made(directed: Gateway, scripted: ScriptedModel) -> None:
    """The client has the headers before the first piece is made, and piece 1 before piece 2 is."""
    line = directed.line(chat("Q", stream=True))
    call = scripted.call()
    call.start_stream()
    assert line.response.status == 200
    assert line.response.headers["x-cache"] == "MISS"
    assert line.response.headers["content-type"] == "text/event-stream"
    call.say("one ")
    assert b'"one "' in line.event()
    call.say("two", finish="stop")
    assert b'"two"' in line.event()
    call.send(b"data: [DO")
    call.finish(b"NE]\n\n")
    assert line.event() == b"data: [DONE]"
    assert line.rest() == b""
    directed.settle()
    assert directed.entries == 1


def test_a_late_joiner_gets_the_stream_from_its_beginning(
    directed: Gateway, scripted: ScriptedModel
) -> None:
    """Whoever joins in the middle first gets what has been said, then what is said."""
    first = directed.line(chat("Q", stream=True))
    call = scripted.call()
    call.start_stream()
    call.say("one ")
    assert b'"one "' in first.event()
    second = directed.line(chat("Q", stream=True))
    assert b'"one "' in second.event()
    call.say("two", finish="stop")
    call.finish(b"data: [DONE]\n\n")
    rests = [line.rest() for line in (first, second)]
    assert rests[0] == rests[1]
    assert b'"two"' in rests[0]
    assert scripted.waiting == 0


def test_a_model_that_does_not_stream(directed: Gateway, scripted: ScriptedModel) -> None:
    """When a stream was asked for and the model answers whole, the client gets a stream."""
    line = directed.line(chat("Q", stream=True))
    scripted.call().answer(completion("All at once."))
    chunks = events_of(line.rest())
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks) == "All at once."


def test_a_model_that_always_streams(directed: Gateway, scripted: ScriptedModel) -> None:
    """When no stream was asked for and the model streams, the client gets a whole answer."""
    line = directed.line(chat("Q"))
    call = scripted.call()
    call.start_stream()
    call.say("Piece by ")
    call.say("piece.", finish="stop")
    call.finish(b"data: [DONE]\n\n")
    assert json.loads(line.rest())["choices"][0]["message"]["content"] == "Piece by piece."


def test_an_odd_answer_to_a_stream_is_passed_on(directed: Gateway, scripted: ScriptedModel) -> None:
    """A body that cannot be turned into a stream reaches the client as the model sent it."""
    line = directed.line(chat("Q", stream=True))
    scripted.call().answer({"error": {"message": "not today"}})
    assert line.response.headers["content-type"] == "application/json"
    assert json.loads(line.rest()) == {"error": {"message": "not today"}}
    directed.settle()
    assert directed.entries == 0


def test_an_answer_too_long_to_keep(
    directed: Gateway, scripted: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A very long answer is passed on whole, and not stored."""
    monkeypatch.setattr("likewise.gateway.flight.MAX_KEPT_BYTES", 1000)
    for stream in (False, True):
        line = directed.line(chat("Q", stream=stream))
        call = scripted.call()
        if stream:
            call.start_stream()
            for number in range(30):
                call.say(f"{number:060}")
            call.say("end", finish="stop")
            call.finish(b"data: [DONE]\n\n")
            assert len(events_of(line.rest())) == 31
        else:
            call.answer(completion("long " * 1000))
            assert len(json.loads(line.rest())["choices"][0]["message"]["content"]) == 5000
        directed.settle()
    assert directed.entries == 0


def test_a_long_answer_that_breaks_off(
    directed: Gateway, scripted: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its status has gone out, an answer that breaks off breaks off at the client too."""
    monkeypatch.setattr("likewise.gateway.flight.MAX_KEPT_BYTES", 10)
    line = directed.line(chat("Q"))
    call = scripted.call()
    call.start(kind="application/json", headers=[("content-length", "100")])
    call.send(b'{"choices": [1, 2,')
    assert line.response.status == 200
    assert line.response.read(4) == b'{"ch'
    call.break_off()
    with pytest.raises(http.client.IncompleteRead):
        line.rest()
