"""The transports for chat requests, whatever the library: one that waits, and one that awaits.

    desk.open -> lookup -> answer                                a hit
                        -> desk.outgoing -> the transport below -> desk.passed_on -> try_keep

Anything that is no chat request goes through untouched, and so does everything while the cache is
out of order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from types import ModuleType, TracebackType
from typing import Any, Self

from likewise.aio import AsyncCache
from likewise.cache import Cache
from likewise.errors import RequestError
from likewise.gateway.reply import UsageOnHit
from likewise.integrations.exchange import Desk, Exchange, Recording
from likewise.policy import Hit, Reason
from likewise.prices import Prices


class RecordedStream:
    """The body of a response that waits; what it brings is kept when it is whole."""

    def __init__(self, inner: Any, recording: Recording, cache: Cache) -> None:
        self._inner = inner
        self._recording = recording
        self._cache = cache

    def __iter__(self) -> Iterator[bytes]:
        recorder = self._recording.recorder
        for chunk in self._inner:
            yield from recorder.feed(chunk)
        yield from recorder.end()
        self._keep()

    def close(self) -> None:
        """Keep a stream that is whole although nobody read on to its very end, and close it."""
        try:
            self._keep()
        finally:
            self._inner.close()

    def _keep(self) -> None:
        if (found := self._recording.taken()) is not None:
            self._cache.try_keep(**found)


class AsyncRecordedStream:
    """The same for coroutines."""

    def __init__(self, inner: Any, recording: Recording, cache: AsyncCache) -> None:
        self._inner = inner
        self._recording = recording
        self._cache = cache

    async def __aiter__(self) -> AsyncIterator[bytes]:
        recorder = self._recording.recorder
        async for chunk in self._inner:
            for piece in recorder.feed(chunk):
                yield piece
        for piece in recorder.end():
            yield piece
        await self._keep()

    async def aclose(self) -> None:
        """See ``RecordedStream.close``."""
        try:
            await self._keep()
        finally:
            await self._inner.aclose()

    async def _keep(self) -> None:
        if (found := self._recording.taken()) is not None:
            await self._cache.try_keep(**found)


class SyncTransport:
    """Answers chat requests from a ``Cache``, or passes them on to another transport.

    Args:
        cache: Stays open when the transport is closed.
        transport: Takes what the cache cannot answer; without one the library's own. It is closed
            with this one.
        usage_on_hit: Whether a hit tells the usage as it was (``replay``), or ``zero``.
        stream_usage: Whether to ask the model for the usage of streams, which is hidden from
            clients that did not ask; switch it off for a server that does not know the option.
        prices: What models cost, for what a hit saves; without them the built-in ones.
    """

    _library: ModuleType
    _stream: type[RecordedStream]

    def __init__(
        self,
        cache: Cache,
        transport: Any = None,
        *,
        usage_on_hit: UsageOnHit = "replay",
        stream_usage: bool = True,
        prices: Prices | None = None,
    ) -> None:
        self._cache = cache
        self._inner = self._library.HTTPTransport() if transport is None else transport
        self._desk = Desk(
            cache,
            self._library,
            usage_on_hit=usage_on_hit,
            stream_usage=stream_usage,
            prices=prices,
        )
        self._refreshing: set[bytes] = set()

    def handle_request(self, request: Any) -> Any:
        """Return the response to a request."""
        if not self._desk.concerns(request):
            return self._inner.handle_request(request)
        body = request.read()
        exchange = None
        try:
            exchange = self._desk.open(request, body)
            hit = None if exchange is None else self._looked_up(exchange)
            if exchange is not None and hit is not None:
                response = self._desk.answer(exchange, hit)
                if hit.reason is Reason.REVALIDATING:
                    self._refresh_aside(exchange)
                return response
        except RequestError as error:
            return self._desk.refusal(error)
        except Exception as error:
            self._desk.report(error)
        if exchange is None:
            past = self._desk.without_controls(request, body)
            return self._inner.handle_request(past)
        return self._ask(exchange)

    def close(self) -> None:
        """Close the transport below."""
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    def _looked_up(self, exchange: Exchange) -> Hit | None:
        engine, lookup = self._desk.engine, exchange.lookup
        decision = self._cache.resume(lookup, engine.guarded(lookup, engine.exact))
        exchange.decision = self._desk.checked(decision)
        return exchange.decision if isinstance(exchange.decision, Hit) else None

    def _ask(self, exchange: Exchange) -> Any:
        """Return what the model says, or a stale answer in place of its failure."""
        request, hides = self._desk.outgoing(exchange)
        try:
            with self._cache.load.call(exchange.call.request.scope.model):
                response = self._inner.handle_request(request)
        except Exception:
            stale = self._stale(exchange)
            if stale is None:
                raise
            return stale
        if self._desk.failed(exchange, response.status_code):
            stale = self._stale(exchange)
            if stale is not None:
                response.close()
                return stale
        return self._desk.passed_on(exchange, response, self._recorded, hide_usage=hides)

    def _stale(self, exchange: Exchange) -> Any:
        if not self._desk.failed(exchange):
            return None
        hit = self._cache.stale(exchange.lookup)
        if hit is None or not isinstance(self._desk.checked(hit), Hit):
            return None
        return self._desk.answer(exchange, hit)

    def _recorded(self, inner: Any, recording: Recording) -> RecordedStream:
        return self._stream(inner, recording, self._cache)

    def _refresh_aside(self, exchange: Exchange) -> None:
        """Fetch a fresh answer on a thread, unless one is on its way already."""
        key = exchange.lookup.key
        if key in self._refreshing or exchange.call.request.controls.no_store:
            return
        self._refreshing.add(key)
        thread = threading.Thread(
            target=self._refresh, args=(exchange,), name="likewise-refresh", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no thread is to be had; the caller has its answer
            self._refreshing.discard(key)
            self._desk.report(error)

    def _refresh(self, exchange: Exchange) -> None:
        try:
            request, hides = self._desk.outgoing(exchange)
            response = self._inner.handle_request(request)
            passed = self._desk.passed_on(exchange, response, self._recorded, hide_usage=hides)
            try:
                passed.read()
            finally:
                passed.close()
        except Exception as error:
            self._desk.report(error)
        finally:
            self._refreshing.discard(exchange.lookup.key)


class AsyncTransport:
    """``SyncTransport`` for coroutines, over an ``AsyncCache``; lives in one event loop."""

    _library: ModuleType
    _stream: type[AsyncRecordedStream]

    def __init__(
        self,
        cache: AsyncCache,
        transport: Any = None,
        *,
        usage_on_hit: UsageOnHit = "replay",
        stream_usage: bool = True,
        prices: Prices | None = None,
    ) -> None:
        self._cache = cache
        self._inner = self._library.AsyncHTTPTransport() if transport is None else transport
        self._desk = Desk(
            cache,
            self._library,
            usage_on_hit=usage_on_hit,
            stream_usage=stream_usage,
            prices=prices,
        )
        self._refreshing: dict[bytes, asyncio.Task[None]] = {}

    async def handle_async_request(self, request: Any) -> Any:
        """See ``SyncTransport.handle_request``."""
        if not self._desk.concerns(request):
            return await self._inner.handle_async_request(request)
        body = await request.aread()
        exchange = None
        try:
            exchange = self._desk.open(request, body)
            hit = None if exchange is None else await self._looked_up(exchange)
            if exchange is not None and hit is not None:
                response = self._desk.answer(exchange, hit)
                if hit.reason is Reason.REVALIDATING:
                    self._refresh_aside(exchange)
                return response
        except RequestError as error:
            return self._desk.refusal(error)
        except Exception as error:
            self._desk.report(error)
        if exchange is None:
            past = self._desk.without_controls(request, body)
            return await self._inner.handle_async_request(past)
        return await self._ask(exchange)

    async def aclose(self) -> None:
        """Wait for the answers that are fetched aside, and close the transport below."""
        await asyncio.gather(*self._refreshing.values(), return_exceptions=True)
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await asyncio.gather(*self._refreshing.values(), return_exceptions=True)
        await self._inner.__aexit__(kind, error, trace)

    async def _looked_up(self, exchange: Exchange) -> Hit | None:
        engine, lookup = self._desk.engine, exchange.lookup
        decision = await self._cache.resume(lookup, engine.guarded(lookup, engine.exact))
        exchange.decision = self._desk.checked(decision)
        return exchange.decision if isinstance(exchange.decision, Hit) else None

    async def _ask(self, exchange: Exchange) -> Any:
        request, hides = self._desk.outgoing(exchange)
        try:
            with self._cache.load.call(exchange.call.request.scope.model):
                response = await self._inner.handle_async_request(request)
        except Exception:
            stale = await self._stale(exchange)
            if stale is None:
                raise
            return stale
        if self._desk.failed(exchange, response.status_code):
            stale = await self._stale(exchange)
            if stale is not None:
                await response.aclose()
                return stale
        return self._desk.passed_on(exchange, response, self._recorded, hide_usage=hides)

    async def _stale(self, exchange: Exchange) -> Any:
        if not self._desk.failed(exchange):
            return None
        hit = await self._cache.stale(exchange.lookup)
        if hit is None or not isinstance(self._desk.checked(hit), Hit):
            return None
        return self._desk.answer(exchange, hit)

    def _recorded(self, inner: Any, recording: Recording) -> AsyncRecordedStream:
        return self._stream(inner, recording, self._cache)

    def _refresh_aside(self, exchange: Exchange) -> None:
        key = exchange.lookup.key
        if key in self._refreshing or exchange.call.request.controls.no_store:
            return
        task = asyncio.ensure_future(self._refresh(exchange))
        self._refreshing[key] = task
        task.add_done_callback(lambda _: self._refreshing.pop(key, None))

    async def _refresh(self, exchange: Exchange) -> None:
        try:
            request, hides = self._desk.outgoing(exchange)
            response = await self._inner.handle_async_request(request)
            passed = self._desk.passed_on(exchange, response, self._recorded, hide_usage=hides)
            try:
                await passed.aread()
            finally:
                await passed.aclose()
        except Exception as error:
            self._desk.report(error)
