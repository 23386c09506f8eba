"""The tables of a SQLite store, and the way to them from those of earlier versions."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from likewise.answers import answer_digest
from likewise.category import DEFAULT
from likewise.entry import UNNAMED, decode_answer, exact_key
from likewise.errors import StoreError

_APPLICATION_ID = 0x4C494B45
"""``LIKE`` in ASCII, in the file's header: tells our files from others'."""

_SCHEMA_VERSION = 5

_SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key BLOB NOT NULL UNIQUE,
    scope BLOB NOT NULL,
    category TEXT NOT NULL,
    tenant TEXT NOT NULL,
    namespace TEXT NOT NULL,
    question TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    epoch INTEGER NOT NULL,
    embedder TEXT NOT NULL,
    vector BLOB,
    provenance BLOB NOT NULL,
    answer BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    answer_digest INTEGER NOT NULL,
    named INTEGER NOT NULL,
    sources TEXT NOT NULL
);
CREATE INDEX entries_by_category ON entries (category);
CREATE TABLE verdicts (
    entry_key BLOB NOT NULL,
    key BLOB NOT NULL,
    correct INTEGER NOT NULL,
    PRIMARY KEY (entry_key, key)
) WITHOUT ROWID;
CREATE TABLE counters (
    category TEXT NOT NULL,
    name TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (category, name)
) WITHOUT ROWID;
"""
_LEARNING = """
CREATE TABLE labels (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    label BLOB NOT NULL
);
CREATE TABLE memos (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
"""
"""Since schema 2."""

_FROM_SCHEMA_2 = """
ALTER TABLE entries ADD COLUMN named INTEGER NOT NULL DEFAULT 1;
ALTER TABLE entries ADD COLUMN sources TEXT NOT NULL DEFAULT ''
"""

_FEED = (
    "CREATE TABLE feed (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, "
    "body BLOB NOT NULL, origin BLOB)",
    "CREATE TRIGGER entry_gone AFTER DELETE ON entries "
    "BEGIN INSERT INTO feed (kind, body) VALUES ('gone', json_array(OLD.id)); END",
    "CREATE TABLE identity (id TEXT NOT NULL)",
    "INSERT INTO identity VALUES (lower(hex(randomblob(8))))",
    "ALTER TABLE entries ADD COLUMN gone_at REAL",
    "CREATE INDEX entries_by_end ON entries (gone_at) WHERE gone_at IS NOT NULL",
)
"""Since schema 5: the change feed, who the store is, and when an entry is given out no more.

Schema 4 had a count of what was gone in place of the feed. What is deleted by any hand is told.
"""


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a new file, or bring those of an earlier version forward.

    Raises:
        StoreError: It is another program's file, or that of a later version.
        sqlite3.Error: It cannot be read or written.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION_ID:
        msg = (
            f"{path} is a database of another program; "
            "name another file in the config's store, or move this one away"
        )
        raise StoreError(msg)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > _SCHEMA_VERSION:
        msg = (
            f"{path} was written by a newer Likewise (schema {version}, this one knows "
            f"{_SCHEMA_VERSION}); upgrade Likewise or name another file"
        )
        raise StoreError(msg)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not tables:
        _execute(db, _SCHEMA + _LEARNING)
        _from_schema_4(db)
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    else:
        if version < 2:
            _from_schema_1(db)
        if version < 3:
            _from_schema_2(db)
        if version < 5:
            _from_schema_4(db)
    db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    db.execute("COMMIT")


def _execute(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            db.execute(statement)


def _from_schema_1(db: sqlite3.Connection) -> None:
    """Add what schema 2 has: digests of answers, labels, memos."""
    db.execute("ALTER TABLE entries ADD COLUMN answer_digest INTEGER NOT NULL DEFAULT 0")
    db.create_function("digest_of", 1, _digest_of)
    db.execute("UPDATE entries SET answer_digest = digest_of(answer)")
    _execute(db, _LEARNING)


def _from_schema_2(db: sqlite3.Connection) -> None:
    """Add what schema 3 has: who named the category, sources.

    What is in the default was named by nobody, or to the same effect: an equal question that names
    no category must find it.
    """
    _execute(db, _FROM_SCHEMA_2)
    db.create_function("unnamed_key", 2, lambda s, q: exact_key(s, UNNAMED, q))
    db.execute(
        "UPDATE OR REPLACE entries SET named = 0, key = unnamed_key(scope, question) "
        "WHERE category = ?",
        (DEFAULT,),
    )


def _from_schema_4(db: sqlite3.Connection) -> None:
    """Add what schema 5 has, in place of what only schema 4 had."""
    db.execute("DROP TRIGGER IF EXISTS entry_gone")
    db.execute("DROP TABLE IF EXISTS gone")
    for statement in _FEED:
        db.execute(statement)


def _digest_of(answer: object) -> int:
    try:
        return answer_digest(decode_answer(answer)) if isinstance(answer, bytes) else 0
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0  # damaged: it is never served
