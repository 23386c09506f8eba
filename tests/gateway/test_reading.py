from __future__ import annotations

import json
from typing import Any

import pytest

from likewise.gateway.reading import Reader
from likewise.gateway.wire.controls import CATEGORY_HEADER

from .conftest import Open
from .support import chat

ADMIN = {"authorization": "Bearer admin"}
BODY = json.dumps(chat("Q")).encode()
HEADERS = [(b"authorization", b"Bearer a"), (b"user-agent", b"one")]


def scope(headers: list[tuple[bytes, bytes]], query: bytes = b"") -> dict[str, Any]:
    """What a server says of a request."""
    return {"headers": headers, "query_string": query}


def test_a_request_that_was_remembered_is_known_again() -> None:
    """Whatever is not read may differ; what was not worth remembering is read anew."""
    reader = Reader()
    first = reader.read(scope(HEADERS), BODY)
    assert not reader.read(scope(HEADERS), BODY).known
    reader.remember(first)
    again = reader.read(scope([HEADERS[0], (b"user-agent", b"two")]), BODY)
    assert again.known
    assert again.call is first.call


@pytest.mark.parametrize(
    ("headers", "query", "body"),
    [
        ([(b"authorization", b"Bearer b")], b"", BODY),
        ([(b"Authorization", b"Bearer b")], b"", BODY),
        ([], b"", BODY),
        ([*HEADERS, (b"x-user-id", b"u")], b"", BODY),
        ([*HEADERS, (b"cookie", b"a=b")], b"", BODY),
        ([*HEADERS, (CATEGORY_HEADER.encode(), b"code")], b"", BODY),
        ([*HEADERS, (b"cache-control", b"no-cache")], b"", BODY),
        ([*HEADERS, (b"content-encoding", b"gzip")], b"", BODY),
        (HEADERS, b"v=1", BODY),
        (HEADERS, b"", BODY + b" "),
    ],
)
def test_nothing_that_is_read_may_differ(
    headers: list[tuple[bytes, bytes]], query: bytes, body: bytes
) -> None:
    """Another caller, another control, another query or another body is another request."""
    reader = Reader()
    reader.remember(reader.read(scope(HEADERS), BODY))
    found = reader.read(scope(headers, query), body)
    assert not found.known
    fresh = Reader().read(scope(headers, query), body)
    assert found.call == fresh.call


def test_what_the_model_must_judge_is_not_remembered() -> None:
    """There is nothing to know of it."""
    reader = Reader()
    reader.remember(reader.read(scope(HEADERS), b"{}"))
    assert not reader.read(scope(HEADERS), b"{}").known


def test_equal_requests_share_nothing_between_callers(open_gateway: Open) -> None:
    """Not when one of them is answered out of what is at hand, either."""
    gateway = open_gateway()
    for _ in range(3):
        assert gateway.ask("Q", headers={"authorization": "Bearer a"}) in {"MISS", "HIT"}
    assert gateway.ask("Q", headers={"authorization": "Bearer b"}) == "MISS"
    assert gateway.ask("Q", headers={"authorization": "Bearer a"}) == "HIT"


def test_a_deleted_answer_is_not_served_out_of_what_is_at_hand(open_gateway: Open) -> None:
    """Deleted by its name, purged, or taken back by its user."""
    gateway = open_gateway({"gateway": {"admin_key": "admin"}})

    def entry() -> str:
        for _ in range(3):
            response = gateway.post(chat("Q"))
        assert response.headers["x-cache"] == "HIT"
        return response.headers["x-likewise-entry"]

    def admin(method: str, path: str, body: object = None) -> None:
        sent = gateway.http.request(method, gateway.url + path, headers=ADMIN, json=body)
        assert sent.status == 200

    admin("DELETE", f"/admin/entries/{entry()}")
    assert gateway.ask("Q") == "MISS"
    entry()
    admin("POST", "/admin/purge", {"all": True})
    assert gateway.ask("Q") == "MISS"
    verdict = {"entry_id": entry(), "correct": False}
    bearer = {"authorization": "Bearer test"}
    url = f"{gateway.url}/v1/cache/feedback"
    assert gateway.http.request("POST", url, headers=bearer, json=verdict).status == 200
    assert gateway.ask("Q") == "MISS"


@pytest.mark.parametrize("usage", ["replay", "zero"])
def test_every_hit_on_an_entry_says_the_same(open_gateway: Open, usage: str) -> None:
    """The first, which reads the store, and the later ones, but for the request's id."""
    gateway = open_gateway({"gateway": {"usage_on_hit": usage}})
    gateway.ask("Q")
    first, *later = [gateway.post(chat("Q")) for _ in range(4)]
    own = {"x-likewise-request-id", "date"}
    for response in later:
        assert response.data == first.data
        assert {k: v for k, v in response.headers.items() if k not in own} == {
            k: v for k, v in first.headers.items() if k not in own
        }
    assert len({response.headers["x-likewise-request-id"] for response in (first, *later)}) == 4
    used = first.json()["usage"]["total_tokens"]
    assert (used == 0) == (usage == "zero")
    totals = gateway.cache.stats()["categories"]["default"]
    assert (totals["exact_hits"], totals["misses"], totals["requests"]) == (4, 1, 5)


def test_an_answer_that_is_no_completion_is_no_hit_either_time(open_gateway: Open) -> None:
    """A library that shares the store may keep anything as an answer."""
    gateway = open_gateway()
    gateway.ask("Q")
    engine = gateway.cache.engine
    (row,) = engine.store.scan()
    held = engine.store.get(row.id)
    assert held is not None
    at_hand = engine.store.at_hand(row.id)
    assert at_hand is not None
    at_hand.answer = b'"just a text"'
    assert gateway.ask("Q") == "MISS"
