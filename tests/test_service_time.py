from __future__ import annotations

from typing import Any

import pytest

from likewise.errors import ConfigError
from likewise.service_time import ServiceTime

LAW = ServiceTime(capacity=4, first_token_s=0.5, token_s=0.01, slowdown=2.0, most_waiting=3)


def test_a_request_alone_takes_its_own_time() -> None:
    """Time to the first token, and a share for every token."""
    assert LAW.seconds(0, 1) == 0.5
    assert LAW.seconds(100, 1) == 1.5


def test_a_full_model_is_slower_by_the_formula() -> None:
    """Each one more in service adds a capacity-th of the slowdown to the factor."""
    assert LAW.factor(4) == 1 + 2.0 * 3 / 4
    assert LAW.seconds(100, 4) == pytest.approx(1.5 * 2.5)


def test_without_capacity_load_changes_nothing() -> None:
    """Nothing waits, nothing is refused, nobody is slowed down."""
    law = ServiceTime(first_token_s=0.2, slowdown=5.0)
    assert law.seconds(7, 1000) == 0.2
    assert law.admits(10**6)
    assert not law.refuses(10**6)


def test_the_bounds_of_service_and_line() -> None:
    """Up to the capacity starts at once, up to the line's length waits, more is refused."""
    assert LAW.admits(3)
    assert not LAW.admits(4)
    assert not LAW.refuses(2)
    assert LAW.refuses(3)
    assert ServiceTime(capacity=1, most_waiting=0).refuses(0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"capacity": 0},
        {"most_waiting": -1},
        {"first_token_s": -0.1},
        {"token_s": float("nan")},
        {"slowdown": float("inf")},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    """The message says which."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ServiceTime(**wrong)
