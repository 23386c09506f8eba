"""Stores by URL."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from likewise.errors import ConfigError
from likewise.stores.base import Counters, Held, IndexRow, Store
from likewise.stores.feed import Change, FeedLostError, Kind, Mark, Verdict
from likewise.stores.memory import MemoryStore
from likewise.stores.pgvector import PgvectorIndex
from likewise.stores.postgres import PostgresStore
from likewise.stores.redis import RedisStore
from likewise.stores.remote import missing
from likewise.stores.sealed import sealed
from likewise.stores.sqlite import SQLiteStore

__all__ = [
    "Change",
    "Counters",
    "FeedLostError",
    "Held",
    "IndexRow",
    "Kind",
    "Mark",
    "MemoryStore",
    "PgvectorIndex",
    "PostgresStore",
    "RedisStore",
    "SQLiteStore",
    "Store",
    "Verdict",
    "open_store",
    "sealed",
]

_REDIS = ("redis", "rediss", "unix", "valkey", "valkeys")
_POSTGRES = ("postgresql", "postgres")


def open_store(url: str, *, create: bool = True) -> Store:
    """Open the store at ``url``.

    ``memory://``, ``sqlite:///FILE``, ``redis://HOST:PORT/DATABASE`` (see ``RedisStore``) or
    ``postgresql://USER@HOST:PORT/DATABASE`` (see ``PostgresStore``).

    With ``create=False`` a store that is not there is an error, not made.

    Other packages add schemes by the entry-point group ``likewise.stores``: a callable that takes
    the URL and returns a ``Store``.

    Raises:
        ConfigError: The URL's scheme is unknown.
        StoreError: The store cannot be opened.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory":
        return MemoryStore()
    if separator and scheme == "sqlite":
        path = rest.removeprefix("/")
        if path in {"", ":memory:"}:
            msg = f"store: {url!r} names no file; write sqlite:///likewise.db, or memory://"
            raise ConfigError(msg)
        file = Path(path).expanduser()
        if not create and not file.exists():
            raise missing(url)
        return SQLiteStore(file)
    if separator and scheme in _REDIS:
        return RedisStore(url, create=create)
    if separator and scheme in _POSTGRES:
        return PostgresStore(url, create=create)
    for plugin in entry_points(group="likewise.stores", name=scheme):
        store = plugin.load()(url)
        if isinstance(store, Store):
            return store
    msg = (
        f"store: {scheme + separator!r} is not a known kind; write sqlite:///FILE, redis://HOST, "
        "postgresql://HOST/DATABASE or memory://"
    )
    raise ConfigError(msg)
