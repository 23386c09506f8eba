"""The call to the model that a miss makes."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import Scope

from likewise.gateway.flight import Flight, Head
from likewise.gateway.metrics import Metrics
from likewise.gateway.upstream import Upstream, response_headers
from likewise.gateway.wire.chat import PATH, ChatCall
from likewise.gateway.wire.sse import Splitter

_BODY_HEADERS = frozenset({"content-type", "accept-encoding", "content-encoding", "cache-control"})
"""Headers of a request that stop being true when its body is read and its answer stored."""


class ModelCall:
    """One request to the model, ready to be sent.

    Args:
        call: What the client asked.
        scope: The client's request, for its headers and query.
        add_usage: Ask for a stream's usage although the client did not: without it a stored stream
            could not be replayed whole.
    """

    def __init__(
        self, call: ChatCall, scope: Scope, *, upstream: Upstream, metrics: Metrics, add_usage: bool
    ) -> None:
        self._upstream = upstream
        self._metrics = metrics
        options = call.body.get("stream_options") or {}
        added = add_usage and call.stream and not call.include_usage and isinstance(options, dict)
        self.brings_usage = added or call.include_usage
        self._body = call.raw or msgspec.json.encode(call.body)
        if added:
            body: dict[str, Any] = {
                **call.body,
                "stream_options": {**options, "include_usage": True},
            }
            self._body = msgspec.json.encode(body)
        self._headers = upstream.headers(scope["headers"], without=_BODY_HEADERS)
        self._headers["content-type"] = "application/json"
        self._headers["accept-encoding"] = "identity"
        query = scope.get("query_string", b"").decode("latin-1")
        self._path = f"{PATH}?{query}" if query else PATH

    async def fly(self, flight: Flight) -> None:
        """Make the call and tell ``flight`` of what arrives; events are told one by one.

        Raises:
            UpstreamError: It failed or broke off.
        """
        with self._metrics.upstream():
            response = await self._upstream.send("POST", self._path, self._headers, self._body)
            async with response:
                head = Head(response.status, response_headers(response))
                flight.begin(head)
                splitter, is_events = Splitter(), head.is_event_stream
                async for chunk in self._upstream.chunks(response):
                    for piece in splitter.feed(chunk) if is_events else (chunk,):
                        await flight.add(piece)
                if rest := splitter.rest():
                    await flight.add(rest)
