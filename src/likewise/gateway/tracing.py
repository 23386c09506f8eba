"""Traces by OpenTelemetry: a span for a request, one for each step, the decision as attributes.

Attributes hold names, numbers and identifiers, never a text of a question or an answer. Steps are
timed where they happen and made spans of when the decision has fallen, so that a lookup waits for
nothing.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from likewise.config import TelemetrySettings
from likewise.entry import Provenance
from likewise.errors import ConfigError
from likewise.gateway.call import Timing
from likewise.gateway.client import header_map
from likewise.lookup import Lookup
from likewise.policy import Decision, Hit, Miss

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_CONTEXT_HEADERS = frozenset({b"traceparent", b"tracestate"})
_ROUTES = frozenset(
    f"/v1/{name}"
    for name in (
        "chat/completions", "completions", "responses", "embeddings", "messages", "models",
        "cache/feedback",
    )
)  # fmt: skip
_QUIET = ("/healthz", "/readyz", "/metrics", "/ui", "/admin")
"""Paths that nobody wants a trace of."""


class Tracing:
    """Makes spans; one for a gateway.

    Args:
        settings: Where they go.
        provider: Takes the place of what the settings would make, for tests.

    Raises:
        ConfigError: OpenTelemetry is not installed, or the endpoint is no address.
    """

    def __init__(
        self, settings: TelemetrySettings, *, provider: TracerProvider | None = None
    ) -> None:
        if find_spec("opentelemetry") is None:
            msg = "telemetry.traces needs OpenTelemetry: pip install 'likewise[otel]'"
            raise ConfigError(msg)
        from opentelemetry import propagate, trace  # noqa: PLC0415 - an extra

        self._trace = trace
        self._propagate = propagate
        self._provider = _provider_of(settings) if provider is None else provider
        self._tracer = self._provider.get_tracer("likewise")

    def over(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` with a span around each request, and the span's context for the model."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"].startswith(_QUIET):
                await app(scope, receive, send)
                return
            came = self._propagate.extract(header_map(scope["headers"]))
            with self._tracer.start_as_current_span(
                f"{scope['method']} {_route(scope['path'])}",
                context=came,
                kind=self._trace.SpanKind.SERVER,
                attributes={
                    "http.request.method": scope["method"],
                    "http.route": _route(scope["path"]),
                },
                record_exception=False,
            ) as span:

                async def noting(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                    await send(message)

                await app(self._handed_on(scope), receive, noting)

        return traced

    def request(self, lookup: Lookup, decision: Decision, lookup_s: float) -> None:
        """Make spans of a lookup's steps, and put its decision on the request's own."""
        span = self._trace.get_current_span()
        if not span.is_recording():
            return
        span.set_attributes(_attributes(lookup, decision, lookup_s))
        for name, began, ended in lookup.meter.steps or ():
            step = self._tracer.start_span(f"likewise.{name}", start_time=began)
            step.end(end_time=ended)

    def answer(
        self, request_id: str, timing: Timing, provenance: Provenance, entry_id: str | None
    ) -> None:
        """Make a span of a call to the model that has ended now."""
        now = time.time_ns()
        found = {
            "likewise.request_id": request_id,
            "http.response.status_code": timing.status,
            "likewise.first_token_s": timing.first_token_s,
            "likewise.in_flight": timing.in_flight,
            "likewise.entry_id": entry_id,
            "gen_ai.response.model": provenance.model,
            "gen_ai.usage.input_tokens": provenance.prompt_tokens,
            "gen_ai.usage.output_tokens": provenance.completion_tokens,
        }
        span = self._tracer.start_span(
            "likewise.model",
            kind=self._trace.SpanKind.CLIENT,
            start_time=now - int(timing.seconds * 1e9),
            attributes=_known(found),
        )
        span.end(end_time=now)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _handed_on(self, scope: Scope) -> Scope:
        """Return a request as the model is to get it: under this span."""
        carried: dict[str, str] = {}
        self._propagate.inject(carried)
        headers = [pair for pair in scope["headers"] if pair[0].lower() not in _CONTEXT_HEADERS]
        headers += [(name.encode(), value.encode()) for name, value in carried.items()]
        return {**scope, "headers": headers}


def _provider_of(settings: TelemetrySettings) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 - an extra
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SpanExporter,
    )
    from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415 - an extra
        ParentBased,
        TraceIdRatioBased,
    )

    exporter: SpanExporter = ConsoleSpanExporter()
    if settings.traces == "otlp":
        if find_spec("opentelemetry.exporter") is None:
            msg = "telemetry.traces: otlp needs its exporter: pip install 'likewise[otel]'"
            raise ConfigError(msg)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        endpoint = settings.endpoint
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            msg = f"telemetry.endpoint: {endpoint!r} is no address; write http://HOST:4318"
            raise ConfigError(msg)
        exporter = OTLPSpanExporter(
            endpoint=None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
        )
    provider = TracerProvider(
        resource=Resource.create({"service.name": settings.service}),
        sampler=ParentBased(TraceIdRatioBased(settings.sample)),
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _attributes(lookup: Lookup, decision: Decision, lookup_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "likewise.request_id": lookup.id,
        "likewise.decision": type(decision).__name__.lower(),
        "likewise.reason": decision.reason.value,
        "likewise.category": decision.category,
        "likewise.pressure": lookup.pressure,
        "likewise.lookup_s": lookup_s,
        "gen_ai.request.model": lookup.request.scope.model,
    }
    match decision:
        case Hit():
            found |= {
                "likewise.tier": decision.tier.value,
                "likewise.entry_id": decision.entry_id,
                "likewise.age_s": decision.age_s,
            }
        case Miss():
            found |= {"likewise.entry_id": decision.nearest_id}
    if isinstance(decision, (Hit, Miss)):
        found |= {
            "likewise.similarity": decision.similarity,
            "likewise.probability": decision.probability,
            "likewise.threshold": decision.threshold,
        }
    return _known(found)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _route(path: str) -> str:
    """Return a path as a name of which there are few."""
    return path if path in _ROUTES else "/v1/*" if path.startswith("/v1/") else "/*"
