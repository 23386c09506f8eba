from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from likewise.testing import HashingEmbedder

from .conftest import Open
from .support import CHAT, Gateway, ScriptedModel, chat, completion

QUESTION = "How do I undo a commit?"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_errors_reach_the_client_unchanged(lasting: Gateway, status: int, stream: bool) -> None:
    """Status, headers and body are the model's own; nothing is stored; the next request works."""
    body, before = chat(f"[[status:{status}]]", stream=stream), lasting.entries
    direct = lasting.http.request("POST", lasting.model_url + CHAT, json=body)
    response = lasting.post(body)
    assert response.status == direct.status == status
    assert response.data == direct.data
    assert response.headers.get("retry-after") == direct.headers.get("retry-after")
    assert response.headers["content-type"] == direct.headers["content-type"]
    assert lasting.entries == before
    assert lasting.ask(f"And after {status}, {stream}?") == "MISS"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "text", ["[[finish:length]]", "[[finish:content_filter]]", "[[refusal]]", "[[garbage]]"]
)
def test_unfinished_answers_are_not_kept(gateway: Gateway, text: str, stream: bool) -> None:
    """The client gets them as they are, twice from the model."""
    body = chat(text, stream=stream)
    direct = gateway.http.request("POST", gateway.model_url + CHAT, json=body).data
    bodies = [gateway.post(body).data for _ in range(2)]
    if text == "[[garbage]]":
        assert bodies == [direct, direct]
    assert gateway.calls() == 3
    assert gateway.entries == 0
    assert gateway.metric("likewise_answers_not_kept_total") == 2


def test_a_cut_answer(gateway: Gateway) -> None:
    """Half an answer is an error to its client, and is not kept."""
    response = gateway.post(chat("[[cut]]"))
    assert response.status == 502
    assert response.json()["error"]["type"] == "server_error"
    assert gateway.entries == 0
    assert gateway.ask("And now?") == "MISS"


def test_a_cut_stream(gateway: Gateway) -> None:
    """Half a stream reaches its client with an error at its end, and is not kept."""
    response = gateway.post(chat("[[cut]]", stream=True))
    assert response.status == 200
    *events, last = response.data.removesuffix(b"\n\n").split(b"\n\n")
    assert len(events) > 1
    assert json.loads(last[6:])["error"]["code"] == "upstream_error"
    assert gateway.entries == 0


@pytest.mark.parametrize(
    "answer",
    [
        completion(""),
        completion(choices=[]),
        {"choices": [{"index": 0, "finish_reason": "stop"}]},
        {"choices": {"a": 1}},
        [],
        None,
        "text",
    ],
)
def test_odd_answers_are_passed_on_and_not_kept(
    directed: Gateway, scripted: ScriptedModel, answer: object
) -> None:
    """What is no complete answer reaches the client all the same."""
    line = directed.line(chat(QUESTION))
    scripted.call().answer(answer)
    assert json.loads(line.rest()) == answer
    directed.settle()
    assert directed.entries == 0


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n"])
def test_a_stream_counts_as_whole_with_its_end(
    directed: Gateway, scripted: ScriptedModel, end: bytes
) -> None:
    """A stream without [DONE] may lack anything, and is not kept."""
    line = directed.line(chat(QUESTION, stream=True))
    call = scripted.call()
    call.start_stream()
    call.say("All of it.", finish="stop")
    call.finish(end)
    assert line.rest().endswith(end)
    directed.settle()
    assert directed.entries == (1 if end else 0)


def test_compressed_answers_pass_and_are_not_kept(
    directed: Gateway, scripted: ScriptedModel
) -> None:
    """A model that compresses although it was asked not to is passed on byte for byte."""
    for stream in (False, True):
        line = directed.line(chat(QUESTION, stream=stream))
        call = scripted.call()
        assert call.headers["accept-encoding"] == "identity"
        kind = "text/event-stream" if stream else "application/json"
        call.start(headers=[("content-encoding", "gzip")], kind=kind)
        call.finish(b"\x1f\x8b\n\n\r\nnot really")
        assert line.rest() == b"\x1f\x8b\n\n\r\nnot really"
        assert line.response.headers["content-encoding"] == "gzip"
        directed.settle()
    assert directed.entries == 0


def test_a_model_that_is_not_there(open_gateway: Open) -> None:
    """The client gets 502 in OpenAI's shape, and nothing is stored."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    gateway = open_gateway(model_url=url)
    for stream in (False, True):
        response = gateway.post(chat(QUESTION, stream=stream))
        assert response.status == 502
        assert response.headers["x-cache"] == "MISS"
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        said = "cannot reach the model behind this gateway: Connection refused"
        assert error["message"] == said
    assert gateway.http.request("GET", f"{gateway.url}/v1/models").status == 502
    assert gateway.entries == 0


def test_a_silent_model(open_gateway: Open, model: tuple[ScriptedModel, str]) -> None:
    """A model that takes too long is 504; the request after it works."""
    scripted, url = model
    gateway = open_gateway({"upstream": {"timeout": "200ms"}}, model_url=url)
    assert gateway.post(chat(QUESTION)).status == 504
    silent = scripted.call()
    assert silent.left.wait(20)
    line = gateway.line(chat(QUESTION))
    scripted.call().answer(completion())
    assert line.response.status == 200
    line.rest()


def test_a_model_that_falls_silent(open_gateway: Open, model: tuple[ScriptedModel, str]) -> None:
    """A stream that stops in the middle ends with an error, and is not kept."""
    scripted, url = model
    gateway = open_gateway({"upstream": {"timeout": "200ms"}}, model_url=url)
    line = gateway.line(chat(QUESTION, stream=True))
    call = scripted.call()
    call.start_stream()
    call.say("one ")
    assert b'"one "' in line.event()
    assert json.loads(line.event()[6:])["error"]["message"].endswith("did not answer in time")
    gateway.settle()
    assert gateway.entries == 0


def test_an_entry_without_index_is_replayed(directed: Gateway, scripted: ScriptedModel) -> None:
    """An answer of a server that leaves the choice's index out can be streamed from the cache."""
    answer = completion()
    del answer["choices"][0]["index"]
    line = directed.line(chat(QUESTION))
    scripted.call().answer(answer)
    line.rest()
    directed.settle()
    response = directed.post(chat(QUESTION, stream=True))
    assert response.headers["x-cache"] == "HIT"
    assert response.data.endswith(b"data: [DONE]\n\n")


# -- what may be reused ----------------------------------------------------------------------------


def hits(gateway: Gateway, one: dict[str, Any], two: dict[str, Any], **headers: str) -> bool:
    """Return whether the second request is answered with what the first one stored."""
    assert gateway.post(one).headers["x-cache"] == "MISS"
    return gateway.post(two, headers).headers["x-cache"] == "HIT"


SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": QUESTION}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"temperature": 0.1},
        {"response_format": {"type": "json_object"}},
        {"messages": [SYSTEM, USER]},
        {"messages": [USER, {"role": "assistant", "content": "So."}, USER]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"cache": {"namespace": "n"}},
    ],
)
def test_no_hit_from_another_scope(gateway: Gateway, change: dict[str, Any]) -> None:
    """Whatever may change the answer keeps it from being reused."""
    assert not hits(gateway, chat(QUESTION), {**chat(QUESTION), **change})


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer other"},
        {"authorization": ""},
        {"authorization": "", "api-key": "test"},
        {"x-likewise-namespace": "n"},
    ],
)
def test_no_hit_for_another_tenant(gateway: Gateway, headers: dict[str, str]) -> None:
    """Two keys never share an answer."""
    assert not hits(gateway, chat(QUESTION), chat(QUESTION), **headers)


def test_same_for_everything_else(gateway: Gateway) -> None:
    """Stream, user, metadata, order of keys and white space around make no difference."""
    turned = dict(reversed(chat(f" {QUESTION}\n", user="ann", metadata={"a": "b"}).items()))
    assert hits(gateway, chat(QUESTION), {**turned, "stream": True})
    assert gateway.entries == 1


def test_similar_questions_hit(gateway: Gateway) -> None:
    """Other words for the same question hit by their meaning."""
    question = "How do I bake a cake in a small old gas oven at home, step by step, please?"
    assert gateway.ask(question) == "MISS"
    response = gateway.post(chat(question.replace("please?", "please ?")))
    assert response.headers["x-cache"] == "HIT"
    assert response.headers["x-likewise-tier"] == "semantic"
    assert float(response.headers["x-likewise-similarity"]) >= 0.95


def test_how_old_is_he(gateway: Gateway) -> None:
    """The same words after another conversation mean something else."""

    def about(name: str) -> dict[str, Any]:
        return {
            "model": "m",
            "messages": [
                {"role": "user", "content": f"Who is {name}?"},
                {"role": "assistant", "content": "A physicist."},
                {"role": "user", "content": "How old is he?"},
            ],
        }

    assert not hits(gateway, about("Bohr"), about("Dirac"))
    assert gateway.post(about("Bohr")).headers["x-cache"] == "HIT"


def with_parts(text: str) -> dict[str, Any]:
    """Return a question with an image."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    content = [{"type": "text", "text": text}, image]
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


def long_talk(text: str) -> dict[str, Any]:
    """Return the sixth question of a conversation."""
    earlier = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}] * 5
    return {"model": "m", "messages": [*earlier, {"role": "user", "content": text}]}


class ShortSighted(HashingEmbedder):
    """Reads 200 characters only."""

    def fits(self, text: str) -> bool:
        """Return whether the text is read whole."""
        return len(text) <= 200


@pytest.mark.parametrize(
    "make",
    [
        lambda text: chat(text, tools=[{"type": "function", "function": {"name": "f"}}]),
        lambda text: chat(text, n=2),
        lambda text: chat(text, temperature=1.5),
        lambda text: chat(text + " and so on" * 30),
        with_parts,
        long_talk,
    ],
    ids=["tools", "several choices", "hot", "long", "image", "many turns"],
)
def test_exact_only(open_gateway: Open, make: Any) -> None:
    """Such a request hits when it is equal, and never by likeness."""
    gateway = open_gateway(embedder=ShortSighted())
    one, two = (
        "Tell me about the weather in Oslo, please?",
        "Tell me about the weather in Oslo please?",
    )
    assert hits(gateway, chat(one), chat(two))  # near enough, were it not for the rest
    assert not hits(gateway, make(one), make(two))
    assert gateway.post(make(one)).headers["x-likewise-tier"] == "exact"
