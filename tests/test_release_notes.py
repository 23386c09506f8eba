from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "release_notes.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


CHANGELOG = """# Changelog

## Unreleased

## [1.1.0] - 2026-02-01

### Added
- a thing

## 1.0.0
- the first
"""


def test_a_version_has_its_section(script: dict[str, Any]) -> None:
    """With or without brackets, date and the tag's ``v``; nothing of its neighbours."""
    notes = script["notes"]
    assert notes(CHANGELOG, "1.1.0") == notes(CHANGELOG, "v1.1.0") == "### Added\n- a thing"
    assert notes(CHANGELOG, "1.0.0") == "- the first"
    assert notes(CHANGELOG, "1.1") == notes(CHANGELOG, "unreleased") == ""


def test_the_command(script: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Prints our own notes; a version of which there are none is an error."""
    assert script["main"](["Unreleased"]) == 0
    assert "### Added" in capsys.readouterr().out
    assert script["main"](["99.0.0"]) == 1
    assert script["main"]([]) == 2
    assert "CHANGELOG.md says nothing of 99.0.0" in capsys.readouterr().err
