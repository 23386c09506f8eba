from concurrent.futures import ThreadPoolExecutor

import pytest

from likewise.breaker import BreakerState, CircuitBreaker
from likewise.testing import FakeClock


def opened(clock: FakeClock) -> CircuitBreaker:
    """A breaker that has just opened for ten seconds."""
    breaker = CircuitBreaker(failures=3, open_s=10, clock=clock)
    for _ in range(3):
        assert breaker.allow()
        breaker.record_failure()
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    """The third failure in a row opens it, and then nothing is let through."""
    breaker = opened(FakeClock(100))
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allow()
    assert breaker.retry_in_s == 10


def test_a_success_between_failures_keeps_it_closed() -> None:
    """Only consecutive failures count."""
    breaker = CircuitBreaker(failures=2, open_s=10, clock=FakeClock())
    for _ in range(5):
        breaker.record_failure()
        breaker.record_success()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allow()
    assert breaker.retry_in_s == 0


def test_one_caller_is_let_through_on_trial() -> None:
    """After its time one call passes, and the next ones wait for its outcome."""
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(9.9)
    assert not breaker.allow()
    clock.advance(0.1)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.retry_in_s == 0
    assert breaker.allow()
    assert not breaker.allow()


def test_a_trial_that_works_closes_it() -> None:
    """After a good trial it takes the full number of failures to open again."""
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(10)
    assert breaker.allow()
    breaker.record_success()
    breaker.record_failure()
    breaker.record_failure()
    assert breaker.allow()
    breaker.record_failure()
    assert not breaker.allow()


def test_a_trial_that_fails_opens_it_anew() -> None:
    """One failure on trial is enough for another full pause."""
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(12)
    assert breaker.allow()
    breaker.record_failure()
    assert breaker.retry_in_s == 10


def test_a_lost_trial_gives_way_to_another() -> None:
    """A caller on trial that never reports does not keep the breaker shut for ever."""
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(10)
    assert breaker.allow()
    clock.advance(10)
    assert breaker.allow()


def test_only_one_of_many_threads_is_on_trial() -> None:
    """Of twenty callers at the same moment exactly one passes."""
    clock = FakeClock()
    breaker = opened(clock)
    clock.advance(10)
    with ThreadPoolExecutor(8) as pool:
        passed = list(pool.map(lambda _: breaker.allow(), range(20)))
    assert sum(passed) == 1


@pytest.mark.parametrize(("failures", "open_s"), [(0, 1.0), (1, 0.0)])
def test_impossible_numbers_are_refused(failures: int, open_s: float) -> None:
    """A breaker that could never close or never open is a mistake of the caller."""
    with pytest.raises(ValueError, match="failures="):
        CircuitBreaker(failures=failures, open_s=open_s)
