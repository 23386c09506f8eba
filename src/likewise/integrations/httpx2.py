"""A transport for ``httpx2``, and so for the OpenAI client, that caches without a gateway.

    import httpx2, openai
    from likewise import Cache
    from likewise.integrations.httpx2 import CachingTransport

    http = httpx2.Client(transport=CachingTransport(Cache()))
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
    import httpx2
except ImportError as error:
    raise missing("httpx2", "httpx2") from error


class _Stream(RecordedStream, httpx2.SyncByteStream):
    pass


class _AsyncStream(AsyncRecordedStream, httpx2.AsyncByteStream):
    pass


class CachingTransport(SyncTransport, httpx2.BaseTransport):
    """A ``httpx2.BaseTransport`` over a ``Cache``; see ``SyncTransport`` for its arguments."""

    _library = httpx2
    _stream = _Stream


class AsyncCachingTransport(AsyncTransport, httpx2.AsyncBaseTransport):
    """An ``httpx2.AsyncBaseTransport`` over an ``AsyncCache``."""

    _library = httpx2
    _stream = _AsyncStream
