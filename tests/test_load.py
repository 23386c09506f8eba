from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.load import ANY, NO_ANSWER, Load, LoadTerms, ServerSample


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def load(**terms: Any) -> tuple[Load, Clock]:
    """A load and its clock."""
    clock = Clock()
    return Load(LoadTerms(**terms), clock=clock), clock


def test_an_idle_model_is_under_no_pressure() -> None:
    """Nor is one that was never heard of."""
    gauge, clock = load(max_in_flight=10)
    assert gauge.of("m") == 0.0
    for _ in range(20):
        gauge.began("m")
        clock.now += 0.5
        gauge.ended("m", 0.5)
    assert gauge.of("m") == 0.0
    assert gauge.report()["m"]["in_flight"] == 0


def test_it_rises_fast_and_falls_slowly() -> None:
    """A full model is felt within seconds, and its recovery is believed after a minute."""
    gauge, clock = load(max_in_flight=4, rise_s=1.0, fall_s=30.0)
    for _ in range(4):
        gauge.began("m")
    clock.now += 3.0
    full = gauge.of("m")
    assert full > 0.9
    for _ in range(4):
        gauge.ended("m", 3.0)
    clock.now += 3.0
    assert 0.8 < gauge.of("m") < full
    clock.now += 120.0
    assert gauge.of("m") == 0.0


def test_policies_follow_it_with_hysteresis() -> None:
    """Between the two bounds what counts is where the pressure comes from."""
    gauge, clock = load(max_in_flight=10, engage=0.4, release=0.2, rise_s=0.1, fall_s=10.0)
    for _ in range(6):
        gauge.began("m")
    clock.now += 5.0
    gauge.began("m")
    assert gauge.report()["m"]["level"] == pytest.approx(0.2, abs=0.01)
    assert gauge.of("m") == 0.0, "on the way up this is not enough"
    for _ in range(3):
        gauge.began("m")
    clock.now += 5.0
    assert gauge.of("m") == pytest.approx(1.0, abs=0.01)
    for _ in range(10):
        gauge.ended("m", 5.0)
    clock.now += 12.0
    assert gauge.of("m") == pytest.approx(0.30, abs=0.02), "on the way down it is"
    clock.now += 12.0
    assert gauge.of("m") == 0.0


@pytest.mark.parametrize(
    ("terms", "seconds", "least"),
    [
        ({"target_latency_s": 1.0}, 3.0, 0.9),
        ({"target_latency_s": 4.0}, 3.0, 0.0),
        ({}, 3.0, 0.0),
    ],
)
def test_latency_counts_against_its_target(
    terms: dict[str, float], seconds: float, least: float
) -> None:
    """Without a target no latency is too long."""
    gauge, clock = load(**terms)
    for _ in range(10):
        gauge.began("m")
        clock.now += seconds
        gauge.ended("m", seconds)
    assert (gauge.of("m") >= least) if least else (gauge.of("m") == 0.0)


def test_a_stream_that_begins_late_counts_before_it_ends() -> None:
    """The time to the first token is known early."""
    gauge, clock = load(target_first_token_s=0.5)
    gauge.began("m")
    clock.now += 2.0
    gauge.first_token("m", 2.0)
    clock.now += 2.0
    assert gauge.of("m") > 0.7


def test_calls_that_never_end_count() -> None:
    """A model that hangs answers nothing, so what waits is all there is to see."""
    gauge, clock = load(target_latency_s=2.0)
    for _ in range(30):
        gauge.began("m")
        clock.now += 0.5
    assert gauge.of("m") > 0.9


def test_a_refusal_holds_the_pressure_up_for_as_long_as_it_asks() -> None:
    """And for a minute at most, whatever it asks."""
    gauge, clock = load(fall_s=1.0)
    gauge.began("m")
    gauge.ended("m", 0.0, 429, retry_after_s=8.0)
    clock.now += 7.0
    assert gauge.of("m") > 0.9
    gauge.began("m")
    gauge.ended("m", 0.0, 429, retry_after_s=86_400.0)
    clock.now += 61.0
    gauge.began("m")
    clock.now += 20.0
    assert gauge.of("m") == 0.0


@pytest.mark.parametrize("status", [500, 503, 504, NO_ANSWER])
def test_failures_count_when_they_are_many(status: int) -> None:
    """One alone may happen to anybody."""
    gauge, clock = load()
    gauge.began("m")
    gauge.ended("m", 0.1, status)
    clock.now += 1.0
    assert gauge.of("m") == 0.0
    for _ in range(15):
        gauge.began("m")
        clock.now += 0.2
        gauge.ended("m", 0.2, status)
    assert gauge.of("m") > 0.5


def test_models_have_pressures_of_their_own() -> None:
    """What a server says without naming a model counts for all."""
    gauge, clock = load(max_in_flight=1)
    gauge.began("a")
    clock.now += 5.0
    assert gauge.of("a") > 0.9
    assert gauge.of("b") == 0.0
    gauge.sampled(ANY, ServerSample(running=4, waiting=4), valid_s=60.0)
    clock.now += 5.0
    assert gauge.of("b") > 0.9


def test_what_a_server_said_is_believed_for_a_while() -> None:
    """A server that is silent is no longer under pressure as far as we know."""
    gauge, clock = load(fall_s=1.0)
    gauge.sampled("m", ServerSample(running=8, waiting=0, cache=1.0), valid_s=6.0)
    clock.now += 5.0
    assert gauge.of("m") > 0.9
    clock.now += 2.0
    gauge.began("m")
    clock.now += 10.0
    assert gauge.of("m") == 0.0


def test_models_that_callers_invent_share_a_gauge() -> None:
    """Memory is bounded, and the load is not forgotten."""
    gauge, clock = load(max_in_flight=50)
    for number in range(300):
        gauge.began(f"m{number}")
    clock.now += 5.0
    assert len(gauge.report()) <= 102
    assert gauge.of("m299") > 0.9
    assert gauge.of("m0") == 0.0, "one that has a gauge does not share it"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["began", "ended", "first", "sampled", "wait"]),
            st.floats(0.0, 100.0),
            st.sampled_from([200, 400, 429, 500, NO_ANSWER]),
        ),
        max_size=60,
    )
)
def test_it_stays_between_0_and_1(events: list[tuple[str, float, int]]) -> None:
    """Whatever happens, in whatever order."""
    gauge, clock = load(max_in_flight=3, target_latency_s=1.0, target_first_token_s=0.5)
    for kind, amount, status in events:
        match kind:
            case "began":
                gauge.began("m")
            case "ended":
                gauge.ended("m", amount, status, retry_after_s=amount or None)
            case "first":
                gauge.first_token("m", amount)
            case "sampled":
                gauge.sampled("m", ServerSample(amount, amount, amount / 100), valid_s=amount)
            case _:
                clock.now += amount
        assert 0.0 <= gauge.of("m") <= 1.0


def test_silence_heals() -> None:
    """A refusal, or a server's word, is over when its time is, whether or not anything happens."""
    gauge, clock = load()
    gauge.began("m")
    gauge.ended("m", 0.0, 429, retry_after_s=1.0)
    gauge.sampled("n", ServerSample(running=1, waiting=9), valid_s=6.0)
    clock.now += 1.0
    assert gauge.of("m") > 0.5
    clock.now += 3_600.0
    assert gauge.of("m") == 0.0
    assert gauge.of("n") == 0.0


def test_asking_often_changes_nothing() -> None:
    """The pressure at a time is the same however often it was looked at before."""
    seen = []
    for looks in (1, 50):
        gauge, clock = load(fall_s=10.0)
        gauge.began("m")
        gauge.ended("m", 0.0, 429, retry_after_s=2.0)
        for _ in range(looks):
            clock.now += 10.0 / looks
            gauge.of("m")
        seen.append(gauge.of("m"))
    assert seen[0] == pytest.approx(seen[1], abs=0.05)
    assert 0.2 < seen[0] < 0.9


def test_servers_of_one_model_count_together() -> None:
    """An idle one does not silence a busy one."""
    gauge, clock = load()
    gauge.sampled("m", ServerSample(running=4, waiting=8), valid_s=60.0, source="a")
    gauge.sampled("m", ServerSample(running=0, waiting=0), valid_s=60.0, source="b")
    clock.now += 5.0
    assert gauge.of("m") > 0.9
