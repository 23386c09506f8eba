from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from likewise.aio import AsyncCache
from likewise.config import parse
from likewise.errors import ConfigError
from likewise.gateway.app import create_app
from likewise.testing import HashingEmbedder

from .support import chat, gateway_over


def logged(path: Path, stand_in: str, texts: str, **settings: Any) -> list[dict[str, Any]]:
    """Ask a few things through a gateway that keeps a log; return what it wrote."""
    config = parse(
        {"gateway": {"log": str(path), "log_texts": texts}, "prices": {"stand-in-1": PRICE}}
        | settings
    )
    cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
    with gateway_over(config, cache, stand_in) as gateway:
        for text in ("How do I undo a commit?", "How do I undo a commit?", "How do I undo it all?"):
            gateway.post(chat(text), {"x-likewise-category": "code"})
        gateway.post(chat("How do I undo a commit?"), {"cache-control": "no-cache"})
    return [json.loads(line) for line in path.read_text().splitlines()]


PRICE = {"input": 1_000_000.0, "output": 0.0}


def test_decisions_answers_and_labels_are_logged(tmp_path: Path, stand_in: str) -> None:
    """In order, each with what an estimate needs."""
    events = logged(tmp_path / "log.jsonl", stand_in, "keep")
    requests = [event for event in events if event["event"] == "request"]
    assert [event["decision"] for event in requests] == ["miss", "hit", "miss", "bypass"]
    assert [event["question"] for event in requests][:1] == ["How do I undo a commit?"]
    assert requests[1]["tier"] == "exact"
    assert requests[1]["entry_id"]
    assert requests[0]["category_by"] == "caller"
    assert requests[0]["similarity_threshold"] == 0.95
    answers = [event for event in events if event["event"] == "answer"]
    assert [event["status"] for event in answers] == [200, 200, 200]
    assert {event["id"] for event in answers} == {requests[place]["id"] for place in (0, 2, 3)}
    assert all(event["usd"] >= 1.0 and event["in_flight"] == 1 for event in answers)
    (label,) = [event for event in events if event["event"] == "label"]
    assert (label["kind"], label["right"], label["propensity"]) == ("similarity", False, 1.0)
    assert 0.0 < label["score"] < 0.95


def test_hashed_texts_cannot_be_read_but_repeats_are_seen(tmp_path: Path, stand_in: str) -> None:
    """Also across two runs over one file; the key is its owner's only."""
    path = tmp_path / "log.jsonl"
    logged(path, stand_in, "hash")
    events = logged(path, stand_in, "hash")
    text = path.read_text()
    assert "undo" not in text
    assert "question_hash" in text
    requests = [event for event in events if event["event"] == "request"]
    assert len({event["question_hash"] for event in requests}) == 2
    key = tmp_path / "log.jsonl.key"
    assert key.stat().st_mode & 0o077 == 0
    assert len(key.read_bytes()) == 32


def test_an_answer_asked_for_again_says_whether_it_changed(tmp_path: Path, stand_in: str) -> None:
    """For advice on times to live."""
    path = tmp_path / "log.jsonl"
    config = parse({"gateway": {"log": str(path)}})
    cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
    with gateway_over(config, cache, stand_in) as gateway:
        for headers in ({}, {"cache-control": "no-cache"}):
            named = {"x-likewise-category": "code", **headers}
            gateway.post(chat("How do I undo a commit?"), named)
    (renewed,) = [
        event for line in path.read_text().splitlines()
        if (event := json.loads(line))["event"] == "renewed"
    ]  # fmt: skip
    assert renewed["category"] == "code"
    assert renewed["changed"] is False
    assert renewed["age_s"] >= 0.0


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """At start, by name."""
    config = parse(
        {
            "upstream": {"base_url": "http://127.0.0.1:1"},
            "gateway": {"log": str(tmp_path / "no" / "such" / "folder.jsonl")},
        }
    )
    cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
    with pytest.raises(ConfigError, match="--log"):
        create_app(config, cache)
