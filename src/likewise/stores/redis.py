"""Entries in Redis or Valkey: many gateways over one server."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from likewise.entry import Entry
from likewise.errors import ConfigError, StoreError
from likewise.stores import redis_scripts as scripts
from likewise.stores.base import MOST_LABELS, Counters, IndexRow, Store
from likewise.stores.feed import MOST_CHANGES, PAGE, Change, Kind, Mark, Verdict, lost, pack, unpack
from likewise.stores.packing import pack_entry, unpack_entry, unpack_row
from likewise.stores.remote import (
    ANSWER_S,
    CONNECT_S,
    LONGEST_S,
    POOL,
    Address,
    Guard,
    missing,
)

_FORMAT = 1
_PREFIX = "likewise"
_SLACK_MS = 3_600_000
"""How much longer an entry's packed row is kept than its answer: who clears up reads it."""

_STEP = 500
"""Entries that one run of a script deletes: the server does nothing else meanwhile."""

_BLOCK_S = 0.25
"""How long a follower waits in one go: so long it may take to notice that it is to end."""


class RedisStore(Store):
    """A server of Redis 6.2 or newer, or of Valkey.

    ``redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]``, ``rediss://`` for TLS, ``unix://PATH``, and
    the same with ``valkey``; options of the driver follow as a query, ``?prefix=NAME`` tells caches
    on one server apart. A password may also be in ``LIKEWISE_STORE_PASSWORD``.

    Every write is one script, so that it is done as a whole or not at all. The server must not
    evict what has no expiry (``maxmemory-policy noeviction`` or one of ``volatile-*``).
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        driver = _driver()
        scheme = url.partition("://")[0]
        self._create = create
        address = Address(url.replace("valkey", "redis", 1), ("prefix",))
        self._url = scheme + "://" + address.shown.partition("://")[2]
        number = address.path.strip("/")
        if number and not number.isdecimal() and address.scheme != "unix":
            msg = f"store: {self._url} names the database {number!r}; they are numbers, such as /0"
            raise ConfigError(msg)
        self._prefix = "{" + address.option("prefix", _PREFIX) + "}:"
        self._guard = Guard(
            self._url,
            # The driver says TypeError of an option that it does not know.
            errors=(driver.RedisError, OSError, ValueError, TypeError),
            gone=(driver.ConnectionError, driver.TimeoutError, OSError),
            remedy=_remedy,
        )
        self._origin = secrets.token_bytes(8)
        self._identity = ""
        self._run_id = ""
        """Of the server's run, as of the last ``mark``."""
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._pool = driver.BlockingConnectionPool.from_url(
                address.for_driver,
                max_connections=POOL,
                timeout=CONNECT_S,
                socket_connect_timeout=CONNECT_S,
                socket_timeout=ANSWER_S,
                health_check_interval=30,
                retry=driver.retry.Retry(driver.backoff.NoBackoff(), 1),
            )
        except (ValueError, TypeError, AttributeError) as error:
            msg = f"store: {self._url} is not an address of Redis: {error}"
            raise ConfigError(msg) from None
        self._db = driver.Redis(connection_pool=self._pool)
        # What adds up must not be done twice because its answer was lost.
        self._once = driver.Redis(
            connection_pool=driver.BlockingConnectionPool.from_url(
                address.for_driver,
                max_connections=2,
                timeout=CONNECT_S,
                socket_connect_timeout=CONNECT_S,
                socket_timeout=ANSWER_S,
                retry=driver.retry.Retry(driver.backoff.NoBackoff(), 0),
            )
        )
        self._scripts = {
            name: self._db.register_script(getattr(scripts, name))
            for name in ("OPEN", "PUT", "REVECTOR", "DELETE", "EXPIRE", "KEEP", "LABEL")
        }
        try:
            self._open()
            self.mark()
        except BaseException:
            self._pool.disconnect()
            raise

    def _open(self) -> None:
        with self._guard.faults("open"):
            said, *rest = self._run("OPEN", int(self._create))
        if said == b"none":
            raise missing(self._url)
        if said == b"foreign":
            msg = (
                f"the key {self._prefix}{rest[0].decode()} in {self._url} is of another program; "
                "add ?prefix=NAME to the store's address, or name another database"
            )
            raise StoreError(msg)
        if int(rest[0]) > _FORMAT:
            msg = (
                f"{self._url} was written by a newer Likewise (format {int(rest[0])}, this one "
                f"knows {_FORMAT}); upgrade Likewise or add ?prefix=NAME to the store's address"
            )
            raise StoreError(msg)
        self._identity = rest[1].decode()

    @property
    def url(self) -> str:
        """See ``Store.url``."""
        return self._url

    def put(self, entry: Entry, *, keep_s: float | None = None) -> list[str]:
        """See ``Store.put``."""
        packed, answer = pack_entry(entry)
        with self._faults("write"):
            replaced = self._run(
                "PUT",
                entry.id,
                entry.key,
                entry.category,
                packed,
                answer,
                "" if keep_s is None else round(min(max(1.0, 1000 * keep_s), 1000 * LONGEST_S)),
                _SLACK_MS,
                pack((entry.id,)),
                self._origin,
                MOST_CHANGES,
            )
        return [name.decode() for name in replaced]

    def revector(self, entry: Entry) -> bool:
        """See ``Store.revector``."""
        packed, _ = pack_entry(entry)
        values = (entry.id, entry.key, entry.category, packed, pack((entry.id,)))
        with self._faults("write"):
            return bool(self._run("REVECTOR", *values, self._origin, MOST_CHANGES))

    def get(self, entry_id: str) -> Entry | None:
        """See ``Store.get``."""
        with self._faults("read"):
            packed, answer = self._db.mget(self._key("e:", entry_id), self._key("a:", entry_id))
        return unpack_entry(entry_id, _bare(packed), answer)

    def delete(self, entry_ids: Sequence[str]) -> int:
        """See ``Store.delete``."""
        return len(self._delete(entry_ids))

    def _delete(self, entry_ids: Sequence[str]) -> list[str]:
        gone: list[str] = []
        for start in range(0, len(entry_ids), _STEP):
            names = entry_ids[start : start + _STEP]
            with self._faults("write"):
                gone += [
                    i.decode() for i in self._run("DELETE", self._origin, MOST_CHANGES, *names)
                ]
        return gone

    def clear(self, *, category: str | None = None, scope: bytes | None = None) -> list[str]:
        """See ``Store.clear``."""
        if scope is not None:
            names = [
                row.id
                for row in self.scan()
                if row.scope == scope and category in (None, row.category)
            ]
            return self._delete(names)
        with self._faults("read"):
            if category is None:
                found = self._db.zrange(self._key("ids"), 0, -1)
            else:
                found = self._db.smembers(self._key("c:", category))
        return self._delete([name.decode() for name in found])

    def scan(self) -> Iterator[IndexRow]:
        """See ``Store.scan``."""
        last = "-inf"
        while True:
            with self._faults("read"):
                found = self._db.zrange(
                    self._key("ids"),
                    last,
                    "+inf",
                    byscore=True,
                    offset=0,
                    num=PAGE,
                    withscores=True,
                )
            if not found:
                return
            last = f"({int(found[-1][1])}"
            names = [name.decode() for name, _ in found]
            rows = self.rows(names)
            yield from rows
            if len(rows) < len(names):
                self._clear_up({*names} - {row.id for row in rows})

    def _clear_up(self, names: set[str]) -> None:
        """Forget entries that the server has let go of, other than by their time."""
        with self._faults("read"):
            keys = [self._key("a:", name) for name in names]
            answers = self._db.mget(keys)
        gone = [name for name, answer in zip(names, answers, strict=True) if answer is None]
        self._delete(gone)

    def rows(self, entry_ids: Sequence[str]) -> list[IndexRow]:
        """See ``Store.rows``."""
        found: list[IndexRow] = []
        for start in range(0, len(entry_ids), PAGE):
            names = entry_ids[start : start + PAGE]
            with self._faults("read"), self._db.pipeline(transaction=False) as several:
                several.time()
                several.zmscore(self._key("ends"), names)
                several.mget([self._key("e:", name) for name in names])
                (s, us), ends, packed = several.execute()
            now_ms = s * 1000 + us // 1000
            for name, end, one in zip(names, ends, packed, strict=True):
                row = unpack_row(name, _bare(one)) if end is None or end > now_ms else None
                if row is not None:
                    found.append(row)
        return found

    def expire(self) -> int:
        """See ``Store.expire``."""
        gone = 0
        while True:
            with self._faults("write"):
                count = int(self._run("EXPIRE", self._origin, MOST_CHANGES, _STEP))
            gone += count
            if count < _STEP:
                return gone

    def mark(self) -> Mark:
        """See ``Store.mark``."""
        with self._faults("read"):
            identity, seq = self._db.hmget(self._key("meta"), "id", "seq")
            self._run_id = self._db.info("server").get("run_id", "")
        if identity is None:  # emptied by somebody since it was opened
            self._open()
        else:
            self._identity = identity.decode()
        return Mark(self._identity, int(seq or 0))

    def changes(self, *, after: int) -> list[Change]:
        """See ``Store.changes``."""
        with self._faults("read"), self._db.pipeline(transaction=True) as several:
            several.hmget(self._key("meta"), "id", "seq")
            several.xrange(self._key("feed"), min=f"{after + 1}-0", count=PAGE)
            several.info("server")
            (identity, head), rows, server = several.execute()
        first = int(rows[0][0].partition(b"-")[0]) if rows else int(head or 0) + 1
        # A server that has crashed may have lost the latest, and given their numbers anew.
        same = identity == self._identity.encode() and server.get("run_id", "") == self._run_id
        if not same or first != after + 1:
            raise lost(self.url, after)
        found = (
            unpack(
                int(name.partition(b"-")[0]),
                fields[b"k"].decode(),
                fields[b"b"],
                own=fields[b"o"] == self._origin,
            )
            for name, fields in rows
        )
        return list(found)

    def wait(self, *, after: int, timeout_s: float) -> None:
        """See ``Store.wait``."""
        ends = time.monotonic() + timeout_s
        while (left_s := ends - time.monotonic()) > 0:
            with self._faults("read"):
                block_ms = max(1, int(1000 * min(left_s, _BLOCK_S)))
                if self._db.xread({self._key("feed"): f"{after}-0"}, count=1, block=block_ms):
                    return

    def counts(self) -> dict[str, int]:
        """See ``Store.counts``."""
        self.expire()
        with self._faults("read"):
            names = sorted(name.decode() for name in self._db.smembers(self._key("cats")))
            with self._db.pipeline(transaction=False) as several:
                for name in names:
                    several.scard(self._key("c:", name))
                counts = several.execute()
        return {name: count for name, count in zip(names, counts, strict=True) if count}

    def add_verdict(self, verdict: Verdict) -> None:
        """See ``Store.add_verdict``."""
        field = msgspec.json.encode((verdict.entry_key, verdict.key))
        self._keep("verdicts", field, b"1" if verdict.correct else b"0", Kind.VERDICT, verdict)

    def verdicts(self) -> Iterator[Verdict]:
        """See ``Store.verdicts``."""
        with self._faults("read"):
            found = self._db.hgetall(self._key("verdicts"))
        for field, value in found.items():
            entry_key, key = msgspec.json.decode(field, type=tuple[bytes, bytes])
            yield Verdict(entry_key, key, value == b"1")

    def add_labels(self, labels: Sequence[bytes]) -> None:
        """See ``Store.add_labels``."""
        for start in range(0, len(labels), PAGE):
            some = labels[start : start + PAGE]
            with self._faults("write"):
                values = (MOST_LABELS, self._origin, MOST_CHANGES, *some)
                self._scripts["LABEL"](keys=[self._prefix], args=values, client=self._once)

    def labels(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """See ``Store.labels``."""
        while True:
            with self._faults("read"):
                rows = self._db.xrange(self._key("labels"), min=f"{after + 1}-0", count=PAGE)
            if not rows:
                return
            for name, fields in rows:
                after = int(name.partition(b"-")[0])
                yield after, fields[b"l"]

    def put_memo(self, name: str, value: bytes) -> None:
        """See ``Store.put_memo``."""
        self._keep("memos", name, value, Kind.MEMO, name)

    def memo(self, name: str) -> bytes | None:
        """See ``Store.memo``."""
        with self._faults("read"):
            found: bytes | None = self._db.hget(self._key("memos"), name)
        return found

    def add_counters(self, increments: Counters) -> None:
        """See ``Store.add_counters``."""
        with self._faults("write"), self._once.pipeline(transaction=True) as several:
            for name, amount in increments.items():
                field = msgspec.json.encode(name)
                several.hincrbyfloat(self._key("counters"), field, amount)
            several.execute()

    def counters(self) -> dict[tuple[str, str], float]:
        """See ``Store.counters``."""
        with self._faults("read"):
            found = self._db.hgetall(self._key("counters"))
        return {
            msgspec.json.decode(field, type=tuple[str, str]): float(value)
            for field, value in found.items()
        }

    def close(self) -> None:
        """See ``Store.close``."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._pool.disconnect()
        self._once.connection_pool.disconnect()

    def _key(self, name: str, rest: str = "") -> str:
        return f"{self._prefix}{name}{rest}"

    def _run(self, script: str, *arguments: Any) -> Any:
        return self._scripts[script](keys=[self._prefix], args=arguments)

    def _keep(
        self, where: str, field: str | bytes, value: bytes, kind: Kind, what: str | Verdict
    ) -> None:
        body = pack((what,)) if isinstance(what, str) else pack(verdict=what)
        with self._faults("write"):
            self._run("KEEP", where, field, value, kind.value, body, self._origin, MOST_CHANGES)

    def _faults(self, act: str) -> Any:
        if self._closed:
            msg = f"the store {self.url} is closed"
            raise StoreError(msg)
        return self._guard.faults(act)


def _bare(packed: bytes | None) -> bytes | None:
    """Return a packed entry without what the scripts read of it."""
    return packed[17 + packed[16] :] if packed is not None and len(packed) > 17 else None


def _driver() -> Any:
    try:
        import redis  # noqa: PLC0415 - an optional dependency
        import redis.backoff  # noqa: PLC0415
        import redis.retry  # noqa: PLC0415
    except ImportError as error:
        msg = "store: Redis needs another package: pip install 'likewise[redis]'"
        raise ConfigError(msg) from error
    return redis


_REMEDIES = (
    (("wrongpass", "noauth", "authenticated", "invalid password", "invalid username"),
     "check user and password, in the store's address or LIKEWISE_STORE_PASSWORD"),
    (("db index", "database index"), "name a database that the server has, such as /0"),
    (("readonly", "read only replica"), "it is a replica: name the primary"),
    (("misconf", "no space"), "the server cannot save: free some disk space there"),
    (("oom", "maxmemory"), "the server's memory is full: raise maxmemory, or lower max_entries"),
    (("wrongtype",), "another program writes under our keys: add ?prefix=NAME to the address"),
    (("noperm",), "the user may not do this: allow ~{likewise}:* +@all -@dangerous"),
    (("unexpected keyword",), "the address has an option that the driver does not know"),
    (("unknown command", "syntax error"), "Redis 6.2 or newer, or Valkey, is needed"),
    (("no connection available", "too many connections"), "too many calls wait for it"),
    (("ssl", "certificate"), "check the certificate; ?ssl_ca_certs=FILE names its CA"),
)  # fmt: skip


def _remedy(error: BaseException) -> str:
    said = str(error).lower()
    for words, remedy in _REMEDIES:
        if any(word in said for word in words):
            return remedy
    return "check that the server runs and that host and port are right"
