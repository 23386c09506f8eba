from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import pytest

from likewise.bench.stores import measure
from likewise.errors import ConfigError
from likewise.stores import open_store


def test_all_four_stores_are_measured() -> None:
    """Every figure is there and is one that can be; what was written is removed again."""
    if shutil.which("redis-server") is None or find_spec("pgserver") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server and pgserver are needed")
        pytest.skip("redis-server or pgserver is not installed")
    told: list[tuple[int, int]] = []
    found = measure(lambda done, of: told.append((done, of)), entries=120)
    assert list(found) == ["memory", "sqlite", "redis", "postgres"]
    assert told[-1] == (480, 480)
    for name, row in found.items():
        figures = {"write_us", "hit_us", "hit_again_us", "miss_us", "rebuild_per_s"}
        assert figures < set(row)
        assert all(row[figure] > 0 for figure in figures)
        assert ("heard_ms" in row) == (name != "memory")
        assert row["bytes_per_entry"] > 768, "a vector alone has as many"
        assert row["entries_per_gb"] == pytest.approx(1e9 / row["bytes_per_entry"])


def test_a_store_that_holds_entries_is_not_filled(tmp_path: object) -> None:
    """Nobody's cache is emptied by a measurement."""
    from likewise.bench.stores import emptied  # noqa: PLC0415 - one of two tests
    from likewise.entry import Entry  # noqa: PLC0415

    url = f"sqlite:///{tmp_path}/a.db"
    with open_store(url) as store:
        store.put(Entry("a", b"s", "code", "q", "a", 1.0, None))
    with pytest.raises(ConfigError, match="holds entries"), emptied(url):
        pass
    with open_store(url) as store:
        assert store.count() == 1
