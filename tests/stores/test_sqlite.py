from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise import Cache, Entry, Hit
from likewise.entry import exact_key
from likewise.errors import ConfigError, StoreError
from likewise.stores import MemoryStore, SQLiteStore, open_store
from likewise.testing import HashingEmbedder


def entry(name: str, answer: Any = "answer") -> Entry:
    """An entry whose question is its name."""
    return Entry(name, b"s", "code", name, answer, 1.0, None, np.ones(4, np.float16), "e")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "a.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[SQLiteStore]:
    """A new database."""
    store = SQLiteStore(path)
    yield store
    store.close()


def meddle(path: Path, statement: str, *values: object) -> None:
    """Change a database behind the store's back."""
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, values)
    db.close()


def refused(path: Path) -> str:
    """The line with which opening ``path`` is refused."""
    with pytest.raises(StoreError) as caught:
        SQLiteStore(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    """Entries, verdicts and counters are in the file."""
    first = SQLiteStore(path)
    first.put(entry("a", {"text": "é"}))
    first.add_counters({("code", "requests"): 2})
    first.close()
    second = SQLiteStore(path)
    found = second.get("a")
    assert found is not None
    assert found.answer == {"text": "é"}
    assert second.counters() == {("code", "requests"): 2}
    second.close()


def test_two_processes_worth_of_stores_share_one_file(path: Path) -> None:
    """What one writes the other reads, and both may write."""
    one, two = SQLiteStore(path), SQLiteStore(path)
    one.put(entry("a"))
    assert two.get("a") is not None
    two.put(entry("b"))
    assert one.count() == 2
    one.close()
    two.close()


def test_nobody_else_may_read_the_file(path: Path, sqlite: SQLiteStore) -> None:
    """Questions and answers are private, also in the write-ahead log."""
    sqlite.put(entry("a"))
    files = [path, *path.parent.glob("a.db-*")]
    assert len(files) >= 2
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * len(files)


def test_readers_do_not_wait_for_the_writer(path: Path, sqlite: SQLiteStore) -> None:
    """Write-ahead mode is in force: a read passes while another process holds a write."""
    sqlite.put(entry("a"))
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM entries")
    assert sqlite.get("a") is not None
    assert sqlite.count() == 1
    other.execute("ROLLBACK")
    other.close()


def test_a_lock_held_too_long_is_an_error_in_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write gives up instead of hanging, says what to do, and works again afterwards."""
    monkeypatch.setattr("likewise.stores.sqlite._BUSY_TIMEOUT_S", 0.05)
    store = SQLiteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process"):
        store.put(entry("a"))
    other.execute("ROLLBACK")
    other.close()
    store.put(entry("a"))
    assert store.count() == 1
    store.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("answer", b'"answEr"'),
        ("answer", b"\x00"),
        ("answer", "text instead of bytes"),
        ("answer", b""),
        ("checksum", 0),
        ("provenance", b"{not json"),
        ("provenance", b'{"prompt_tokens": "many"}'),
        ("vector", b"abc"),
    ],
)
def test_a_damaged_entry_counts_as_gone(
    path: Path, sqlite: SQLiteStore, column: str, value: object
) -> None:
    """Never half an answer; the others are untouched, and the start is not stopped."""
    sqlite.put(entry("bad"))
    sqlite.put(entry("good"))
    meddle(path, f"UPDATE entries SET {column} = ? WHERE id = 'bad'", value)  # noqa: S608
    found = sqlite.get("bad")
    assert found is None or (column == "vector" and found.vector is None)
    assert sqlite.get("good") is not None
    assert {row.id for row in sqlite.scan()} == {"bad", "good"}


def test_every_flipped_byte_of_an_answer_is_noticed(path: Path, sqlite: SQLiteStore) -> None:
    """Whichever byte it is, the checksum catches it."""
    sqlite.put(entry("a", "0123456789"))
    whole = b'"0123456789"'
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        meddle(path, "UPDATE entries SET answer = ?", bytes(damaged))
        assert sqlite.get("a") is None
    meddle(path, "UPDATE entries SET answer = ?", whole)
    assert sqlite.get("a") is not None


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    """It is refused by name and not changed by a byte."""
    meddle(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert "another program" in refused(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    """It is refused, and the line says what to upgrade."""
    SQLiteStore(path).close()
    meddle(path, "PRAGMA user_version = 99")
    message = refused(path)
    assert "newer Likewise (schema 99" in message
    assert "upgrade" in message


def test_the_schema_before_is_taken_forward(path: Path) -> None:
    """A file of schema 1 gets digests of its answers, damaged ones none, and what came since."""
    with SQLiteStore(path) as store:
        for name in ("a", "b"):
            store.put(entry(name))
        store.put(replace(entry("c"), category="default"))
    for statement in (
        "ALTER TABLE entries DROP COLUMN answer_digest",
        "ALTER TABLE entries DROP COLUMN named",
        "ALTER TABLE entries DROP COLUMN sources",
        "DROP TABLE labels",
        "DROP TABLE memos",
        "DROP TRIGGER entry_gone",
        "DROP TABLE feed",
        "DROP TABLE identity",
        "DROP INDEX entries_by_end",
        "ALTER TABLE entries DROP COLUMN gone_at",
        "UPDATE entries SET answer = x'00' WHERE id = 'b'",
        "PRAGMA user_version = 1",
    ):
        meddle(path, statement)
    with SQLiteStore(path) as store:
        digests = {row.id: row.answer_digest for row in store.scan()}
        store.add_labels([b"x"])
        store.put_memo("m", b"y")
        kept = store.get("a")
        assert {row.id: row.named for row in store.scan()} == {"a": True, "b": True, "c": False}
        unnamed = store.get("c")
        assert unnamed is not None
        assert store.put(replace(unnamed, id="d")) == ["c"]
    assert kept is not None
    assert kept.named
    assert digests == {"a": kept.answer_digest, "b": 0, "c": kept.answer_digest}
    SQLiteStore(path).close()


@pytest.mark.parametrize("how", ["deleted", "purged", "replaced", "meddled"])
def test_what_another_process_took_away_is_at_hand_no_more(
    path: Path, sqlite: SQLiteStore, how: str
) -> None:
    """From the moment its write has returned, whatever this process remembers."""
    sqlite.put(entry("a"))
    sqlite.put(entry("b"))
    for name in ("a", "b", "a", "b"):
        assert sqlite.get(name) is not None
        assert sqlite.at_hand(name) is not None
    with SQLiteStore(path) as other:
        other.put(entry("c"))
        assert sqlite.at_hand("a") is not None, "what is added takes nothing away"
        match how:
            case "deleted":
                other.delete(["a"])
            case "purged":
                other.clear()
            case "replaced":
                other.put(replace(entry("a", "newer"), id="a2"))
            case _:
                meddle(path, "DELETE FROM entries WHERE id = 'a'")
        assert sqlite.at_hand("a") is None
        assert sqlite.get("a") is None


def test_own_writes_leave_the_rest_at_hand(sqlite: SQLiteStore) -> None:
    """A cache that is full deletes with every store; what it serves stays at hand."""
    for name in ("a", "b", "c"):
        sqlite.put(entry(name))
        sqlite.get(name)
    assert sqlite.at_hand("a") is not None
    sqlite.delete(["b"])
    sqlite.put(replace(entry("c", "newer"), id="c2"))
    assert sqlite.at_hand("a") is not None
    assert sqlite.at_hand("b") is None
    assert sqlite.at_hand("c") is None


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    """It is refused with a remedy and not changed."""
    path.write_bytes(b"this is a letter, not a database" * 100)
    assert "move it away" in refused(path)
    assert path.read_bytes().startswith(b"this is a letter")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The remedy says what to check."""
    assert "check that the folder exists" in refused(tmp_path / "none" / "a.db")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A directory in place of the file is one clear line."""
    assert "cannot open" in refused(tmp_path)


def test_a_folder_that_may_not_be_written_is_named() -> None:
    """The remedy says what to check."""
    folder = Path("/sys") if os.geteuid() == 0 else Path("/usr")
    if not folder.exists():
        pytest.skip("no folder that even this user may not write to")
    assert "may write to it" in refused(folder / "likewise-test.db")


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    """As made by ``touch``."""
    path.touch()
    store = SQLiteStore(path)
    store.put(entry("a"))
    assert store.count() == 1
    store.close()


def test_connections_do_not_grow_with_the_threads_that_came_and_went(sqlite: SQLiteStore) -> None:
    """A server with a thread per request must not run out of file descriptors."""
    sqlite.put(entry("a"))

    def read() -> None:
        assert sqlite.get("a") is not None

    read()
    files = Path("/proc/self/fd")
    if not files.exists():
        pytest.skip("open files cannot be counted here")
    before = len(list(files.iterdir()))
    for _ in range(50):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert len(list(files.iterdir())) <= before + 3


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host", "mysql://"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "memory://"),
        ("likewise.db", "not a known kind"),
        ("cassandra://user:CANARY@host/db", "cassandra://"),
    ],
)
def test_an_address_that_names_no_store_is_refused(url: str, said: str) -> None:
    """One line with what to write, and without a password."""
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert said in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_addresses_open_what_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute and relative paths, and memory."""
    monkeypatch.chdir(tmp_path)
    memory = open_store("memory://")
    assert isinstance(memory, MemoryStore)
    for url, file in [("sqlite:///rel.db", "rel.db"), (f"sqlite:///{tmp_path}/abs.db", "abs.db")]:
        store = open_store(url)
        assert (tmp_path / file).exists()
        store.close()
    memory.close()


WRITER = """
import sys
from likewise.stores import SQLiteStore
from likewise import Entry
import numpy as np
store = SQLiteStore(sys.argv[1])
for i in range(100_000):
    name = f"{sys.argv[2]}-{i}"
    question, answer = f"q{i % 50}-{sys.argv[2]}", {"name": name, "pad": name * 200}
    vector = np.ones(4, np.float16)
    store.put(Entry(name, b"s", "code", question, answer, 1.0, None, vector, "e"))
    print(name, flush=True)
"""

CACHE_WRITER = """
import sys
from likewise import Cache
from likewise.testing import HashingEmbedder
cache = Cache(store="sqlite:///" + sys.argv[1], embedder=HashingEmbedder(), rules=())
for i in range(100_000):
    name = f"question {sys.argv[2]} {i}"
    assert cache.store(name, {"to": name, "pad": name * 50}, category="code") is not None
    print(name, flush=True)
"""


def killed(program: str, path: Path, tag: str, after: int) -> list[str]:
    """Run a writer, kill it without warning after some acknowledgements; return all it gave."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path), tag], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return [line.strip() for line in lines if line.endswith("\n")]


def test_nothing_acknowledged_is_lost_and_nothing_is_torn_by_a_kill(path: Path) -> None:
    """Killed at random points again and again: the latest answer to each question is whole."""
    rng = random.Random(1)  # noqa: S311 - no secret
    seen: set[str] = set()
    for kill in range(15):
        acknowledged = killed(WRITER, path, str(kill), rng.randint(1, 120))
        assert acknowledged
        newest = {f"q{int(name.split('-')[1]) % 50}-{kill}": name for name in acknowledged}
        store = SQLiteStore(path)
        rows = {row.question: row.id for row in store.scan()}
        written = int(acknowledged[-1].split("-")[1])
        for question, name in newest.items():
            # The one write after the last acknowledgement may have replaced its predecessor.
            assert rows[question] in {name, f"{kill}-{written + 1}"}
        for row in store.scan():
            found = store.get(row.id)
            assert found is not None, "a torn entry"
            assert found.answer == {"name": row.id, "pad": row.id * 200}
        seen |= set(newest)
        assert seen <= set(rows)
        store.close()
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_after_a_kill_every_acknowledged_entry_is_a_hit(path: Path) -> None:
    """Through the whole cache: what ``store`` returned for is served after the restart."""
    rng = random.Random(2)  # noqa: S311 - no secret
    known: list[str] = []
    for kill in range(4):
        known += killed(CACHE_WRITER, path, f"round {kill}", rng.randint(1, 60))
        with Cache(store=f"sqlite:///{path}", embedder=HashingEmbedder(), rules=()) as cache:
            for question in known:
                decision = cache.check(question, category="code")
                assert isinstance(decision, Hit)
                assert decision.reason == "exact"
                assert decision.answer == {"to": question, "pad": question * 50}


def test_the_key_in_the_file_is_that_of_the_question(path: Path, sqlite: SQLiteStore) -> None:
    """It is what makes one entry per question unique in the database itself."""
    sqlite.put(entry("a"))
    db = sqlite3.connect(path)
    assert db.execute("SELECT key FROM entries").fetchone() == (exact_key(b"s", "code", "a"),)
    db.close()


def test_a_full_disk_refuses_writes_and_serves_on(sqlite: SQLiteStore) -> None:
    """SQLite says so when the file may grow no more; nothing is half written."""
    sqlite.put(entry("a"))
    (pages,) = sqlite._writer.execute("PRAGMA page_count").fetchone()
    sqlite._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="free some disk space"):
        sqlite.put(entry("b", "x" * 100_000))
    assert sqlite.get("a") is not None
    assert sqlite.count() == 1
    sqlite._writer.execute("PRAGMA max_page_count = 1000000")
    sqlite.put(entry("b"))
    assert sqlite.count() == 2
