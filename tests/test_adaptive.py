from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import Cache, Category, Hit, Miss
from likewise.adaptive import STEADY, Adapting, felt, longest_delay_s, under_pressure
from likewise.config import parse
from likewise.engine import Engine
from likewise.errors import ConfigError
from likewise.naming import strictest
from likewise.opening import from_config
from likewise.policy import Reason
from likewise.testing import HashingEmbedder

TERMS = Adapting(relax=0.1, stretch=4.0)


def category(**values: Any) -> Category:
    """A category that follows the load."""
    return Category("faq", **{"similarity_threshold": 0.9, "ttl": 100.0, **values})


def test_pressure_moves_threshold_and_lifetime() -> None:
    """In proportion, and what it was before is still told."""
    half = under_pressure(category(), 0.5, TERMS)
    assert half.similarity_threshold == pytest.approx(0.85)
    assert half.ttl_s == pytest.approx(300.0)
    assert half.calm == category()


@pytest.mark.parametrize(
    ("changes", "terms"),
    [({"strict": True}, TERMS), ({}, STEADY), ({"priority": "high"}, TERMS)],
)
def test_what_does_not_move(changes: dict[str, Any], terms: Adapting) -> None:
    """Strict categories never do; nothing does by itself; high priority not by half a load."""
    policy = category(**changes)
    moved = under_pressure(policy, 0.5, terms)
    assert moved.similarity_threshold == policy.similarity_threshold
    assert moved.ttl_s == policy.ttl_s


def test_a_certified_threshold_moves_to_its_certified_floor_only() -> None:
    """Whatever the operator lets similarities do."""
    policy = category(probability_threshold=0.98, probability_floor=0.9)
    full = under_pressure(policy, 1.0, TERMS)
    assert full.probability_threshold == pytest.approx(0.9)
    assert full.similarity_threshold == 0.9
    assert (
        under_pressure(category(probability_threshold=0.98), 1.0, TERMS).probability_threshold
        == 0.98
    )


def test_a_floor_and_a_limit_stop_it() -> None:
    """The category's word goes before the general one."""
    policy = category(similarity_floor=0.88, ttl_limit="2m", stale_under_pressure="10s")
    full = under_pressure(policy, 1.0, TERMS)
    assert full.similarity_threshold == pytest.approx(0.88)
    assert full.ttl_s == pytest.approx(130.0)
    nearly = under_pressure(policy, 0.7, TERMS)
    assert nearly.ttl_s == pytest.approx(120.0), "not loaded enough for stale answers"
    assert longest_delay_s(policy, TERMS) == pytest.approx(30.0)
    assert under_pressure(policy, 0.5, STEADY).ttl_s == pytest.approx(100.0), "a limit is no wish"


@given(
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 10),
    st.sampled_from(["low", "normal", "high"]),
)  # fmt: skip
def test_more_pressure_never_makes_it_stricter(
    one: float, other: float, relax: float, stretch: float, priority: str
) -> None:
    """And no pressure takes it beyond its bounds."""
    policy, terms = category(priority=priority), Adapting(relax, stretch)
    low, high = (under_pressure(policy, p, terms) for p in sorted((one, other)))
    assert policy.similarity_threshold >= low.similarity_threshold >= high.similarity_threshold
    assert high.similarity_threshold >= max(0.0, policy.similarity_threshold - relax) - 1e-9
    assert low.ttl_s is not None
    assert high.ttl_s is not None
    assert 100.0 <= low.ttl_s <= high.ttl_s <= 100.0 + longest_delay_s(policy, terms) + 1e-9


def test_those_of_low_priority_yield_first() -> None:
    """And those of high priority last."""
    for pressure in (0.1, 0.4, 0.6, 0.9):
        low, normal, high = (felt(name, pressure) for name in ("low", "normal", "high"))
        assert low > normal > high or (low == 1.0 and normal > high)


def test_in_doubt_the_strictest_of_the_adapted_policies_holds() -> None:
    """One category that does not follow the load holds the others back."""
    policies = [
        under_pressure(category(), 1.0, TERMS),
        under_pressure(category(strict=True, ttl=150.0), 1.0, TERMS),
    ]
    both = strictest(policies)
    assert both.similarity_threshold == 0.9
    assert both.ttl_s == 150.0
    assert both.calm is not None
    assert both.calm.ttl_s == 100.0


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"similarity_floor": 0.95}, "similarity_floor"),
        ({"probability_floor": -0.1}, "probability_floor"),
        ({"pressure_budget": 0.001}, "pressure_budget"),
        ({"ttl_limit": "soon"}, "ttl_limit"),
        ({"stale_under_pressure": -1}, "stale_under_pressure"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], named: str) -> None:
    """With what they may be."""
    with pytest.raises(ConfigError, match=named):
        category(**values)


class Clock:
    """A clock that is told the time."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def engine(**settings: Any) -> tuple[Engine, Cache, Clock]:
    """A cache whose policies follow the load, with its clock."""
    clock = Clock()
    data = {
        "store": "memory://",
        "load": {"max_in_flight": 1, "stretch": 4.0, "rise": "100ms", "fall": "1s"},
        "categories": {"faq": {"ttl": 100, "similarity_threshold": 0.9, **settings}},
    }
    made = from_config(parse(data), embedder=HashingEmbedder(64), clock=clock)
    return made, Cache._over(made), clock


def press(made: Engine, clock: Clock) -> None:
    """Put the model under full pressure, and its clock on by two seconds."""
    made.load.began("")
    clock.now += 2.0
    assert made.load.of("") > 0.99


def test_an_answer_past_its_time_is_served_under_load_and_says_so() -> None:
    """Without load it is not."""
    made, cache, clock = engine()
    cache.store("where is my parcel", "in the post", category="faq")
    clock.now += 150.0
    assert isinstance(cache.check("where is my parcel", category="faq"), Miss)
    press(made, clock)
    hit = cache.check("where is my parcel", category="faq")
    assert isinstance(hit, Hit)
    assert hit.reason is Reason.STRETCHED
    assert hit.stale_s == pytest.approx(52.0)
    assert cache.stats()["categories"]["faq"]["stale_hits"] == 1
    made.load.ended("", 2.0)
    clock.now += 20.0
    assert isinstance(cache.check("where is my parcel", category="faq"), Miss)


def test_what_is_kept_under_load_lives_as_long_as_without() -> None:
    """Only serving is stretched, not what an entry says of itself."""
    made, cache, clock = engine()
    press(made, clock)
    entry = cache.store("where is my parcel", "in the post", category="faq")
    assert entry is not None
    assert entry.expires_at == pytest.approx(clock.now + 100.0)


def test_a_callers_own_lifetime_is_not_stretched() -> None:
    """Nor is its limit on the age of what it is served."""
    made, cache, clock = engine()
    cache.store("where is my parcel", "in the post", category="faq", ttl=50)
    cache.store("where is my letter", "at the door", category="faq")
    clock.now += 60.0
    press(made, clock)
    assert isinstance(cache.check("where is my parcel", category="faq"), Miss)
    assert isinstance(cache.check("where is my letter", category="faq", max_age=10), Miss)
    assert isinstance(cache.check("where is my letter", category="faq"), Hit)


def test_entries_stay_until_load_can_no_longer_want_them() -> None:
    """Tidying spares what stretching may still serve."""
    made, cache, clock = engine(ttl_limit="200s")
    cache.store("where is my parcel", "in the post", category="faq")
    clock.now += 150.0
    made.tidy()
    press(made, clock)
    assert isinstance(cache.check("where is my parcel", category="faq"), Hit)
    clock.now += 60.0
    made.tidy()
    assert len(made.catalog) == 0


def test_a_receipt_tells_base_and_effective_values_and_replays() -> None:
    """So one can see why something was served that is not served now."""
    made, cache, clock = engine()
    cache.store("where is my parcel", "in the post", category="faq")
    clock.now += 150.0
    press(made, clock)
    cache.check("where is my parcel", category="faq")
    (receipt,) = made.receipts._held.values()
    told = receipt.to_dict()
    assert told["pressure"] > 0.99
    assert told["ttl_s"] == pytest.approx(500.0, abs=1.0)
    assert told["base"]["ttl_s"] == 100.0
    assert told["replays"]
    explained = cache.explain("where is my parcel", category="faq").to_dict()
    assert explained["policy"]["ttl"] == pytest.approx(500.0, abs=1.0)  # type: ignore[index]
    assert explained["policy"]["calm"]["ttl"] == 100.0  # type: ignore[index]


def test_calls_of_the_library_itself_count() -> None:
    """What ``answer`` computes is a call to the model like any other."""
    made, cache, clock = engine()

    def compute() -> str:
        clock.now += 5.0
        assert made.load.of("") > 0.9
        return "in the post"

    assert cache.answer("where is my parcel", compute, category="faq") == "in the post"
    assert cache.load.report()[""]["in_flight"] == 0
    with pytest.raises(ZeroDivisionError):
        cache.answer("what is one by zero", lambda: 1 // 0, category="faq")
    assert cache.load.report()[""]["in_flight"] == 0
