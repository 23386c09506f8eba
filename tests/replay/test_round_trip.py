"""What the gateway writes is what the replay reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import urllib3

from likewise.aio import AsyncCache
from likewise.config import parse
from likewise.gateway.app import create_app
from likewise.mock_llm import MockSettings
from likewise.mock_llm import create_app as create_model
from likewise.replay.log import read_log, workload_of
from likewise.testing import running


@pytest.mark.parametrize("texts", ["keep", "hash"])
def test_the_log_of_a_gateway_is_a_workload(tmp_path: Path, texts: str) -> None:
    """Requests, their tokens and how their calls went, with or without the texts."""
    asked = ["undo a commit", "paint a wall", "undo a commit"]
    path = tmp_path / "gateway.jsonl"
    with running(create_model(MockSettings(latency_s=0.0))) as model:
        config = parse(
            {
                "embedding": {"model": "hashing"},
                "store": "memory://",
                "upstream": {"base_url": model},
                "gateway": {"log": str(path), "log_texts": texts},
            }
        )
        cache = AsyncCache.open(config)
        with running(create_app(config, cache)) as url:
            for text in asked:
                body = {"model": "stand-in-1", "messages": [{"role": "user", "content": text}]}
                headers = {"x-mock-tokens": "33", "x-likewise-category": "code"}
                post = f"{url}/v1/chat/completions"
                assert urllib3.request("POST", post, json=body, headers=headers).status == 200
    found = read_log(path)
    workload = workload_of(found)
    assert len(workload) == 3
    assert {request.category for request in workload} == {"code"}
    assert workload.hashed == (0 if texts == "keep" else 2)
    if texts == "keep":
        assert [request.text for request in workload] == asked
    texts_seen = [request.text for request in workload]
    assert texts_seen[0] == texts_seen[2] != texts_seen[1]
    assert workload.model == "stand-in-1"
    assert workload.output_tokens.tolist() == [33, 33, 33]
    assert all((answer.latency_s or 0) > 0 for answer in found.answers)
    assert all((answer.in_flight or 0) > 0 for answer in found.answers)
