from __future__ import annotations

import json

from .support import Shell


def test_a_plan_needs_no_log(shell: Shell) -> None:
    """Every input is printed with where it comes from, and the formulas."""
    done = shell.run("advise", "--requests-per-day", "1e9", "--hit-rate", "0.4")
    assert done.returncode == 0, done.stderr
    assert "hit_rate = 0.4 (option)" in done.stdout
    assert "replicas = max(2" in done.stdout
    found = json.loads(shell.run("advise", "--requests-per-day", "1e9", "--json").stdout)[
        "capacity"
    ]
    assert found["replicas"] > 2
    assert found["source"]["requests_per_day"] == "option"


def test_a_log_is_advised_on(shell: Shell) -> None:
    """Labels near the threshold loosen it."""
    lines = []
    for number in range(600):
        score = 0.5 + 0.5 * (number / 600)
        request = {
            "event": "request", "t": number, "id": f"r{number}", "category": "faq",
            "question_hash": f"{number % 200}", "scope": "s", "decision": "miss",
            "similarity": score, "similarity_threshold": 0.99, "ttl_s": 60.0, "lookup_s": 0.002,
        }  # fmt: skip
        label = {
            "event": "label", "t": number, "category": "faq", "kind": "similarity", "score": score,
            "right": score > 0.8, "propensity": 1.0, "audited": False,
        }  # fmt: skip
        answer = {
            "event": "answer",
            "t": number,
            "id": f"r{number}",
            "status": 200,
            "latency_s": 2.0,
        }
        lines += [request, label, answer]
    (shell.folder / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    done = shell.run("advise", "--log", "log.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    advice = json.loads(done.stdout)["categories"]["faq"]
    assert 0.78 < advice["proposed"]["similarity_threshold"] < 0.85
    assert advice["gain_per_day"]["seconds"] > 0.0
    table = shell.run("advise", "--log", "log.jsonl")
    assert "similarity_threshold" in table.stdout


def test_nothing_to_go_by_is_refused(shell: Shell) -> None:
    """With what to give."""
    done = shell.run("advise")
    assert done.returncode == 3
    assert "--log FILE" in done.stderr
    done = shell.run("advise", "--log", "nowhere.jsonl")
    assert done.returncode == 3
    assert "nowhere.jsonl" in done.stderr
