from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Open
from .support import CHAT, Gateway, ScriptedModel, chat

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "role", "content", "id", "x"]), inner)
    ),
    max_leaves=8,
)
ROLE = st.sampled_from(["user", "system", "assistant", "tool", "developer"]) | JSON
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": ROLE,
        "content": JSON | st.just([{"type": "text", "text": "Q"}]),
        "tool_calls": JSON,
        "tool_call_id": JSON,
        "name": JSON,
    },
)
FIELDS = ("model", "n", "temperature", "tools", "functions", "metadata", "unknown")
BODY = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, max_size=3) | JSON},
    optional=dict.fromkeys(FIELDS, JSON)
    | {"stream": st.booleans() | JSON, "stream_options": JSON | st.just({"include_usage": True})},
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BODY)
def test_any_json_is_answered(lasting: Gateway, body: dict[str, Any]) -> None:
    """Whatever the body, no error of the gateway's own comes of it."""
    response = lasting.post(body, settle=False)
    direct = lasting.http.request("POST", lasting.model_url + CHAT, json=body)
    # The stand-in trips over some of these itself: then its answer is passed on.
    # A body that only differs in what is no part of the question may be answered from the cache.
    assert response.status == direct.status or response.headers["x-cache"] == "HIT"
    assert lasting.metric("likewise_faults_total") == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"messages": [',
        b"\xff\xfe\x00",
        b'{"messages": "\xff"}',
        b"[]",
        b"3",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": 1e999}',
    ],
)
def test_malformed_bodies(lasting: Gateway, body: bytes) -> None:
    """What is not a JSON object is 400 in OpenAI's shape, and costs no call."""
    before = lasting.calls()
    response = lasting.post(body)
    assert response.status == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert lasting.calls() == before


def test_nesting_at_the_limit(lasting: Gateway) -> None:
    """At no depth does reading succeed and writing fail as an error of the gateway's own."""
    for depth in range(900, 1001, 4):
        nested = b"[" * depth + b"]" * depth
        body = b'{"messages": [{"role": "user", "content": "Q"}], "metadata": %s}'
        found = lasting.post(body.replace(b"metadata", b"x") % nested, settle=False).status
        assert found in {200, 400}


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": "x"}, {"messages": [1]}])
def test_a_shape_for_the_model_to_judge(lasting: Gateway, body: dict[str, Any]) -> None:
    """A request without messages gets the model's own verdict."""
    response = lasting.post(body)
    direct = lasting.http.request("POST", lasting.model_url + CHAT, json=body)
    assert (response.status, response.data) == (direct.status, direct.data)
    assert lasting.last() == body
    assert "x-cache" not in response.headers


def test_an_empty_question_bypasses(gateway: Gateway) -> None:
    """There is nothing to look up, and nothing is stored."""
    response = gateway.post(chat("  "))
    assert response.headers["x-cache"] == "BYPASS"
    assert response.headers["x-likewise-reason"] == "empty-question"
    assert gateway.entries == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(open_gateway: Open, chunked: bool) -> None:
    """It is 413 in OpenAI's shape whether or not its length was declared; one below passes."""
    gateway = open_gateway({"gateway": {"max_body_bytes": 1000}})
    parts = urlsplit(gateway.url)
    for size, status in ((5000, 413), (500, 200)):
        data = json.dumps(chat("x" * size)).encode()
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
        body: Any = iter([data[:100], data[100:]]) if chunked else data
        connection.request("POST", CHAT, body, encode_chunked=chunked)
        response = connection.getresponse()
        found = json.loads(response.read())
        assert response.status == status
        if status == 413:
            assert found["error"]["type"] == "invalid_request_error"
            assert "gateway.max_body_bytes" in found["error"]["message"]
        connection.close()
    gateway.settle()
    assert gateway.calls() == 1


def test_other_paths_have_the_error_shape(gateway: Gateway) -> None:
    """A path that is neither the model's nor ours is 404 and says where the models are."""
    for method, path in (("GET", "/nothing"), ("POST", "/healthz"), ("GET", "/")):
        response = gateway.http.request(method, gateway.url + path)
        assert response.status == 404
        assert "/v1" in response.json()["error"]["message"]


def test_bytes_that_are_no_text(gateway: Gateway) -> None:
    """A verdict whose bytes are no UTF-8 is refused as any other that cannot be read."""
    told = gateway.http.request(
        "POST", f"{gateway.url}/v1/cache/feedback", body=b'{"correct": true, "entry_id": "\xff"}'
    )
    assert told.status == 400


def test_an_answer_that_is_no_text(directed: Gateway, scripted: ScriptedModel) -> None:
    """What a model says in bytes that are no UTF-8 reaches the client, and is not stored."""
    for kind, data, stream in (
        ("application/json", b'{"choices": "\xff"}', False),
        ("text/event-stream", b'data: {"a": "\xff"}\n\ndata: [DONE]\n\n', True),
    ):
        line = directed.line(chat("Q", stream=stream))
        call = scripted.call()
        call.start(kind=kind)
        call.finish(data)
        assert b"\xff" in line.rest()
        directed.settle()
    assert directed.entries == 0
    assert directed.metric("likewise_faults_total") == 0
