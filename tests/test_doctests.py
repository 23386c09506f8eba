from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import likewise

ROOT = Path(likewise.__file__).parent
WITH_EXAMPLES = [
    ".".join(("likewise", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


def test_there_are_examples() -> None:
    """The front door shows one, so an empty list would be a mistake of this test."""
    assert {"likewise.cache", "likewise.durations"} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_every_example_runs(name: str) -> None:
    """What a docstring shows is what comes out."""
    result = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert result.attempted > 0
    assert result.failed == 0
