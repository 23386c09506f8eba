"""A client's request on its way through the gateway."""

from __future__ import annotations

import msgspec
from starlette.types import Receive, Scope, Send

from likewise.gateway.reading import Reader, Reading
from likewise.gateway.wire.dialect import Call


class Exchange(msgspec.Struct):
    """A client's request, what it asks, and the way back."""

    reader: Reader
    read: Reading
    call: Call
    scope: Scope
    receive: Receive
    send: Send
