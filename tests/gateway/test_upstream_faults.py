from __future__ import annotations

import json
import logging
import socket
from base64 import b64encode
from collections.abc import Callable

import pytest

from likewise.errors import ConfigError
from likewise.gateway.upstream import base_url_of

from .conftest import Open
from .support import Call, Gateway, ScriptedModel, chat, completion, wait_for


def nobody() -> str:
    """Return the address of a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("host", "reason"),
    [(nobody, "Connection refused"), (lambda: "inner.invalid", "its name is not known")],
)
def test_no_client_sees_the_upstream(
    open_gateway: Open, caplog: pytest.LogCaptureFixture, host: Callable[[], str], reason: str
) -> None:
    """A client learns the reason only; the operator gets the address once, without password."""
    caplog.set_level(logging.WARNING, "likewise")
    place = host()
    gateway = open_gateway(model_url=f"http://user:s3cret@{place}")
    said = f"cannot reach the model behind this gateway: {reason}"
    for stream in (False, True):
        response = gateway.post(chat("Q", stream=stream))
        assert (response.status, response.json()["error"]["message"]) == (502, said)
        assert "x-likewise-entry" not in response.headers
        assert response.headers["x-cache"] == "MISS"
    passed = gateway.http.request("GET", f"{gateway.url}/v1/models")
    assert (passed.status, passed.json()["error"]["message"]) == (502, said)
    lines = [record.getMessage() for record in caplog.records if record.name == "likewise"]
    assert lines == [f"cannot reach the model at http://{place}/v1: {reason}"]


def test_a_tls_fault_does_not_name_the_host(
    open_gateway: Open, model: tuple[ScriptedModel, str]
) -> None:
    """A server without TLS where TLS is expected is told of without its address."""
    gateway = open_gateway(model_url=model[1].replace("http:", "https:"))
    message = gateway.post(chat("Q")).json()["error"]["message"]
    assert message.startswith("cannot reach the model behind this gateway: no TLS connection")
    assert "127.0.0.1" not in message


def test_each_kind_of_fault_is_logged_until_an_answer(
    directed: Gateway, scripted: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault that comes again is logged again only when the model has answered in between."""
    caplog.set_level(logging.WARNING, "likewise")

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "likewise"]

    def ask(move: Callable[[Call], None]) -> None:
        line = directed.line(chat("Q"), {"cache-control": "no-cache"})
        move(scripted.call())
        line.rest()
        directed.settle()

    def broken(call: Call) -> None:
        call.start(200, [("content-length", "10")])
        call.break_off()

    ask(broken)
    ask(broken)
    assert len(told()) == 1
    ask(lambda call: call.answer(completion()))
    ask(broken)
    assert [directed.model_url in line for line in told()] == [True, True]


def test_a_password_in_the_url_is_sent(
    open_gateway: Open, model: tuple[ScriptedModel, str]
) -> None:
    """The operator's name and password open the model's door, whatever key the client gave."""
    scripted, url = model
    gateway = open_gateway(model_url=url.replace("http://", "http://us%40er:s3cret@"))
    line = gateway.line(chat("Q"))
    call = scripted.call()
    assert call.headers["authorization"] == f"Basic {b64encode(b'us@er:s3cret').decode()}"
    call.answer(completion())
    assert line.response.status == 200


def test_a_wrong_url_is_shown_without_password() -> None:
    """The message about an address that is no HTTP URL has no password in it."""
    with pytest.raises(ConfigError) as caught:
        base_url_of("ftp://user:s3cret@host")
    assert "ftp://host" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_header_values_beyond_ascii(directed: Gateway, scripted: ScriptedModel) -> None:
    """A header in UTF-8 reaches the model as the very bytes that came."""
    value = "Jürgen ☃".encode()
    line = directed.line(chat("Q"), {"x-name": value.decode("latin-1")})
    call = scripted.call()
    assert dict(call.raw_headers)[b"x-name"] == value
    call.answer(completion())
    line.rest()


def test_the_upstreams_cache_headers_end_here(
    open_gateway: Open, model: tuple[ScriptedModel, str]
) -> None:
    """What another cache says of itself is not taken for ours, with our headers on or off."""
    scripted, url = model
    theirs = [("x-cache", "HIT"), ("age", "9"), ("x-likewise-tier", "exact"), ("x-other", "1")]
    for shown in (True, False):
        gateway = open_gateway({"gateway": {"response_headers": shown}}, model_url=url)
        for stream in (False, True):
            line = gateway.line(chat("Q", stream=stream, seed=int(stream)))
            call = scripted.call()
            call.start(200, theirs, kind="text/event-stream" if stream else "application/json")
            call.finish(b"data: [DONE]\n\n" if stream else json.dumps(completion()).encode())
            headers = line.response.headers
            assert headers.get_all("x-cache") == (["MISS"] if shown else None)
            assert (headers["age"], headers["x-likewise-tier"]) == (None, None)
            assert headers["x-other"] == "1"
            assert (headers["x-likewise-entry"] is not None) == shown
            line.rest()


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_names_no_entry(directed: Gateway, scripted: ScriptedModel, stream: bool) -> None:
    """An answer with another status than 200 becomes no entry, and none is promised."""
    line = directed.line(chat("Q", stream=stream))
    scripted.call().answer({"error": {"message": "no"}}, status=429)
    assert line.response.status == 429
    assert line.response.headers["x-likewise-entry"] is None
    assert line.response.headers["x-likewise-request-id"]


def test_a_finished_stream_without_done_answers_a_follower(
    directed: Gateway, scripted: ScriptedModel
) -> None:
    """Whoever shares a stream whose choices all ended gets it whole; it is not stored."""
    leader = directed.line(chat("Q", stream=True))
    call = scripted.call()
    call.start_stream()
    call.say("one ")
    assert b'"one "' in leader.event()
    follower = directed.line(chat("Q"))
    wait_for(lambda: directed.metric("likewise_shared_calls_total") == 1)
    call.say("two", finish="stop")
    call.finish()
    assert b'"two"' in leader.rest()
    assert follower.response.status == 200
    assert json.loads(follower.rest())["choices"][0]["message"]["content"] == "one two"
    directed.settle()
    assert directed.entries == 0


def test_an_unfinished_stream_without_done_is_an_error(
    directed: Gateway, scripted: ScriptedModel
) -> None:
    """A stream that just stops is not taken for an answer."""
    line = directed.line(chat("Q"))
    call = scripted.call()
    call.start_stream()
    call.say("one ")
    call.finish()
    assert line.response.status == 502


def test_listed_categories_keep_their_label(open_gateway: Open) -> None:
    """Invented names fold into ``other`` when there are too many, listed ones never do."""
    gateway = open_gateway({"categories": {"birds": {}}})
    for number in range(102):
        gateway.ask("Q", headers={"x-likewise-category": f"invented-{number}"})
    for name in ("birds", "code", "default"):
        gateway.ask("Q?", headers={"x-likewise-category": name})
        assert gateway.metric("likewise_decisions_total", category=name) == 1
    assert gateway.metric("likewise_decisions_total", category="other") == 2
