"""Entries in one SQLite file: the default, with nothing to install and nothing to run."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
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
from likewise.stores.base import MOST_LABELS, AtHand, Counters, Held, IndexRow, Store
from likewise.stores.feed import (
    MOST_CHANGES,
    PAGE,
    Change,
    FeedLostError,
    Kind,
    Mark,
    Verdict,
    lost,
    pack,
    unpack,
)
from likewise.stores.sqlite_schema import prepare

_BUSY_TIMEOUT_S = 5.0
_LOOK_EVERY_S = 0.02
"""How often a follower asks whether another process has written: it takes a few microseconds."""

_COLUMNS = (
    "id, key, scope, category, tenant, namespace, question, created_at, expires_at, epoch, "
    "embedder, vector, provenance, answer, checksum, answer_digest, named, sources"
)
_ANSWER = _COLUMNS.split(", ").index("answer")
_SLOTS = ", ".join("?" * (1 + len(_COLUMNS.split(", "))))
_PUT = f"INSERT OR REPLACE INTO entries ({_COLUMNS}, gone_at) VALUES ({_SLOTS})"  # noqa: S608 - constants
_HERE = "(gone_at IS NULL OR gone_at > ?)"
_REVECTOR = f"UPDATE entries SET vector = ?, embedder = ? WHERE id = ? AND key = ? AND {_HERE}"  # noqa: S608 - constants
_GET = f"SELECT {_COLUMNS}, gone_at FROM entries WHERE id = ? AND {_HERE}"  # noqa: S608 - constants
_SCANNED = [
    "id", "scope", "category", "question", "created_at", "expires_at", "epoch", "embedder",
    "answer_digest", "named", "sources", "tenant", "provenance",
]  # fmt: skip
_ROWS = (
    f"SELECT seq, {', '.join(_SCANNED)}, "  # noqa: S608 - constants
    "length(CAST(question AS BLOB)) + length(answer) + coalesce(length(vector), 0), vector "
    f"FROM entries WHERE {_HERE}"
)
_SCAN = f"{_ROWS} AND seq > ? ORDER BY seq LIMIT ?"
_TELL = "INSERT INTO feed (kind, body, origin) VALUES (?, ?, ?)"
_OWN = "UPDATE feed SET origin = ? WHERE seq > ? AND origin IS NULL"
_HEAD = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'feed'"
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
        self._origin = secrets.token_bytes(8)
        self._at_hand = AtHand()
        self._watch_lock = threading.Lock()
        self._seen = (-1, 0)
        """Version of the file and number of the change as of which ``_at_hand`` is right."""
        self._ended = threading.Event()
        self._closed = False
        with self._faults("open"):
            # Questions and answers are nobody else's to read; the -wal and -shm files follow suit.
            self._path.touch(mode=0o600, exist_ok=True)
            self._writer = self._connect()
            try:
                prepare(self._writer, self._path)
                self._watcher = self._connect()
                self._seen = (-1, self._head(self._watcher))
            except BaseException:
                self._writer.close()
                raise

    @property
    def url(self) -> str:
        """See ``Store.url``."""
        return f"sqlite:///{self._path}"

    def put(self, entry: Entry, *, keep_s: float | None = None) -> list[str]:
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
            None if keep_s is None else time.time() + keep_s,
        )
        with self._transaction() as db:
            old = db.execute("SELECT id FROM entries WHERE key = ?", (entry.key,)).fetchall()
            db.execute(_PUT, row)
            self._tell(db, Kind.PUT, pack((entry.id,)))
        replaced = [i for (i,) in old if i != entry.id]
        self._at_hand.drop([*replaced, entry.id])
        return replaced

    def revector(self, entry: Entry) -> bool:
        """See ``Store.revector``."""
        vector = None if entry.vector is None else entry.vector.astype("<f2").tobytes()
        with self._transaction() as db:
            values = (vector, entry.embedder, entry.id, entry.key, time.time())
            if not db.execute(_REVECTOR, values).rowcount:
                return False
            self._tell(db, Kind.PUT, pack((entry.id,)))
            return True

    def get(self, entry_id: str) -> Entry | None:
        """See ``Store.get``."""
        since = self._at_hand.drops(entry_id)
        with self._reader() as db:
            row = db.execute(_GET, (entry_id, time.time())).fetchone()
        if row is None:
            return None
        *columns, until = row
        entry = _entry(columns)
        if entry is not None:
            self._at_hand.add(entry, columns[_ANSWER], since=since, until=until)
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
        """Keep nothing at hand that has been deleted, replaced or put again, by any process."""
        (version,) = self._watcher.execute("PRAGMA data_version").fetchone()
        if version == self._seen[0]:
            return
        seq = self._seen[1]
        try:
            while changes := self._page(self._watcher, seq):
                seq = changes[-1].seq
                # What goes by our own hand is told to ``_at_hand`` one by one.
                self._at_hand.drop(name for c in changes if not c.own for name in c.names)
        except FeedLostError:
            seq = self._head(self._watcher)
            self._at_hand.drop(None)
        self._seen = (version, seq)

    def delete(self, entry_ids: Sequence[str]) -> int:
        """See ``Store.delete``."""
        try:
            with self._transaction() as db:
                return sum(
                    db.execute("DELETE FROM entries WHERE id = ?", (i,)).rowcount for i in entry_ids
                )
        finally:
            self._at_hand.drop(entry_ids)

    def scrub(self) -> None:
        """See ``Store.scrub``: the file has zeros in place of it, but not yet its log."""
        if not self._write_lock.acquire(timeout=_BUSY_TIMEOUT_S):
            msg = f"cannot write {self.url}: other writes have taken too long; try again"
            raise StoreError(msg)
        with _released(self._write_lock), self._faults("write"):
            if self._closed:
                raise self._closed_error()
            (busy, *_) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                msg = f"cannot clean {self.url}: others have read it for too long; try again"
                raise StoreError(msg)

    def scan(self) -> Iterator[IndexRow]:
        """See ``Store.scan``."""
        seq = 0
        while True:
            with self._reader() as db:
                rows = db.execute(_SCAN, (time.time(), seq, PAGE)).fetchall()
            if not rows:
                return
            seq = rows[-1][0]
            yield from map(_row, rows)

    def rows(self, entry_ids: Sequence[str]) -> list[IndexRow]:
        """See ``Store.rows``."""
        found: list[IndexRow] = []
        for start in range(0, len(entry_ids), PAGE):
            names = entry_ids[start : start + PAGE]
            query = f"{_ROWS} AND id IN ({', '.join('?' * len(names))}) ORDER BY seq"
            with self._reader() as db:
                found += map(_row, db.execute(query, (time.time(), *names)))
        return found

    def expire(self) -> int:
        """See ``Store.expire``."""
        with self._transaction() as db:
            query = "DELETE FROM entries WHERE gone_at <= ? RETURNING id"
            gone = [i for (i,) in db.execute(query, (time.time(),))]
        self._at_hand.drop(gone)
        return len(gone)

    def mark(self) -> Mark:
        """See ``Store.mark``."""
        with self._reader() as db:
            (identity,) = db.execute("SELECT id FROM identity").fetchone()
            return Mark(identity, self._head(db))

    def changes(self, *, after: int) -> list[Change]:
        """See ``Store.changes``."""
        with self._reader() as db:
            return self._page(db, after)

    def wait(self, *, after: int, timeout_s: float) -> None:
        """See ``Store.wait``."""
        ends = time.monotonic() + timeout_s
        version = None
        with self._reader() as db:
            while not self._closed:
                # It tells of what other connections have written, those of this object too.
                (now,) = db.execute("PRAGMA data_version").fetchone()
                if now != version and self._head(db) != after:
                    return
                version = now
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    return
                self._ended.wait(min(_LOOK_EVERY_S, left_s))
        raise self._closed_error()

    def _page(self, db: sqlite3.Connection, after: int) -> list[Change]:
        query = "SELECT seq, kind, body, origin FROM feed WHERE seq > ? ORDER BY seq LIMIT ?"
        head = self._head(db)
        rows = db.execute(query, (after, PAGE)).fetchall()
        if (rows[0][0] if rows else head + 1) != after + 1:
            raise lost(self.url, after)
        found = (unpack(seq, kind, body, own=by == self._origin) for seq, kind, body, by in rows)
        return list(found)

    @staticmethod
    def _head(db: sqlite3.Connection) -> int:
        return int(db.execute(_HEAD).fetchone()[0])

    def _tell(self, db: sqlite3.Connection, kind: Kind, body: bytes = b"[]") -> None:
        db.execute(_TELL, (kind.value, body, self._origin))

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
            self._tell(db, Kind.VERDICT, pack(verdict=verdict))

    def verdicts(self) -> Iterator[Verdict]:
        """See ``Store.verdicts``."""
        with self._reader() as db:
            rows = db.execute("SELECT entry_key, key, correct FROM verdicts").fetchall()
        for entry_key, key, correct in rows:
            yield Verdict(entry_key, key, bool(correct))

    def add_labels(self, labels: Sequence[bytes]) -> None:
        """See ``Store.add_labels``."""
        if not labels:
            return
        with self._transaction() as db:
            db.executemany("INSERT INTO labels (label) VALUES (?)", [(label,) for label in labels])
            db.execute(
                "DELETE FROM labels WHERE seq <= (SELECT max(seq) FROM labels) - ?", (MOST_LABELS,)
            )
            self._tell(db, Kind.LABELS)

    def labels(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """See ``Store.labels``."""
        while True:
            with self._reader() as db:
                rows = db.execute(
                    "SELECT seq, label FROM labels WHERE seq > ? ORDER BY seq LIMIT ?",
                    (after, PAGE),
                ).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

    def put_memo(self, name: str, value: bytes) -> None:
        """See ``Store.put_memo``."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO memos VALUES (?, ?)", (name, value))
            self._tell(db, Kind.MEMO, pack((name,)))

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
            self._ended.set()
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
        db.execute("PRAGMA secure_delete = ON")  # a purge leaves no bytes
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
        if not self._write_lock.acquire(timeout=_BUSY_TIMEOUT_S):
            msg = f"cannot write {self.url}: other writes have taken too long; try again"
            raise StoreError(msg)
        with _released(self._write_lock), self._faults("write"):
            if self._closed:
                raise self._closed_error()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                before = self._head(self._writer)
                yield self._writer
                # The trigger knows not by whose hand entries go.
                self._writer.execute(_OWN, (self._origin, before))
                self._writer.execute("DELETE FROM feed WHERE seq <= ?", (self._oldest(),))
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _oldest(self) -> int:
        """Return the number up to which changes are not kept any more."""
        return self._head(self._writer) - MOST_CHANGES

    @contextmanager
    def _faults(self, act: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
            msg = f"cannot {act} {self.url}: {error}; {_remedy(error)}"
            raise StoreError(msg) from error

    def _closed_error(self) -> StoreError:
        return StoreError(f"the store {self.url} is closed")


@contextmanager
def _released(lock: threading.Lock) -> Iterator[None]:
    """Release a lock at the end of a block."""
    try:
        yield
    finally:
        lock.release()


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
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return cost_of(msgspec.json.decode(provenance, type=Provenance))
    return 1.0  # damaged: the entry is never served


def _row(row: tuple[Any, ...]) -> IndexRow:
    _, *fields, size, blob = row
    found = dict(zip(_SCANNED, fields, strict=True))
    found["named"] = bool(found["named"])
    cost = _cost(found.pop("provenance"))
    return IndexRow(**found, size=size, cost=cost, vector=_vector(blob))


def _vector(blob: bytes | None) -> StoredVector | None:
    if not isinstance(blob, bytes) or len(blob) % 2:
        return None  # none was stored, or it is damaged
    return np.frombuffer(blob, dtype="<f2")


def _entry(row: Sequence[Any]) -> Entry | None:
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
