"""Promise 3: an entry that was acknowledged survives ``kill -9``, and none is torn.

Mutation tried: ``SQLiteStore._transaction`` that commits only every tenth time: entries are lost.
``tests/stores/test_sqlite.py`` does the same with the store alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from likewise import Hit
from likewise.stores import open_store

from .conftest import Report
from .support import scaled
from .writer import answer_of, cache_over, question_of

KILLS_PER_STORE = 25


@contextmanager
def writers() -> Iterator[subprocess.Popen[str]]:
    """The process that forks writers."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("writer.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def killed(process: subprocess.Popen[str], url: str, tag: str, dice: random.Random) -> int:
    """Run a writer and kill it at some point; return the number it was last told is stored."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([url, tag]) + "\n")
    process.stdin.flush()
    pid, last, wanted = 0, -1, dice.randrange(40)
    while True:
        word, _, number = process.stdout.readline().strip().partition(" ")
        match word:
            case "pid":
                pid = int(number)
            case "kept":
                last = int(number)
            case "ended":
                assert last >= wanted, "the writer ended by itself"
                return last
            case _:
                pytest.fail(f"writers: {word}")
        if pid and last == wanted:
            time.sleep(dice.random() * 0.005)  # somewhere within a write
            os.kill(pid, signal.SIGKILL)
            wanted, pid = last, 0


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_nothing_acknowledged_is_lost(
    kind: str, store_url: Callable[[str], str], report: Report
) -> None:
    """Writers killed at random points, again and again over one store.

    What a writer has stored is acknowledged when ``store`` returns: nothing is flushed later.
    """
    dice = random.Random(3)  # noqa: S311 - chooses when to kill
    kills = scaled(10, 500) if kind == "sqlite" else scaled(3, 100)
    acknowledged = 0
    with writers() as process:
        for start in range(0, kills, KILLS_PER_STORE):
            url = store_url(kind)
            newest: dict[str, tuple[str, int]] = {}
            for kill in range(start, min(kills, start + KILLS_PER_STORE)):
                tag = f"round {kill}"
                last = killed(process, url, tag, dice)
                acknowledged += last + 1
                for number in range(last + 1):
                    newest[question_of(tag, number)] = tag, number
                check(url, newest)
            hits(url, newest)
            if kind == "sqlite":
                db = sqlite3.connect(Path(url.removeprefix("sqlite:///")))
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                db.close()
    report(3, store=kind, kills=kills, acknowledged=acknowledged, lost=0, torn=0)


def check(url: str, newest: dict[str, tuple[str, int]]) -> None:
    """Check that a store has the latest answer to each question that it acknowledged, whole."""
    with open_store(url) as store:
        rows = {row.question: row.id for row in store.scan()}
        for question, (tag, number) in newest.items():
            entry = store.get(rows[question])
            assert entry is not None, "an entry is torn"
            kept = entry.answer["number"]
            # The one write after the last acknowledgement may have been done as well.
            assert kept >= number, "an acknowledged entry is lost"
            assert entry.answer == answer_of(tag, kept)


def hits(url: str, newest: dict[str, tuple[str, int]]) -> None:
    """Check that a cache serves all of them after the kills."""
    with cache_over(url) as cache:
        for question in newest:
            assert isinstance(cache.check(question, category="code"), Hit)
