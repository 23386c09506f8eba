"""A few seconds of what ``make soak`` does for half an hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest

from .conftest import Report
from .soak import line, soak


@pytest.mark.parametrize("kind", ["redis"])
@pytest.mark.slow
def test_a_short_soak(kind: str, store_url: Callable[[str], str], report: Report) -> None:
    """Store and model fail at random; no request fails that the model has answered."""
    figures = soak(6.0, store_url(kind))
    report(0, **asdict(figures))
    assert figures.requests > 0
    assert figures.store_faults > 0
    assert figures.failed_though_answered == 0
    assert figures.leaks == 0
    assert figures.made_up == 0


def test_the_line_through_samples() -> None:
    """A megabyte a second is 3,600 an hour, and a line explains all of it."""
    slope, fit = line([(float(second), 50.0 + second) for second in range(10)])
    assert slope == pytest.approx(3_600)
    assert fit == pytest.approx(1.0)
