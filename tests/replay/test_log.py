from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from likewise.errors import ConfigError
from likewise.replay.log import read_log, workload_of


def request(t: float, number: int, text: str | None, **fields: Any) -> dict[str, Any]:
    """A request's line; its hash is made of the text."""
    line = {"event": "request", "t": t, "id": f"req-{number}", "category": "git", "tenant": "t"}
    if text is not None:
        line |= {"question": text, "question_hash": f"{hash_of(text):016x}"}
    return {**line, "model": "big", "scope": "5c0e", "decision": "miss", "new_field": 1, **fields}


def hash_of(text: str) -> int:
    """A hash for tests."""
    return int.from_bytes(text.encode()[:7])


def answer(t: float, number: int, **fields: Any) -> dict[str, Any]:
    """The line of a model's answer."""
    line = {"event": "answer", "t": t, "id": f"req-{number}", "status": 200, "latency_s": 1.0}
    tokens = {"prompt_tokens": 10 * number, "completion_tokens": number, "in_flight": 1}
    return {**line, **tokens, "entry_id": f"lw-{number}", **fields}


def label(number: int, entry: int, right: bool, t: float = 9.0) -> dict[str, Any]:
    """A label that names request and entry."""
    return {"event": "label", "t": t, "id": f"req-{number}", "entry_id": f"lw-{entry}",
            "category": "git", "right": right, "audited": False}  # fmt: skip


def write(tmp_path: Path, *lines: object, end: str = "\n") -> Path:
    """Write a log."""
    path = tmp_path / "gateway.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + end)
    return path


def test_a_log_is_a_workload_in_order_of_time(tmp_path: Path) -> None:
    """Requests with their times, categories and tenants; what is unknown is passed over."""
    path = write(
        tmp_path,
        request(103.0, 2, "b", tenant="u"),
        {"event": "reload", "t": 1.0},
        request(100.0, 1, "a"),
        request(104.0, 3, "a", category=None),
    )
    workload = workload_of(read_log(path))
    assert [(r.t_s, r.text, r.tenant) for r in workload] == [
        (0.0, "a", "t"),
        (3.0, "b", "u"),
        (4.0, "a", "t"),
    ]
    assert [r.category for r in workload] == ["git", "git", "default"]
    assert (workload.model, workload.begins_at, workload.hashed) == ("big", 100.0, 0)
    assert {q.scope for q in workload.questions} == {"5c0e"}
    assert not workload.labelled
    fast = workload_of(read_log(path), compress=2.0, count=2)
    assert fast.times_s.tolist() == [0.0, 1.5]


def test_tokens_come_from_the_answer_that_was_served(tmp_path: Path) -> None:
    """The request's own, its entry's, its question's, and else the log's median."""
    path = write(
        tmp_path,
        request(1.0, 4, "a"),
        answer(2.0, 4),
        request(3.0, 5, "b", decision="hit", entry_id="lw-4"),
        request(4.0, 6, "a", decision="hit"),
        request(5.0, 7, "c", decision="hit"),
        request(6.0, 8, "d"),
        answer(7.0, 8),
        request(8.0, 9, "e"),
        answer(9.0, 9, status=429, prompt_tokens=None, completion_tokens=None),
    )
    workload = workload_of(read_log(path))
    assert workload.output_tokens.tolist() == [4, 4, 4, 6, 8, 6]
    assert workload.input_tokens.tolist() == [40, 40, 40, 60, 80, 60]


def test_labels_join_questions_and_part_them(tmp_path: Path) -> None:
    """Joined ones share an answer key, also over a third; parted ones are known to differ."""
    path = write(
        tmp_path,
        *(request(float(n), n, text) for n, text in enumerate("abcdx")),
        *(answer(float(n), n) for n in range(5)),
        label(1, 0, True),
        label(2, 1, True),
        label(3, 0, False),
        label(4, 99, True),
        {**label(4, 0, True), "right": None},
    )
    workload = workload_of(read_log(path))
    keys = {r.text: r.answer_key for r in workload}
    assert keys["a"] == keys["b"] == keys["c"]
    assert len(set(keys.values())) == 3
    assert workload.unlike == {tuple(sorted((keys["a"], keys["d"])))}


def test_a_label_is_of_the_entry_that_its_question_met_last(tmp_path: Path) -> None:
    """The gateway's labels name a question; the requests before it say which entry was near."""
    path = write(
        tmp_path,
        request(0.0, 0, "a"),
        answer(1.0, 0),
        request(2.0, 1, "b", entry_id="lw-0"),
        answer(3.0, 1),
        said(3.0, "b", True),
        request(4.0, 2, "c", entry_id="lw-1"),
        said(5.0, "c", False),
        said(5.0, "never asked", True),
        request(6.0, 3, "c", entry_id="lw-0"),
    )
    workload = workload_of(read_log(path))
    keys = {r.text: r.answer_key for r in workload}
    assert keys["a"] == keys["b"] != keys["c"]
    assert workload.unlike == {tuple(sorted((keys["a"], keys["c"])))}


def said(t: float, text: str, right: bool) -> dict[str, Any]:
    """A label as the gateway writes it."""
    line = {"event": "label", "t": t, "category": "git", "question_hash": f"{hash_of(text):016x}"}
    return {**line, "kind": "score", "score": 0.9, "right": right, "audited": False}


def test_a_miss_has_not_the_tokens_of_the_entry_it_was_near(tmp_path: Path) -> None:
    """It was not served; what is usual is the better guess."""
    lines = [line for n in (1, 2, 3) for line in (request(n, n, f"q{n}"), answer(n, n))]
    near = request(9.0, 9, "new", entry_id="lw-1", decision="miss")
    served = request(9.5, 10, "new too", entry_id="lw-1", decision="hit")
    workload = workload_of(read_log(write(tmp_path, *lines, near, served)))
    assert workload.output_tokens.tolist() == [1, 2, 3, 2, 1]


def test_hashes_stand_for_texts_that_are_not_there(tmp_path: Path) -> None:
    """Equal hashes are one question, and none of them is to be embedded."""
    lines = [
        {**request(float(n), n, None), "question_hash": value} for n, value in enumerate("xyx")
    ]
    workload = workload_of(read_log(write(tmp_path, *lines)))
    assert [r.text for r in workload] == ["x", "y", "x"]
    assert workload.hashed == 2
    assert workload.texts == []


def test_a_last_line_that_is_being_written_is_passed_over(tmp_path: Path) -> None:
    """One in the middle is not."""
    path = write(tmp_path, request(1.0, 1, "a"))
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    assert len(read_log(path).requests) == 1
    path.write_text(whole + whole[:40] + "\n" + whole)
    with pytest.raises(ConfigError, match=r"gateway\.jsonl, line 2: not a JSON object with event"):
        read_log(path)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "holds no request"),
        ([{"event": "answer", "t": 1.0}], "holds no request"),
        ([{"event": "request", "t": 1.0}], "line 1: a request without question"),
        ([{"event": "request", "t": "now"}], "line 1"),
        ([["request"]], "line 1"),
    ],
)
def test_a_wrong_log_is_refused(tmp_path: Path, lines: list[object], told: str) -> None:
    """The message says what is missing, and where."""
    with pytest.raises(ConfigError, match=told):
        read_log(write(tmp_path, *lines))
    with pytest.raises(ConfigError, match="cannot read"):
        read_log(tmp_path / "not-there.jsonl")


def test_the_factor_must_be_possible(tmp_path: Path) -> None:
    """Time cannot stand still."""
    log = read_log(write(tmp_path, request(1.0, 1, "a")))
    with pytest.raises(ConfigError, match="--compress"):
        workload_of(log, compress=0.0)
