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
