from __future__ import annotations

import pytest

from likewise.gateway.reading import tenant_in
from likewise.scope import tenant_of

from .support import CHAT, Gateway, ScriptedModel, chat, completion

IDENTITY = [
    "api-key",
    "cookie",
    "openai-organization",
    "openai-project",
    "x-api-key",
    "x-auth-token",
    "x-goog-api-key",
    "x-user-id",
]


@pytest.mark.parametrize("name", IDENTITY)
def test_each_identity_header_separates(gateway: Gateway, name: str) -> None:
    """Two callers who differ in one header that the model sees share nothing."""
    assert gateway.ask("Q") == "MISS"
    assert gateway.ask("Q", headers={name: "ann"}) == "MISS"
    assert gateway.ask("Q", headers={name: "bob"}) == "MISS"
    assert gateway.ask("Q", headers={name: "ann"}) == "HIT"


def test_tenants_of_headers() -> None:
    """A key alone is the tenant the CLI knows; names count as well as values; none is anonymous."""
    assert tenant_in({"authorization": "Bearer k"}) == tenant_of("Bearer k")
    assert tenant_in({}) == tenant_in({"x-other": "k", "cookie": ""}) == "anonymous"
    pairs = [{first: "k", second: "k"} for first in IDENTITY for second in IDENTITY]
    assert len({tenant_in(pair) for pair in pairs}) == len(IDENTITY) * (len(IDENTITY) + 1) // 2
    turned = {"x-user-id": "u", "api-key": "k"}
    assert tenant_in(turned) == tenant_in(dict(reversed(turned.items())))


def test_queries_never_share(directed: Gateway, scripted: ScriptedModel) -> None:
    """Requests whose URLs differ in the query have answers of their own."""
    for query in ("tenant=1", "tenant=2"):
        line = directed.line(chat("Q"), path=f"{CHAT}?{query}")
        call = scripted.call()
        assert call.query == query.encode()
        call.answer(completion(query))
        assert query.encode() in line.rest()
        directed.settle()
    again = directed.line(chat("Q"), path=f"{CHAT}?tenant=1")
    assert b"tenant=1" in again.rest()
    assert again.response.headers["x-cache"] == "HIT"
