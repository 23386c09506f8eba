"""Connections to PostgreSQL that a process keeps: lent, given back, and cut when nobody answers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from likewise.errors import ConfigError, StoreError
from likewise.stores.remote import ANSWER_S, CONNECT_S, POOL

T = TypeVar("T")


class Lines:
    """Connections of many threads, as many as are in use at once. Safe to use from many threads.

    Args:
        module: The driver.
        conninfo: The address with its password.
        shown: The address as it may be shown.
        answer_s: Seconds that the server may take to answer.
        prepared: Called with each new connection.
    """

    def __init__(
        self,
        module: Any,
        conninfo: str,
        shown: str,
        *,
        answer_s: float = ANSWER_S,
        prepared: Callable[[Any], None] = lambda _: None,
    ) -> None:
        self._driver = module
        self._conninfo = conninfo
        self._shown = shown
        self._answer_s = answer_s
        self._prepared = prepared
        self._under_way: dict[Any, float] = {}
        self._idle: deque[Any] = deque()
        self._room = threading.BoundedSemaphore(POOL)
        self._ended = threading.Event()

    def watch(self) -> None:
        """From now on cut connections to a server that takes too long."""
        threading.Thread(target=self._watch, name="likewise-postgres", daemon=True).start()

    def run(self, ask: Callable[[Any], T], *, again: bool = True) -> T:
        """Run a call on a connection; ``again`` says that it may be run twice without harm."""
        ends = time.monotonic() + self._answer_s
        try:
            return self._once(ask)
        except self._driver.OperationalError as error:
            # A server that was restarted has closed the connections that wait here; one that was
            # cut because it took too long is not asked again.
            if not again or not _is_broken(error) or time.monotonic() >= ends:
                raise
            self._close_idle()
            return self._once(ask)

    def connect(self) -> Any:
        """Return a new connection, which is the caller's to close."""
        return self._driver.connect(self._conninfo, **_CONNECTION)

    @contextmanager
    def limited(self, db: Any) -> Iterator[None]:
        """Run a block that waits for the server on a connection, but not for ever."""
        self._under_way[db] = time.monotonic() + self._answer_s
        try:
            yield
        finally:
            del self._under_way[db]

    def close(self) -> None:
        """Close all of them, also under those who wait."""
        self._ended.set()
        self._close_idle()
        for db in list(self._under_way):
            cut(db)

    def _once(self, ask: Callable[[Any], T]) -> T:
        with self._lent() as db, self.limited(db):
            return ask(db)

    @contextmanager
    def _lent(self) -> Iterator[Any]:
        """Lend a connection that waits here, or a new one; one that broke is not kept."""
        if not self._room.acquire(timeout=CONNECT_S):
            msg = f"cannot ask {self._shown}: {POOL} calls are under way already; try again"
            raise StoreError(msg)
        try:
            try:
                db = self._idle.pop()
            except IndexError:
                db = self.connect()
                with self.limited(db):
                    self._prepared(db)
            try:
                yield db
            finally:
                self._give_back(db)
        finally:
            self._room.release()

    def _give_back(self, db: Any) -> None:
        if db.closed or db.broken:
            db.close()
            return
        self._idle.append(db)
        if self._ended.is_set():
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                self._idle.pop().close()

    def _watch(self) -> None:
        """Cut connections to a server that takes too long: libpq itself would wait for ever."""
        while not self._ended.wait(min(0.25, self._answer_s / 4)):
            now = time.monotonic()
            for db, ends in list(self._under_way.items()):
                if ends < now:
                    cut(db)


_CONNECTION = {
    "autocommit": True,
    "connect_timeout": round(CONNECT_S),
    "application_name": "likewise",
    "tcp_user_timeout": round(1000 * ANSWER_S),
}


def cut(db: Any) -> None:
    """Close a connection's socket under whoever waits for it."""
    with (
        suppress(Exception),
        socket.socket(fileno=os.dup(db.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


def driver(what: str = "store") -> Any:
    """Return psycopg.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import psycopg  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        msg = f"{what}: PostgreSQL needs another package: pip install 'likewise[postgres]'"
        raise ConfigError(msg) from error
    return psycopg


def _is_broken(error: BaseException) -> bool:
    """Return whether a connection was lost, not one refused."""
    said = str(error).lower()
    return any(words in said for words in ("closed", "terminating", "lost", "eof detected"))


_REMEDIES = (
    (("password", "authentication", "role ", "pg_hba"), "check user and password, in the store's "
     "address, PGPASSWORD or LIKEWISE_STORE_PASSWORD"),
    (("database \"", "invalid dbname"), "make the database first, or name another"),
    (("permission denied",), "let this user make a schema: GRANT CREATE ON DATABASE ... TO ..."),
    (("read-only", "recovery"), "it is a replica: name the primary"),
    (("no space", "disk full"), "free some disk space on the server"),
    (("too many c", "remaining connection slots"), "raise max_connections, or run fewer workers"),
    (("does not exist", "undefined"), "our schema was changed: add ?schema=NAME for a new one"),
    (("invalid connection option", "invalid uri", "invalid sslmode"), "see libpq's options"),
    (("certificate", "ssl"), "check sslmode and sslrootcert in the address"),
    (("timeout", "couldn't get a connection"), "check that the server runs and answers"),
)  # fmt: skip


def remedy(error: BaseException) -> str:
    """Return what to do about an error of the driver."""
    said = str(error).lower()
    for words, remedy in _REMEDIES:
        if any(word in said for word in words):
            return remedy
    return "check that the server runs and that host and port are right"
