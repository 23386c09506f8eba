"""``likewise classify``, ``likewise categories`` and what ``stats`` tells of freshness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from likewise import Cache, Category
from likewise.config import parse
from likewise.testing import FakeClock, HashingEmbedder

from .support import Shell

FRUIT = [f"{word} {fruit}" for fruit in ("apple", "pear", "plum") for word in "abcdefgh"]
TOOLS = [f"{word} {tool}" for tool in ("hammer", "wrench", "pliers") for word in "abcdefgh"]


@pytest.fixture
def fruits(shell: Shell) -> Shell:
    """A configuration with two categories that examples tell apart."""
    (shell.folder / "tools.txt").write_text("\n".join(TOOLS), "utf-8")
    shell.configure(
        classification={"builtin_examples": False},
        categories={
            "fruit": {"examples": FRUIT, "similarity_threshold": 0.8},
            "tools": {"examples": "tools.txt", "ttl": "10m"},
        },
    )
    return shell


def test_classify_says_what_names_a_question(fruits: Shell) -> None:
    """By examples with probabilities, by a rule, or the default; for people and programs."""
    found = json.loads(fruits.run("classify", "ripe plum", "--json").stdout)
    assert (found["category"], found["by"]) == ("fruit", "examples")
    assert found["confidence"] == found["likely"]["fruit"] > 0.6
    assert found["strictest_of"] == ["fruit"]
    ruled = json.loads(fruits.run("classify", "my password", "--json").stdout)
    assert (ruled["category"], ruled["by"], ruled["confidence"]) == ("personal", "rule", None)
    assert "fruit (named by examples" in fruits.run("classify", "ripe plum").stdout


def test_lint_ends_with_a_code_when_something_is_to_be_mended(fruits: Shell) -> None:
    """Clean examples are 0, a contradiction is 8 and is shown with both texts."""
    clean = fruits.run("categories", "lint")
    assert clean.returncode == 0, clean.stderr
    tools = fruits.folder / "tools.txt"
    tools.write_text("\n".join([*TOOLS, "a apple"]), "utf-8")
    found = fruits.run("categories", "lint")
    assert found.returncode == 8
    assert "contradiction" in found.stdout
    as_json = json.loads(fruits.run("categories", "lint", "--json").stdout)
    assert as_json["contradictions"][0]["categories"] == ["fruit", "tools"]


def log_of(path: Path) -> None:
    """A log in which two kinds of question repeat, one of them with changing answers."""
    lines: list[dict[str, Any]] = []
    for turn in range(60):
        lines.append({"question": FRUIT[turn % 24], "answer": turn % 24, "t": 100.0 * turn})
        lines.append({"question": TOOLS[turn % 24], "answer": turn, "t": 100.0 * turn, "x": 1})
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")


def test_suggest_proposes_categories(fruits: Shell) -> None:
    """What is proposed can be used as it is, and the page loads nothing."""
    log, out, page = (fruits.folder / name for name in ("log.jsonl", "proposed.yaml", "page.html"))
    log_of(log)
    paths = ["--log", str(log), "--out", str(out), "--report", str(page)]
    done = fruits.run("categories", "suggest", *paths, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["categories"]
    assert found
    assert sum(row["size"] for row in found) <= 120
    assert all(0 <= row["hit_rate"] <= 1 for row in found)
    assert any(row["answers_changed"] for row in found)
    html = page.read_text("utf-8")
    assert "<h1>Categories found</h1>" in html
    assert 'src="http' not in html
    proposed = parse(yaml.safe_load(out.read_text("utf-8")))
    assert {row["name"] for row in found} <= set(proposed.examples) & set(
        proposed.policies.categories
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        ("", "holds no question"),
        ('{"question": 3}', "log.jsonl, line 1"),
        ('{"question": "only one"}', "clusters need at least"),
    ],
)
def test_suggest_names_what_is_wrong_with_a_log(
    fruits: Shell, content: str | None, said: str
) -> None:
    """A missing, empty, damaged and too short log: one line each."""
    log = fruits.folder / "log.jsonl"
    if content is not None:
        log.write_text(content, "utf-8")
    done = fruits.run("categories", "suggest", "--log", str(log))
    assert done.returncode == 3
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_stats_tell_of_freshness(fruits: Shell, clock: FakeClock) -> None:
    """How many answers had changed when asked again, and which ttl that suggests."""
    with Cache(
        store=fruits.store,
        embedder=HashingEmbedder(),
        clock=clock,
        categories=[Category("tools")],
    ) as cache:
        for number in range(40):
            cache.store("which hammer", number // 2, category="tools")
            clock.advance(60)
    done = fruits.run("stats")
    assert "tools: 19 of 39 answers had changed when asked again" in done.stdout
    row = json.loads(fruits.run("stats", "--json").stdout)["categories"]["tools"]
    assert row["freshness"]["reasked"] == 39
    assert row["eviction"] == "s3-gdsf"


def test_examples_with_markup_and_a_missing_folder(fruits: Shell) -> None:
    """Neither is a traceback."""
    tools = fruits.folder / "tools.txt"
    tools.write_text("\n".join([*TOOLS, "a apple [/b]"]), "utf-8")
    done = fruits.run("categories", "lint")
    assert done.returncode == 0, done.stderr
    assert "'a apple [/b]' looks like fruit" in done.stdout
    log = fruits.folder / "log.jsonl"
    log_of(log)
    done = fruits.run("categories", "suggest", "--log", str(log), "--out", "none/x.yaml")
    assert done.returncode == 3
    assert "does not exist" in done.stderr
