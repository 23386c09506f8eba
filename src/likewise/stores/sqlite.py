"""Entries in one SQLite file: the default, with nothing to install and nothing to run."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zlib import crc32

import msgspec
import numpy as np

from likewise.entry import (
    Entry,
    Provenance,
    StoredVector,
    cost_of,
    decode_answer,
    encode_answer,
)
from likewise.errors import StoreError
from likewise.stores.base import MOST_LABELS, AtHand, Counters, Held, IndexRow, Store, Verdict
from likewise.stores.sqlite_schema import prepare

_BUSY_TIMEOUT_S = 5.0
_SCAN_ROWS = 1000

_HOW_MANY_GONE = "SELECT entries FROM gone"

_COLUMNS = (
    "id, key, scope, category, tenant, namespace, question, created_at, expires_at, epoch, "
    "embedder, vector, provenance, answer, checksum, answer_digest, named, sources"
)
_ANSWER = _COLUMNS.split(", ").index("answer")
_SLOTS = ", ".join("?" * len(_COLUMNS.split(", ")))
_PUT = f"INSERT OR REPLACE INTO entries ({_COLUMNS}) VALUES ({_SLOTS})"  # noqa: S608 - constants
_GET = f"SELECT {_COLUMNS} FROM entries WHERE id = ?"  # noqa: S608 - constants
_SCANNED = [
    "id", "scope", "category", "question", "created_at", "expires_at", "epoch", "embedder",
    "answer_digest", "named", "sources", "tenant", "provenance",
]  # fmt: skip
_SCAN = (
    f"SELECT seq, {', '.join(_SCANNED)}, "  # noqa: S608 - constants
    "length(CAST(question AS BLOB)) + length(answer) + coalesce(length(vector), 0), vector "
    "FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
)
_ADD = (
    "INSERT INTO counters VALUES (?, ?, ?) "
    "ON CONFLICT (category, name) DO UPDATE SET value = value + excluded.value"
)


class SQLiteStore(Store):
    """One file in write-ahead mode: one writer at a time, readers never wait for it.

    ``synchronous=NORMAL``: a commit survives the death of the process at any point; a power cut may
    take back the last commits, never tear one. Reads that overlap have a connection each, which is
    kept for the next: there are as many as ever overlapped, however many threads come and go.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._write_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._at_hand = AtHand()
        self._watch_lock = threading.Lock()
        self._seen = (-1, -1)
        """Version of the file and number of entries gone, as of which ``_at_hand`` is right."""
        self._closed = False
        with self._faults("open"):
            # Questions and answers are nobody else's to read; the -wal and -shm files follow suit.
            self._path.touch(mode=0o600, exist_ok=True)
            self._writer = self._connect()
            try:
                prepare(self._writer, self._path)
                self._watcher = self._connect()
                self._notice()
            except BaseException:
                self._writer.close()
                raise

    @property
    def url(self) -> str:
        """See ``Store.url``."""
        return f"sqlite:///{self._path}"

    def put(self, entry: Entry) -> list[str]:
        """See ``Store.put``."""
        answer = encode_answer(entry.answer)
        vector = None if entry.vector is None else entry.vector.astype("<f2").tobytes()
        provenance = msgspec.json.encode(entry.provenance)
        row = (
            entry.id,
            entry.key,
            entry.scope,
            entry.category,
            entry.tenant,
            entry.namespace,
            entry.question,
            entry.created_at,
            entry.expires_at,
            entry.epoch,
            entry.embedder,
            vector,
            provenance,
            answer,
            crc32(answer),
            entry.answer_digest,
            entry.named,
            entry.sources,
        )
        with self._transaction() as db:
            old = db.execute("SELECT id FROM entries WHERE key = ?", (entry.key,)).fetchall()
            db.execute(_PUT, row)
        replaced = [i for (i,) in old if i != entry.id]
        self._at_hand.drop([*replaced, entry.id])
        return replaced

    def get(self, entry_id: str) -> Entry | None:
        """See ``Store.get``."""
        since = self._at_hand.drops(entry_id)
        with self._reader() as db:
            row = db.execute(_GET, (entry_id,)).fetchone()
        entry = None if row is None else _entry(row)
        if entry is not None:
            self._at_hand.add(entry, row[_ANSWER], since=since)
        return entry

    def at_hand(self, entry_id: str) -> Held | None:
        """See ``Store.at_hand``."""
        if self._closed:
            raise self._closed_error()
        held = self._at_hand.of(entry_id)
        if held is None:
            return None
        with self._faults("read"), self._watch_lock:
            self._notice()
        return self._at_hand.of(entry_id)

    def _notice(self) -> None:
        """Keep nothing at hand once another process has deleted or replaced an entry."""
        (version,) = self._watcher.execute("PRAGMA data_version").fetchone()
        if version == self._seen[0]:
            return
        (gone,) = self._watcher.execute(_HOW_MANY_GONE).fetchone()
        if gone != self._seen[1]:
            self._at_hand.drop(None)
        self._seen = (version, gone)

    def delete(self, entry_ids: Sequence[str]) -> int:
        """See ``Store.delete``."""
        try:
            with self._transaction() as db:
                return sum(
                    db.execute("DELETE FROM entries WHERE id = ?", (i,)).rowcount for i in entry_ids
                )
        finally:
            self._at_hand.drop(entry_ids)

    def scan(self) -> Iterator[IndexRow]:
        """See ``Store.scan``."""
        seq = 0
        while True:
            with self._reader() as db:
                rows = db.execute(_SCAN, (seq, _SCAN_ROWS)).fetchall()
            if not rows:
                return
            for row in rows:
                seq, *fields, size, blob = row
                found = dict(zip(_SCANNED, fields, strict=True))
                found["named"] = bool(found["named"])
                cost = _cost(found.pop("provenance"))
                yield IndexRow(**found, size=size, cost=cost, vector=_vector(blob))

    def clear(self, *, category: str | None = None, scope: bytes | None = None) -> list[str]:
        """See ``Store.clear``."""
        with self._transaction() as db:
            rows = db.execute(
                "DELETE FROM entries WHERE (?1 IS NULL OR category = ?1) "
                "AND (?2 IS NULL OR scope = ?2) RETURNING id",
                (category, scope),
            ).fetchall()
        gone = [i for (i,) in rows]
        self._at_hand.drop(gone)
        return gone

    def counts(self) -> dict[str, int]:
        """See ``Store.counts``."""
        with self._reader() as db:
            query = "SELECT category, count(*) FROM entries GROUP BY category"
            return dict(db.execute(query).fetchall())

    def add_verdict(self, verdict: Verdict) -> None:
        """See ``Store.add_verdict``."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)",
                (verdict.entry_key, verdict.key, verdict.correct),
            )

    def verdicts(self) -> Iterator[Verdict]:
        """See ``Store.verdicts``."""
        with self._reader() as db:
            rows = db.execute("SELECT entry_key, key, correct FROM verdicts").fetchall()
        for entry_key, key, correct in rows:
            yield Verdict(entry_key, key, bool(correct))

    def add_labels(self, labels: Sequence[bytes]) -> None:
        """See ``Store.add_labels``."""
        with self._transaction() as db:
            db.executemany("INSERT INTO labels (label) VALUES (?)", [(label,) for label in labels])
            db.execute(
                "DELETE FROM labels WHERE seq <= (SELECT max(seq) FROM labels) - ?", (MOST_LABELS,)
            )

    def labels(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """See ``Store.labels``."""
        while True:
            with self._reader() as db:
                rows = db.execute(
                    "SELECT seq, label FROM labels WHERE seq > ? ORDER BY seq LIMIT ?",
                    (after, _SCAN_ROWS),
                ).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

    def put_memo(self, name: str, value: bytes) -> None:
        """See ``Store.put_memo``."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO memos VALUES (?, ?)", (name, value))

    def memo(self, name: str) -> bytes | None:
        """See ``Store.memo``."""
        with self._reader() as db:
            row = db.execute("SELECT value FROM memos WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def add_counters(self, increments: Counters) -> None:
        """See ``Store.add_counters``."""
        with self._transaction() as db:
            db.executemany(_ADD, [(*name, value) for name, value in increments.items()])

    def counters(self) -> dict[tuple[str, str], float]:
        """See ``Store.counters``."""
        with self._reader() as db:
            rows = db.execute("SELECT category, name, value FROM counters").fetchall()
        return {(category, name): value for category, name, value in rows}

    def close(self) -> None:
        """See ``Store.close``."""
        with self._write_lock:
            if self._closed:
                return
            self._closed = True
            self._at_hand.drop(None)
            self._writer.close()
        with self._watch_lock:
            self._watcher.close()
        self._close_idle()

    def _connect(self) -> sqlite3.Connection:
        # A connection is used by one thread at a time, but by many in its life.
        # A file that was deleted meanwhile is a fault, not one to be made anew in silence.
        db = sqlite3.connect(
            f"file:{quote(str(self._path.absolute()))}?mode=rw",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA recursive_triggers = ON")  # so that what is replaced counts as gone
        return db

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        if self._closed:
            raise self._closed_error()
        with self._faults("read"):
            try:
                db = self._idle.pop()
            except IndexError:
                db = self._connect()
            try:
                yield db
            finally:
                self._give_back(db)

    def _give_back(self, db: sqlite3.Connection) -> None:
        self._idle.append(db)
        if self._closed:
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                self._idle.pop().close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, self._faults("write"):
            if self._closed:
                raise self._closed_error()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                (before,) = self._writer.execute(_HOW_MANY_GONE).fetchone()
                yield self._writer
                (after,) = self._writer.execute(_HOW_MANY_GONE).fetchone()
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            with self._watch_lock:
                # What goes by our own hand is told to ``_at_hand`` one by one.
                if self._seen[1] == before:
                    self._seen = (self._seen[0], after)

    @contextmanager
    def _faults(self, act: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
            msg = f"cannot {act} {self.url}: {error}; {_remedy(error)}"
            raise StoreError(msg) from error

    def _closed_error(self) -> StoreError:
        return StoreError(f"the store {self.url} is closed")


def _remedy(error: Exception) -> str:
    text = str(error)
    unwritable = "unable to open" in text or "readonly" in text or "read-only" in text
    if unwritable or isinstance(error, OSError):
        return "check that the folder exists and that this user may write to it"
    if "not a database" in text or "malformed" in text:
        return "the file is damaged or of another program; move it away, a new one will be made"
    if "full" in text:
        return "free some disk space"
    if "locked" in text:
        return "another process holds a long write; try again"
    return "see the message before"


def _cost(provenance: object) -> float:
    if isinstance(provenance, bytes):
        with suppress(msgspec.DecodeError):
            return cost_of(msgspec.json.decode(provenance, type=Provenance))
    return 1.0  # damaged: the entry is never served


def _vector(blob: bytes | None) -> StoredVector | None:
    if not isinstance(blob, bytes) or len(blob) % 2:
        return None  # none was stored, or it is damaged
    return np.frombuffer(blob, dtype="<f2")


def _entry(row: tuple[Any, ...]) -> Entry | None:
    fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
    answer, checksum = fields.pop("answer"), fields.pop("checksum")
    if not isinstance(answer, bytes) or crc32(answer) != checksum:
        return None
    del fields["key"], fields["answer_digest"]
    try:
        return Entry(
            **fields
            | {
                "vector": _vector(fields["vector"]),
                "named": bool(fields["named"]),
                "answer": decode_answer(answer),
                "provenance": msgspec.json.decode(fields["provenance"], type=Provenance),
            }
        )
    except (msgspec.DecodeError, ValueError):
        return None
