import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from likewise.bench import breakeven
from likewise.bench.decision import measure
from likewise.bench.prompts import (
    Embedded,
    Pair,
    Prompt,
    half_of,
    pairs_of_half,
    read_pairs,
    read_prompts,
)
from likewise.bench.quality import accepted, run
from likewise.config import parse
from likewise.errors import ConfigError
from likewise.testing import HashingEmbedder

QUIET = {"embedding": {"model": "hashing"}, "defaults": {"similarity_threshold": 0.7}}


def embedded(*texts: str) -> Embedded:
    """An embedder that knows some texts."""
    return Embedded(HashingEmbedder(), texts, lambda _done, _of: None)


def test_pairs_are_judged_alone() -> None:
    """A pair counts as taken for the same when the one question is answered for the other."""
    pairs = [
        Pair("git", "undo a commit", "undo a commit now", True),
        Pair("git", "undo a commit", "paint a wall", False),
        Pair("git", "undo 2 commits", "undo 3 commits", False),
    ]
    texts = [text for pair in pairs for text in (pair.a, pair.b)]
    found = accepted(parse(QUIET), pairs, embedded(*texts))
    expected = {"same": 1, "same_accepted": 1, "different": 2, "different_accepted": 0}
    assert found == {"git": expected}


def test_the_curve_counts_up_to_the_end() -> None:
    """Twenty points, the last of which is the total; predictions only where a verifier judged."""
    prompts = [Prompt("git", f"undo commit {n} please", str(n)) for n in range(40)]
    outcome = run("x", parse(QUIET), prompts, embedded(*(p.text for p in prompts))).to_dict()
    assert len(outcome["curve"]) == 20
    assert outcome["curve"][-1] == (40, outcome["right"], outcome["wrong"])
    assert outcome["predicted_wrong_per_hit"] is None


def test_what_a_decision_costs_is_measured_step_by_step() -> None:
    """Every step takes some time, and a verifier of full size is in it."""
    found = measure(lambda _done, _of: None)
    assert found["trees"] == 200
    assert all(found[f"{step}_us"] > 0 for step in ("read", "judge", "decide", "whole"))


def test_halves_share_no_answer() -> None:
    """Each prompt is in one half, and a pair with a text of the other half is left out."""
    prompts = [Prompt("git", f"undo {n}", str(n // 2)) for n in range(40)]
    halves = [half_of(prompts, half) for half in (0, 1)]
    assert sorted(p.text for half in halves for p in half) == sorted(p.text for p in prompts)
    assert not {p.answer_key for p in halves[0]} & {p.answer_key for p in halves[1]}
    assert half_of(prompts, None) == prompts
    mixed = Pair("git", halves[0][0].text, halves[1][0].text, False)
    free = Pair("git", halves[0][0].text, "something else", False)
    assert pairs_of_half([mixed, free], prompts, 0) == [free]
    assert pairs_of_half([mixed, free], prompts, None) == [mixed, free]


def test_files_without_pairs_are_no_error(tmp_path: Path) -> None:
    """Pairs are optional, prompts are not."""
    assert read_pairs(tmp_path) == []
    with pytest.raises(ConfigError, match="holds no prompts_"):
        read_prompts(tmp_path)


def test_break_even_is_measured_on_both_sides() -> None:
    """The same questions miss and hit in both; the way to the far one costs its delay twice."""
    if find_spec("pgserver") is None or find_spec("psycopg") is None:
        assert not os.environ.get("CI"), "CI has a PostgreSQL with pgvector: likewise[bench]"
        pytest.skip("likewise[bench] is not installed")
    found = breakeven.measure(
        HashingEmbedder(), progress=lambda _done, _of: None, entries=200, delay_s=0.02, rounds=1
    )
    assert set(found) == {"remote", "remote_local", "likewise"}
    far, near, ours = (found[name] for name in ("remote", "remote_local", "likewise"))
    assert far["lookup_ms"] - near["lookup_ms"] > 30.0
    assert (far["hits"], far["misses"]) == (near["hits"], near["misses"])
    assert far["hits"] > 50
    assert far["misses"] > 50
    assert far["break_even"] == pytest.approx(far["lookup_ms"] / (500.0 - far["hit_ms"]), rel=1e-9)
    assert ours["hits"] > 50
    assert ours["break_even"] < far["break_even"]
