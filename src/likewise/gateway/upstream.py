"""The model behind: one pooled HTTP client that passes bytes through as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from likewise.config import UpstreamSettings
from likewise.durations import seconds
from likewise.errors import ConfigError, UpstreamError

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

_KEYS = ("authorization", "api-key", "x-api-key")
"""Where a client puts its key."""


def base_url_of(url: str) -> str:
    """Return an upstream's base URL with its ``/v1`` and without a slash at its end.

    >>> base_url_of("http://localhost:9000"), base_url_of("https://host/api/v1/")
    ('http://localhost:9000/v1', 'https://host/api/v1')

    Raises:
        ConfigError: It is not an HTTP URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        msg = f"upstream: {url!r} is not an HTTP URL; write for example https://api.openai.com/v1"
        raise ConfigError(msg)
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


class Upstream:
    """Any OpenAI-compatible server. Opened and closed inside a running event loop."""

    def __init__(self, settings: UpstreamSettings) -> None:
        if settings.base_url is None:
            msg = (
                "no upstream is set; give --upstream URL, "
                "or upstream: {base_url: URL} in the config"
            )
            raise ConfigError(msg)
        self.base_url = base_url_of(settings.base_url)
        self._api_key = settings.api_key
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=seconds(settings.connect_timeout, what="upstream.connect_timeout"),
            sock_read=seconds(settings.timeout, what="upstream.timeout"),
        )
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connection pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
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
            UpstreamError: 502 when the server cannot be reached, 504 when it does not answer.
        """
        if self._session is None:
            msg = "the upstream is not open"
            raise UpstreamError(msg)
        url = URL(self.base_url + path.removeprefix("/v1"), encoded=True)
        try:
            return await self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise fault_of(error, self.base_url) from error

    async def probe(self) -> int:
        """Return the status with which the server answers ``GET /v1/models``."""
        response = await self.send("GET", "/v1/models", self.headers([]), None)
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
                result.add(name, value.decode("latin-1"))
        if self._api_key:
            result["authorization"] = f"Bearer {self._api_key}"
        return result


async def chunks_of(response: aiohttp.ClientResponse, base_url: str) -> AsyncIterator[bytes]:
    """Yield the body of a response in pieces, as they arrive.

    Raises:
        UpstreamError: It broke off.
    """
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise fault_of(error, base_url) from error


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


def fault_of(error: BaseException, base_url: str) -> UpstreamError:
    """Return the error that tells a client what went wrong on the way to the model."""
    if isinstance(error, TimeoutError):
        return UpstreamError(f"the model at {base_url} did not answer in time", status=504)
    if isinstance(error, aiohttp.ClientConnectorError | OSError):
        return UpstreamError(f"cannot reach the model at {base_url}: {_short(error)}")
    return UpstreamError(f"the model at {base_url} broke off: {type(error).__name__}")


def _short(error: BaseException) -> str:
    reason = getattr(error, "os_error", error)
    return getattr(reason, "strerror", None) or type(error).__name__
