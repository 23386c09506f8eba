"""The measurements of the gateway in real processes: small, and without limits of time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from likewise.bench import clients, throughput
from likewise.bench.clients import Answer, Volley, chat
from likewise.bench.floor import floor
from likewise.category import TAXONOMY
from likewise.errors import UpstreamError

FAST: dict[str, Any] = {"embedding": {"model": "hashing"}, "classification": {"enabled": False}}
LOOSE = {**FAST, "categories": {name: {"similarity_threshold": 0.6} for name in TAXONOMY}}
REQUEST = chat("Is anybody there?", model="stand-in-1")


def quiet(_done: int, _of: int) -> None:
    """Tell nobody."""


@contextmanager
def talking(*answers: bytes) -> Iterator[int]:
    """A server that answers one connection with these bytes, piece by piece, then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_exact_hits_are_measured_beside_a_bare_server() -> None:
    """Both answer, and the gateway, which does more, answers less often."""
    seen: list[tuple[int, int]] = []
    found = throughput.exact_hit(
        lambda done, of: seen.append((done, of)), rounds=2, window_s=0.2, clients=4, config=FAST
    )
    assert 0.0 < found["gateway_rps"] < found["floor_rps"]
    assert 0.0 < found["p50_us"] <= found["p99_us"]
    assert found["rounds"] == 2
    assert 0.0 < found["clients_busy"] <= 1.1
    assert seen[-1] == (2, 2)


def test_semantic_hits_are_told_without_their_embedding() -> None:
    """The figure is less than the whole request."""
    found = throughput.semantic_hit(quiet, most=60, config=LOOSE)
    assert 12 <= found["hits"] <= 60
    assert 0.0 < found["semantic_hit_us"] < found["request_us"]
    assert found["embed_us"] > 0.0


def test_without_semantic_hits_there_is_no_figure() -> None:
    """A policy under which nothing hits by meaning leaves nothing to measure."""
    exact = {**FAST, "defaults": {"exact_only": True}, "builtin_categories": False}
    with pytest.raises(UpstreamError, match="only 0 of 20 questions were semantic hits"):
        throughput.semantic_hit(quiet, most=20, config=exact)


def test_first_bytes_come_later_through_the_gateway() -> None:
    """By some time; both ways wait for the model."""
    found = throughput.first_byte(quiet, rounds=1, streams=8, tokens=6, config=FAST)
    assert 0 < found["streams"] <= 8
    assert found["direct_ms"] >= 200.0
    assert found["gateway_ms"] >= 200.0
    assert found["first_byte_added_ms"] == pytest.approx(found["gateway_ms"] - found["direct_ms"])


def test_what_fails_is_an_error_and_no_figure() -> None:
    """A status that is not 200, a closed connection and a server that is not there."""
    refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"
    with clients.pool() as run:
        for answer, said in ((refusal, "503 service unavailable"), (b"", "closed by the server")):
            with talking(answer) as port, pytest.raises(UpstreamError, match=said):
                run(Volley(port=port, requests=[REQUEST], clients=1))
        with pytest.raises(UpstreamError, match="no connection"):
            run(Volley(port=port, requests=[REQUEST], clients=1))


def test_answers_without_what_they_must_hold_are_in_no_figure() -> None:
    """They are counted apart, and where all must hold it they are an error."""
    with floor(b"{}") as port:
        volley = Volley(
            port=port, requests=[REQUEST] * 3, clients=2, must=b"x-likewise-tier: exact"
        )
        found = clients.fire(volley)
        assert (found.answered, found.other, found.failed) == (0, 3, 0)
        with pytest.raises(UpstreamError, match="floor: 3 of 3 were no hits"):
            throughput.alternating(clients.fire, {"floor": volley}, rounds=1, progress=quiet)


def test_an_answer_is_whole_when_its_length_or_its_last_chunk_is_there() -> None:
    """However it is cut on the way."""
    plain = b"HTTP/1.1 200 OK\r\nX-Cache: HIT\r\nContent-Length: 5\r\n\r\nabcde"
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for whole in (plain, chunked):
        answer = Answer()
        done = [answer.take(whole[at : at + 1]) for at in range(len(whole))]
        assert done == [False] * (len(whole) - 1) + [True]
        assert answer.ok
        assert answer.first_ns > 0
    assert Answer().take(plain)
    answer = Answer()
    answer.take(plain)
    assert (answer.header("x-cache"), answer.header("age"), answer.body) == ("hit", "", b"abcde")
