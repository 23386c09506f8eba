from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest

from likewise.gateway.upstream import base_url_of

from .conftest import Open
from .support import CHAT, Call, Gateway, ScriptedModel, chat, completion


def raw(
    gateway: Gateway,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> http.client.HTTPConnection:
    """Send a request as it is written here, without what an HTTP client adds of its own."""
    parts = urlsplit(gateway.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    if body:
        connection.putheader("content-length", str(len(body)))
    connection.endheaders(body or None)
    return connection


def reply(call: Call, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """Let the model say ``ok``; return what the client gets, all read."""
    call.start(200, [("content-length", "2")])
    call.finish(b"ok")
    response = connection.getresponse()
    assert response.read() == b"ok"
    connection.close()
    return response


def test_models(gateway: Gateway) -> None:
    """The official client's other calls work, and are not cached."""
    with gateway.client() as client:
        for _ in range(2):
            assert [model.id for model in client.models.list()] == ["stand-in-1"]
    assert gateway.calls("/v1/models") == 2
    assert gateway.cache.stats()["categories"] == {}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_any_method_and_path(directed: Gateway, scripted: ScriptedModel, method: str) -> None:
    """Method, percent-encoded path, query, repeated headers and binary body arrive unchanged."""
    body = bytes(range(256)) * 300 if method in {"POST", "PUT", "PATCH"} else b""
    headers = [("x-twice", "a"), ("x-twice", "b"), ("openai-organization", "o")]
    target = "/v1/files/a%2Fb%20c/%C3%A4?x=1&x=%20&y"
    connection = raw(directed, method, target, headers, body)
    call = scripted.call()
    assert call.method == method
    assert call.raw_path == b"/v1/files/a%2Fb%20c/%C3%A4"
    assert call.query == b"x=1&x=%20&y"
    assert call.body == body
    assert [v for n, v in call.raw_headers if n == b"x-twice"] == [b"a", b"b"]
    assert call.headers["openai-organization"] == "o"
    assert reply(call, connection).status == 200


def test_nothing_is_added(directed: Gateway, scripted: ScriptedModel) -> None:
    """A request without a body reaches the model with its own headers and a host."""
    connection = raw(directed, "GET", "/v1/models", [("authorization", "Bearer k")])
    call = scripted.call()
    assert set(call.headers) == {"host", "authorization"}
    assert call.headers["host"] == urlsplit(directed.model_url).netloc
    reply(call, connection)


def test_hop_by_hop_headers_end_here(directed: Gateway, scripted: ScriptedModel) -> None:
    """Headers of one connection, and those it names, are not passed on either way."""
    sent = [
        ("connection", "keep-alive, x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic x"),
        ("expect", "100-continue"),
        ("x-likewise-category", "code"),
        ("x-public", "1"),
    ]
    connection = raw(directed, "GET", "/v1/models", sent)
    call = scripted.call()
    assert set(call.headers) == {"host", "x-public"}
    back = [("connection", "x-inner"), ("x-inner", "1"), ("x-outer", "1"), ("x-outer", "2")]
    call.start(200, [*back, ("content-length", "0")])
    call.finish()
    response = connection.getresponse()
    assert response.read() == b""
    assert response.headers.get_all("x-outer") == ["1", "2"]
    assert response.headers["x-inner"] is None
    assert len(response.headers.get_all("date") or []) == 1
    connection.close()


def test_bodies_of_unknown_length(directed: Gateway, scripted: ScriptedModel) -> None:
    """A chunked upload reaches the model whole."""
    parts = urlsplit(directed.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    pieces = [b"one", b"two" * 50_000]
    connection.request("POST", "/v1/files", iter(pieces), encode_chunked=True)
    call = scripted.call()
    assert call.body == b"".join(pieces)
    reply(call, connection)


def test_compression_is_left_alone(directed: Gateway, scripted: ScriptedModel) -> None:
    """Compressed bodies pass byte for byte in both directions."""
    packed = gzip.compress(b'{"input": "x"}')
    headers = [("content-encoding", "gzip"), ("accept-encoding", "gzip, br")]
    connection = raw(directed, "POST", "/v1/embeddings", headers, packed)
    call = scripted.call()
    assert call.body == packed
    assert call.headers["content-encoding"] == "gzip"
    assert call.headers["accept-encoding"] == "gzip, br"
    call.start(200, [("content-encoding", "gzip"), ("content-length", str(len(packed)))])
    call.finish(packed)
    response = connection.getresponse()
    assert response.headers["content-encoding"] == "gzip"
    assert response.read() == packed
    connection.close()


def test_a_compressed_chat_request_passes(directed: Gateway, scripted: ScriptedModel) -> None:
    """A chat request that we cannot read is the model's to read."""
    packed = gzip.compress(json.dumps(chat("Q")).encode())
    connection = raw(directed, "POST", CHAT, [("content-encoding", "gzip")], packed)
    call = scripted.call()
    assert call.body == packed
    reply(call, connection)
    assert directed.entries == 0


def test_streams_of_other_paths_arrive_piecewise(
    directed: Gateway, scripted: ScriptedModel
) -> None:
    """Each piece is at the client before the next one is made."""
    line = directed.line({"input": "x"}, path="/v1/audio/speech")
    call = scripted.call()
    call.start_stream()
    assert line.response.headers["content-type"] == "text/event-stream"
    for number in range(3):
        call.send(b"event: x\ndata: %d\n\n" % number)
        assert line.event() == b"event: x\ndata: %d" % number
    call.finish()
    assert line.rest() == b""


def test_redirects_and_errors_pass(directed: Gateway, scripted: ScriptedModel) -> None:
    """A redirect is the client's to follow, an error the client's to read."""
    for status in (307, 404, 418):
        connection = raw(directed, "GET", "/v1/x")
        call = scripted.call()
        call.start(status, [("location", "/v1/y"), ("content-length", "0")])
        call.finish()
        response = connection.getresponse()
        assert response.status == status
        assert response.headers["location"] == "/v1/y"
        connection.close()
    assert scripted.waiting == 0


def test_an_answer_that_breaks_off(directed: Gateway, scripted: ScriptedModel) -> None:
    """What the model does not finish, the client does not get as finished."""
    connection = raw(directed, "GET", "/v1/x")
    call = scripted.call()
    call.start(200, [("content-length", "10")])
    call.send(b"half")
    response = connection.getresponse()
    assert response.read(4) == b"half"
    call.break_off()
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()


def test_the_gateways_key_takes_the_place_of_the_clients(
    open_gateway: Open, model: tuple[ScriptedModel, str]
) -> None:
    """With ``upstream.api_key`` the model sees that key only; tenants stay apart all the same."""
    scripted, url = model
    gateway = open_gateway({"upstream": {"api_key": "sk-ours"}}, model_url=url)
    for key in ("one", "two"):
        headers = {"authorization": f"Bearer {key}", "x-api-key": key, "api-key": key}
        line = gateway.line(chat("Q"), headers)
        call = scripted.call()
        assert call.headers["authorization"] == "Bearer sk-ours"
        assert not {"x-api-key", "api-key"} & set(call.headers)
        call.answer(completion(key))
        assert key.encode() in line.rest()
        gateway.settle()
    assert gateway.entries == 2


def test_what_a_chat_request_becomes(directed: Gateway, scripted: ScriptedModel) -> None:
    """The body goes on byte for byte; our headers and Cache-Control do not."""
    body = b'{ "messages":[ {"role":"user","content":"Q"} ], "seed":123456789012345678901 }'
    sent = [
        ("authorization", "Bearer k"),
        ("content-type", "application/json; charset=utf-8"),
        ("cache-control", "max-age=5"),
        ("x-likewise-category", "code"),
        ("x-likewise-namespace", "n"),
        ("x-stainless-lang", "python"),
    ]
    connection = raw(directed, "POST", f"{CHAT}?api-version=1", sent, body)
    call = scripted.call()
    assert call.body == body
    assert call.query == b"api-version=1"
    assert {n for n in call.headers if n not in {"host", "content-length"}} == {
        "authorization",
        "content-type",
        "accept-encoding",
        "x-stainless-lang",
    }
    call.answer(completion())
    assert connection.getresponse().status == 200
    connection.close()


def test_upstream_headers_reach_the_client(directed: Gateway, scripted: ScriptedModel) -> None:
    """On a miss the model's own headers come along; ours take the place of their namesakes."""
    line = directed.line(chat("Q"))
    call = scripted.call()
    headers = [("x-request-id", "r1"), ("x-cache", "Hit from cloudfront"), ("openai-version", "1")]
    call.start(200, headers, kind="application/json")
    call.finish(json.dumps(completion()).encode())
    assert line.response.headers["x-request-id"] == "r1"
    assert line.response.headers["openai-version"] == "1"
    assert line.response.headers.get_all("x-cache") == ["MISS"]


def test_cookies_are_not_shared(open_gateway: Open, model: tuple[ScriptedModel, str]) -> None:
    """A cookie set for one client is never sent for another."""
    scripted, url = model
    # A cookie store keeps none for a bare address, but would for a name.
    gateway = open_gateway(model_url=url.replace("127.0.0.1", "localhost"))
    connection = raw(gateway, "GET", "/v1/models")
    call = scripted.call()
    call.start(200, [("set-cookie", "session=ann; Path=/"), ("content-length", "0")])
    call.finish()
    assert connection.getresponse().headers["set-cookie"] == "session=ann; Path=/"
    connection.close()
    connection = raw(gateway, "GET", "/v1/models")
    call = scripted.call()
    assert "cookie" not in call.headers
    reply(call, connection)


@pytest.mark.parametrize("path", ["/v1/../admin", "/v1/%2e%2e/admin", "/v1/a/..%2f..%2fx"])
def test_paths_stay_below_v1(directed: Gateway, scripted: ScriptedModel, path: str) -> None:
    """A path that climbs out is refused here."""
    connection = raw(directed, "GET", path)
    response = connection.getresponse()
    assert response.status == 404
    assert json.loads(response.read())["error"]["type"] == "not_found_error"
    connection.close()
    assert scripted.waiting == 0


def test_websockets_are_turned_away(directed: Gateway) -> None:
    """An upgrade to a protocol the gateway does not speak is refused, without a traceback."""
    for path in ("/v1/realtime", "/admin/stats"):
        headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ]
        connection = raw(directed, "GET", path, headers)
        assert connection.getresponse().status == 403
        connection.close()


def test_a_client_that_leaves_during_its_upload(directed: Gateway) -> None:
    """Half a body and a closed connection harm nobody."""
    parts = urlsplit(directed.url)
    for path in (CHAT, "/v1/files"):
        with socket.create_connection((str(parts.hostname), parts.port or 80)) as connection:
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n".encode() + b"half"
            )
    assert directed.http.request("GET", f"{directed.url}/healthz").status == 200


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://h:9000", "http://h:9000/v1"),
        ("http://h:9000/", "http://h:9000/v1"),
        ("https://h/v1/", "https://h/v1"),
        ("https://h/openai/v1", "https://h/openai/v1"),
    ],
)
def test_base_urls(given: str, meant: str) -> None:
    """An address without a path means its /v1."""
    assert base_url_of(given) == meant


def test_an_upstream_below_a_path(open_gateway: Open, model: tuple[ScriptedModel, str]) -> None:
    """What follows /v1 is appended to the base URL's own path."""
    scripted, url = model
    gateway = open_gateway(model_url=f"{url}/api/openai/v1")
    connection = raw(gateway, "GET", "/v1/models/x")
    call = scripted.call()
    assert call.raw_path == b"/api/openai/v1/models/x"
    reply(call, connection)
