from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .support import CHAT, PATIENCE_S, Line, ScriptedModel, chat


@pytest.fixture
def served(
    tmp_path: Path, model: tuple[ScriptedModel, str]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``likewise serve`` before the scripted model, in a process of its own, and its address."""
    (tmp_path / "likewise.yaml").write_text(json.dumps({"embedding": {"model": "hashing"}}))
    command = ["serve", "--upstream", model[1], "--port", "0", "--store", "memory://", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "likewise", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)["url"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_that_hang_are_given_up(
    served: tuple[subprocess.Popen[str], str], scripted: ScriptedModel, number: signal.Signals
) -> None:
    """Clients of a model that says nothing get 503, and the gateway ends before its time is up."""
    process, url = served
    lines = [
        Line(url, chat("Q")),
        Line(url, chat("Other?", stream=True)),
        Line(url, {"input": "x"}, path="/v1/embeddings"),
    ]
    for _ in lines:
        scripted.call()
    process.send_signal(number)
    for line in lines:
        assert line.response.status == 503
        error = json.loads(line.rest())["error"]
        assert (error["type"], error["code"]) == ("server_error", "upstream_error")
        assert "shutting down" in error["message"]
        assert line.response.headers["x-likewise-entry"] is None
        line.leave()
    _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (0, "")


def test_a_stream_that_hangs_is_ended(
    served: tuple[subprocess.Popen[str], str], scripted: ScriptedModel
) -> None:
    """A client in the middle of a stream gets the error event before the gateway ends."""
    process, url = served
    line = Line(url, chat("Q", stream=True))
    call = scripted.call()
    call.start_stream()
    call.say("one ")
    assert b'"one "' in line.event()
    process.send_signal(signal.SIGTERM)
    assert "shutting down" in json.loads(line.event()[6:])["error"]["message"]
    assert line.rest() == b""
    line.leave()
    _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (0, "")


def test_a_client_that_hangs_in_its_upload(served: tuple[subprocess.Popen[str], str]) -> None:
    """A client that never sends its whole body is told 503, and no traceback is logged."""
    process, url = served
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\nexpect: 100-continue\r\n\r\n"
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port or 80), PATIENCE_S) as line:
        line.sendall(head.encode())
        assert line.recv(1000).startswith(b"HTTP/1.1 100 ")
        process.send_signal(signal.SIGTERM)
        assert line.recv(1000).startswith(b"HTTP/1.1 503 ")
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 1
