"""Entries in PostgreSQL: many gateways over the database that is there already."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from likewise.entry import Entry
from likewise.errors import ConfigError, StoreError
from likewise.stores.base import MOST_LABELS, Counters, IndexRow, Store
from likewise.stores.feed import MOST_CHANGES, PAGE, Change, Mark, Verdict, lost, pack, unpack
from likewise.stores.packing import pack_entry, unpack_entry, unpack_row
from likewise.stores.postgres_lines import Lines, cut, driver, remedy
from likewise.stores.postgres_schema import prepare
from likewise.stores.remote import ANSWER_S, LONGEST_S, Address, Guard

_SCHEMA = "likewise"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_STEP = 5_000
"""Entries that one statement deletes."""

_BLOCK_S = 0.5
"""How long a follower waits for a notification before it looks by itself: some poolers of
connections pass none on."""

_HERE = "(gone_at IS NULL OR gone_at > clock_timestamp())"


class PostgresStore(Store):
    """A database of PostgreSQL 12 or newer.

    ``postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE`` with the options of libpq as a query,
    such as ``?sslmode=verify-full``; ``?schema=NAME`` tells caches in one database apart. What the
    address leaves out libpq takes from its environment (``PGPASSWORD``, ``~/.pgpass``), a password
    also from ``LIKEWISE_STORE_PASSWORD``.

    Deletions are on disk when they return. Entries follow within a moment: a server that dies may
    lose the latest, and has none of them twice or by half.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self._driver = driver()
        address = Address(url, ("schema",))
        self._url = address.shown
        self._schema = address.option("schema", _SCHEMA)
        if not _NAME.fullmatch(self._schema):
            msg = f"store: schema={self._schema!r} is not a plain name; use a-z, 0-9 and _"
            raise ConfigError(msg)
        self._guard = Guard(
            self._url,
            errors=(self._driver.Error, OSError, ValueError),
            gone=(self._driver.OperationalError, OSError),
            remedy=remedy,
        )
        self._origin = secrets.token_bytes(8)
        self._era = ""
        """Identity of the store and of the server's run, as of the last ``mark``."""
        self._closed = False
        self._lock = threading.Lock()
        self._listening = threading.Lock()
        self._listener: Any = None
        self._lines = Lines(self._driver, address.for_driver, self._url, answer_s=ANSWER_S)
        self._lines.watch()
        try:
            with (
                self._guard.faults("open"),
                self._lines.connect() as db,
                self._lines.limited(db),
            ):
                self._identity = prepare(db, self._schema, self._url, create=create)
            self.mark()
        except BaseException:
            self._lines.close()
            raise

    @property
    def url(self) -> str:
        """See ``Store.url``."""
        return self._url

    def put(self, entry: Entry, *, keep_s: float | None = None) -> list[str]:
        """See ``Store.put``."""
        packed, answer = pack_entry(entry)
        ends_s = None if keep_s is None else min(keep_s, LONGEST_S)
        values = (
            entry.id, entry.key, entry.scope, entry.category, ends_s, packed, answer,
            pack((entry.id,)), self._origin, MOST_CHANGES,
        )  # fmt: skip
        slots = "%s, %s, %s, %s, %s::float8, %s, %s, %s, %s, %s::int8"
        return self._value("write", f"SELECT {self._schema}.put({slots})", values)  # type: ignore[no-any-return]

    def revector(self, entry: Entry) -> bool:
        """See ``Store.revector``."""
        packed, _ = pack_entry(entry)
        query = f"SELECT {self._schema}.revector(%s, %s, %s, %s, %s, %s::int8)"
        values = (entry.id, entry.key, packed, pack((entry.id,)), self._origin, MOST_CHANGES)
        return bool(self._value("write", query, values))

    def get(self, entry_id: str) -> Entry | None:
        """See ``Store.get``."""
        query = f"SELECT packed, answer FROM {self._schema}.entries WHERE id = %s AND {_HERE}"  # noqa: S608
        found = self._all("read", query, (entry_id,))
        return unpack_entry(entry_id, *found[0]) if found else None

    def delete(self, entry_ids: Sequence[str]) -> int:
        """See ``Store.delete``."""
        return len(self._delete(entry_ids))

    def _delete(self, entry_ids: Sequence[str]) -> list[str]:
        gone: list[str] = []
        for start in range(0, len(entry_ids), _STEP):
            names = list(entry_ids[start : start + _STEP])
            query = f"SELECT {self._schema}.drop(%s::text[], %s, %s::int8)"
            gone += self._value("write", query, (names, self._origin, MOST_CHANGES))
        return gone

    def clear(self, *, category: str | None = None, scope: bytes | None = None) -> list[str]:
        """See ``Store.clear``."""
        query = (
            f"SELECT id FROM {self._schema}.entries "  # noqa: S608
            "WHERE (%(category)s::text IS NULL OR category = %(category)s) "
            "AND (%(scope)s::bytea IS NULL OR scope = %(scope)s)"
        )
        found = self._all("read", query, {"category": category, "scope": scope})
        return self._delete([name for (name,) in found])

    def scan(self) -> Iterator[IndexRow]:
        """See ``Store.scan``."""
        seq = 0
        query = (
            f"SELECT seq, id, packed FROM {self._schema}.entries "  # noqa: S608
            f"WHERE seq > %s AND {_HERE} ORDER BY seq LIMIT {PAGE}"
        )
        while rows := self._all("read", query, (seq,)):
            seq = rows[-1][0]
            for _, name, packed in rows:
                if (row := unpack_row(name, packed)) is not None:
                    yield row

    def rows(self, entry_ids: Sequence[str]) -> list[IndexRow]:
        """See ``Store.rows``."""
        query = (
            f"SELECT id, packed FROM {self._schema}.entries "  # noqa: S608
            f"WHERE id = ANY (%s) AND {_HERE} ORDER BY seq"
        )
        found = []
        for start in range(0, len(entry_ids), PAGE):
            names = list(entry_ids[start : start + PAGE])
            for name, packed in self._all("read", query, (names,)):
                if (row := unpack_row(name, packed)) is not None:
                    found.append(row)
        return found

    def expire(self) -> int:
        """See ``Store.expire``."""
        query = f"SELECT id FROM {self._schema}.entries WHERE gone_at <= clock_timestamp()"  # noqa: S608
        return self.delete([name for (name,) in self._all("read", query)])

    def mark(self) -> Mark:
        """See ``Store.mark``."""
        query = (
            "SELECT m.value, m.value || pg_postmaster_start_time(), h.seq "  # noqa: S608
            f"FROM {self._schema}.head h, {self._schema}.meta m WHERE m.name = 'id'"
        )
        [(self._identity, self._era, seq)] = self._all("read", query)
        return Mark(self._identity, seq)

    def changes(self, *, after: int) -> list[Change]:
        """See ``Store.changes``."""
        query = (
            "SELECT h.seq, m.value || pg_postmaster_start_time(), f.seq, f.kind, f.body, f.origin "  # noqa: S608
            f"FROM {self._schema}.head h "
            f"JOIN {self._schema}.meta m ON m.name = 'id' "
            f"LEFT JOIN LATERAL (SELECT * FROM {self._schema}.feed WHERE seq > %s "
            f"ORDER BY seq LIMIT {PAGE}) f ON true ORDER BY f.seq"
        )
        rows = self._all("read", query, (after,))
        first = after + 1
        if rows:
            head, identity, seq = rows[0][:3]
            first = head + 1 if seq is None else seq
        # A server that has crashed may have lost the latest, and given their numbers anew.
        if not rows or identity != self._era or first != after + 1:
            raise lost(self.url, after)
        found = (
            unpack(seq, kind, body, own=origin == self._origin)
            for _, _, seq, kind, body, origin in rows
            if seq is not None
        )
        return list(found)

    def wait(self, *, after: int, timeout_s: float) -> None:
        """See ``Store.wait``."""
        ends = time.monotonic() + timeout_s
        while True:
            left_s = ends - time.monotonic()
            with self._faults("read"), self._listening:
                if self._listened(after, min(left_s, _BLOCK_S)) or left_s <= _BLOCK_S:
                    return

    def _listened(self, after: int, block_s: float) -> bool:
        """Return whether there is something new, at once or after a notification."""
        try:
            if self._closed:
                raise self._closed_error()
            db = self._listener
            if db is None:
                db = self._listener = self._lines.connect()
                with self._lines.limited(db):
                    db.execute(f"LISTEN {self._schema}")
            with self._lines.limited(db):
                (seq,) = db.execute(f"SELECT seq FROM {self._schema}.head").fetchone()  # noqa: S608
            if seq != after:
                return True
            return any(True for _ in db.notifies(timeout=max(block_s, 0.0), stop_after=1))
        except BaseException:
            self._stop_listening()
            raise

    def _stop_listening(self) -> None:
        db, self._listener = self._listener, None
        if db is not None:
            db.close()

    def counts(self) -> dict[str, int]:
        """See ``Store.counts``."""
        query = (
            f"SELECT category, count(*) FROM {self._schema}.entries WHERE {_HERE} "  # noqa: S608
            "GROUP BY category"
        )
        return dict(self._all("read", query))

    def add_verdict(self, verdict: Verdict) -> None:
        """See ``Store.add_verdict``."""
        query = f"SELECT {self._schema}.judge(%s, %s, %s, %s, %s, %s::int8)"
        body = pack(verdict=verdict)
        values = (verdict.entry_key, verdict.key, verdict.correct, body)
        self._all("write", query, (*values, self._origin, MOST_CHANGES))

    def verdicts(self) -> Iterator[Verdict]:
        """See ``Store.verdicts``."""
        query = f"SELECT entry_key, key, correct FROM {self._schema}.verdicts"  # noqa: S608
        for row in self._all("read", query):
            yield Verdict(*row)

    def add_labels(self, labels: Sequence[bytes]) -> None:
        """See ``Store.add_labels``."""
        if not labels:
            return
        query = f"SELECT {self._schema}.label(%s::bytea[], %s::int8, %s, %s::int8)"
        values = (list(labels), MOST_LABELS, self._origin, MOST_CHANGES)
        self._run("write", query, values, again=False)

    def labels(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """See ``Store.labels``."""
        query = (
            f"SELECT seq, label FROM {self._schema}.labels WHERE seq > %s "  # noqa: S608
            f"ORDER BY seq LIMIT {PAGE}"
        )
        while rows := self._all("read", query, (after,)):
            yield from rows
            after = rows[-1][0]

    def put_memo(self, name: str, value: bytes) -> None:
        """See ``Store.put_memo``."""
        query = f"SELECT {self._schema}.note(%s, %s, %s, %s, %s::int8)"
        self._all("write", query, (name, value, pack((name,)), self._origin, MOST_CHANGES))

    def memo(self, name: str) -> bytes | None:
        """See ``Store.memo``."""
        query = f"SELECT value FROM {self._schema}.memos WHERE name = %s"  # noqa: S608
        found = self._all("read", query, (name,))
        return bytes(found[0][0]) if found else None

    def add_counters(self, increments: Counters) -> None:
        """See ``Store.add_counters``."""
        # In one order everywhere, so that two who add do not wait for each other.
        rows = sorted((*name, float(amount)) for name, amount in increments.items())
        query = (
            f"INSERT INTO {self._schema}.counters AS c "  # noqa: S608
            "SELECT * FROM unnest(%s::text[], %s::text[], %s::float8[]) "
            "ON CONFLICT (category, name) DO UPDATE SET value = c.value + excluded.value"
        )
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
        self._run("write", query, columns, again=False)

    def counters(self) -> dict[tuple[str, str], float]:
        """See ``Store.counters``."""
        query = f"SELECT category, name, value FROM {self._schema}.counters"  # noqa: S608
        return {(category, name): value for category, name, value in self._all("read", query)}

    def close(self) -> None:
        """See ``Store.close``."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._lines.close()
        if (db := self._listener) is not None:
            cut(db)
        with self._listening:
            self._stop_listening()

    # -- inside -----------------------------------------------------------------------------------

    def _value(self, act: str, query: str, values: Any) -> Any:
        return self._all(act, query, values)[0][0]

    def _all(self, act: str, query: str, values: Any = ()) -> list[tuple[Any, ...]]:
        return self._run(act, query, values).fetchall()  # type: ignore[no-any-return]

    def _run(self, act: str, query: str, values: Any, *, again: bool = True) -> Any:
        """Run a statement; ``again`` says that it may be run twice without harm."""
        with self._faults(act):
            return self._lines.run(lambda db: db.execute(query, values, binary=True), again=again)

    def _faults(self, act: str) -> Any:
        if self._closed:
            raise self._closed_error()
        return self._guard.faults(act)

    def _closed_error(self) -> StoreError:
        return StoreError(f"the store {self.url} is closed")
