"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from likewise.aio import AsyncCache
from likewise.config import Config
from likewise.dashboard.history import SAMPLE_S, History
from likewise.dashboard.site import Site
from likewise.durations import seconds
from likewise.gateway.admin import Admin
from likewise.gateway.admin.acts import Desk
from likewise.gateway.admin.audit import Audit
from likewise.gateway.answering import Answering
from likewise.gateway.calls import Calls
from likewise.gateway.endpoint import Endpoint
from likewise.gateway.errors import error_body
from likewise.gateway.feedback import PATH as FEEDBACK_PATH
from likewise.gateway.feedback import FeedbackEndpoint
from likewise.gateway.log import EventLog
from likewise.gateway.metrics import Metrics
from likewise.gateway.openapi import PATH as OPENAPI_PATH
from likewise.gateway.openapi import public
from likewise.gateway.pool import Pool
from likewise.gateway.proxy import Proxy
from likewise.gateway.reading import memory
from likewise.gateway.reload import Follower
from likewise.gateway.scrape import Scraper
from likewise.gateway.siblings import Siblings, page_of
from likewise.gateway.tracing import Tracing
from likewise.gateway.watching import Watcher, together
from likewise.gateway.wire import DIALECTS

_HOUSEKEEPING_S = 10.0


class _Gateway(Starlette):
    """Takes the paths that are asked all the time without looking for them."""

    endpoints: Mapping[str, ASGIApp]
    outer: ASGIApp | None = None
    """What is around ``answer``, if anything is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await (self.outer or self.answer)(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with nothing around it."""
        if (
            scope["type"] == "http"
            and (endpoint := self.endpoints.get(scope["path"])) is not None
            and scope["method"] == "POST"
            and not scope.get("root_path")
        ):
            await endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(config: Config, cache: AsyncCache, siblings: Siblings | None = None) -> Starlette:
    """Return the gateway over an open cache, which it closes when it stops.

    ``siblings`` are the other workers of the same gateway, for all of which it answers then.

    ``app.state.calls`` are its calls to the model; ``app.state.end`` is told when the server
    begins to shut down, and how long answers may take to begin and to end.

    Raises:
        ConfigError: No upstream is configured.
    """
    settings = config.settings
    pool, history = Pool(settings.upstream, settings.load), History()
    cache.engine.audits_aside = True
    log = cache.engine.listener = _log_of(config, cache)
    tracing = _tracing_of(config, cache)
    metrics = Metrics(cache.engine, pool)
    proxy = Proxy(pool)
    calls, endpoints = _endpoints_of(
        config, cache, pool=pool, proxy=proxy, metrics=metrics, log=together([log, tracing])
    )
    scraper = Scraper(
        pool.replicas,
        cache.load,
        every_s=seconds(settings.load.metrics_every, what="load.metrics_every"),
    )
    ready = False

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal ready
        await pool.open()
        if siblings is not None:
            await siblings.open({"metrics": metrics.page, **admin.answers})
        chores = [
            asyncio.create_task(Follower(cache.engine, config, admin.keys).run()),
            asyncio.create_task(_keep_house(cache)),
            asyncio.create_task(scraper.run()),
            asyncio.create_task(_remember(history, cache)),
        ]
        ready = True
        try:
            yield
        finally:
            ready = False
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            await calls.drain()
            if siblings is not None:
                await siblings.close()
            await pool.close()
            if log is not None:
                await asyncio.to_thread(log.close)
            if tracing is not None:
                await asyncio.to_thread(tracing.close)
            admin.close()
            with suppress(Exception):
                await cache.close()

    async def readyz(_: Request) -> Response:
        body = {
            "status": "ready" if ready else "starting",
            "entries": len(cache.engine.catalog),
            "index": cache.engine.filling.share,
        }
        return JSONResponse(body, status_code=200 if ready else 503)

    async def show_metrics(_: Request) -> Response:
        return Response(await page_of(metrics, siblings), media_type=CONTENT_TYPE_LATEST)

    async def unknown(request: Request, _: Exception) -> Response:
        msg = f"the gateway has no {request.method} {request.url.path}; models are under /v1"
        body = error_body(msg, status=404, code="unknown_url")
        return Response(body, status_code=404, media_type="application/json")

    desk = Desk(cache, pool, history, Audit(settings.gateway.audit_log), siblings)
    admin = Admin(desk, settings.gateway)
    app = _Gateway(
        exception_handlers={404: unknown, 405: unknown},
        routes=[
            *(Route(endpoint.path, endpoint, methods=["POST"]) for endpoint in endpoints),
            Route(FEEDBACK_PATH, FeedbackEndpoint(cache), methods=["POST"]),
            Route("/healthz", _healthz),
            Route("/readyz", readyz),
            Route("/metrics", show_metrics),
            Route(OPENAPI_PATH, _describe),
            Mount("/admin", admin),
            Mount("/ui", Site(admin.keys)),
            Mount("/v1", proxy),
        ],
        lifespan=lifespan,
    )
    app.endpoints = {endpoint.path: endpoint for endpoint in endpoints}
    app.state.calls = calls
    if tracing is not None:
        app.outer = tracing.over(app.answer)
    app.state.end = pool.end
    return app


def _endpoints_of(
    config: Config,
    cache: AsyncCache,
    *,
    pool: Pool,
    proxy: Proxy,
    metrics: Metrics,
    log: Watcher | None,
) -> tuple[Calls, list[Endpoint]]:
    """Return an endpoint for each protocol, and the calls that they make together."""
    settings = config.settings
    calls = Calls(
        cache=cache,
        pool=pool,
        settings=settings.gateway,
        stream_usage=settings.upstream.stream_usage,
        prices=config.prices,
        metrics=metrics,
        log=log,
    )
    answering = Answering(
        cache=cache, pool=pool, calls=calls, settings=settings.gateway, metrics=metrics, log=log
    )
    known = memory()
    return calls, [
        Endpoint(
            dialect,
            answering=answering,
            pool=pool,
            proxy=proxy,
            known=known,
            max_body_bytes=settings.gateway.max_body_bytes,
        )
        for dialect in DIALECTS
    ]


def _log_of(config: Config, cache: AsyncCache) -> EventLog | None:
    settings = config.settings.gateway
    if settings.log is None:
        return None
    return EventLog(Path(settings.log), texts=settings.log_texts, engine=cache.engine)


def _tracing_of(config: Config, cache: AsyncCache) -> Tracing | None:
    settings = config.settings.telemetry
    cache.engine.timed = settings.traces != "off"
    return Tracing(settings) if cache.engine.timed else None


async def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _describe(_: Request) -> Response:
    return Response(public(), media_type="application/json")


async def _keep_house(cache: AsyncCache) -> None:
    """Now and then delete what has expired and save the statistics."""
    while True:
        await asyncio.sleep(_HOUSEKEEPING_S)
        await cache.tidy()


async def _remember(history: History, cache: AsyncCache) -> None:
    """Now and then keep what the counters have come to."""
    while True:
        loads = [gauge["pressure"] for gauge in cache.load.report().values()]
        counters = cache.engine.stats.by_category()
        history.sample(counters, pressure=max(loads, default=0.0), now=time.time())
        await asyncio.sleep(SAMPLE_S)
