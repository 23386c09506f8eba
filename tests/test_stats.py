from __future__ import annotations

import json
import threading

from likewise.entry import Provenance
from likewise.policy import Bypass, Hit, Miss, Reason, Tier
from likewise.stats import ADDITIVE, Stats, report


def hit(tier: Tier = Tier.EXACT, provenance: Provenance | None = None) -> Hit:
    """A hit in the category ``code``."""
    return Hit("e", "code", tier, Reason.EXACT, 1.0, 0.9, 0.0, None, provenance or Provenance())


def test_every_decision_is_counted_once() -> None:
    """Hits by tier, misses and bypasses add up to the requests."""
    stats = Stats()
    stats.count(hit(), lookup_s=0.5)
    stats.count(hit(Tier.SEMANTIC), lookup_s=0.5)
    stats.count(Miss("code", Reason.STALE), lookup_s=0.5)
    stats.count(Bypass("code", Reason.NO_CACHE), lookup_s=0.5)
    code = report(stats.by_category(), {"code": 7})["code"]
    assert (code["requests"], code["entries"]) == (4, 7)
    assert (code["exact_hits"], code["semantic_hits"], code["misses"], code["bypasses"]) == (
        1, 1, 1, 1,
    )  # fmt: skip
    assert code["hit_rate"] == 0.5
    assert code["lookup_s"] == 2.0
    assert code["reasons"] == {"exact": 2, "no-cache": 1, "stale": 1}


def test_savings_are_what_the_answer_cost_less_the_lookup() -> None:
    """Time, tokens and money, as far as they were reported, and time never below nothing."""
    stats = Stats()
    stats.count(hit(provenance=Provenance("m", 10, 5, 2.0, 0.25)), lookup_s=0.5)
    stats.count(hit(provenance=Provenance(latency_s=0.1)), lookup_s=0.5)
    code = report(stats.by_category(), {})["code"]
    assert (code["saved_s"], code["saved_tokens"], code["saved_usd"]) == (1.5, 15, 0.25)


def test_a_report_is_ready_for_json_and_has_every_counter() -> None:
    """Also for a category that only holds entries."""
    result = report({}, {"code": 1})
    assert json.loads(json.dumps(result)) == result
    assert set(ADDITIVE) < set(result["code"])
    assert result["code"]["hit_rate"] == 0.0


def test_what_was_flushed_is_not_flushed_again() -> None:
    """Only what was added since the last time is handed out."""
    stats = Stats()
    stats.add("code", stored=2)
    assert stats.unflushed() == {("code", "stored"): 2}
    assert stats.unflushed() == {}
    stats.add("code", stored=1)
    assert stats.unflushed() == {("code", "stored"): 1}


def test_what_a_store_did_not_take_is_flushed_again() -> None:
    """Together with what was added meanwhile."""
    stats = Stats()
    stats.add("code", stored=2)
    refused = stats.unflushed()
    stats.add("code", stored=1)
    stats.unflush(refused)
    assert stats.unflushed() == {("code", "stored"): 3}
    assert stats.by_category() == {"code": {"stored": 3}}


def test_faults_are_counted_by_kind() -> None:
    """Each under its own name."""
    stats = Stats()
    stats.fault("code", "store")
    stats.fault("code", "store")
    stats.fault("code", "embedder")
    assert report(stats.by_category(), {})["code"]["faults"] == {"embedder": 1, "store": 2}


def test_no_count_is_lost_between_threads() -> None:
    """Eight threads count at once, while another flushes."""
    stats, flushed, stop = Stats(), list[float](), threading.Event()

    def count() -> None:
        for _ in range(2000):
            stats.add("code", requests=1)

    def flush() -> None:
        while not stop.is_set():
            flushed.append(stats.unflushed().get(("code", "requests"), 0))

    counting = [threading.Thread(target=count) for _ in range(8)]
    flushing = threading.Thread(target=flush)
    for thread in [flushing, *counting]:
        thread.start()
    for thread in counting:
        thread.join()
    stop.set()
    flushing.join()
    assert sum(flushed) + stats.unflushed().get(("code", "requests"), 0) == 16000
