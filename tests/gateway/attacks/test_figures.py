"""Attacks that are counted; each prints its figures, which docs/attacks.md has."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import urllib3

from likewise import Cache, Category, Hit, Scope
from likewise.embed import Vectors
from likewise.guards import GUARDS

from ..conftest import Open
from ..support import Gateway, chat

QUESTION = "How do I undo the last commit in git?"


class Flat:
    """The worst embedder there is: every text is like every other."""

    name = "flat/4"
    dimensions = 4

    def fits(self, text: str) -> bool:
        """Whether the whole text is read."""
        return True

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Point all texts to one place."""
        return np.tile(np.array([1, 0, 0, 0], np.float32), (len(texts), 1))


def told(text: str) -> None:
    """Print a figure."""
    print(f"\n  {text}")  # noqa: T201 - a figure


# -- other tenants ---------------------------------------------------------------------------------

NAMES = (
    *("Authorization", "authorization", "AUTHORIZATION", "api-key", "x-api-key", "x-user-id"),
    *("cookie", "x-auth-token", "x-goog-api-key", "openai-organization", "x-forwarded-user"),
)
VALUES = (
    *("", " ", "Bearer", "Bearer ", "bearer victim", "BEARER victim", "Bearer  victim"),
    *("Bearer victim,", "Bearer victim, x", "Basic victim", "victim", "Bearer\tvictim"),
    *("Bearer victi\xad\xadm", "Bearer victim\xa0", "Bearer VICTIM", "Bearer victim;", "*", "%"),
    *("Bearer victim%00", '"Bearer victim"', "Bearer victim\xff", "anonymous"),
)
NAMESPACES = ("", "/", "..", "*", "tenant", "victim", "n\xfcll", "a\x1fb")


def test_no_probe_reaches_another_tenant(open_gateway: Open) -> None:
    """Whatever a stranger writes in headers, URL or body, the victim's entry is not served."""
    gateway = open_gateway()
    victim = {"authorization": "Bearer victim"}
    assert gateway.ask(QUESTION, headers=victim) == "MISS"
    assert gateway.ask(QUESTION, headers=victim) == "HIT"
    entry = gateway.post(chat(QUESTION), victim).headers["x-likewise-entry"]
    probes: list[tuple[str, bytes, list[tuple[str, str]]]] = []
    plain = chat(QUESTION)
    for name in NAMES:
        for value in VALUES:
            probes.append(("", _json(plain), [(name, value)]))
            stranger = ("authorization", "Bearer stranger")
            probes.append(("", _json(plain), [stranger, (name, value)]))
    for namespace in NAMESPACES:
        for tenant in ("victim", "Bearer victim", "../victim"):
            body = {**plain, "tenant": tenant, "user": tenant, "cache": {"namespace": namespace}}
            probes.append(("", _json(body), [("x-likewise-namespace", namespace)]))
            probes.append((f"?tenant={tenant}&key=victim".replace(" ", "+"), _json(plain), []))
    text = _json(plain)[1:]
    for twice in ("authorization", "tenant", "cache", "model", "messages"):
        other = b"null" if twice == "cache" else b'"victim"'
        probes.append(("", b'{"' + twice.encode() + b'":' + other + b"," + text, []))
    leaks = sum(_leaks(gateway, *probe, entry) for probe in probes)
    told(f"cross-tenant probes: {leaks} leaks of {len(probes)}")
    assert leaks == 0


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


def _leaks(
    gateway: Gateway, query: str, body: bytes, headers: list[tuple[str, str]], entry: str
) -> bool:
    sent = urllib3.HTTPHeaderDict({"content-type": "application/json"})
    for name, value in headers:
        sent.add(name, value)
    url = f"{gateway.url}/v1/chat/completions{query}"
    try:
        response = gateway.http.request("POST", url, body=body, headers=sent)
    except (urllib3.exceptions.HTTPError, ValueError, UnicodeError):
        return False  # no client can send it
    return response.headers.get("x-likewise-entry") == entry


def test_timing_tells_nothing_of_another_tenant(open_gateway: Open) -> None:
    """What another tenant has asked takes as long to miss as what nobody has; medians, as ratio."""
    gateway = open_gateway()
    times: dict[str, list[float]] = {"theirs": [], "nobody's": [], "own": []}
    for number in range(120):
        theirs, nobodys = f"What is the number {number}?", f"What is the figure {number}?"
        gateway.ask(theirs, headers={"authorization": "Bearer victim"})
        order = [("theirs", theirs), ("nobody's", nobodys)]
        for kind, text in order if number % 2 else order[::-1]:
            begun = time.perf_counter()
            gateway.post(chat(text), {"authorization": "Bearer spy"}, settle=False)
            times[kind].append(time.perf_counter() - begun)
            gateway.settle()
        begun = time.perf_counter()
        gateway.post(chat(theirs), {"authorization": "Bearer spy"}, settle=False)
        times["own"].append(time.perf_counter() - begun)
    median = {kind: statistics.median(found) for kind, found in times.items()}
    ratio, own = median["theirs"] / median["nobody's"], median["own"] / median["nobody's"]
    told(f"timing: another's {ratio:.2f} of nobody's, one's own {own:.2f}, 120 pairs")
    assert 0.67 < ratio < 1.5


# -- look-alikes -----------------------------------------------------------------------------------

LOOKALIKES = (
    ("Is it safe to take 50 mg?", "Is it safe to take 500 mg?"),
    ("Is it safe to take 50 mg?", "Is it safe to take 5\u200b0 mg?"),
    ("Is it safe to take 50 mg?", "Is it safe to take \uff15\uff10\uff10 mg?"),
    ("Is it safe to take 50 mg?", "Is it safe to take \u0665\u0660 g?"),
    ("Is it safe to take 50 mg?", "Is it safe to take fifty kg?"),
    ("Should I take it?", "Should I not take it?"),
    ("Should I take it?", "Should I n\u043et take it?"),
    ("Should I take it?", "Should I n\u200bot take it?"),
    ("Should I take it?", "Should I no\u00adt take it?"),
    ("Should I take it?", "Should I never take it?"),
    ("How do I enable it?", "How do I disable it?"),
    ("How do I disable it?", "How do I d\u0456sable it?"),
    ("Who is Ann Miller?", "Who is Bob Miller?"),
    ("Who is Ann taller than, Bob?", "Who is Bob taller than, Ann?"),
    ("Pay Ann, please, and tell Bob.", "Pay \u0410nn, please, and tell Bob."),
    ("Trains from Rome", "Trains to Rome"),
    ("rm -r build", "rm -rf build"),
    ("Read `a.txt`", "Read `b.txt`"),
    ("Meet on Monday", "Meet on Friday"),
    ("Sort it in Python", "Sort it in Rust"),
    ("List files larger than 1 MB", "List files smaller than 1 MB"),
    ("What does resume mean?", "What does r\u00e9sum\u00e9 mean?"),
    ("Convert 1 USD to EUR", "Convert 1 EUR to USD"),
    ("Send it to ann@example.org", "Send it to ann@ex\u0430mple.org"),
)


def test_lookalikes_meet_guards() -> None:
    """With an embedder that takes all texts for one, only guards are left to tell them apart."""
    served = {}
    for which, guards in (("off", ()), ("on", tuple(GUARDS))):
        category = Category("c", similarity_threshold=0.9, guards=guards)
        through = []
        for asked, crafted in LOOKALIKES:
            with Cache(store="memory://", embedder=Flat(), categories=[category]) as cache:
                cache.store(crafted, "poison", category="c")
                if isinstance(cache.check(asked, category="c"), Hit):
                    through.append(crafted)
        served[which] = through
    n = len(LOOKALIKES)
    told(
        f"look-alikes served: {len(served['off'])} of {n} without guards, {len(served['on'])} with"
    )
    assert len(served["off"]) == n
    # So short a question is taken for a title, in which capitals name nothing: a known limit.
    assert served["on"] == ["Who is Bob Miller?"]


# -- poison and floods -----------------------------------------------------------------------------


def test_poisoned_answers_are_not_kept(open_gateway: Open) -> None:
    """Cut, filtered, garbled and failed answers are stored nowhere, streamed or not."""
    gateway = open_gateway()
    marks = ("[[cut]]", "[[garbage]]", "[[finish:length]]", "[[finish:content_filter]]")
    tried = 0
    for mark in (*marks, "[[status:500]]", "[[status:429]]"):
        for stream in (False, True):
            response = gateway.post(chat(f"{mark} {tried}", stream=stream))
            tried += 1
            assert response.headers.get("x-cache") != "HIT"
    told(f"poisoned answers kept: {gateway.entries} of {tried}")
    assert gateway.entries == 0


def test_nobody_judges_another_tenants_answers(open_gateway: Open) -> None:
    """A stranger's verdicts are refused, and the entry serves its owner as before."""
    gateway = open_gateway()
    mine = {"authorization": "Bearer victim"}
    gateway.ask(QUESTION, headers=mine)
    named = gateway.post(chat(QUESTION), mine).headers
    tried = taken = 0
    for key in ("Bearer stranger", "", "bearer victim", "Bearer victim "[:-2]):
        for field in ("entry_id", "request_id"):
            id_ = named["x-likewise-entry" if field == "entry_id" else "x-likewise-request-id"]
            answer = gateway.http.request(
                "POST",
                f"{gateway.url}/v1/cache/feedback",
                body=_json({field: id_, "correct": False, "question": QUESTION}),
                headers={"authorization": key},
            )
            tried, taken = tried + 1, taken + (answer.status == 200)
    told(f"verdicts of strangers taken: {taken} of {tried}")
    assert taken == 0
    assert gateway.ask(QUESTION, headers=mine) == "HIT"


def test_a_flood_does_not_wash_others_away() -> None:
    """A tenant that stores a thousand near-duplicates leaves others what is their fair share."""
    kept = {}
    victim, flooder = Scope(tenant="victim"), Scope(tenant="flooder")
    with Cache(store="memory://", embedder=Flat(), max_entries=100) as cache:
        for number in range(30):
            cache.store(f"What is the number {number}?", "An answer.", scope=victim)
        for number in range(1000):
            cache.store(f"Flood {number}", "Water.", scope=flooder)
        for number in range(30):
            question = f"What is the number {number}?"
            kept[number] = isinstance(cache.check(question, scope=victim), Hit)
    told(f"flood of 1,000: the other tenant keeps {sum(kept.values())} of 30 entries")
    assert sum(kept.values()) == 30


# -- canaries --------------------------------------------------------------------------------------

CANARY = "kanarienvogel"


def test_a_canary_in_wrong_requests_shows_nowhere(
    open_gateway: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A text in a wrong request is in no error, log line, metric or line of the audit log."""
    caplog.set_level(logging.DEBUG)
    gateway = open_gateway({"gateway": {"admin_key": "k"}})
    key = {"authorization": "Bearer k"}
    wrong: list[tuple[str, Any]] = [
        ("/admin/explain", {"request": {"messages": CANARY}}),
        ("/admin/explain", {"request": CANARY}),
        ("/admin/explain", {"request": chat(CANARY, cache={"ttl": CANARY})}),
        ("/admin/entries/search", {"question": [CANARY]}),
        ("/admin/entries/nothing/feedback", {"correct": False, "question": CANARY}),
        ("/admin/entries/nothing/feedback", {"correct": CANARY, "question": CANARY}),
        ("/admin/erase", {"api_key": CANARY, "tenant": "t"}),
        ("/admin/erase", {"api_key": CANARY}),
        ("/v1/cache/feedback", {"correct": CANARY}),
        ("/v1/cache/feedback", {"entry_id": "x", "correct": False, "question": CANARY}),
        ("/v1/chat/completions", chat(CANARY, cache={"similarity_threshold": CANARY})),
        ("/v1/chat/completions", chat(CANARY, cache={"ttl": -1})),
    ]
    shown = [
        gateway.http.request("POST", gateway.url + path, body=_json(body), headers=key).data
        for path, body in wrong
    ]
    shown += [
        gateway.http.request("GET", gateway.url + path, headers=key).data
        for path in ("/metrics", "/admin/audit", "/admin/decisions", "/admin/stats", "/readyz")
    ]
    shown.append("\n".join(record.getMessage() for record in caplog.records).encode())
    found = sum(CANARY.encode() in place for place in shown)
    told(f"canaries seen: {found} of {len(shown)} places")
    assert found == 0
