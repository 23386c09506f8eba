"""The measurement of very many entries: with few, and without limits of time."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from likewise.bench import scale
from likewise.cli import app


def test_both_ways_to_start_are_measured() -> None:
    """Every entry comes back both ways, and what is asked for is found."""
    done = CliRunner().invoke(app, ["bench", "scale", "--entries", "1500", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {"bytes_per_entry", "warm_start_s", "cold_start_s", "lookup_ms"} <= set(found)
    assert found["entries"] == 1_500
    assert found["recall_at_1"] >= 0.98, "but for ties in half precision"
    assert 0.3 <= found["hit_rate"] <= 1.0
    assert min(value for name, value in found.items() if "bytes_per" not in name) > 0


def test_questions_are_invented_and_differ() -> None:
    """Of a usual length, the same each time."""
    asked = scale.questions(500, first=0)
    assert asked == scale.questions(500, first=0)
    assert len({*asked, *scale.questions(500, first=500)}) == 1_000
    assert 40 < sum(map(len, asked)) / len(asked) < 90
