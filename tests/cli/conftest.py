from __future__ import annotations

from pathlib import Path

import pytest

from .support import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A folder with a configuration that needs no weights."""
    made = Shell(tmp_path)
    made.configure()
    return made
