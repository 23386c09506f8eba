from __future__ import annotations

import json
import random
import re

import pytest

from likewise.config import load

from .support import Shell

VERBS = ("undo", "rename", "delete", "squash", "amend", "revert", "merge", "tag")
FORMS = ("How do I {} a commit in repo {}?", "how can I {} the commit in repo {}")


def write_log(shell: Shell, count: int) -> None:
    """Write a log of answered questions in two wordings, with look-alikes of other numbers."""
    rng = random.Random(1)  # noqa: S311 - a sample, not a secret
    with (shell.folder / "log.jsonl").open("w") as file:
        for _ in range(count):
            verb, number = rng.choice(VERBS), rng.randint(1, 40)
            line = {
                "question": rng.choice(FORMS).format(verb, number),
                "answer": {"do": verb, "in": number},
                "category": "git",
            }
            file.write(json.dumps(line) + "\n")


def test_a_log_becomes_a_policy(shell: Shell) -> None:
    """Tuning on a log writes a policy that loads and a report, and says what it certified."""
    shell.configure()
    write_log(shell, 900)
    arguments = ("tune", "--log", "log.jsonl", "--out", "policy.yaml", "--base", "likewise.yaml")
    found = shell.json(*arguments, "--error-budget", "0.1", "--report", "report.html")
    row = found["categories"]["git"]
    assert row["requests"] == 900
    assert row["bound"] <= 0.1
    policy = load(shell.folder / "policy.yaml").policies.of("git")
    assert policy.probability_threshold == row["threshold"]
    assert (shell.folder / "policy.verifier").is_file()
    shown = shell.run("check", "anything", "--config", "policy.yaml", "--category", "git")
    assert shown.returncode == 0
    # The report is one page: a table, a picture by category, and nothing loaded from elsewhere.
    page = (shell.folder / "report.html").read_text("utf-8")
    assert "<h2>git</h2>" in page
    assert "error against reuse" in page
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=.http", page)


def prompt(text: str, key: str, category: str = "git") -> str:
    """A line of a prompts file."""
    return json.dumps({"category": category, "text": text, "answer_key": key}) + "\n"


@pytest.mark.parametrize(
    ("prompts", "pairs", "message"),
    [
        (prompt("a", "1") + prompt("a", "2"), "", "answer keys '1' and '2'"),
        (prompt("a", "1") * 2, "", "1 near pairs that share an answer"),
        (prompt("a", "1", "no!"), "", "line 1: category name"),
        (
            prompt("a", "1"),
            '{"category": "git", "a": "x", "b": "y", "same": true}\n'
            '{"category": "git", "a": "y", "b": "x", "same": false}\n',
            "marked the same and different",
        ),
        (prompt("a", "1"), '{"category": "git", "a": "x", "b": "y"}\n', "`same`"),
    ],
)
def test_bad_data_is_one_clear_line(shell: Shell, prompts: str, pairs: str, message: str) -> None:
    """Labels that contradict one another, or lack a field, are named."""
    shell.configure()
    (shell.folder / "prompts_a.jsonl").write_text(prompts)
    (shell.folder / "pairs_a.jsonl").write_text(pairs)
    done = shell.run("tune", "--data", ".", "--out", "p.yaml", "--base", "likewise.yaml")
    assert done.returncode == 3
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_table_says_what_is_missing(shell: Shell) -> None:
    """A category without evidence is exact only, and the number of missing labels is named."""
    shell.configure()
    write_log(shell, 500)
    arguments = ("tune", "--log", "log.jsonl", "--out", "policy.yaml", "--base", "likewise.yaml")
    done = shell.run(*arguments, "--error-budget", "0.0005")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "exact only" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80


LINES = '{"question": "a", "answer": "b"}\n' * 3


@pytest.mark.parametrize(
    ("arguments", "log", "message"),
    [
        (("--out", "p.yaml"), "", "one of --data DIR, --log FILE"),
        (("--out", "nowhere/p.yaml", "--log", "log.jsonl"), "", "does not exist"),
        (("--out", "p.yaml", "--log", "gone.jsonl"), "", "cannot read gone.jsonl"),
        (("--out", "p.yaml", "--data", "."), "", "holds no prompts_"),
        (("--out", "p.yaml", "--log", "log.jsonl"), "", "not one labelled question"),
        (("--out", "p.yaml", "--log", "log.jsonl"), "nonsense\n", "log.jsonl, line 1"),
        (("--out", "p.yaml", "--log", "log.jsonl"), '{"question": 1}\n', "line 1"),
        (
            ("--out", "p.yaml", "--log", "log.jsonl"),
            '{"question": "a", "answer": "b"}\n' * 300,
            "0 near pairs that do not",
        ),
        (
            ("--out", "p.yaml", "--log", "log.jsonl"),
            '{"question": "a", "answer": "b", "score": 1}\n',
            "unknown field `score`",
        ),
        (
            ("--out", "p.yaml", "--log", "log.jsonl"),
            '{"question": "a", "answer": "b", "category": ""}\n',
            "line 1: category name",
        ),
        (("--out", "p.yaml", "--log", "log.jsonl", "--without", "all"), LINES, "--without"),
        (("--out", "p.yaml", "--log", "log.jsonl", "--report", "no/r.html"), "", "--report"),
        (("--out", "p.yaml", "--log", "log.jsonl", "--risk", "0.9"), "", "--risk"),
        (("--out", "p.yaml", "--log", "log.jsonl", "--error-budget", "2"), "", "--error-budget"),
    ],
)
def test_bad_labels_are_one_clear_line(
    shell: Shell, arguments: tuple[str, ...], log: str, message: str
) -> None:
    """Labels that cannot be used end in one line that says why, and write nothing."""
    shell.configure()
    (shell.folder / "log.jsonl").write_text(log)
    done = shell.run("tune", *arguments, "--base", "likewise.yaml")
    assert done.returncode == 3
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (shell.folder / "p.yaml").exists()
