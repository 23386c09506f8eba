from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3

from .support import Server, Shell, environment

SIGNALS = [signal.SIGTERM, signal.SIGINT]


def texts(server: Server, count: int = 20) -> list[str]:
    """Have questions answered and acknowledged; return them."""
    asked = [f"Question number {number} of this test?" for number in range(count)]
    for text in asked:
        server.hit(text)
    return asked


@pytest.mark.parametrize("number", SIGNALS)
def test_the_servers_end_quietly(shell: Shell, number: signal.Signals) -> None:
    """A signal ends both servers with exit code 0 and without a word; entries are there again."""
    with shell.serving("mock-llm", "--latency", "0") as model:
        with shell.serving("serve", "--upstream", model.url) as gateway:
            assert gateway.line["event"] == "listening"
            assert gateway.line["upstream"] == f"{model.url}/v1"
            asked = texts(gateway, 3)
            assert gateway.stop(number) == (0, "")
        with shell.serving("serve", "--upstream", model.url) as gateway:
            assert gateway.line["entries"] == 3
            assert [gateway.ask(text).headers["x-cache"] for text in asked] == ["HIT"] * 3
            assert gateway.stop(number) == (0, "")
        assert model.stop(number) == (0, "")
    assert shell.json("stats")["categories"]["default"]["stored"] == 3


def test_stopping_while_a_stream_is_on(shell: Shell) -> None:
    """A stream under way is finished before the gateway ends."""
    with (
        shell.serving("mock-llm", "--latency", "300ms") as model,
        shell.serving("serve", "--upstream", model.url) as gateway,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(gateway.ask, "Slow?", stream=True)
        while model_calls(model) == 0:
            pass
        assert gateway.stop(signal.SIGTERM) == (0, "")
        assert answer.result().data.endswith(b"data: [DONE]\n\n")
    assert shell.json("stats")["entries"] == 1


def model_calls(model: Server) -> int:
    """Return how many chat requests the stand-in got."""
    seen = json.loads(urllib3.request("GET", f"{model.url}/requests").data)
    return int(seen["calls"].get("/v1/chat/completions", 0))


def test_kill_and_restart(shell: Shell) -> None:
    """After kill -9 every acknowledged entry is served, whole, and nothing else is broken."""
    with shell.serving("mock-llm", "--latency", "0") as model:
        answers: dict[str, object] = {}
        for _ in range(3):
            with shell.serving("serve", "--upstream", model.url) as gateway:
                assert gateway.line["entries"] >= len(answers)
                for text, answer in answers.items():
                    again = gateway.ask(text)
                    assert again.headers["x-cache"] == "HIT"
                    assert again.json() == answer
                for number in range(len(answers), len(answers) + 15):
                    text = f"Question number {number} of this test?"
                    gateway.hit(text)
                    answers[text] = gateway.ask(text).json()
                    gateway.ask(f"Not acknowledged {number}?", stream=True)
                gateway.stop(signal.SIGKILL)
    assert len(answers) == 45
    assert shell.json("stats")["entries"] >= 45


def test_serve_speaks_to_people(shell: Shell) -> None:
    """Without --json the address, the upstream and the store are said on standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "likewise", "serve", "--upstream", "http://h", "--port", "0"],
        cwd=shell.folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    process.terminate()
    _, rest = process.communicate(timeout=60)
    assert "likewise listens on http://127.0.0.1:" in line
    assert "/v1 for http://h/v1, 0 entries in sqlite:///" in line
    assert (process.returncode, rest) == (0, "")


def test_explain_shows_the_receipt_of_a_request(shell: Shell) -> None:
    """Given a response's request id, a running gateway is asked; what goes wrong is one line."""
    shell.configure(gateway={"admin_key": "k"})
    with shell.serving("mock-llm", "--latency", "0") as model:
        with shell.serving("serve", "--upstream", model.url) as gateway:
            response = gateway.ask("How do I undo a commit?")
            request_id = response.headers["x-likewise-request-id"]
            receipt = shell.json("explain", request_id, "--gateway", gateway.url)
            assert (receipt["decision"], receipt["replays"]) == ("miss", True)
            shown = shell.run("explain", request_id, "--gateway", gateway.url)
            assert shown.stdout.startswith("MISS no-candidate at ")
            unknown = shell.run("explain", "req-" + "0" * 32, "--gateway", gateway.url)
            wrong = shell.run("explain", request_id, "--gateway", gateway.url, "--admin-key", "x")
        gone = shell.run("explain", request_id, "--gateway", gateway.url)
    for done, code, says in (
        (unknown, 6, "holds no receipt"),
        (wrong, 3, "refuses the admin key"),
        (gone, 6, "no gateway answers"),
    ):
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
        assert done.stderr.count("\n") == 1
