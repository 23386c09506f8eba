"""Reads another cache's keys from Redis; nothing there is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from likewise.errors import ConfigError

_PAGE = 500
"""Keys that are asked for at once."""


class RedisSource:
    """A Redis that another cache keeps its entries in.

    Raises:
        ConfigError: The package is missing, the URL is wrong, or nobody answers there.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        try:
            import redis  # noqa: PLC0415 - only who asks for Redis needs it
        except ImportError as error:
            msg = "import from Redis needs the package redis: pip install 'likewise[redis]'"
            raise ConfigError(msg) from error
        self._error: type[Exception] = redis.RedisError
        self.shown = _without_password(url)
        try:
            self._redis: Any = redis.Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
            )
        except ValueError as error:
            msg = f"import: {self.shown} is no address of a Redis; write redis://HOST:PORT/DB"
            raise ConfigError(msg) from error
        with self._faults():
            self._redis.ping()

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def count(self) -> int:
        """Return how many keys the database has."""
        with self._faults():
            return int(self._redis.dbsize())

    def hashes(self, prefix: str) -> Iterator[tuple[bytes, dict[bytes, bytes], float | None]]:
        """Yield every hash under a prefix, each once, with its seconds left to live, if limited."""
        for keys in self._keys(_escaped(prefix) + "*", "hash"):
            with self._faults():
                pipe = self._redis.pipeline(transaction=False)
                for key in keys:
                    pipe.hgetall(key)
                    pipe.pttl(key)
                found = pipe.execute()
            for key, fields, left_ms in zip(keys, found[::2], found[1::2], strict=True):
                if fields:  # else it has gone since
                    yield key, fields, None if left_ms < 0 else left_ms / 1000

    def beginnings(self, length: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the key of every text and how it begins."""
        for keys in self._keys("*", "string"):
            with self._faults():
                pipe = self._redis.pipeline(transaction=False)
                for key in keys:
                    pipe.getrange(key, 0, length - 1)
                found = pipe.execute()
            yield from zip(keys, found, strict=True)

    def _keys(self, pattern: str, kind: str) -> Iterator[Sequence[bytes]]:
        seen: set[bytes] = set()  # a scan may name a key twice
        cursor = 0
        while True:
            with self._faults():
                cursor, keys = self._redis.scan(cursor, match=pattern, count=_PAGE, _type=kind)
            fresh = [key for key in dict.fromkeys(keys) if key not in seen]
            seen.update(fresh)
            if fresh:
                yield fresh
            if not cursor:
                return

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            msg = (
                f"import: {self.shown}: {error}; check that Redis runs there, and the user and "
                "password in the URL"
            )
            raise ConfigError(msg) from error


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\*?[]^" else c for c in text)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
