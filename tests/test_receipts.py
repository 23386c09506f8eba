from __future__ import annotations

import pytest

from likewise import Cache, Scope
from likewise.policy import Hit
from likewise.receipts import Receipt
from likewise.request import Request
from likewise.testing import FakeClock, HashingEmbedder

LONG = "CANARY " * 2_000


@pytest.fixture
def cache(clock: FakeClock) -> Cache:
    """A cache that holds one answer to each of two contexts."""
    made = Cache(store="memory://", embedder=HashingEmbedder(), clock=clock)
    for context in ("", LONG):
        made.store("How high is K2?", {"n": context}, scope=Scope(context=context))
    return made


def latest(cache: Cache) -> Receipt:
    """The receipt of the latest decision."""
    return list(cache._engine.receipts._held.values())[-1]


@pytest.mark.parametrize("context", ["", LONG])
def test_a_receipt_tells_a_hit_without_its_answer(cache: Cache, context: str) -> None:
    """It keeps neither the answer nor a long context alive, and the decision can be made again."""
    hit = cache.lookup(Request("How high is K2?", Scope(context=context), system=context))
    assert isinstance(hit, Hit)
    receipt = latest(cache)
    assert isinstance(receipt.final, Hit)
    assert (receipt.final.entry_id, receipt.final.answer) == (hit.entry_id, None)
    assert receipt.final.provenance.latency_s is None
    assert "CANARY" not in receipt.request.scope.context + receipt.request.system
    assert receipt.replay() == receipt.decided
    assert "CANARY" not in repr(receipt.to_dict())


def test_one_receipt_is_held_of_a_request(cache: Cache) -> None:
    """That of the decision that counted, however many steps it took, and of a lost answer."""
    cache.check("How deep is it?")
    assert latest(cache).final.reason == "below-threshold"
    assert len(cache._engine.receipts._held) == 1
    held = cache._engine.store.scan()
    cache._engine.store.delete([row.id for row in held])
    assert cache.check("How high is K2?").reason == "gone"
    assert (latest(cache).decided.reason, latest(cache).final.reason) == ("exact", "gone")
