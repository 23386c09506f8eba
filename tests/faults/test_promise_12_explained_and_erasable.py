"""Promise 12: every hit is explained, replayable and erasable.

Mutations tried: SQLite without ``secure_delete``, and without the checkpoint of ``scrub`` (a purge
leaves texts in the file, or in its log); ``Filling.purged`` that does nothing (a snapshot has it);
``Receipt.to_dict`` that shows another entry than was served. ``tests/test_receipts.py`` and
``tests/test_snapshots.py`` have the cases one by one.
"""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import pytest

from ..gateway.support import Gateway
from .conftest import Report
from .history import Asker, Operation
from .model import Model
from .support import Client, gateway, run, scaled

KEY = "the-admin-key"
ASKER = Asker("Bearer one")


def canaries(count: int) -> list[str]:
    """Words that are found nowhere by chance."""
    dice = random.Random(12)  # noqa: S311 - a workload
    return ["".join(dice.choices(string.ascii_lowercase, k=16)) for _ in range(count)]


def question(canary: str) -> str:
    """A question that only shares a few words with others."""
    return f"What is {canary[:8]} {canary}, and who was {canary[8:]} {canary[::-1]} after all?"


def admin(served: Gateway, method: str, path: str, body: Any = None) -> Any:
    """Ask the admin API."""
    headers = {"authorization": f"Bearer {KEY}"}
    response = served.http.request(method, f"{served.url}/admin{path}", json=body, headers=headers)
    return response.json() if response.status == 200 else response.status


async def ask(served: Gateway, texts: list[str]) -> list[tuple[Operation, dict[str, str]]]:
    """Ask some questions one after the other; return what came, with all headers."""
    found = []
    async with Client(served.url) as client:
        for text in texts:
            operation = await client.ask(ASKER, text)
            found.append((operation, client.told))
    return found


def left_of(folder: Path, words: list[str]) -> list[str]:
    """The words that are found in any file below a folder."""
    data = b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())
    return [word for word in words if word.encode() in data]


def test_every_decision_is_shown_and_made_again(
    tmp_path: Path, upstream: tuple[Model, str], report: Report
) -> None:
    """The receipt of each response names what its headers name, and replays to the same."""
    dice = random.Random(1)  # noqa: S311 - a workload
    words = canaries(scaled(40, 400))
    texts = [question(dice.choice(words)) for _ in range(scaled(160, 1_900))]
    texts = [
        text.replace("after all", "in the end") if dice.random() < 0.3 else text for text in texts
    ]
    hits = 0
    settings = {"gateway": {"admin_key": KEY}}
    with gateway(upstream[1], store=f"sqlite:///{tmp_path / 'a.db'}", settings=settings) as served:
        for text in texts:
            [(operation, told)] = run(ask(served, [text]))
            served.settle()
            receipt = admin(served, "GET", f"/decisions/{told['x-likewise-request-id']}")
            assert receipt["replays"] is True
            assert receipt["decision"] == operation.cache.lower()
            assert receipt["reason"] == operation.reason
            assert receipt["candidates"] or operation.reason in ("no-candidate", "gated")
            if operation.cache == "HIT":
                hits += 1
                assert receipt["entry_id"] == operation.entry
                assert receipt["tier"] == told["x-likewise-tier"]
                assert operation.entry in {c["entry_id"] for c in receipt["candidates"]}
                assert served.cache.engine.store.get(operation.entry) is not None
    assert hits > len(texts) / 4
    report(12, decisions=len(texts), hits=hits, replayed_otherwise=0)


@pytest.mark.parametrize("how", ["one by one", "all", "revoked"])
def test_a_purge_leaves_no_bytes(
    how: str,
    tmp_path: Path,
    upstream: tuple[Model, str],
    report: Report,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither in the store's file or its log, nor in the snapshot, nor in the log of decisions."""
    monkeypatch.setattr("likewise.filling._LEAST", 10)
    words = canaries(scaled(60, 600))
    settings = {"gateway": {"admin_key": KEY, "log": str(tmp_path / "events.jsonl")}}
    with gateway(
        upstream[1],
        store=f"sqlite:///{tmp_path / 'a.db'}",
        settings=settings,
        snapshots=tmp_path / "index",
    ) as served:
        first = run(ask(served, [question(word) for word in words]))
        served.settle()
        run(ask(served, [question(word) for word in words]))
        served.cache.engine.filling._write()
        assert left_of(tmp_path, words) == words
        assert left_of(tmp_path / "index", words) == words
        match how:
            case "one by one":
                gone = words[::2]
                for operation, _ in first[::2]:
                    assert admin(served, "DELETE", f"/entries/{operation.entry}") != 404
            case "all":
                gone = words
                assert admin(served, "POST", "/purge", {"all": True})["dropped"] == len(words)
            case _:
                gone = words
                dropped = admin(served, "POST", "/revoke", {"category": "loose"})["dropped"]
                assert dropped == len(words)
        assert left_of(tmp_path, gone) == []
        for _, told in first[:: 2 if how == "one by one" else 1]:
            path = f"/decisions/{told['x-likewise-request-id']}"
            assert admin(served, "GET", path) == 404 or how == "one by one"
        kept = [word for word in words if word not in gone]
        assert left_of(tmp_path, kept) == kept
    assert left_of(tmp_path, gone) == []
    report(12, purged=len(gone), how=how.replace(" ", "-"), bytes_left=0)
