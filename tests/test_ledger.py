from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import Cache, Scope
from likewise.config import parse
from likewise.entry import Provenance
from likewise.ledger import Ledger, LedgerTerms, account, by_tenant, upper_share, verdict
from likewise.opening import from_config
from likewise.prices import Price, Prices
from likewise.testing import HashingEmbedder

TERMS = LedgerTerms()
COUNTERS = {
    "exact_hits": 60.0,
    "semantic_hits": 40.0,
    "misses": 900.0,
    "miss_lookup_s": 9.0,
    "hit_lookup_s": 1.0,
    "semantic_lookups": 800.0,
    "semantic_lookup_s": 8.0,
    "embed_s": 4.0,
    "model_calls": 900.0,
    "model_s": 450.0,
    "model_usd": 0.9,
    "saved_s": 50.0,
    "saved_usd": 0.1,
}


def test_break_even_is_the_cost_of_a_miss_over_the_gain_of_a_hit() -> None:
    """10 ms of lookup against 500 ms of model less 10 ms of hit."""
    found = account(COUNTERS, TERMS)
    assert found["break_even"] == pytest.approx(0.010 / (0.500 - 0.010))
    assert found["semantic_break_even"] == pytest.approx(0.010 / 0.500)
    assert (found["hit_rate"], found["semantic_hit_rate"]) == (0.1, 0.05)
    assert (found["lookup_ms"], found["embed_ms"]) == (pytest.approx(10.0), pytest.approx(5.0))
    assert found["saved_s"] == pytest.approx(41.0)
    assert found["verdict"] == "earns"


def test_money_counts_processor_time_and_embeddings() -> None:
    """Ten hundredths of a second at 3.60 $ an hour, and what the embedder's server asks."""
    terms = LedgerTerms(machine_usd_per_hour=3.6)
    found = account({**COUNTERS, "embed_usd": 0.008}, terms)
    miss, hit, model = 0.010 * 0.001 + 0.000008, 0.010 * 0.001, 0.001
    assert found["break_even_usd"] == pytest.approx(miss / (model - hit))
    assert found["embedding_usd"] == pytest.approx(0.00001)
    assert found["saved_usd"] == pytest.approx(0.1 - 0.008 - 10.0 * 0.001)


def test_what_is_not_known_is_none() -> None:
    """Nothing asked, no call made, no price: no figure and no verdict."""
    found = account({}, TERMS)
    assert {name for name, value in found.items() if value is None} >= {
        "hit_rate", "break_even", "break_even_usd", "semantic_break_even", "model_s", "lookup_ms",
    }  # fmt: skip
    assert found["verdict"] == "unknown"
    without_price = account({**COUNTERS, "model_usd": 0.0}, TERMS)
    assert without_price["break_even_usd"] is None
    assert without_price["break_even"] is not None


@pytest.mark.parametrize(
    ("rate", "seconds", "usd", "lookups", "said"),
    [
        (0.1, 0.05, None, 500, "earns"),
        (0.1, 0.2, None, 500, "loses"),
        (0.1, 0.2, 0.05, 500, "earns"),
        (0.1, 0.05, None, 100, "unknown"),
        (0.1, None, None, 500, "unknown"),
    ],
)
def test_verdicts(
    rate: float, seconds: float | None, usd: float | None, lookups: int, said: str
) -> None:
    """It is enough to earn in one of the two."""
    assert verdict(rate, seconds, usd, lookups=lookups) == said


def test_a_model_that_is_faster_than_a_hit_never_pays() -> None:
    """Then every request would have to be a hit."""
    assert account({**COUNTERS, "model_s": 1.0}, TERMS)["break_even"] == 1.0


@given(st.integers(0, 49), st.integers(50, 5_000))
def test_the_upper_end_of_a_share_is_above_it(count: int, total: int) -> None:
    """And below one."""
    assert count / total < upper_share(count, total) <= 1.0


def weighed(ledger: Ledger, rates: list[float], **changes: Any) -> list[list[str]]:
    """Let windows of 1,000 lookups pass with these semantic hit rates."""
    lookups = hits = 0.0
    found = []
    for number, rate in enumerate(rates):
        lookups += 1_000
        hits += 1_000 * rate
        counters = {
            **COUNTERS, "semantic_lookups": lookups, "semantic_lookup_s": lookups * 0.010,
            "semantic_hits": hits, **changes,
        }  # fmt: skip
        found.append(ledger.weigh({"faq": counters}, 100.0 * number))
    return found


def test_a_category_below_break_even_for_long_is_proposed() -> None:
    """After three windows in a row, and once."""
    ledger = Ledger(TERMS)
    assert weighed(ledger, [0.0, 0.0, 0.0, 0.0]) == [[], [], ["faq"], []]
    assert ledger.proposed == {"faq"}
    assert ledger.resting == frozenset()


def test_one_window_above_begins_anew() -> None:
    """Break-even is 2 % here."""
    ledger = Ledger(TERMS)
    assert weighed(ledger, [0.0, 0.0, 0.05, 0.0, 0.0]) == [[]] * 5
    assert ledger.proposed == frozenset()


def test_one_that_was_switched_gets_another_chance() -> None:
    """After some time."""
    ledger = Ledger(LedgerTerms(switch=True, retry_s=250.0))
    weighed(ledger, [0.0, 0.0, 0.0])
    assert ledger.resting == {"faq"}
    ledger.weigh({"faq": {**COUNTERS, "semantic_lookups": 3_000.0}}, 440.0)
    assert ledger.resting == {"faq"}
    ledger.weigh({"faq": {**COUNTERS, "semantic_lookups": 3_000.0}}, 460.0)
    assert ledger.resting == frozenset()


class Clock:
    """A clock that is told the time."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_cache_keeps_accounts_and_lets_rest_what_does_not_pay() -> None:
    """Of real lookups, by tenant; a category that rests embeds nothing any more."""
    clock = Clock()
    config = parse(
        {
            "store": "memory://",
            "ledger": {"window": 20, "windows": 2, "switch": True},
            "classification": {"enabled": False},
        }
    )
    engine = from_config(config, embedder=HashingEmbedder(64), clock=clock)
    cache = Cache._over(engine)
    scope = Scope(tenant="0123456789abcdef" * 2)
    slow = Provenance(latency_s=1e-9, cost_usd=0.001, prompt_tokens=3, completion_tokens=4)
    for number in range(60):
        text = f"question about the {number * 7919} things"
        cache.check(text, category="faq", scope=scope)
        cache.store(text, "an answer", category="faq", scope=scope, provenance=slow)
        engine.tidy()
    found = cache.stats()["categories"]["faq"]["ledger"]
    assert found["model_calls"] == 60
    assert found["model_usd"] == pytest.approx(0.001)
    assert found["break_even"] == 1.0, "nothing is cheaper than a model that takes no time"
    assert found["tenants"]["0123456789ab"]["model_calls"] == 60
    assert found["tenants"]["0123456789ab"]["lookups"] == 60
    assert found["resting"]
    assert found["proposal"] == "exact-only"
    embedded = found["semantic_lookups"]
    assert 39 <= embedded < 60
    cache.check("something new", category="faq", scope=scope)
    assert cache.stats()["categories"]["faq"]["ledger"]["semantic_lookups"] == embedded


def test_tenants_beyond_a_bound_share() -> None:
    """Counters must not grow with everybody who comes by."""
    engine = from_config(parse({"store": "memory://"}), embedder=HashingEmbedder(64))
    cache = Cache._over(engine)
    for number in range(150):
        cache.check("how do I undo it", category="code", scope=Scope(tenant=f"{number:04x}" * 8))
        cache.check(
            "how do I undo it", category="code", scope=Scope(tenant=f"customer-number-{number}")
        )
    tenants = by_tenant(engine.stats.by_category()["code"], TERMS)
    assert 90 < len(tenants) <= 101, "names that begin alike are not one"
    assert sum(found["lookups"] for found in tenants.values()) == 300


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-4o-mini", Price(0.15, 0.60)),
        ("gpt-4o-mini-2024-07-18", Price(0.15, 0.60)),
        ("openai/gpt-4o", Price(2.50, 10.00)),
        ("claude-sonnet-4-5-20250929", Price(3.00, 15.00)),
        ("claude-sonnet-4-20250514", Price(3.00, 15.00)),
        ("gemini-2.5-flash", Price(0.30, 2.50)),
        ("gpt-4o-audio-preview", None),
        ("gpt-4", None),
        ("llama-3", None),
        ("mine", Price(1.0, 2.0)),
        ("mine-latest", Price(1.0, 2.0)),
        ("", None),
    ],
)
def test_prices_by_name(model: str, price: Price | None) -> None:
    """Given ones go first; a name that says more than a date is another model."""
    prices = Prices({"mine": Price(1.0, 2.0), "gpt-5": Price(9.0, 9.0)})
    assert prices.of(model) == price
    assert prices.of("gpt-5") == Price(9.0, 9.0)
    assert prices.of("unknown", "mine") == Price(1.0, 2.0)
