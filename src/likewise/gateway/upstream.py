"""The model behind: one pooled HTTP client that passes bytes through as they are."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import unquote, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from likewise.config import UpstreamSettings
from likewise.durations import seconds
from likewise.errors import ConfigError, UpstreamError

logger = logging.getLogger("likewise")

Headers = list[tuple[bytes, bytes]]
"""Headers as ASGI has them."""

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110, section 7.6.1: these concern one connection only."""

_OURS = frozenset({"host", "content-length", "expect"})
"""Headers of a request that belong to the connection it came on, and are made anew."""

_KEEP_ALIVE_S = 4.0
"""How long an idle connection is kept: less than the 5 s after which uvicorn, and with it vLLM and
many others, closes its end. A request that is sent into that moment is lost."""

_KEYS = ("authorization", "api-key", "x-api-key")
"""Where a client puts its key."""

_ANTHROPIC = "anthropic-version"
"""The header of who speaks Anthropic's protocol, which wants its key in ``x-api-key``."""


def base_url_of(url: str) -> str:
    """Return an upstream's base URL with its ``/v1`` and without a slash at its end.

    >>> base_url_of("http://localhost:9000"), base_url_of("https://host/api/v1/")
    ('http://localhost:9000/v1', 'https://host/api/v1')

    Raises:
        ConfigError: It is not an HTTP URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        msg = f"upstream: {without_userinfo(url)!r} is not an HTTP URL; write for example https://api.openai.com/v1"
        raise ConfigError(msg)
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def without_userinfo(url: str) -> str:
    """Return a URL without the user's name and password, as it may be shown.

    >>> without_userinfo("http://user:s3cret@host/v1")
    'http://host/v1'
    """
    return re.sub(r"//[^/?#]*@", "//", url)


class Upstream:
    """Any OpenAI-compatible server. Opened and closed inside a running event loop.

    ``base_url`` carries no password. Errors that reach a client do not name it; the operator finds
    it in the log. ``ended`` says that the gateway has waited long enough for calls under way.
    """

    def __init__(self, settings: UpstreamSettings) -> None:
        if settings.base_url is None:
            msg = (
                "no upstream is set; give --upstream URL, "
                "or upstream: {base_url: URL} in the config"
            )
            raise ConfigError(msg)
        base_url = base_url_of(settings.base_url)
        self.base_url = without_userinfo(base_url)
        self._api_key = settings.api_key
        self._authorization = (
            f"Bearer {settings.api_key}" if settings.api_key else _basic_of(base_url)
        )
        self._told: set[str] = set()
        self._unanswered: set[asyncio.Task[object]] = set()
        self._answering: set[asyncio.Task[object]] = set()
        self._ending = False
        self.ended = False
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=seconds(settings.connect_timeout, what="upstream.connect_timeout"),
            sock_read=seconds(settings.timeout, what="upstream.timeout"),
        )
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connection pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            timeout=self._timeout,
            auto_decompress=False,
            # A cookie the model sets belongs to one client, not to all who share this pool.
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | CIMultiDict[str],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> aiohttp.ClientResponse:
        """Send a request; ``path`` begins with ``/v1`` and may carry a query.

        Returns:
            The response, its body not yet read; the caller closes it.

        Raises:
            UpstreamError: 502 when the server cannot be reached, 504 when it does not answer, 503
                when the gateway ends.
        """
        if self._ending:
            raise given_up()
        task = _this_task()
        self._unanswered.add(task)
        try:
            return await self._send(method, path, headers, body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._fault(error) from error
        except asyncio.CancelledError:
            if self._ending:
                raise given_up() from None
            raise
        finally:
            self._unanswered.discard(task)

    async def chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """Yield the body of a response in pieces, as they arrive.

        Raises:
            UpstreamError: It broke off, or was given up because the gateway ends.
        """
        task = _this_task()
        self._answering.add(task)
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._fault(error) from error
        except asyncio.CancelledError:
            if self.ended:
                raise given_up() from None
            raise
        finally:
            self._answering.discard(task)
        self._told.clear()

    async def end(self, head_s: float, body_s: float) -> None:
        """Give up calls because the gateway ends.

        Args:
            head_s: How long a call may take from now until its answer begins.
            body_s: How long it may take until its answer is whole; not less.
        """
        await asyncio.sleep(head_s)
        self._ending = True
        for task in list(self._unanswered):
            task.cancel()
        await asyncio.sleep(body_s - head_s)
        self.ended = True
        for task in list(self._answering):
            task.cancel()

    async def probe(self) -> int:
        """Return the status with which the server answers ``GET /v1/models``.

        Raises:
            UpstreamError: It does not; this one is for the operator, and names the server.
        """
        try:
            response = await self._send("GET", "/v1/models", self.headers([]), None)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            _, status, text = _reading_of(error)
            raise UpstreamError(text.format(f"at {self.base_url}"), status=status) from error
        response.close()
        return response.status

    def headers(
        self, headers: Iterable[tuple[bytes, bytes]], *, without: frozenset[str] = frozenset()
    ) -> CIMultiDict[str]:
        """Return a client's headers as they go on to the model."""
        result: CIMultiDict[str] = CIMultiDict()
        for raw_name, value in _end_to_end(headers):
            name = raw_name.decode("latin-1").lower()
            if name in without or name in _OURS or name.startswith("x-likewise-"):
                continue
            if not (self._api_key and name in _KEYS):
                result.add(name, _text_of(value))
        if self._api_key and _ANTHROPIC in result:
            result["x-api-key"] = self._api_key
        elif self._authorization:
            result["authorization"] = self._authorization
        return result

    async def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | CIMultiDict[str],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            msg = "the upstream is not open"
            raise UpstreamError(msg)
        url = URL(self.base_url + path.removeprefix("/v1"), encoded=True)
        return await self._session.request(
            method, url, headers=headers, data=body, allow_redirects=False
        )

    def _fault(self, error: BaseException) -> UpstreamError:
        """Return the error that a client is told; the operator is told once of each kind."""
        kind, status, text = _reading_of(error)
        if kind not in self._told:
            self._told.add(kind)
            logger.warning("%s", text.format(f"at {self.base_url}"))
        return UpstreamError(text.format("behind this gateway"), status=status)


def response_headers(response: aiohttp.ClientResponse) -> Headers:
    """Return a response's headers as they go back to the client."""
    # The server we run on dates every response itself.
    return [
        (name.lower(), value)
        for name, value in _end_to_end(response.raw_headers)
        if name.lower() != b"date"
    ]


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers that concern more than one connection."""
    headers = list(headers)
    named = b",".join(value for name, value in headers if name.lower() == b"connection")
    dropped = _HOP_BY_HOP | {name.strip().lower() for name in named.decode("latin-1").split(",")}
    return [(n, v) for n, v in headers if n.decode("latin-1").lower() not in dropped]


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:  # pragma: no cover - a coroutine that awaits is in a task
        raise RuntimeError
    return task


def given_up() -> UpstreamError:
    """Return the error that a client is told when the gateway ends before its answer is there."""
    return UpstreamError("the gateway is shutting down; ask again", status=503)


def _text_of(value: bytes) -> str:
    """Return a header's value so that aiohttp, which writes UTF-8, sends the bytes that came."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _basic_of(url: str) -> str | None:
    """Return the ``Authorization`` that a URL's user name and password stand for."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return None
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def _reading_of(error: BaseException) -> tuple[str, int, str]:
    """Return a fault's kind, its status, and a sentence with ``{}`` for where the model is."""
    if isinstance(error, TimeoutError):
        return "late", 504, "the model {} did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientSSLError | OSError):
        return "away", 502, f"cannot reach the model {{}}: {_short(error)}"
    return "broken", 502, f"the model {{}} broke off: {type(error).__name__}"


def _short(error: BaseException) -> str:
    """Return why there is no connection. The error's own text is not used: it names the host."""
    reason = getattr(error, "os_error", error)
    if isinstance(error, aiohttp.ClientSSLError) or isinstance(reason, ssl.SSLError):
        return "no TLS connection, or a certificate that is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(reason, socket.gaierror):
        return "its name is not known"
    number = getattr(reason, "errno", None)
    if isinstance(number, int) and number in errno.errorcode:
        return os.strerror(number)
    return type(error).__name__
