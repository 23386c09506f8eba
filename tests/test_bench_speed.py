"""The measurements of lookups and misses: small, and without limits of time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from likewise.bench import lookups, misses, speed, throughput
from likewise.bench.prompts import Embedded, Prompt
from likewise.demo.prompts import load_prompts
from likewise.embed.minilm import MiniLM


def quiet(_done: int, _of: int) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def grown() -> dict[str, dict[str, float]]:
    """A scope at two sizes, the second searched through a graph."""
    return lookups.grow(quiet, sizes=(1_000, 13_000))


def test_a_growing_scope_is_looked_up(grown: dict[str, dict[str, float]]) -> None:
    """The nearest entry is found, and every figure is there."""
    assert set(grown) == {"1000", "13000"}
    assert grown["1000"]["recall_at_1"] >= 0.98, "but for ties in half precision"
    assert grown["13000"]["recall_at_1"] > 0.95
    for row in grown.values():
        assert min(row["lookup_us"], row["hit_us"], row["miss_us"], row["scan_us"]) > 0


def test_the_memory_of_scopes_is_compared() -> None:
    """Many small ones beside one with as many entries, each in a process of its own."""
    found = lookups.scopes(many=300, each=10)
    assert set(found) == {"many_bytes", "one_bytes"}
    assert min(found.values()) > 0


def test_stores_are_counted() -> None:
    """So many a second."""
    assert lookups.inserts(quiet, count=50) > 0


def test_the_gate_spares_and_is_charged_for_what_it_loses() -> None:
    """On our own prompts it spares much and loses little; the counts are those of two runs."""
    prompts = [Prompt(p.category, p.text, p.key) for p in load_prompts()]
    embedder = Embedded(MiniLM(), [p.text for p in prompts], quiet)
    found = misses.gate(prompts, embedder, quiet, rows=len(prompts))
    assert 0.2 < found["transformer_skipped"] <= 1.0
    assert found["recall_lost"] == pytest.approx(
        (found["right"] - found["right_gated"]) / found["right"]
    )
    assert found["recall_lost"] <= 0.015
    assert found["right"] > 50


def test_misses_are_timed_with_the_gate_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both lengths, of our own texts or of prompts at hand, and most are not embedded."""
    monkeypatch.setattr(misses, "_MOST", 40)
    found = misses.cost(None, quiet)
    assert set(found) == {"15", "256"}
    for row in found.values():
        assert row["gated"] < row["ungated"]
        assert 0.5 < row["skipped"] <= 1.0
        assert row["misses"] > 5
    few = [Prompt("code", f"How do I undo commit number {n} of the branch?", "k") for n in range(9)]
    assert misses.cost(few, quiet) == {}, "too few of any length"


def test_long_questions_of_our_own_are_long() -> None:
    """And all are read whole."""
    model = MiniLM()
    texts = list(islice(misses._texts(None, model, *misses.LONG), 20))
    lengths = [len(model.tokens(text)) + 2 for text in texts]
    assert 200 < sum(lengths) / len(lengths) <= 256
    assert all(model.fits(text) for text in texts)


def test_everything_is_in_one_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, grown: dict[str, dict[str, float]]
) -> None:
    """The keys that were promised, and a page with a picture."""
    whole: dict[str, Any] = {
        "exact_hit": {"gateway_rps": 1.0, "floor_rps": 2.0, "p50_us": 1.0, "p99_us": 2.0},
        "semantic_hit_us": 1.0,
        "first_byte_added_ms": 1.0,
    }
    monkeypatch.setattr(throughput, "measure", lambda _progress: whole)
    monkeypatch.setattr(lookups, "grow", lambda _progress, sizes: grown if sizes else {})
    monkeypatch.setattr(lookups, "scopes", lambda: {"many_bytes": 1, "one_bytes": 1})
    monkeypatch.setattr(lookups, "inserts", lambda _progress: 1.0)
    monkeypatch.setattr(misses, "cost", lambda _prompts, _progress: {"15": {"gated": 1.0}})
    found = speed.measure(lambda _name: quiet, rows=10)
    assert set(found) >= {
        "exact_hit", "miss_us", "gate", "lookup_us", "scan_us", "recall_at_1", "scopes",
        "semantic_hit_us", "insert_per_s", "first_byte_added_ms",
    }  # fmt: skip
    assert set(found["lookup_us"]) == set(found["scan_us"]) == {"1000", "13000"}
    speed.write_report(found, tmp_path / "speed.html")
    page = (tmp_path / "speed.html").read_text("utf-8")
    assert "13,000" in page
    assert "plotly" in page.lower()
