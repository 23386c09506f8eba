from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from .support import Shell

POLICY = {
    "embedding": {"model": "hashing"},
    "prices": {"model": {"input": 1.0, "output": 4.0}},
    # With a key of our own a refusal concerns everybody, and counts as pressure.
    "upstream": {"api_key": "ours"},
    "load": {"max_in_flight": 1},
}
FEW = ("--requests", "300", "--trace", "poisson:3")


def policies(shell: Shell) -> tuple[str, ...]:
    """Write two policies and return the options that name them."""
    for name, threshold in (("strict", 0.99), ("loose", 0.7)):
        values = {**POLICY, "defaults": {"similarity_threshold": threshold, "guards": []}}
        values |= {"builtin_categories": False}
        (shell.folder / f"{name}.yaml").write_text(json.dumps(values))
    return ("--policy", "strict.yaml", "--policy", "loose.yaml")


def write_log(shell: Shell, count: int = 200, *, hashed: bool = False) -> None:
    """Write what a gateway would log of an idle model, 1 s to an answer's first token."""
    lines = []
    for n in range(count):
        asked = {"event": "request", "t": 100.0 + 3 * n, "id": f"r{n}", "category": "git"}
        asked |= {"question_hash": f"{n % 50:016x}", "model": "model", "decision": "miss"}
        if not hashed:
            asked["question"] = f"How do I undo commit {n % 50} of mine?"
        lines.append(asked)
        answer = {"event": "answer", "t": 102.0 + 3 * n, "id": f"r{n}", "status": 200}
        tokens = 10 + n % 7
        answer |= {"latency_s": 1.0 + 0.02 * tokens, "first_token_s": 1.0, "in_flight": 1}
        lines.append({**answer, "completion_tokens": tokens, "prompt_tokens": 9})
    data = "".join(json.dumps(line) + "\n" for line in lines)
    (shell.folder / "gateway.jsonl").write_text(data)


def test_generated_traffic_is_compared(shell: Shell) -> None:
    """Without data the demo's prompts are asked; equal seeds give equal figures."""
    arguments = ("replay", *policies(shell), *FEW, "--seeds", "2", "--lifetime", "prices=2m")
    found = shell.json(*arguments)
    assert [row["name"] for row in found["policies"]] == ["strict.yaml", "loose.yaml"]
    strict, loose = found["policies"]
    assert strict["requests"] == loose["requests"] == 300
    assert loose["hit_rate"] > strict["hit_rate"]
    assert len(strict["over_time"]) == 60
    less = found["seeds"]["differences"]["loose.yaml"]["traffic_reduction"]
    assert less["low"] < less["mean"] < less["high"]
    again = shell.json(*arguments)
    assert again["seeds"] == found["seeds"]


def test_a_log_is_replayed_with_the_model_fitted_to_it(shell: Shell) -> None:
    """What the log shows of the model is found again, and an option takes the place of it."""
    write_log(shell)
    found = shell.json("replay", "gateway.jsonl", *policies(shell))
    assert found["workload"]["requests"] == 200
    assert found["model"]["first_token_s"] == pytest.approx(1.0, rel=0.02)
    assert found["model"]["token_s"] == pytest.approx(0.02, rel=0.1)
    assert found["model"]["fit"]["lines"] == 200
    assert found["policies"][0]["upstream"] == 50
    slow = shell.json("replay", "gateway.jsonl", *policies(shell), "--token", "100ms")
    assert slow["model"]["token_s"] == 0.1


def test_a_log_of_hashes_says_so(shell: Shell) -> None:
    """Only equal questions are told, and the output says it."""
    write_log(shell, hashed=True)
    done = shell.run("replay", "gateway.jsonl", *policies(shell))
    assert done.returncode == 0
    assert "the log holds hashes" in done.stdout
    found = shell.json("replay", "gateway.jsonl", *policies(shell))
    assert found["workload"]["hashed"] == 50
    assert [row["semantic_hits"] for row in found["policies"]] == [0, 0]
    assert found["policies"][1]["exact_hits"] == 150


def test_a_table_for_people(shell: Shell) -> None:
    """A row for each figure, a column for each policy, and the difference in words."""
    done = shell.run("replay", *policies(shell), *FEW)
    assert done.returncode == 0
    assert re.search(r"strict\.yaml +loose\.yaml", done.stdout)
    assert re.search(r"hits per request +\d+\.\d% +\d+\.\d%", done.stdout)
    assert "fewer requests to the model than the first" in done.stdout


def test_the_report_is_one_page(shell: Shell) -> None:
    """It has the figures and the pictures, and loads nothing from elsewhere."""
    arguments = ("replay", *policies(shell), *FEW, "--capacity", "1", "--seeds", "2")
    assert shell.run(*arguments, "--report", "r.html").returncode == 0
    page = (shell.folder / "r.html").read_text("utf-8")
    for heading in ("What was served", "Requests to the model", "Latency", "Pressure"):
        assert f"<h2>{heading}</h2>" in page
    assert "loose.yaml</b> wants" in page
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=.http", page)


def trace(folder: Path, *lines: str) -> str:
    """Write a trace."""
    path = folder / "trace_x.jsonl.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path.name


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no policy is named"),
        (("--policy", "strict.yaml", "--policy", "strict.yaml"), "named twice"),
        (("--policy", "none.yaml"), "cannot read the config none.yaml"),
        (("gateway.jsonl", "--policy", "strict.yaml"), "gateway.jsonl holds no request"),
        (("none.jsonl", "--policy", "strict.yaml"), "cannot read none.jsonl"),
        (("gateway.jsonl", "--policy", "strict.yaml", "--seeds", "3"), "--seeds: a log"),
        (("gateway.jsonl", "--policy", "strict.yaml", "--data", "."), "not both"),
        (("--policy", "strict.yaml", "--data", "."), "holds no prompts_"),
        (("--policy", "strict.yaml", "--trace", "none.jsonl"), "cannot read none.jsonl"),
        (("--policy", "strict.yaml", "--trace", "trace_x.jsonl.gz"), "trace_x.jsonl.gz, line 2"),
        (("--policy", "strict.yaml", "--trace", "poisson:often"), "is not poisson:RATE"),
        (("--policy", "strict.yaml", "--zipf", "code"), "--zipf: 'code' is not CATEGORY=NUMBER"),
        (("--policy", "strict.yaml", "--mix", "2"), "--mix: '2' is not CATEGORY=NUMBER"),
        (("--policy", "strict.yaml", "--mix", "cooking=2"), "no prompts of category 'cooking'"),
        (("--policy", "strict.yaml", "--lifetime", "prices"), "is not CATEGORY=TIME"),
        (("--policy", "strict.yaml", "--compress", "0"), "--compress"),
        (("--policy", "strict.yaml", "--slo", "soon"), "--slo"),
        (("--policy", "strict.yaml", "--slowdown", "-1"), "slowdown is -1"),
        (("--policy", "strict.yaml", "--report", "no/r.html"), "--report: the folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    shell: Shell, arguments: tuple[str, ...], told: str
) -> None:
    """With the exit code of a wrong configuration, and without a traceback."""
    policies(shell)
    (shell.folder / "gateway.jsonl").write_text("")
    good = {"t_s": 0, "category_or_model": "x", "input_tokens": 1, "output_tokens": 1}
    trace(shell.folder, json.dumps(good), "{")
    done = shell.run("replay", *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_log_too_short_to_fit_names_the_options(shell: Shell) -> None:
    """With them it is replayed all the same."""
    write_log(shell, 5)
    done = shell.run("replay", "gateway.jsonl", *policies(shell))
    assert done.returncode == 3
    assert "give --capacity, --first-token and --token" in done.stderr
    law = ("--capacity", "2", "--first-token", "1s", "--token", "0")
    found = shell.json("replay", "gateway.jsonl", *policies(shell), *law)
    assert found["model"]["fit"] is None
    assert found["policies"][0]["requests"] == 5
