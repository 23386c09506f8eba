import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from likewise.breaker import BreakerState, CircuitBreaker
from likewise.embed import Embedder
from likewise.embed.openai import OpenAIEmbedder
from likewise.errors import ConfigError, EmbedderError
from likewise.testing import FakeClock

KEY = "sk-very-secret"
TEXT = "the quick brown secret"

Respond = Callable[["Handler", dict[str, Any]], None]


def vector_of(text: str, dimensions: int = 3) -> list[float]:
    """What the server answers for a text."""
    return [float(len(text)), 2.0, -1.0, 4.0, 5.0][:dimensions]


def well(handler: "Handler", request: dict[str, Any]) -> None:
    """Answer as OpenAI does, with the rows in another order than the texts."""
    size = request.get("dimensions", 3)
    rows = [
        {"object": "embedding", "index": place, "embedding": vector_of(text, size)}
        for place, text in enumerate(request["input"])
    ]
    handler.send_json({"object": "list", "data": rows[::-1], "usage": {"total_tokens": 1}})


class Handler(BaseHTTPRequestHandler):
    """Notes what was asked and lets the test decide on the answer."""

    protocol_version = "HTTP/1.1"
    server: "EmbeddingServer"

    def do_POST(self) -> None:
        """Answer one request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), request, self.client_address))
        self.server.respond(self, request)

    def send_json(self, document: object, status: int = 200) -> None:
        """Send a document."""
        self.send_body(json.dumps(document).encode(), status)

    def send_body(self, body: bytes, status: int = 200) -> None:
        """Send bytes as they are."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self, content: bytes) -> None:
        """Send one byte at a time, each well within any timeout of its own."""
        try:
            for place in range(len(content)):
                self.wfile.write(content[place : place + 1])
                if self.server.stopping.wait(0.05):
                    break
        except OSError:
            pass  # the client has hung up, as it should
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


class EmbeddingServer(ThreadingHTTPServer):
    """A real server on a free port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond: Respond = well
        self.seen: list[tuple[str, dict[str, str], dict[str, Any], Any]] = []
        self.stopping = Event()

    @property
    def base_url(self) -> str:
        """What an embedder is given."""
        return f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    """A running server that answers well until told otherwise."""
    server = EmbeddingServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_client(server: EmbeddingServer) -> Iterator[Callable[..., OpenAIEmbedder]]:
    """Makes embedders of the server, and closes them at the end."""
    opened: list[OpenAIEmbedder] = []

    def make(**options: Any) -> OpenAIEmbedder:
        defaults: dict[str, Any] = {"base_url": server.base_url, "api_key": KEY, "timeout_s": 10.0}
        opened.append(OpenAIEmbedder("small", **(defaults | options)))
        return opened[-1]

    yield make
    for embedder in opened:
        embedder.close()


Open = Callable[..., OpenAIEmbedder]


def failure(embedder: OpenAIEmbedder, texts: list[str] | None = None) -> str:
    """The message of the error that embedding gives, checked for what it must never hold."""
    with pytest.raises(EmbedderError) as caught:
        embedder.embed(texts or [TEXT])
    message = str(caught.value)
    assert KEY not in message
    assert TEXT not in message
    assert "\n" not in message
    assert embedder.name in message
    return message


def test_rows_follow_the_texts(server: EmbeddingServer, open_client: Open) -> None:
    """Rows come back in the order of the texts, as float32 of length 1."""
    vectors = open_client().embed(["a", "bb", "cccc"])
    expected = np.array([vector_of("a"), vector_of("bb"), vector_of("cccc")])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() < 1e-6


def test_the_request_is_openais(server: EmbeddingServer, open_client: Open) -> None:
    """Model, texts, float encoding and the key as a bearer token go to /embeddings."""
    open_client().embed([TEXT])
    [(path, headers, request, _)] = server.seen
    assert path == "/v1/embeddings"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert request == {"model": "small", "input": [TEXT], "encoding_format": "float"}


def test_without_a_key_none_is_sent(
    server: EmbeddingServer, open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local server needs no key, and one from the environment is not given to it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    open_client(api_key=None).embed(["a"])
    assert "Authorization" not in server.seen[0][1]


def test_dimensions_are_asked_for(server: EmbeddingServer, open_client: Open) -> None:
    """Given dimensions are sent, checked and part of the name."""
    embedder = open_client(dimensions=2)
    assert embedder.dimensions == 2
    assert server.seen == []
    assert embedder.embed(["a"]).shape == (1, 2)
    assert server.seen[0][2]["dimensions"] == 2
    assert embedder.name == f"openai:small@127.0.0.1:{server.server_port}/2"


def test_unknown_dimensions_are_asked_once(server: EmbeddingServer, open_client: Open) -> None:
    """The first use asks the server how long its vectors are, later ones do not."""
    embedder = open_client()
    assert embedder.dimensions == 3
    assert embedder.dimensions == 3
    assert embedder.embed([]).shape == (0, 3)
    assert len(server.seen) == 1


def test_many_texts_go_in_batches(server: EmbeddingServer, open_client: Open) -> None:
    """Six hundred texts are three requests over one connection."""
    vectors = open_client().embed(["x" * (place % 7) for place in range(600)])
    assert vectors.shape == (600, 3)
    assert [len(request["input"]) for _, _, request, _ in server.seen] == [256, 256, 88]
    assert len({client for _, _, _, client in server.seen}) == 1


def test_threads_share_an_embedder(open_client: Open) -> None:
    """Calls at the same time do not mix up their answers."""
    embedder = open_client()
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda size: embedder.embed(["x" * size])[0], range(1, 41)))
    assert all(row[0] / row[1] == pytest.approx(size / 2) for size, row in enumerate(rows, 1))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (301, "base_url"),
        (400, "length of the texts"),
        (401, "set the embedder's api_key"),
        (403, "another key"),
        (404, "model's name"),
        (413, "shorter"),
        (422, "refused"),
        (429, "slow down"),
        (500, "its log"),
        (503, "its log"),
    ],
)
def test_a_status_is_named_with_its_remedy(
    server: EmbeddingServer, open_client: Open, status: int, remedy: str
) -> None:
    """Whatever the server says in its error, ours names the status and what to do."""
    server.respond = lambda handler, request: handler.send_json(
        {"error": {"message": f"{KEY} {request['input']}"}}, status
    )
    message = failure(open_client())
    assert f"HTTP {status}: " in message
    assert remedy in message
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"data": []}', "0 vectors for 2 texts"),
        ('{"data": [{"index": 0, "embedding": [1, 2]}]}', "1 vectors for 2 texts"),
        ('{"data": [{"embedding": [1, 2]}, {"embedding": [1]}]}', "instead of 2"),
        ('{"data": [{"embedding": []}, {"embedding": []}]}', "instead of some"),
        ('{"data": [{"embedding": [1, 2]}, {"embedding": [0, 0]}]}', "zeros"),
        ('{"data": [{"embedding": [1, 2]}, {"embedding": [1e200, 2]}]}', "finite"),
        ('{"data": [{"embedding": [1, 2]}, {"embedding": [NaN, 2]}]}', "not an embeddings answer"),
        ('{"data": [{"embedding": [1, 2]}, {"embedding": [null, 2]}]}', "got `null`"),
        ('{"data": [{"embedding": [1, 2]}, {"embedding": "AAAA"}]}', "not an embeddings answer"),
        (
            '{"data": [{"index": 1, "embedding": [1]}, {"index": 1, "embedding": [1]}]}',
            "indices other than 0 to 1",
        ),
        ("[1, 2]", "not an embeddings answer"),
        ("<html>", "not an embeddings answer"),
        ("", "not an embeddings answer"),
    ],
)
def test_a_wrong_answer_is_refused(
    server: EmbeddingServer, open_client: Open, body: str, problem: str
) -> None:
    """Anything but one finite, non-zero vector for each text is an error that says what it was."""
    server.respond = lambda handler, request: handler.send_body(body.encode())
    assert problem in failure(open_client(), ["a", "b"])


def test_vectors_that_change_their_size_are_refused(
    server: EmbeddingServer, open_client: Open
) -> None:
    """Once known, the number of dimensions is what every answer must have."""
    embedder = open_client()
    assert embedder.dimensions == 3
    server.respond = lambda handler, request: handler.send_json({"data": [{"embedding": [1, 2]}]})
    assert "[2] numbers instead of 3" in failure(embedder)


def test_rows_without_an_index_are_taken_in_order(
    server: EmbeddingServer, open_client: Open
) -> None:
    """Some servers leave out the index; their rows are in the order of the texts."""
    server.respond = lambda handler, request: handler.send_json(
        {"data": [{"embedding": [3, 4]}, {"embedding": [4, 3]}]}
    )
    assert np.allclose(open_client().embed(["a", "b"]), [[0.6, 0.8], [0.8, 0.6]])


def test_a_silent_server_is_left(server: EmbeddingServer, open_client: Open) -> None:
    """A server that never answers is an error after the timeout."""
    server.respond = lambda handler, request: setattr(
        handler, "close_connection", server.stopping.wait(60)
    )
    assert "no answer within 0.2 s" in failure(open_client(timeout_s=0.2))


ANSWER = b'{"data": [{"embedding": [' + b"1," * 5000 + b"1]}]}"
DRIPS = {
    "status line": b"H" * 60_000,
    "headers": b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 60_000,
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER),
    "body until close": b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER,
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"a" * 60_000,
}


@pytest.mark.parametrize("part", DRIPS)
def test_a_dripping_server_is_cut_off(
    server: EmbeddingServer, open_client: Open, part: str
) -> None:
    """Bytes that keep coming, a few at a time, do not hold a call beyond the timeout."""
    server.respond = lambda handler, request: handler.drip(DRIPS[part])
    assert "no answer within 0.3 s" in failure(open_client(timeout_s=0.3))


def test_a_cut_off_does_not_hurt_the_next_call(server: EmbeddingServer, open_client: Open) -> None:
    """After a cut the embedder opens another connection, and a reused one is not cut later."""
    embedder = open_client(timeout_s=0.5)
    server.respond = lambda handler, request: handler.drip(DRIPS["body"])
    failure(embedder)
    server.respond = well
    embedder.embed(["a"])
    time.sleep(0.7)  # the finished call's timer, were it still running, would fire in here
    embedder.embed(["a"])
    assert server.seen[-1][3] == server.seen[-2][3]


def test_no_server_is_an_error(open_client: Open) -> None:
    """A refused connection says so, and where to look."""
    embedder = open_client(base_url="http://127.0.0.1:1/v1")
    assert "check base_url" in failure(embedder)


def test_a_broken_connection_is_an_error(server: EmbeddingServer, open_client: Open) -> None:
    """A server that hangs up in the middle is an error, and not called a timeout."""

    def hang_up(handler: Handler, request: dict[str, Any]) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        handler.close_connection = True

    server.respond = hang_up
    assert "no connection or a broken one" in failure(open_client())


def test_an_open_breaker_asks_nobody(server: EmbeddingServer, open_client: Open) -> None:
    """After its failures in a row calls fail at once; after its time one tries again."""
    clock = FakeClock()
    breaker = CircuitBreaker(failures=2, open_s=30, clock=clock)
    embedder = open_client(breaker=breaker)
    server.respond = lambda handler, request: handler.send_json({}, 500)
    for _ in range(2):
        assert "HTTP 500" in failure(embedder)
    assert "not asked again for 30 s" in failure(embedder)
    assert len(server.seen) == 2
    clock.advance(30)
    server.respond = well
    assert embedder.embed(["a"]).shape == (1, 3)
    assert breaker.state is BreakerState.CLOSED


def test_refused_texts_do_not_open_the_breaker(server: EmbeddingServer, open_client: Open) -> None:
    """A text the server refuses says nothing about the next one."""
    breaker = CircuitBreaker(failures=1)
    embedder = open_client(breaker=breaker)
    server.respond = lambda handler, request: handler.send_json({}, 400)
    failure(embedder)
    assert breaker.state is BreakerState.CLOSED


def test_fits_counts_bytes(open_client: Open) -> None:
    """A text fits when its UTF-8 is at most as long as the window has tokens."""
    embedder = open_client(max_tokens=6)
    assert embedder.fits("abcdef")
    assert not embedder.fits("abcdefg")
    assert embedder.fits("\u00e9\u00e9\u00e9")
    assert not embedder.fits("\u00e9\u00e9\u00e9\u00e9")
    assert not embedder.fits("\ud83d")


def test_half_a_surrogate_pair_is_not_sent(server: EmbeddingServer, open_client: Open) -> None:
    """Text no encoding can carry gives our error, without the text."""
    assert "surrogate" in failure(open_client(), [TEXT + "\ud83d"])
    assert server.seen == []


def test_it_is_an_embedder_that_hides_its_key(server: EmbeddingServer, open_client: Open) -> None:
    """It has the protocol's members; neither its repr nor its name holds the key."""
    embedder: Embedder = open_client()
    assert embedder.name == f"openai:small@127.0.0.1:{server.server_port}"
    assert KEY not in repr(embedder)


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "api.openai.com/v1"},
        {"base_url": "ftp://host/v1"},
        {"base_url": f"https://user:{KEY}@host/v1"},
        {"base_url": "https://host:port/v1"},
        {"base_url": "https://"},
        {"api_key": KEY + "\n"},
        {"dimensions": 0},
        {"timeout_s": 0},
        {"max_tokens": 0},
    ],
)
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    """Bad arguments are errors of the configuration, and do not show the key."""
    with pytest.raises(ConfigError) as caught:
        OpenAIEmbedder("small", **options)
    assert KEY not in str(caught.value)


def test_an_empty_model_is_refused() -> None:
    """A server cannot guess which model is meant."""
    with pytest.raises(ConfigError, match="name is empty"):
        OpenAIEmbedder("")
