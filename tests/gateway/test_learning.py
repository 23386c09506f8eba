"""Learning behind the gateway: audits aside, feedback, receipts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from likewise.engine import Engine
from likewise.learn.evidence import Evidence
from likewise.learn.features import NAMES
from likewise.learn.learner import Terms
from likewise.learn.trees import fit_trees
from likewise.learn.verifier import Verifier

from .conftest import Open
from .support import Gateway, chat, wait_for

ASKED = "How do I undo a commit in git, please?"
AGAIN = "How do I undo a commit in git, please ?"
ASKING = {"authorization": "Bearer test"}
ADMIN = {"authorization": "Bearer geheim"}


def convinced(engine: Engine, category: str = "code") -> None:
    """Make the learner sure of everything, and certify that."""
    learner = engine.learner
    assert learner is not None
    right = np.arange(5_000) > 0
    sure = fit_trees(np.zeros((len(right), len(NAMES)), np.float32), right, trees=1)
    learner.judging.verifier = Verifier(sure, Evidence(), {category: 0.0}, engine.embedder.name)
    for _ in range(2_000):
        learner._standings.label(category, 0.02, 0.999, wrong=False, propensity=1.0)


def open_learning(open_gateway: Open, *, audit_rate: float, **parts: Any) -> Gateway:
    """A gateway that learns, sure of the category of what is asked here."""
    gateway = open_gateway(
        {"gateway": {"admin_key": "geheim"}}, learning=Terms(audit_rate=audit_rate), **parts
    )
    convinced(gateway.cache.engine)
    return gateway


def post(gateway: Gateway, path: str, body: Any, headers: Any = None) -> tuple[int, Any]:
    """Post JSON; return status and body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = gateway.http.request(
        "POST", gateway.url + path, body=data, headers=headers or ASKING
    )
    return response.status, response.json()


def test_an_audit_does_not_keep_the_caller_waiting(open_gateway: Open) -> None:
    """The caller gets the hit; the model is asked aside, and its answer becomes a label."""
    gateway = open_learning(open_gateway, audit_rate=1.0)
    gateway.ask(ASKED)
    response = gateway.post(chat(AGAIN))
    assert (response.headers["x-cache"], response.headers["x-likewise-reason"]) == (
        "HIT",
        "similar",
    )
    assert response.headers["x-likewise-tier"] == "semantic"
    wait_for(lambda: gateway.cache.stats()["categories"]["code"]["labels"] > 0)
    found = gateway.cache.stats()["categories"]["code"]
    assert (found["audits"], found["stored"]) == (1, 1)
    assert gateway.metric("likewise_upstream_seconds_count") == 2
    assert gateway.metric("likewise_audits_total", category="code") == 1


def test_a_wrong_hit_found_by_an_audit_is_not_served_again(open_gateway: Open) -> None:
    """The judge says no: the pair is blocked from then on."""
    gateway = open_learning(open_gateway, audit_rate=1.0, judge=lambda *_: False)
    gateway.ask(ASKED)
    assert gateway.ask(AGAIN) == "HIT"
    wait_for(lambda: gateway.cache.stats()["categories"]["code"]["audited_wrong"] > 0)
    gateway.settle()
    assert gateway.ask(AGAIN) == "MISS"


def test_feedback_by_request(open_gateway: Open) -> None:
    """A client that says a hit was wrong never gets that answer to that question again."""
    gateway = open_learning(open_gateway, audit_rate=0.0)
    gateway.ask(ASKED)
    request_id = gateway.post(chat(AGAIN)).headers["x-likewise-request-id"]
    status, body = post(gateway, "/v1/cache/feedback", {"request_id": request_id, "correct": False})
    assert (status, body["correct"]) == (200, False)
    assert gateway.ask(AGAIN) == "MISS"
    assert gateway.cache.stats()["categories"]["code"]["feedback_wrong"] == 1


def test_feedback_by_entry(open_gateway: Open) -> None:
    """Without a question the one it served last is meant."""
    gateway = open_learning(open_gateway, audit_rate=0.0)
    gateway.ask(ASKED)
    entry = gateway.post(chat(AGAIN)).headers["x-likewise-entry"]
    body = {"entry_id": entry, "correct": False, "question": AGAIN}
    assert post(gateway, "/v1/cache/feedback", body)[0] == 200
    assert gateway.ask(AGAIN) == "MISS"


def test_nobody_judges_the_answers_of_others(open_gateway: Open) -> None:
    """An entry or a request of another tenant is unknown."""
    gateway = open_learning(open_gateway, audit_rate=0.0)
    gateway.ask(ASKED)
    headers = gateway.post(chat(AGAIN)).headers
    other = {"authorization": "Bearer somebody-else"}
    for name in ("request_id", "entry_id"):
        value = headers[f"x-likewise-{name.removesuffix('_id').replace('request', 'request-id')}"]
        status, body = post(gateway, "/v1/cache/feedback", {name: value, "correct": False}, other)
        assert status == 404
        assert body["error"]["param"] == name
    assert gateway.ask(AGAIN) == "HIT"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not a verdict"),
        ({"correct": False}, "one of request_id, entry_id"),
        ({"correct": False, "entry_id": "a", "request_id": "b"}, "one of request_id, entry_id"),
        ({"entry_id": "a"}, "correct"),
        ({"entry_id": "a", "correct": "no"}, "correct"),
        ({"entry_id": "a", "correct": False, "quetsion": "x"}, "quetsion"),
    ],
)
def test_feedback_that_makes_no_sense(gateway: Gateway, body: Any, says: str) -> None:
    """It is refused in OpenAI's shape, with what was wrong."""
    status, answer = post(gateway, "/v1/cache/feedback", body)
    assert status == 400
    assert says in answer["error"]["message"]


def test_feedback_on_a_miss(gateway: Gateway) -> None:
    """What did not come from cache cannot be judged here."""
    request_id = gateway.post(chat(ASKED)).headers["x-likewise-request-id"]
    status, _ = post(gateway, "/v1/cache/feedback", {"request_id": request_id, "correct": False})
    assert status == 400


def test_every_decision_has_a_receipt(open_gateway: Open) -> None:
    """It shows what was compared and why, replays, and holds no text."""
    gateway = open_learning(open_gateway, audit_rate=0.0)
    gateway.ask(ASKED)
    for question, decision in ((AGAIN, "hit"), ("How do I not undo a commit in git?", "miss")):
        answer = gateway.post(chat(question), {"x-likewise-category": "code"})
        request_id = answer.headers["x-likewise-request-id"]
        response = gateway.http.request(
            "GET", f"{gateway.url}/admin/decisions/{request_id}", headers=ADMIN
        )
        receipt = response.json()
        assert (response.status, receipt["decision"]) == (200, decision)
        assert receipt["replays"] is True
        assert receipt["threshold_by"] in {"own", "shared"}
        assert receipt["candidates"][0]["similarity"] > 0.5
        assert receipt["pressure"] == 0.0
        assert "undo" not in response.data.decode()
    assert receipt["candidates"][0]["objection"].startswith("guard: negation")


def test_receipts_are_for_the_operator(gateway: Gateway, open_gateway: Open) -> None:
    """Without the key there is none, and an unknown one is 404."""
    url = f"{gateway.url}/admin/decisions/req-1"
    assert gateway.http.request("GET", url).status == 404
    opened = open_gateway({"gateway": {"admin_key": "geheim"}})
    url = f"{opened.url}/admin/decisions/req-1"
    assert opened.http.request("GET", url).status == 401
    assert opened.http.request("GET", url, headers=ADMIN).status == 404


def test_a_purge_leaves_no_receipt(open_gateway: Open) -> None:
    """Receipts hold the objects of a request: a purge lets go of them."""
    gateway = open_gateway({"gateway": {"admin_key": "geheim"}})
    request_id = gateway.post(chat(ASKED)).headers["x-likewise-request-id"]
    assert post(gateway, "/admin/purge", {"all": True}, ADMIN)[0] == 200
    url = f"{gateway.url}/admin/decisions/{request_id}"
    assert gateway.http.request("GET", url, headers=ADMIN).status == 404
