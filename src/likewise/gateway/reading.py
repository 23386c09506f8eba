"""What a client asks and whose request it is; of those that came lately it is known."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.types import Scope

from likewise.gateway.client import header_map
from likewise.gateway.wire.chat import CHAT
from likewise.gateway.wire.controls import SPEAKING
from likewise.gateway.wire.dialect import Call, Dialect
from likewise.recent import Recent
from likewise.scope import digest_of, tenant_of

_IDENTITY_HEADERS = (
    "api-key",
    "authorization",
    "cookie",
    "openai-organization",
    "openai-project",
    "x-api-key",
    "x-auth-token",
    "x-goog-api-key",
    "x-user-id",
)
"""Headers that say who asks. All go to the model, which may answer by any of them."""

_ENCODING = "content-encoding"
_READ = (*_IDENTITY_HEADERS, *SPEAKING, _ENCODING)
"""The headers that are read in any protocol."""

_MOST_BYTES = 32 * 1024 * 1024
_PER_BYTE, _EACH = 8, 2_000
"""Bytes that a request takes when it is read, for each byte of its body and on top."""

Key = tuple[str, bytes, bytes, tuple[tuple[bytes, bytes], ...]]
Known = Recent[Key, Call]


class Reading(msgspec.Struct):
    """A request that was read.

    Attributes:
        call: What it asks; ``None`` when that is for the model to judge.
        key: By what it is known again.
        known: Whether it was known.
    """

    call: Call | None
    key: Key
    known: bool


class Reader:
    """Reads the requests of one protocol, and remembers those that it is told are worth it.

    Who is answered from cache has often sent the same bytes before: they need not be read twice.
    A request is known again by its path, body and query, and the headers that are read at all.

    Args:
        dialect: The protocol.
        known: Where requests are remembered, when other readers share it.
    """

    def __init__(self, dialect: Dialect = CHAT, known: Known | None = None) -> None:
        self._dialect = dialect
        self._path = dialect.path
        self._read = frozenset(name.encode() for name in (*_READ, *dialect.identity_headers))
        self._recent = memory() if known is None else known

    def read(self, scope: Scope, body: bytes) -> Reading:
        """Return what a request says.

        Raises:
            RequestError: The body is not JSON, or a control for the cache is wrong.
        """
        read = self._read
        found = [(name, value) for name, value in scope["headers"] if name.lower() in read]
        query: bytes = scope.get("query_string", b"")
        key = self._path, body, query, tuple(found)
        call = self._recent.of(key)
        if call is not None:
            return Reading(call, key, known=True)
        # Nothing else is looked at, so that nothing else can tell two requests apart.
        headers = header_map(found)
        if headers.get(_ENCODING, "identity") == "identity":
            tenant = tenant_in(headers)
            call = self._dialect.read(body, headers, tenant=tenant, query=query.decode("latin-1"))
        return Reading(call, key, known=False)

    def remember(self, reading: Reading) -> None:
        """Know a request when it comes again."""
        if not reading.known and reading.call is not None:
            self._recent.add(reading.key, reading.call, _PER_BYTE * len(reading.key[1]) + _EACH)


def memory() -> Known:
    """Return room for requests to be remembered in."""
    return Recent(_MOST_BYTES)


def tenant_in(headers: Mapping[str, str]) -> str:
    """Return the tenant whom a client's headers name, all of them together.

    One who sends ``Authorization`` alone is ``tenant_of`` its value.
    """
    given = [(name, headers[name]) for name in _IDENTITY_HEADERS if headers.get(name)]
    match given:
        case []:
            return tenant_of(None)
        case [("authorization", key)]:
            return tenant_of(key)
    return digest_of("tenant", *(part for pair in given for part in pair)).hex()
