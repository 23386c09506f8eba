"""A transport for ``httpx``, and so for the OpenAI client, that caches without a gateway.

    import httpx, openai
    from likewise import Cache
    from likewise.integrations.httpx import CachingTransport

    http = httpx.Client(transport=CachingTransport(Cache()))
    client = openai.OpenAI(http_client=http)

``POST .../chat/completions`` is answered from cache, streams and tool calls included, as the
gateway would: with its rules of what is identity, its controls in headers and in the body's
``cache``, and its response headers. Whose answer it is says the API key. The server's address is
identity as well.
"""

from __future__ import annotations

from likewise.integrations import missing
from likewise.integrations.transport import (
    AsyncRecordedStream,
    AsyncTransport,
    RecordedStream,
    SyncTransport,
)

try:
    import httpx
except ImportError as error:
    raise missing("httpx", "httpx") from error


class _Stream(RecordedStream, httpx.SyncByteStream):
    pass


class _AsyncStream(AsyncRecordedStream, httpx.AsyncByteStream):
    pass


class CachingTransport(SyncTransport, httpx.BaseTransport):
    """A ``httpx.BaseTransport`` over a ``Cache``; see ``SyncTransport`` for its arguments."""

    _library = httpx
    _stream = _Stream


class AsyncCachingTransport(AsyncTransport, httpx.AsyncBaseTransport):
    """An ``httpx.AsyncBaseTransport`` over an ``AsyncCache``."""

    _library = httpx
    _stream = _AsyncStream
