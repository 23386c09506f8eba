from __future__ import annotations

import json
from typing import Any

import pytest

from likewise.entry import exact_key
from likewise.errors import RequestError
from likewise.gateway.wire.chat import read_chat
from likewise.gateway.wire.dialect import Call

from .support import chat


def read(body: object, headers: dict[str, str] | None = None, tenant: str = "t") -> Call:
    """Return a chat request, read."""
    call = read_chat(json.dumps(body).encode(), headers or {}, tenant=tenant)
    assert call is not None
    return call


def scope_of(body: object, headers: dict[str, str] | None = None, tenant: str = "t") -> bytes:
    """Return the digest of a request's scope."""
    return read(body, headers, tenant).request.scope.digest()


BASE = chat("Q", temperature=0.5, tools=[{"type": "function", "function": {"name": "f"}}])
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Q"}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"temperature": 0.6},
        {"top_p": 0.5},
        {"max_tokens": 5},
        {"reasoning_effort": "high"},
        {"response_format": {"type": "json_object"}},
        {"seed": 1},
        {"some_future_field": True},
        {"tools": [{"type": "function", "function": {"name": "g"}}]},
        {"tool_choice": "required"},
        {"cache": {"namespace": "n"}},
        {"messages": [SYSTEM, USER]},
        {"messages": [{**SYSTEM, "role": "developer"}, USER]},
        {"messages": [USER, {"role": "assistant", "content": "A"}, USER]},
        {"messages": [{**USER, "name": "ann"}]},
    ],
)
def test_what_separates(change: dict[str, Any]) -> None:
    """Whatever may change the answer is part of the scope, known to us or not."""
    assert scope_of({**BASE, **change}) != scope_of(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"stream_options": {"include_usage": True}},
        {"user": "ann"},
        {"metadata": {"a": "b"}},
        {"store": True},
        {"service_tier": "flex"},
        {"safety_identifier": "x"},
        {"prompt_cache_key": "x"},
        {"cache": {"ttl": 60}},
        {"messages": [{"role": "user", "content": "Another question"}]},
    ],
)
def test_what_does_not_separate(change: dict[str, Any]) -> None:
    """What says nothing about the answer is not part of the scope."""
    assert scope_of({**BASE, **change}) == scope_of(BASE)


def test_tenant_and_namespace_separate() -> None:
    """Two tenants, or two namespaces of one, share nothing."""
    digests = {
        scope_of(BASE),
        scope_of(BASE, tenant="u"),
        scope_of(BASE, {"x-likewise-namespace": "n"}),
        scope_of(BASE, {"x-likewise-namespace": "m"}),
    }
    assert len(digests) == 4


def test_key_order_is_no_difference() -> None:
    """The same object written in another order is the same request."""
    turned = json.loads(json.dumps(BASE), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(turned) != list(BASE)
    assert scope_of(turned) == scope_of(BASE)


def agent(identifier: str, *, result: str = "12 degrees") -> dict[str, Any]:
    """Return a conversation in which a tool was called."""
    function = {"name": "weather", "arguments": "{}"}
    call = {"id": identifier, "type": "function", "function": function}
    return {
        "model": "m",
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": identifier, "content": result},
        ],
    }


def test_random_tool_call_ids_are_no_difference() -> None:
    """The same conversation with new identifiers is equal; with another result it is not."""
    one, two, other = read(agent("call_a")), read(agent("call_b")), read(agent("a", result="20"))
    assert one.request.scope == two.request.scope
    assert one.request.question == two.request.question != other.request.question
    assert one.request.exact_only


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tools": BASE["tools"]}, "tools"),
        ({"functions": [{"name": "f"}]}, "tools"),
        ({"n": 2}, "several choices"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "images, audio or files",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}, USER]},
            "images, audio or files",
        ),
        ({"messages": agent("a")["messages"] + [USER]}, "tool results"),
        ({"messages": [USER, SYSTEM]}, "the last message is not the user's"),
    ],
)
def test_exact_only(change: dict[str, Any], reason: str) -> None:
    """Such a request is served by equality only, and the reason is named."""
    assert read(chat("Q")).request.exact_only is None
    assert read({**chat("Q"), **change}).request.exact_only == reason


def test_text_parts_are_text() -> None:
    """A list of one text part asks the same as the text."""
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}]}
    assert read({**chat("Q"), **parts}).request == read(chat("Q")).request


@pytest.mark.parametrize("content", [[{"type": "image_url", "image_url": {"url": "u"}}], None, 3])
def test_parts_are_not_their_spelling(content: object) -> None:
    """A text that spells the JSON of parts is not taken for these parts."""
    parts = read({"messages": [{"role": "user", "content": content}]})
    spelled = read({"messages": [{"role": "user", "content": parts.request.question}]})
    assert parts.request.question == spelled.request.question
    assert parts.request.scope != spelled.request.scope


@pytest.mark.parametrize("messages", [None, [], "x", ["x"], [1], {}])
def test_what_has_no_messages_is_for_the_model(messages: object) -> None:
    """A request whose shape we cannot read is not ours to judge."""
    assert read_chat(json.dumps({"messages": messages}).encode(), {}, tenant="") is None


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"3", b'"x"', b"null", b"\xff\xfe{}", b"[" * 5000, b'{"a":' * 5000]
)
def test_what_is_no_json_object(data: bytes) -> None:
    """A body that is not a JSON object is refused with one line."""
    with pytest.raises(RequestError) as caught:
        read_chat(data, {}, tenant="")
    assert "\n" not in str(caught.value)


def test_the_body_goes_on_as_it_came() -> None:
    """Only a body that holds our own field is written anew."""
    spaced = b'{ "messages": [{"role": "user", "content": "Q"}],  "seed": 123456789012345678901 }'
    call = read_chat(spaced, {}, tenant="")
    assert call is not None
    assert call.raw == spaced
    assert read({**chat("Q"), "cache": None}).raw is None
    assert "cache" not in read({**chat("Q"), "cache": {"ttl": 5}}).body


def test_the_query_separates() -> None:
    """What follows the question mark of the URL is identity, and no field can be taken for it."""
    data = json.dumps(BASE).encode()
    calls = [read_chat(data, {}, tenant="t", query=query) for query in ("", "v=1", "v=2")]
    assert len({call.request.scope.digest() for call in calls if call}) == 3
    assert calls[0] is not None
    assert calls[0].request.scope.digest() == scope_of(BASE)


@pytest.mark.parametrize(
    "extra", [{"image_url": {"url": "u"}}, {"cache_control": {"type": "ephemeral"}}, {"text": 3}]
)
def test_text_with_more_fields_is_not_plain(extra: dict[str, Any]) -> None:
    """A text part that carries anything else is served by equality only, of all it carries."""
    part = {"type": "text", "text": "Q"}
    rich = read({**chat("Q"), "messages": [{"role": "user", "content": [{**part, **extra}]}]})
    plain = read({**chat("Q"), "messages": [{"role": "user", "content": [part]}]})
    assert rich.request.exact_only == "text with more fields"
    assert plain.request.exact_only is None
    assert rich.request.scope != plain.request.scope
    assert json.loads(rich.request.question) == [{**part, **extra}]
    earlier = {"messages": [{"role": "user", "content": [{**part, **extra}]}, USER]}
    assert read({**chat("Q"), **earlier}).request.exact_only == "text with more fields"


@pytest.mark.parametrize(
    ("body", "query", "key"),
    [
        (
            {**chat("How do I undo a commit?", temperature=0.5), "model": "gpt-4o"},
            "",
            "a15953e7eded93b893a9f975d1119d3f",
        ),
        (
            {
                "model": "gpt-4o",
                "messages": [
                    SYSTEM,
                    {"role": "user", "content": [{"type": "text", "text": "a"}]},
                ],
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
            "api-version=1",
            "be3f4e6610b2145b877a2b80777a1393",
        ),
    ],
)
def test_keys_are_what_they_were(body: dict[str, Any], query: str, key: str) -> None:
    """Else every answer that is stored would be lost to its question with a new version."""
    call = read_chat(json.dumps(body).encode(), {}, tenant="t", query=query)
    assert call is not None
    scope = call.request.scope.digest()
    assert exact_key(scope, "code", call.request.question).hex() == key
