from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from likewise.testing import running

from .model import Model

Report = Callable[..., None]


@pytest.fixture
def upstream() -> Iterator[tuple[Model, str]]:
    """A model that names whom it answers, and its address."""
    model = Model()
    with running(model) as url:
        yield model, url


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Tell the figures of a promise: one line, and a row of the table at the end of the run.

    What belongs to none is told as promise 0, which is the soak.
    """

    def tell(promise: int, **figures: Any) -> None:
        said = " ".join(f"{name}={_shown(value)}" for name, value in figures.items())
        print(f"{_named(promise)}: {said}")  # noqa: T201
        record_property("promise", (promise, said))

    return tell


def _named(promise: int) -> str:
    return f"promise {promise}" if promise else "soak"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show the figures of all promises that were tested."""
    rows = [
        (*value, report.outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in report.user_properties
        if name == "promise"
    ]
    if not rows:
        return
    terminalreporter.section("promises")
    for promise, said, outcome in sorted(rows, key=lambda row: row[0]):
        terminalreporter.write_line(f"{_named(promise)}: {outcome}: {said}")
