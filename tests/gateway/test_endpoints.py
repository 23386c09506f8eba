"""Everything that exists for chat, for every other protocol."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from likewise.gateway.wire import DIALECTS
from likewise.testing import FakeClock

from .conftest import Open
from .support import Call, Gateway, Response, ScriptedModel, chat, wait_for
from .test_learning import AGAIN, ASKED, open_learning

TEXT, RESPONSES, EMBEDDINGS, MESSAGES = (
    f"/v1/{name}" for name in ("completions", "responses", "embeddings", "messages")
)
NEW = [TEXT, RESPONSES, EMBEDDINGS, MESSAGES]
SAYING = [TEXT, RESPONSES, MESSAGES]
"""Those that answer with text, whole and as streams."""


def body_of(path: str, text: str, **fields: Any) -> dict[str, Any]:
    """Return a request of a protocol."""
    bodies: dict[str, dict[str, Any]] = {
        TEXT: {"prompt": text},
        RESPONSES: {"input": text},
        EMBEDDINGS: {"input": text},
        MESSAGES: {"max_tokens": 500, "messages": [{"role": "user", "content": text}]},
    }
    return {"model": "stand-in-1", **bodies.get(path, chat(text)), **fields}


def answer_of(path: str, text: str) -> dict[str, Any]:
    """Return a whole answer of a protocol."""
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [part]}
    answers: dict[str, dict[str, Any]] = {
        TEXT: {"choices": [{"index": 0, "text": text, "finish_reason": "stop"}]},
        RESPONSES: {"object": "response", "status": "completed", "output": [item]},
        EMBEDDINGS: {"data": [{"index": 0, "embedding": text}]},
        MESSAGES: {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 2},
        },
    }
    return {"id": "x", "model": "m", **answers[path]}


def ask(gateway: Gateway, path: str, text: str, headers: Any = None, **fields: Any) -> Response:
    """Ask a question."""
    response = gateway.post(body_of(path, text, **fields), headers, path=path)
    assert response.status == 200, response.data
    return response


def outcome(gateway: Gateway, path: str, text: str, headers: Any = None, **fields: Any) -> str:
    """Ask a question; return what the cache said."""
    return ask(gateway, path, text, headers, **fields).headers["x-cache"]


def test_answers_cross_no_protocol(gateway: Gateway) -> None:
    """The same words ask each model endpoint once, and each gets its own answer again."""
    paths = [dialect.path for dialect in DIALECTS]
    assert len(paths) == 5
    fresh = [ask(gateway, path, "The same words") for path in paths]
    assert {response.headers["x-cache"] for response in fresh} == {"MISS"}
    again = [ask(gateway, path, "The same words") for path in paths]
    assert {response.headers["x-cache"] for response in again} == {"HIT"}
    assert [r.data for r in again] == [
        json.dumps(r.json(), separators=(",", ":"), ensure_ascii=False).encode() for r in fresh
    ]
    assert [gateway.calls(path) for path in paths] == [1] * 5


@pytest.mark.parametrize("path", NEW)
def test_tenants_share_nothing(gateway: Gateway, path: str) -> None:
    """Keys in ``x-api-key`` tell tenants apart as those in ``Authorization`` do."""
    for name in ("authorization", "x-api-key"):
        assert outcome(gateway, path, "Q", {name: "ann"}) == "MISS"
        assert outcome(gateway, path, "Q", {name: "bob"}) == "MISS"
        assert outcome(gateway, path, "Q", {name: "ann"}) == "HIT"


@pytest.mark.parametrize("path", NEW)
def test_controls_of_the_caller(gateway: Gateway, clock: FakeClock, path: str) -> None:
    """Headers and the body's ``cache`` object mean the same everywhere; none of it goes on."""
    headers = {"x-likewise-category": "trivia"}
    first = ask(gateway, path, "Q", headers, cache={"ttl": 60})
    assert "cache" not in gateway.last()
    assert first.headers["x-likewise-category"] == "trivia"
    second = ask(gateway, path, "Q", headers)
    assert second.headers["x-cache"] == "HIT"
    assert second.headers["x-likewise-entry"] == first.headers["x-likewise-entry"]
    assert second.headers["x-likewise-tier"] == "exact"
    assert outcome(gateway, path, "Q", {**headers, "cache-control": "no-cache"}) == "BYPASS"
    assert outcome(gateway, path, "Q", {**headers, "x-likewise-namespace": "n"}) == "MISS"
    assert outcome(gateway, path, "R", {**headers, "cache-control": "no-store"}) == "MISS"
    assert outcome(gateway, path, "R", headers) == "MISS"
    clock.advance(10)
    assert outcome(gateway, path, "R", {**headers, "cache-control": "max-age=5"}) == "MISS"
    clock.advance(60)
    assert outcome(gateway, path, "Q", cache={"category": "trivia"}) == "HIT"


@pytest.mark.parametrize("path", SAYING)
def test_meaning_serves(open_gateway: Open, path: str) -> None:
    """One plain text is answered by what was said to another one like it."""
    gateway = open_gateway({"defaults": {"similarity_threshold": 0.8, "guards": []}})
    near = "How do I undo the last git commit"
    ask(gateway, path, "How do I undo the last git commit, please", {"x-likewise-category": "x"})
    response = ask(gateway, path, near, {"x-likewise-category": "x"})
    assert response.headers["x-cache"] == "HIT"
    assert response.headers["x-likewise-tier"] == "semantic"


@pytest.mark.parametrize("path", NEW)
def test_many_share_one_call(gateway: Gateway, path: str) -> None:
    """Who asks the same at the same time, streaming or not, shares a call."""
    streams = [path != EMBEDDINGS and n % 2 == 0 for n in range(20)]
    bodies = [
        body_of(path, "[[slow:0.2]] Same?", **({"stream": True} if stream else {}))
        for stream in streams
    ]
    with ThreadPoolExecutor(len(bodies)) as pool:
        found = list(pool.map(lambda b: gateway.post(b, path=path, settle=False), bodies))
    gateway.settle()
    assert {response.status for response in found} == {200}
    wholes = [r.data for r, stream in zip(found, streams, strict=True) if not stream]
    assert len({json.dumps(json.loads(data), sort_keys=True) for data in wholes}) == 1
    assert gateway.entries == 1
    if path != EMBEDDINGS:
        assert gateway.calls(path) == 1


@pytest.mark.parametrize("path", NEW)
def test_stale_answers_stand_in_for_a_failing_model(
    open_gateway: Open, clock: FakeClock, model: tuple[ScriptedModel, str], path: str
) -> None:
    """In the form that was asked for, labelled."""
    scripted, url = model
    settings = {"categories": {"git": {"ttl": "1h", "stale_if_error": "1d"}}}
    gateway = open_gateway(settings, model_url=url)
    headers = {"x-likewise-category": "git"}
    line = gateway.line(body_of(path, "Q"), headers, path)
    scripted.call().answer(answer_of(path, "old"))
    assert b"old" in line.rest()
    gateway.settle()
    clock.advance(3700)
    fields = {} if path == EMBEDDINGS else {"stream": True}
    line = gateway.line(body_of(path, "Q", **fields), headers, path)
    scripted.call().answer({"error": {}}, status=529 if path == MESSAGES else 500)
    assert b"old" in line.rest()
    assert line.response.headers["x-cache"] == "STALE"
    assert line.response.headers["x-likewise-reason"] == "stale-if-error"


@pytest.mark.parametrize("path", NEW)
def test_what_is_stale_is_fetched_aside(open_gateway: Open, clock: FakeClock, path: str) -> None:
    """The next caller gets what the model said meanwhile."""
    gateway = open_gateway({"categories": {"git": {"ttl": "1h", "stale_while_revalidate": "10m"}}})
    headers = {"x-likewise-category": "git"}
    ask(gateway, path, "Q", headers)
    clock.advance(3700)
    assert outcome(gateway, path, "Q", headers) == "STALE"
    assert ask(gateway, path, "Q", headers).headers["age"] == "0"
    assert gateway.calls(path) == 2


@pytest.mark.parametrize("path", SAYING)
def test_audits_and_feedback(open_gateway: Open, path: str) -> None:
    """A hit is audited aside, the answers are compared by what they say, and clients may judge."""
    gateway = open_learning(open_gateway, audit_rate=1.0)
    ask(gateway, path, ASKED)
    again = ask(gateway, path, AGAIN)
    assert again.headers["x-likewise-tier"] == "semantic"
    wait_for(lambda: gateway.cache.stats()["categories"]["code"]["audits"] > 0)
    gateway.settle()
    verdict = {"request_id": again.headers["x-likewise-request-id"], "correct": False}
    assert gateway.post(verdict, path="/v1/cache/feedback").status == 200
    assert outcome(gateway, path, AGAIN) == "MISS"
    other = gateway.post(verdict, {"authorization": "Bearer other"}, path="/v1/cache/feedback")
    assert other.status == 404


@pytest.mark.parametrize("path", SAYING)
@pytest.mark.parametrize("directive", ["[[finish:length]]", "[[cut]]", "[[garbage]]"])
def test_what_is_not_whole_is_not_kept(gateway: Gateway, path: str, directive: str) -> None:
    """It reaches the client as it is, in either form, and is forgotten."""
    for stream in (False, True):
        body = body_of(path, f"{directive} Q", stream=stream)
        line = gateway.line(body, path=path)
        try:
            line.rest()
        except Exception as error:
            assert directive == "[[cut]]", error
        gateway.settle()
    assert gateway.entries == 0
    assert gateway.metric("likewise_answers_not_kept_total") == 2


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
def test_a_refusal_is_not_kept(gateway: Gateway, path: str) -> None:
    """Asked again, the model may think better of it."""
    assert [outcome(gateway, path, "[[refusal]] Q") for _ in range(2)] == ["MISS", "MISS"]
    assert gateway.entries == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", RESPONSES), ("GET", f"{RESPONSES}/resp_1"), ("DELETE", f"{RESPONSES}/resp_1")],
)
def test_what_else_there_is_passes_through(
    directed: Gateway, scripted: ScriptedModel, method: str, path: str
) -> None:
    """Other methods and what is below an endpoint are the model's."""
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(directed.http.request, method, directed.url + path)
        call = scripted.call()
        assert (call.method, call.raw_path) == (method, path.encode())
        call.answer({"id": "resp_1"})
        assert sent.result().json() == {"id": "resp_1"}


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
def test_state_of_the_server_bypasses(gateway: Gateway, path: str) -> None:
    """A request that goes on from what the model's server holds is neither served nor kept."""
    state = {"previous_response_id": "resp_1"} if path == RESPONSES else {"container": "c1"}
    for _ in range(2):
        for stream in (False, True):
            response = ask(gateway, path, "And then?", stream=stream, **state)
            assert response.headers["x-cache"] == "BYPASS"
            assert response.headers["x-likewise-reason"] == "stateful"
            assert "x-likewise-entry" not in response.headers
    assert gateway.calls(path) == 4
    assert gateway.last().items() >= state.items()
    assert gateway.entries == 0


def test_each_request_is_told_its_own_metadata(gateway: Gateway) -> None:
    """What a response repeats of its request is not another request's, in either form."""
    for run in ("1", "2"):
        response = ask(gateway, RESPONSES, "Q", metadata={"run": run})
        assert response.json()["metadata"] == {"run": run}
    assert ask(gateway, RESPONSES, "Q").json()["metadata"] == {}
    streamed = ask(gateway, RESPONSES, "Q", metadata={"run": "3"}, stream=True)
    assert b'"run":"3"' in streamed.data
    assert gateway.calls(RESPONSES) == 1
    bodies = [
        body_of(RESPONSES, "[[slow:0.2]] at once", metadata={"run": str(run)}) for run in range(4)
    ]
    with ThreadPoolExecutor(len(bodies)) as pool:
        found = list(pool.map(lambda b: gateway.post(b, path=RESPONSES, settle=False), bodies))
    gateway.settle()
    assert [r.json()["metadata"]["run"] for r in found] == ["0", "1", "2", "3"]


def test_the_gateways_key_goes_where_the_protocol_wants_it(
    open_gateway: Open, model: tuple[ScriptedModel, str]
) -> None:
    """Anthropic's in ``x-api-key``, on paths that are passed through as well."""
    scripted, url = model
    gateway = open_gateway({"upstream": {"api_key": "sk-ours"}}, model_url=url)
    headers = {"x-api-key": "theirs", "anthropic-version": "2023-06-01", "anthropic-beta": "b"}
    for path in (MESSAGES, f"{MESSAGES}/count_tokens"):
        line = gateway.line(body_of(MESSAGES, "Q"), headers, path)
        call = scripted.call()
        assert call.headers["x-api-key"] == "sk-ours"
        assert "authorization" not in call.headers
        assert call.headers["anthropic-version"] == "2023-06-01"
        assert call.headers["anthropic-beta"] == "b"
        call.answer(answer_of(MESSAGES, "A"))
        assert b'"A"' in line.rest()


def test_tokens_of_the_models_own_cache_are_billed(open_gateway: Open) -> None:
    """A prompt that was written to it costs more, and all of its tokens count."""
    prices = {"prices": {"stand-in-1": {"input": 1_000_000, "output": 0}}}
    gateway = open_gateway(prices)
    system = [{"type": "text", "text": "a b c d", "cache_control": {"type": "ephemeral"}}]
    ask(gateway, MESSAGES, "one two", system=system)
    hit = ask(gateway, MESSAGES, "one two", system=system)
    output = hit.json()["usage"]["output_tokens"]
    assert hit.headers["x-likewise-saved-tokens"] == str(6 + output)
    assert float(hit.headers["x-likewise-saved-usd"]) == pytest.approx(2 + 4 * 1.25)
    plain = ask(gateway, MESSAGES, "one two", system="a b c d")
    assert plain.headers["x-cache"] == "HIT"


@pytest.mark.parametrize("path", NEW)
def test_a_body_that_is_wrong(gateway: Gateway, path: str) -> None:
    """It is refused in the protocol's own shape, or goes to the model when it is one to judge."""
    refused = gateway.post(b"{", path=path)
    assert refused.status == 400
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert ("code" in error) == (path != MESSAGES)
    assert (refused.json().get("type") == "error") == (path == MESSAGES)
    judged = gateway.post({"model": "m"}, path=path)
    assert judged.status == 400
    assert "x-cache" not in judged.headers
    assert gateway.calls(path) == 1


def broken(directed: Gateway, scripted: ScriptedModel, path: str, first: bytes) -> list[bytes]:
    """Return the events of a stream whose model breaks off after ``first``."""
    line = directed.line(body_of(path, "Q", stream=True), path=path)
    call: Call = scripted.call()
    call.start_stream()
    call.send(first)
    assert line.event() == first.strip()
    call.break_off()
    return [event for event in line.rest().split(b"\n\n") if event]


def test_streams_that_break_off(directed: Gateway, scripted: ScriptedModel) -> None:
    """The last event says so, as the protocol does."""
    (last,) = broken(directed, scripted, MESSAGES, b'event: ping\ndata: {"type":"ping"}\n\n')
    name, data = last.split(b"\n")
    assert name == b"event: error"
    told = json.loads(data.removeprefix(b"data: "))
    assert (told["type"], told["error"]["type"]) == ("error", "api_error")
    first = b'event: response.created\ndata: {"type":"response.created","sequence_number":0}\n\n'
    (last,) = broken(directed, scripted, RESPONSES, first)
    name, data = last.split(b"\n")
    assert name == b"event: error"
    told = json.loads(data.removeprefix(b"data: "))
    assert (told["type"], told["sequence_number"]) == ("error", 1)
    (last,) = broken(directed, scripted, TEXT, b'data: {"choices":[]}\n\n')
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    directed.settle()
    assert directed.entries == 0


@pytest.mark.parametrize("path", SAYING)
def test_a_model_that_knows_one_form_only(
    directed: Gateway, scripted: ScriptedModel, path: str
) -> None:
    """A whole answer becomes a stream for who asked for one, and is kept."""
    line = directed.line(body_of(path, "Q", stream=True), path=path)
    scripted.call().answer(answer_of(path, "one two three four five"))
    assert line.response.headers["content-type"].startswith("text/event-stream")
    events = [event for event in line.rest().split(b"\n\n") if event]
    assert len(events) > 3
    directed.settle()
    assert directed.entries == 1


def test_zero_usage_on_a_hit(open_gateway: Open) -> None:
    """Whoever adds up usage may be told of none, in every protocol."""
    gateway = open_gateway({"gateway": {"usage_on_hit": "zero"}})
    for path in NEW:
        ask(gateway, path, "Q")
        usage = ask(gateway, path, "Q").json()["usage"]
        assert {value for name, value in usage.items() if name.endswith("_tokens")} == {0}
