from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from likewise.testing import FakeClock

from .conftest import Open
from .support import Gateway, chat

KEY = {"authorization": "Bearer geheim-ü"}


def admin(
    gateway: Gateway, method: str, path: str, body: Any = None, headers: Any = None
) -> tuple[int, Any]:
    """Call the admin API; return status and body."""
    sent = {
        n: v.encode().decode("latin-1") for n, v in (KEY if headers is None else headers).items()
    }
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    response = gateway.http.request(method, f"{gateway.url}/admin/{path}", body=data, headers=sent)
    return response.status, response.json()


@pytest.fixture
def gateway(open_gateway: Open) -> Gateway:
    """A gateway whose admin API is open to a key."""
    return open_gateway({"gateway": {"admin_key": "geheim-ü"}})


@pytest.mark.parametrize("key", [None, ""])
def test_off_without_a_key(open_gateway: Open, key: str | None) -> None:
    """Without a key configured, or with an empty one, there is no admin API."""
    gateway = open_gateway({"gateway": {"admin_key": key}})
    for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer None"}):
        status, body = admin(gateway, "GET", "stats", headers=headers)
        assert status == 404
        assert "gateway.admin_key" in body["error"]["message"]


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "geheim-ü"}]
)
def test_a_wrong_key(gateway: Gateway, headers: dict[str, str]) -> None:
    """Only the key opens it."""
    gateway.ask("Q")
    for method, path in (("GET", "stats"), ("POST", "purge")):
        status, body = admin(gateway, method, path, {"all": True}, headers)
        assert status == 401
        assert body["error"]["type"] == "authentication_error"
    assert gateway.entries == 1


def test_stats(gateway: Gateway) -> None:
    """The statistics are those of the cache."""
    gateway.ask("Q")
    gateway.ask("Q")
    status, body = admin(gateway, "GET", "stats")
    assert status == 200
    assert body == json.loads(json.dumps(gateway.cache.stats()))
    assert body["categories"]["default"]["exact_hits"] == 1


def test_drop_one(gateway: Gateway) -> None:
    """The entry named in the response headers can be deleted, once."""
    entry = gateway.post(chat("Q")).headers["x-likewise-entry"]
    gateway.ask("Another one?")
    assert admin(gateway, "DELETE", f"entries/{entry}") == (200, {"dropped": 1})
    assert admin(gateway, "DELETE", f"entries/{entry}") == (200, {"dropped": 0})
    assert gateway.ask("Q") == "MISS"
    assert gateway.ask("Another one?") == "HIT"


def test_purge(gateway: Gateway) -> None:
    """A category, or everything, can be deleted."""
    for number, category in enumerate(("code", "code", "sql", "math")):
        gateway.ask(f"{number}?", headers={"x-likewise-category": category})
    assert admin(gateway, "POST", "purge", {"category": "code"}) == (200, {"dropped": 2})
    assert gateway.entries == 2
    assert admin(gateway, "POST", "purge", {"all": True}) == (200, {"dropped": 2})
    assert gateway.entries == 0


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], None, b"{", {"all": False}, {"all": True, "category": "code"}),
        *({"category": "No!"}, {"category": None}, {"category": {}}),
    ],
)
def test_purge_must_say_what(gateway: Gateway, body: Any) -> None:
    """Nothing is deleted by a request that does not say clearly what."""
    gateway.ask("Q")
    assert admin(gateway, "POST", "purge", body)[0] == 400
    assert gateway.entries == 1


def test_unknown_admin_paths(gateway: Gateway) -> None:
    """They are 404 in the same shape, and a body too long is 413."""
    for method, path in (("GET", "nothing"), ("POST", "stats"), ("DELETE", "entries")):
        assert admin(gateway, method, path)[0] == 404
    assert admin(gateway, "POST", "purge", b" " * 2_000_000)[0] == 413


def test_health(gateway: Gateway) -> None:
    """A gateway that answers is well, and ready once it has started."""
    gateway.ask("Q")
    assert gateway.http.request("GET", f"{gateway.url}/healthz").json() == {"status": "ok"}
    ready = gateway.http.request("GET", f"{gateway.url}/readyz")
    assert (ready.status, ready.json()) == (200, {"status": "ready", "entries": 1, "index": 1.0})


def test_metrics(gateway: Gateway, clock: FakeClock) -> None:
    """Prometheus reads them; hits are told apart by tier, category and model."""
    code = {"x-likewise-category": "code"}
    gateway.ask("How do I undo a commit in git, please?", headers=code)
    gateway.ask("How do I undo a commit in git, please?", headers=code)
    gateway.ask("How do I undo a commit in git, please ?", headers=code)
    gateway.ask("Q", headers={"x-likewise-category": "personal"})
    gateway.ask("Q", headers={"cache-control": "no-store"})

    def hits(tier: str) -> float:
        labels = {"tier": tier, "category": "code", "model": "stand-in-1"}
        return gateway.metric("likewise_cache_hits_total", **labels)

    assert hits("exact") == hits("semantic") == 1
    decisions = {"category": "personal", "outcome": "bypass", "reason": "not-cacheable"}
    assert gateway.metric("likewise_decisions_total", **decisions) == 1
    assert gateway.metric("likewise_decisions_total") == 5
    assert gateway.metric("likewise_lookup_seconds_count") == 5
    assert gateway.metric("likewise_upstream_seconds_count") == 3
    assert gateway.metric("likewise_entries", category="code") == 1
    assert gateway.metric("likewise_stored_total") == 1
    assert gateway.metric("likewise_saved_tokens_total", category="code") > 0
    assert gateway.metric("likewise_upstream_in_flight") == 0


def test_labels_are_bounded(gateway: Gateway) -> None:
    """A caller who invents categories cannot make the metrics grow without end."""
    for number in range(130):
        body = chat(f"{number}", model=f"m{number}")
        gateway.post(body, {"x-likewise-category": f"c{number}"}, settle=False)
    gateway.settle()
    text = gateway.http.request("GET", f"{gateway.url}/metrics").data.decode()
    categories = {part.split('"')[0] for part in text.split('category="')[1:]}
    assert len(categories) == 101
    assert gateway.metric("likewise_decisions_total", category="other") == 30
    assert gateway.metric("likewise_entries") == 130


def test_testing_is_light_to_import() -> None:
    """The stand-ins for tests load no server until one is asked for."""
    code = "import sys, likewise.testing; sys.exit('uvicorn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- what the dashboard stands on ------------------------------------------------------------------


def test_entries_are_found_shown_judged_and_dropped(gateway: Gateway) -> None:
    """By text and by meaning, in full, and then away with one or with all near it."""
    for text in ("How tall is a stork?", "How tall is a stork, please?", "What is a number?"):
        gateway.ask(text)
    status, found = admin(gateway, "GET", "entries?text=STORK&limit=10")
    assert (status, found["total"]) == (200, 2)
    entry_id = next(e["id"] for e in found["entries"] if e["question"] == "How tall is a stork?")
    status, near = admin(gateway, "POST", "entries/search", {"question": "How tall is a stork?"})
    assert status == 200
    assert near["entries"][0]["id"] == entry_id
    status, full = admin(gateway, "GET", f"entries/{entry_id}")
    assert status == 200
    assert full["answer"]["choices"][0]["message"]["role"] == "assistant"
    assert full["provenance"]["model"] == "stand-in-1"
    said = {"correct": False, "question": "How tall is a stork?"}
    assert admin(gateway, "POST", f"entries/{entry_id}/feedback", said)[0] == 200
    assert admin(gateway, "POST", "entries/nothing/feedback", said)[0] == 404
    assert gateway.ask("How tall is a stork?") == "MISS"
    _, found = admin(gateway, "GET", "entries?text=a%20stork%3F")
    (again,) = found["entries"]
    body = {"entry_id": again["id"], "similarity": 0.5, "dry_run": True}
    _, told = admin(gateway, "POST", "drop-near", body)
    assert (told["near"], told["dropped"]) == (2, 0)
    _, told = admin(gateway, "POST", "drop-near", {**body, "dry_run": False})
    assert told["dropped"] == 2
    assert gateway.entries == 1
    assert admin(gateway, "GET", f"entries/{again['id']}")[0] == 404


def test_decisions_are_listed_and_made_again(gateway: Gateway) -> None:
    """The latest first, by category and kind; what-if decides them again."""
    for _ in range(2):
        gateway.ask("How tall is a stork?", headers={"x-likewise-category": "birds"})
    gateway.ask("How tall is a crane over there?", headers={"x-likewise-category": "birds"})
    _, listed = admin(gateway, "GET", "decisions?category=birds")
    assert [one["decision"] for one in listed["decisions"]] == ["miss", "hit", "miss"]
    _, hits = admin(gateway, "GET", "decisions?decision=hit&limit=1")
    assert len(hits["decisions"]) == 1
    body = {"category": "birds", "similarity_threshold": 0.1}
    status, told = admin(gateway, "POST", "what-if", body)
    assert status == 200
    assert (told["decisions"], told["hits_then"], told["hits_now"]) == (3, 1, 2)
    assert told["labels"]["labels"] == 0
    _, bins = admin(gateway, "GET", "similarities/birds")
    assert sum(bins["misses"]) == 1
    _, wrong = admin(gateway, "GET", "wrong")
    assert wrong["birds"]["rate"] is None


def test_a_question_is_explained_without_a_trace(gateway: Gateway) -> None:
    """As its own tenant would be answered; nothing is counted or stored."""
    gateway.ask("How tall is a stork?")
    before = admin(gateway, "GET", "stats")[1]["categories"]
    request = chat("How tall is a stork?")
    headers = {"Authorization": "Bearer test"}
    status, told = admin(gateway, "POST", "explain", {"request": request, "headers": headers})
    assert status == 200
    assert (told["decision"], told["tier"]) == ("hit", "exact")
    assert told["asked"]["question"] == "How tall is a stork?"
    status, other = admin(gateway, "POST", "explain", {"request": request})
    assert (status, other["decision"], other["in_scope"]) == (200, "miss", [])
    assert admin(gateway, "POST", "explain", {"request": {"model": "m"}})[0] == 400
    prompt = {"model": "stand-in-1", "prompt": "How tall is a stork?"}
    asked = {"request": prompt, "headers": headers, "path": "/v1/completions"}
    status, other = admin(gateway, "POST", "explain", asked)
    assert (status, other["decision"], other["in_scope"]) == (200, "miss", [])
    status, told = admin(gateway, "POST", "explain", {"request": request, "path": "/v1/models"})
    assert status == 400
    assert "/v1/chat/completions" in told["error"]["message"]
    assert admin(gateway, "GET", "stats")[1]["categories"] == before


def test_history_has_what_was_asked(gateway: Gateway) -> None:
    """Every step of the span has its place."""
    status, found = admin(gateway, "GET", "history?span=24h")
    assert status == 200
    assert len(found["times"]) == 288


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "history?span=1y", None, "span"),
        ("GET", "history?since=1", None, "since"),
        ("GET", "decisions?limit=many", None, "limit"),
        ("POST", "what-if", {"category": "x"}, "name one of"),
        ("POST", "what-if", {"category": "x", "similarity_threshold": 7}, "between 0 and 1"),
        ("POST", "drop-near", {"entry_id": "x", "similarity": 0}, "similarity"),
        ("POST", "entries/search", {"question": " "}, "question"),
        ("POST", "entries/search", b"[1", "body of POST"),
        ("POST", "purge", {"all": True, "category": "x"}, "name what to purge"),
        ("POST", "purge", {"everything": True}, "everything"),
        ("GET", "similarities/No!", None, "category name"),
    ],
)
def test_what_is_wrong_is_said(
    gateway: Gateway, method: str, path: str, body: Any, said: str
) -> None:
    """With status 400, and with what was wrong in words."""
    status, found = admin(gateway, method, path, body)
    assert status == 400
    assert said in found["error"]["message"]
