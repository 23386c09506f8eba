from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest
import urllib3
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from likewise.mock_llm import MockSettings, create_app, server
from likewise.testing import running

FAST = MockSettings(latency_s=0.0)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[str]:
    """One stand-in for the whole module."""
    with running(create_app(FAST)) as url:
        yield url


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    """A plain HTTP client, for what the openai client hides."""
    with urllib3.PoolManager(retries=False) as pool:
        yield pool


@pytest.fixture
def url(shared_server: str, http: urllib3.PoolManager) -> str:
    """The stand-in's address; it has forgotten earlier tests."""
    http.request("DELETE", f"{shared_server}/requests")
    return shared_server


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    """The official client, connected to the stand-in."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="test", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, text: str, **options: Any) -> ChatCompletion:
    """Ask one question and return the whole answer."""
    completion = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": text}], **options
    )
    assert isinstance(completion, ChatCompletion)
    return completion


def ask_streamed(client: openai.OpenAI, text: str, **options: Any) -> list[ChatCompletionChunk]:
    """Ask one question and return all chunks of the streamed answer."""
    with client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": text}], stream=True, **options
    ) as stream:
        return list(stream)


def post(http: urllib3.PoolManager, url: str, body: Any) -> urllib3.BaseHTTPResponse:
    """Send a chat completion request as it is."""
    return http.request("POST", f"{url}/v1/chat/completions", json=body)


def chat_body(text: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a request with one user message."""
    return {"messages": [{"role": "user", "content": text}], **fields}


def join_content(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    """Return the text that the chunks of one choice add up to."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def test_the_same_question_gets_the_same_answer(client: openai.OpenAI) -> None:
    """Two calls with equal messages agree in text and id."""
    one, two = ask(client, "Hello there"), ask(client, "Hello there")
    assert one.choices[0].message.content == two.choices[0].message.content
    assert one.id == two.id
    assert one.id.startswith("chatcmpl-")


def test_different_questions_get_different_answers(client: openai.OpenAI) -> None:
    """Each of many similar questions has an answer of its own, of 20 to 60 words, without echo."""
    answers = {
        ask(client, f"How much is {n} plus 1?").choices[0].message.content for n in range(40)
    }
    assert len(answers) == 40
    for answer in answers:
        assert answer is not None
        assert 20 <= len(answer.split()) <= 60
        assert "plus" not in answer


def test_earlier_turns_are_part_of_the_question(client: openai.OpenAI) -> None:
    """A system prompt changes the answer."""
    plain = ask(client, "Hello")
    in_context = client.chat.completions.create(
        model="any",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
        ],
    )
    assert plain.choices[0].message.content != in_context.choices[0].message.content


def test_usage_counts_words(client: openai.OpenAI) -> None:
    """Prompt and answer tokens are their words, and add up."""
    completion = ask(client, "one two three")
    usage, content = completion.usage, completion.choices[0].message.content
    assert usage is not None
    assert content is not None
    assert usage.prompt_tokens == 3
    assert usage.completion_tokens == len(content.split())
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_request_without_model_gets_the_settings_model(
    url: str, http: urllib3.PoolManager
) -> None:
    """The model named in the answer is the caller's, or else the configured one."""
    assert post(http, url, chat_body("Hi")).json()["model"] == "stand-in-1"
    assert post(http, url, chat_body("Hi", model="other")).json()["model"] == "other"


def test_a_stream_carries_the_same_answer(client: openai.OpenAI) -> None:
    """The pieces of a stream join to the text of the plain answer, role first, finish last."""
    chunks = ask_streamed(client, "Tell me a story")
    plain = ask(client, "Tell me a story")
    assert len(chunks) > 4
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert join_content(chunks) == plain.choices[0].message.content
    assert {chunk.id for chunk in chunks} == {plain.id}


def test_a_stream_ends_with_usage_on_request(client: openai.OpenAI) -> None:
    """With include_usage one chunk without choices carries what the plain answer reports."""
    chunks = ask_streamed(client, "Count me", stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage == ask(client, "Count me").usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_ends_with_done(url: str, http: urllib3.PoolManager) -> None:
    """On the wire every line of a stream is an SSE data line, the last of them [DONE]."""
    response = post(http, url, chat_body("Hi", stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.data.decode().removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all(event.startswith("data: {") for event in events[:-1])


@pytest.mark.parametrize("streamed", [False, True])
def test_n_choices_are_different(client: openai.OpenAI, streamed: bool) -> None:
    """A request for three choices gets three different texts, and the first is that of n=1."""
    if streamed:
        chunks = ask_streamed(client, "Pick one", n=3)
        texts: list[str | None] = [join_content(chunks, index) for index in range(3)]
    else:
        texts = [choice.message.content for choice in ask(client, "Pick one", n=3).choices]
    assert len(set(texts)) == 3
    assert texts[0] == ask(client, "Pick one").choices[0].message.content


def test_status_directive(client: openai.OpenAI) -> None:
    """The error has the status asked for, and 429 says when to try again."""
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "[[status:429]]")
    assert caught.value.response.headers["retry-after"] == "1"
    assert caught.value.type == "rate_limit_error"
    with pytest.raises(openai.InternalServerError):
        ask_streamed(client, "[[status:503]] please")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_finish_directive(client: openai.OpenAI, reason: str) -> None:
    """The finish reason asked for arrives, plain and streamed."""
    assert ask(client, f"[[finish:{reason}]]").choices[0].finish_reason == reason
    chunks = ask_streamed(client, f"[[finish:{reason}]]")
    assert chunks[-1].choices[0].finish_reason == reason


def test_cut_stream(url: str, http: urllib3.PoolManager) -> None:
    """A cut stream delivers some text, then breaks off without finish reason or [DONE]."""
    response = http.request(
        "POST",
        f"{url}/v1/chat/completions",
        json=chat_body("[[cut]]", stream=True),
        preload_content=False,
    )
    received = b""
    with pytest.raises(urllib3.exceptions.ProtocolError):
        for block in response.stream(16):
            received += block
    assert b'"content"' in received
    assert b'"finish_reason": "stop"' not in received
    assert b"[DONE]" not in received


def test_cut_answer(client: openai.OpenAI) -> None:
    """A cut plain answer is a broken connection to the client."""
    with pytest.raises(openai.APIConnectionError):
        ask(client, "[[cut]]")


def test_garbage_directive(url: str, http: urllib3.PoolManager) -> None:
    """Garbage comes with status 200, and is not JSON in either form."""
    plain = post(http, url, chat_body("[[garbage]]"))
    assert plain.status == 200
    with pytest.raises(json.JSONDecodeError):
        plain.json()
    streamed = post(http, url, chat_body("[[garbage]]", stream=True))
    assert streamed.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(streamed.data.removeprefix(b"data: "))


def test_waiting(http: urllib3.PoolManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured latency, the slow directive and the pauses of a stream are all kept."""
    waits: list[float] = []

    async def record(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(server, "asyncio", SimpleNamespace(sleep=record))
    with running(create_app(MockSettings(latency_s=0.25, token_s=0.5))) as url:
        post(http, url, chat_body("Hi"))
        post(http, url, chat_body("[[slow:2.5]]"))
        assert waits == [0.25, 2.5]
        events = post(http, url, chat_body("Hi", stream=True)).data.count(b"data: {")
    assert waits[2:] == [0.25] + [0.5] * (events - 1)


def test_tool_directive(client: openai.OpenAI) -> None:
    """The tool is called with JSON arguments; streamed, they arrive in several deltas."""
    choice = ask(client, "[[tool:get_weather]]").choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments), dict)

    chunks = ask_streamed(client, "[[tool:get_weather]]")
    deltas = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
    pieces = [part.function.arguments or "" for part in deltas if part.function]
    assert len([piece for piece in pieces if piece]) > 1
    assert "".join(pieces) == call.function.arguments
    assert deltas[0].id == call.id
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_reasoning_directive(client: openai.OpenAI) -> None:
    """Reasoning comes in a field of its own, before the text."""
    message = ask(client, "[[reasoning]] why?").choices[0].message
    assert message.content
    assert message.model_extra is not None
    reasoning = message.model_extra["reasoning_content"]

    deltas = [chunk.choices[0].delta for chunk in ask_streamed(client, "[[reasoning]] why?")]
    pieces = [(delta.model_extra or {}).get("reasoning_content") for delta in deltas]
    assert "".join(piece for piece in pieces if piece) == reasoning
    assert pieces[1] is not None


def test_refusal_directive(client: openai.OpenAI) -> None:
    """A refusal takes the place of the text, plain and streamed."""
    message = ask(client, "[[refusal]]").choices[0].message
    assert message.content is None
    assert message.refusal
    chunks = ask_streamed(client, "[[refusal]]")
    assert "".join(c.choices[0].delta.refusal or "" for c in chunks) == message.refusal


def test_unicode_directive(client: openai.OpenAI) -> None:
    """Emoji and CJK survive, plain and streamed."""
    content = ask(client, "[[unicode]]").choices[0].message.content
    assert content is not None
    assert "🙂" in content
    assert "日本語" in content
    assert join_content(ask_streamed(client, "[[unicode]]")) == content


def test_only_the_last_user_message_directs(client: openai.OpenAI) -> None:
    """A directive in an earlier turn is inert; one in a list of content parts counts."""
    completion = client.chat.completions.create(
        model="any",
        messages=[
            {"role": "user", "content": "[[status:500]]"},
            {"role": "assistant", "content": "[[status:500]]"},
            {"role": "user", "content": [{"type": "text", "text": "Hi [[finish:length]]"}]},
        ],
    )
    assert completion.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    "body",
    [
        b"{not json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"messages": []}',
        b'{"messages": ["Hi"]}',
        b'{"messages": [{"role": "user", "content": "Hi"}], "n": 0}',
        b'{"messages": [{"role": "user", "content": "Hi"}], "stream_options": 3}',
        b'{"messages": [{"role": "user", "content": "[[slow:soon]]"}]}',
    ],
)
def test_a_wrong_request_is_refused(url: str, http: urllib3.PoolManager, body: bytes) -> None:
    """A request that is malformed gets 400 in OpenAI's error shape."""
    response = http.request("POST", f"{url}/v1/chat/completions", body=body)
    assert response.status == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


def test_an_unknown_path_has_the_error_shape(url: str, http: urllib3.PoolManager) -> None:
    """Wrong paths and methods are errors in OpenAI's shape too."""
    assert http.request("GET", f"{url}/v1/nothing").json()["error"]["message"] == "Not Found"
    assert http.request("GET", f"{url}/v1/chat/completions").status == 405


def test_error_rate_is_reproducible(http: urllib3.PoolManager) -> None:
    """Two servers with one seed fail the same requests; some fail and some do not."""
    runs = []
    settings = MockSettings(latency_s=0.0, error_rate=0.5, status_of_errors=502, seed=3)
    for _ in range(2):
        with running(create_app(settings)) as url:
            runs.append([post(http, url, chat_body(f"{n}")).status for n in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {200, 502}


def test_requests_are_remembered(
    url: str, client: openai.OpenAI, http: urllib3.PoolManager
) -> None:
    """What reached the model can be asked for, and forgotten."""
    ask(client, "first")
    ask(client, "second", temperature=0.5)
    client.models.list()
    seen = http.request("GET", f"{url}/requests").json()
    assert seen["calls"] == {"/v1/chat/completions": 2, "/v1/models": 1}
    assert seen["last"]["messages"] == [{"role": "user", "content": "second"}]
    assert seen["last"]["temperature"] == 0.5
    http.request("DELETE", f"{url}/requests")
    assert http.request("GET", f"{url}/requests").json() == {"calls": {}, "last": None}


def test_models_and_health(url: str, client: openai.OpenAI, http: urllib3.PoolManager) -> None:
    """The configured model is listed, and the server says it is well."""
    assert [model.id for model in client.models.list()] == ["stand-in-1"]
    assert http.request("GET", f"{url}/healthz").status == 200


def test_embeddings_are_deterministic(client: openai.OpenAI) -> None:
    """Equal texts have equal vectors of the size asked for, in both encodings."""
    texts = ["a red fox", "a blue whale", "a red fox"]
    packed = client.embeddings.create(
        model="any", input=texts, dimensions=64, encoding_format="base64"
    )
    plain = client.embeddings.create(
        model="any", input=texts, dimensions=64, encoding_format="float"
    )
    default = client.embeddings.create(model="any", input=texts, dimensions=64)
    vectors = [item.embedding for item in plain.data]
    assert [len(vector) for vector in vectors] == [64, 64, 64]
    assert vectors[0] == vectors[2]
    assert vectors[0] != vectors[1]
    assert [item.embedding for item in default.data] == vectors
    assert all(isinstance(item.embedding, str) for item in packed.data)
    assert plain.usage.prompt_tokens == 9


@pytest.mark.parametrize("body", [{}, {"input": []}, {"input": [[1, "a"]]}])
def test_embeddings_need_text(url: str, http: urllib3.PoolManager, body: dict[str, Any]) -> None:
    """Anything but text and tokens is refused."""
    assert http.request("POST", f"{url}/v1/embeddings", json=body).status == 400
