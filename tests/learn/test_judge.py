import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from likewise.answers import answer_digest, normalised
from likewise.errors import ConfigError, JudgeError
from likewise.learn.judge import ExactJudge, FunctionJudge, SimilarJudge
from likewise.learn.judge_model import ModelJudge
from likewise.testing import HashingEmbedder


def completion(text: str, **extra: object) -> dict[str, object]:
    """A chat completion that says a text."""
    return {"id": "chatcmpl-1", "choices": [{"message": {"content": text}}], **extra}


def test_equal_answers_are_equal_however_they_are_wrapped() -> None:
    """Case, white space, identifiers and usage do not count; what is said does."""
    judge = ExactJudge()
    assert judge.same("q", "Use  git reset.", "use git reset.")
    assert judge.same("q", completion("Yes", created=1), completion("yes", created=2))
    assert not judge.same("q", "yes", "no")
    assert answer_digest("Yes ") == answer_digest(completion("yes"))
    assert answer_digest({"b": 1, "a": 2}) == answer_digest({"a": 2, "b": 1}) != 0


def test_tool_calls_are_part_of_what_is_said() -> None:
    """Two answers that call a tool with other arguments differ."""

    def calls(arguments: str) -> dict[str, object]:
        call = {"id": "x", "function": {"name": "f", "arguments": arguments}}
        return {"choices": [{"message": {"content": None, "tool_calls": [call]}}]}

    assert normalised(calls("{1}")) == "f {1}"
    assert not ExactJudge().same("q", calls("{1}"), calls("{2}"))


def test_similar_answers_by_their_vectors() -> None:
    """Near answers are the same, far ones differ, and what cannot be read whole is not judged."""
    judge = SimilarJudge(HashingEmbedder(64), 0.8)
    text = "run git reset with soft and the name of the commit before"
    assert judge.same("q", text, text + " please") is True
    assert judge.same("q", text, "bananas are yellow") is False
    assert judge.same("q", text, "") is None


def test_a_function_judges_and_its_fault_is_named() -> None:
    """What it says counts; an exception becomes an error without any text."""
    assert FunctionJudge(lambda q, a, b: a == b).same("q", 1, 1) is True
    with pytest.raises(JudgeError, match="raised ZeroDivisionError"):
        FunctionJudge(lambda q, a, b: 1 / 0 > 1).same("secret", 1, 1)


@pytest.fixture
def model() -> Iterator[tuple[str, list[dict[str, object]], list[object]]]:
    """A judge model that says what it is told to say, and what it was asked."""
    asked: list[dict[str, object]] = []
    says: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            said = says.pop(0)
            body = json.dumps(completion(said) if isinstance(said, str) else said).encode()
            self.send_response(200 if isinstance(said, str) else 500)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked, says
    server.shutdown()
    server.server_close()


def test_a_model_judges(model: tuple[str, list[dict[str, object]], list[object]]) -> None:
    """It is shown the question and both answers, and its one word counts."""
    url, asked, says = model
    judge = ModelJudge(base_url=url, model="judge", api_key="k")
    says += ["Yes.", "no", "perhaps"]
    assert [judge.same("how?", "so", "thus") for _ in range(3)] == [True, False, None]
    assert judge.same("how?", "Same", "same") is True
    assert len(asked) == 3
    shown = json.dumps(asked[0])
    assert all(text in shown for text in ("how?", "so", "thus", "judge"))


def test_a_model_that_fails_is_left_alone(
    model: tuple[str, list[dict[str, object]], list[object]],
) -> None:
    """Each failure is an error; after five it is not asked for a while."""
    url, asked, says = model
    judge = ModelJudge(base_url=url, model="judge")
    says += [{}] * 9
    for _ in range(7):
        with pytest.raises(JudgeError):
            judge.same("how?", "so", "thus")
    assert len(asked) == 5


def test_a_judge_model_needs_a_url() -> None:
    """Anything else is named in one line."""
    with pytest.raises(ConfigError, match=r"judge_model\.base_url"):
        ModelJudge(base_url="localhost", model="judge")
