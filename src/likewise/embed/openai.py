"""Embeddings from any server that speaks OpenAI's ``/embeddings``."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import msgspec
import numpy as np
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

from likewise.breaker import CircuitBreaker
from likewise.embed import Vectors
from likewise.errors import ConfigError, EmbedderError

# Inputs in one request. OpenAI takes 2,048; 256 short texts keep an answer within a few megabytes.
_BATCH = 256
# The largest answer read, in bytes: 256 vectors of 4,096 numbers of 24 characters are 25 MB.
_MOST_BYTES = 64 * 2**20
# Idle connections kept for reuse. More may be open at once.
_KEPT_CONNECTIONS = 16
# Statuses that blame the texts of one call: they say nothing about the server's health.
_CALLERS_FAULT = frozenset({400, 413, 422})
_REMEDIES = {
    400: "the texts or options were refused; check dimensions and the length of the texts",
    401: "the API key is missing or wrong; set the embedder's api_key",
    403: "the API key may not use this model; use another key or model",
    404: "no such model or address; check the model's name and that base_url ends in /v1",
    413: "the request is too large; embed shorter texts",
    422: "the texts or options were refused; check dimensions and the length of the texts",
    429: "too many requests or no credit left; slow down or raise the account's limit",
}


class _Row(msgspec.Struct):
    embedding: list[float]
    index: int = -1


class _Reply(msgspec.Struct):
    data: list[_Row]


class OpenAIEmbedder:
    """Vectors of ``model`` from the server at ``base_url``, fetched synchronously over HTTP.

    ``api_key`` is sent as a bearer token and nowhere else; without it no authorisation is sent (the
    environment is not read, as its key may belong to another server). ``dimensions`` asks for
    shortened vectors; without it the server is asked once, at first use. ``max_tokens`` is the
    model's window. ``timeout_s`` bounds one HTTP exchange from the connection to the answer's last
    byte, however slowly the bytes arrive; only the look-up of the host's name is outside it. There
    are no retries: the cache goes on without an embedding sooner than it waits. While ``breaker``
    (by default 5 failures, 30 s) is open, calls fail at once. Proxies of the environment are not
    used. Safe to call from many threads.

    Raises:
        ConfigError: An argument cannot work.
    """

    parallel = _KEPT_CONNECTIONS
    """Calls at once, see ``vectors.Batches``."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str = "https://api.openai.com/v1",
        api_key: str | None = None,
        dimensions: int | None = None,
        timeout_s: float = 2.0,
        max_tokens: int = 8191,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        if not model:
            raise ConfigError("the embedding model's name is empty: give it as openai:NAME")
        if (dimensions is not None and dimensions < 1) or timeout_s <= 0 or max_tokens < 1:
            raise ConfigError(
                f"dimensions={dimensions}, timeout_s={timeout_s}, max_tokens={max_tokens}: "
                "each must be above 0"
            )
        self._model = model
        self._asked_dimensions = self._dimensions = dimensions
        self._timeout_s = timeout_s
        self._max_tokens = max_tokens
        self._breaker = breaker or CircuitBreaker()
        self._pool, self._host, self._path = _open_pool(base_url)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if api_key:
            if not api_key.isascii() or not api_key.isprintable():
                raise ConfigError("api_key holds characters no HTTP header can; check its end")
            self._headers["Authorization"] = f"Bearer {api_key}"

    def __repr__(self) -> str:
        return f"OpenAIEmbedder(name={self.name!r}, timeout_s={self._timeout_s})"

    @property
    def name(self) -> str:
        """``openai:MODEL@HOST``, and ``/DIMENSIONS`` after it when they were asked for."""
        suffix = "" if self._asked_dimensions is None else f"/{self._asked_dimensions}"
        return f"openai:{self._model}@{self._host}{suffix}"

    @property
    def dimensions(self) -> int:
        """Length of a vector; asks the server if it is not known yet.

        Raises:
            EmbedderError: The server had to be asked and failed or did not answer in time.
        """
        if self._dimensions is None:
            self.embed(["dimensions"])
        assert self._dimensions is not None  # noqa: S101 - embed sets it or raises
        return self._dimensions

    def fits(self, text: str) -> bool:
        """Whether ``text`` is at most ``max_tokens`` bytes of UTF-8.

        A byte-level tokenizer makes at most one token of a byte, so True is never wrong; a text of
        more bytes than that might fit too, but only the server could tell.
        """
        try:
            return len(text.encode()) <= self._max_tokens
        except UnicodeEncodeError:
            return False  # half of a surrogate pair, which cannot be sent

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed ``n`` texts as float32 of shape ``(n, dimensions)``, each row of length 1.

        Sends up to 256 texts in one request, and has ``timeout_s`` for each request.

        Raises:
            EmbedderError: The server failed, did not answer in time, or answered with anything but
                one finite, non-zero vector for each text; or the breaker is open.
        """
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        parts = [
            self._embed_batch(texts[start : start + _BATCH])
            for start in range(0, len(texts), _BATCH)
        ]
        return np.concatenate(parts)

    def close(self) -> None:
        """Close the idle connections. A later call opens new ones."""
        self._pool.close()

    def _embed_batch(self, texts: Sequence[str]) -> Vectors:
        body = self._body(texts)
        if not self._breaker.allow():
            wait_s = self._breaker.retry_in_s
            raise self._error(f"failed too often; it is not asked again for {wait_s:.0f} s")
        try:
            status, content = self._exchange(body)
            if status == 200:
                vectors = self._read_vectors(content, len(texts))
            elif status not in _CALLERS_FAULT:
                raise self._error(_status_line(status))
        except EmbedderError:
            self._breaker.record_failure()
            raise
        self._breaker.record_success()
        if status != 200:
            raise self._error(_status_line(status))
        return vectors

    def _body(self, texts: Sequence[str]) -> bytes:
        request: dict[str, object] = {
            "model": self._model,
            "input": list(texts),
            "encoding_format": "float",
        }
        if self._asked_dimensions is not None:
            request["dimensions"] = self._asked_dimensions
        try:
            return msgspec.json.encode(request)
        except UnicodeEncodeError:
            # Not chained: the error carries the text.
            raise self._error("a text holds half of a surrogate pair; send valid Unicode") from None

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        """Status and content of the server's answer, within ``timeout_s`` in all."""
        started_s = time.monotonic()
        try:
            with _cut_off_afterwards():
                response = self._pool.urlopen(
                    "POST",
                    self._path,
                    body=body,
                    headers=self._headers,
                    retries=False,
                    redirect=False,
                    timeout=urllib3.Timeout(total=self._timeout_s),
                    preload_content=False,
                )
                try:
                    content = response.read(_MOST_BYTES + 1)
                finally:
                    response.close()  # a wholly read one has gone back to the pool by now
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # A server that drips is cut off, which looks like a lost connection: ask the clock.
            late = isinstance(error, urllib3.exceptions.TimeoutError)
            if late or time.monotonic() - started_s >= self._timeout_s:
                problem = f"no answer within {self._timeout_s:g} s"
            else:
                problem = f"no connection or a broken one ({type(error).__name__})"
            raise self._error(f"{problem}; check base_url and the server") from error
        if len(content) > _MOST_BYTES:
            raise self._error(f"an answer of more than {_MOST_BYTES // 2**20} MB")
        return response.status, content

    def _read_vectors(self, content: bytes, count: int) -> Vectors:
        """The answer's vectors in the order of the texts, each scaled to length 1."""
        try:
            rows = msgspec.json.decode(content, type=_Reply).data
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._error(f"not an embeddings answer ({error})") from error
        if len(rows) != count:
            raise self._error(f"{len(rows)} vectors for {count} texts")
        if any(row.index != -1 for row in rows):
            rows = sorted(rows, key=lambda row: row.index)
            if [row.index for row in rows] != list(range(count)):
                raise self._error(f"indices other than 0 to {count - 1}")
        lengths = {len(row.embedding) for row in rows}
        expected = self._dimensions or len(rows[0].embedding)
        if lengths != {expected} or not expected:
            raise self._error(
                f"vectors of {sorted(lengths)} numbers instead of {expected or 'some'}"
            )
        vectors = np.array([row.embedding for row in rows], dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # looked at just below
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all():
            raise self._error("numbers that are not finite or too large")
        if not norms.all():
            raise self._error("a vector of zeros, which has no direction")
        self._dimensions = expected
        unit: Vectors = (vectors / norms).astype(np.float32)
        return unit

    def _error(self, problem: str) -> EmbedderError:
        return EmbedderError(f"embedder {self.name}: {problem}")


def _status_line(status: int) -> str:
    remedy = _REMEDIES.get(status)
    if remedy is None and status >= 500:
        remedy = "the server failed; see its log, or wait"
    return f"HTTP {status}: {remedy or 'not an answer; check base_url'}"


def _open_pool(base_url: str) -> tuple[urllib3.HTTPConnectionPool, str, str]:
    """A connection pool for ``base_url``, its host (and port) and the path to post to."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        # The value is not shown: it may hold a password.
        raise ConfigError(
            "the embedder's base_url must look like https://HOST/v1 (http or https, no user name)"
        )
    kind = _HttpsPool if parts.scheme == "https" else _HttpPool
    pool = kind(parts.hostname, port=port, maxsize=_KEPT_CONNECTIONS)
    return pool, parts.netloc.lower(), parts.path.rstrip("/") + "/embeddings"


# A read timeout starts anew with every byte, so a server that drips could hold a caller for hours.
# From the moment the request is out, a timer therefore stands ready to shut the socket down.


class _UnderWay(threading.local):
    timer: threading.Timer | None = None


_under_way = _UnderWay()


def _arm(sock: socket.socket, within_s: float | None) -> None:
    _under_way.timer = threading.Timer(within_s or 0.0, _shut_down, [sock])
    _under_way.timer.daemon = True
    _under_way.timer.start()


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        # The plain socket's method: TLS's own would take the session from under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


@contextmanager
def _cut_off_afterwards() -> Iterator[None]:
    """Stand down the timer of this thread's exchange at its end."""
    try:
        yield
    finally:
        if _under_way.timer is not None:
            _under_way.timer.cancel()
            _under_way.timer = None


class _HttpConnection(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3's own does
        _arm(self.sock, self.timeout)  # urllib3 has just put what is left of the total here
        return super().getresponse()


class _HttpsConnection(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3's own does
        _arm(self.sock, self.timeout)
        return super().getresponse()


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
