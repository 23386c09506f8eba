from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from likewise.cli.logs import JsonLines
from likewise.config import TelemetrySettings
from likewise.errors import ConfigError
from likewise.gateway import tracing
from likewise.gateway.tracing import Tracing
from likewise.testing import running

from .conftest import Open
from .support import Gateway, ScriptedModel, chat, completion, wait_for

CANARY = "canary-7f3a"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the gateways of a test export."""
    exporter = InMemorySpanExporter()

    def provider(_: TelemetrySettings) -> TracerProvider:
        made = TracerProvider()
        made.add_span_processor(SimpleSpanProcessor(exporter))
        return made

    monkeypatch.setattr(tracing, "_provider_of", provider)
    return exporter


@pytest.fixture
def gateway(open_gateway: Open, spans: InMemorySpanExporter) -> Gateway:
    """A gateway that is traced."""
    return open_gateway({"telemetry": {"traces": "otlp"}})


SERVER = "POST /v1/chat/completions"


def taken(spans: InMemorySpanExporter, *names: str) -> dict[str, Any]:
    """The spans of one request by name, once these are there; they are forgotten then."""
    wait_for(lambda: {SERVER, *names} <= {span.name for span in spans.get_finished_spans()})
    found = {span.name: span for span in spans.get_finished_spans()}
    spans.clear()
    return found


def test_a_span_for_each_step(gateway: Gateway, spans: InMemorySpanExporter) -> None:
    """A miss, an equal hit and a similar one: their steps lie in their request's span."""
    gateway.post(chat("How do I undo a commit?"))
    miss = taken(spans, "likewise.model")
    server = miss[SERVER]
    assert server.attributes["likewise.decision"] == "miss"
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["gen_ai.request.model"] == "stand-in-1"
    assert miss["likewise.model"].attributes["gen_ai.usage.output_tokens"] > 0
    for name, span in miss.items():
        assert span.context.trace_id == server.context.trace_id, name
        if span is not server:
            assert span.parent.span_id == server.context.span_id, name
            assert span.start_time <= span.end_time
    gateway.ask("How do I undo a commit?")
    hit = taken(spans)
    assert hit[SERVER].attributes["likewise.tier"] == "exact"
    assert "likewise.exact" in hit
    assert "likewise.model" not in hit
    gateway.ask("How do I undo a commit now?")
    near = taken(spans, "likewise.model")
    steps = {f"likewise.{name}" for name in ("semantic", "embed", "nearest", "decide")}
    assert steps <= set(near)
    embed, semantic = near["likewise.embed"], near["likewise.semantic"]
    assert semantic.start_time <= embed.start_time <= embed.end_time <= semantic.end_time


def test_a_trace_goes_through(
    open_gateway: Open, model: tuple[ScriptedModel, str], spans: InMemorySpanExporter
) -> None:
    """The caller's trace goes on here, and the model gets the gateway's span as its parent."""
    scripted, url = model
    gateway = open_gateway({"telemetry": {"traces": "otlp"}}, model_url=url)
    came = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    line = gateway.line(chat("Q"), {"traceparent": came})
    call = scripted.call()
    call.answer(completion())
    line.rest()
    server = taken(spans, "likewise.model")[SERVER]
    assert format(server.context.trace_id, "032x") == "0123456789abcdef0123456789abcdef"
    assert format(server.parent.span_id, "016x") == "0123456789abcdef"
    sent = [value.decode() for name, value in call.raw_headers if name == b"traceparent"]
    assert [one.split("-")[1:3] for one in sent] == [
        ["0123456789abcdef0123456789abcdef", format(server.context.span_id, "016x")]
    ]


def test_no_text_in_any_span(gateway: Gateway, spans: InMemorySpanExporter) -> None:
    """Neither a question nor a key nor a path that a client made up is in what is exported."""
    for _ in range(2):
        gateway.post(chat(f"What is {CANARY}?"), {"authorization": f"Bearer {CANARY}"})
    gateway.http.request("GET", f"{gateway.url}/v1/{CANARY}")
    gateway.post(b'{"messages": "canary-7f3a"')
    wait_for(lambda: len(spans.get_finished_spans()) >= 6)
    assert CANARY not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_quiet_paths_and_none_when_off(
    open_gateway: Open, gateway: Gateway, spans: InMemorySpanExporter
) -> None:
    """Nobody wants a span of a probe; where traces are off nothing is timed."""
    for path in ("healthz", "readyz", "metrics"):
        gateway.http.request("GET", f"{gateway.url}/{path}")
    assert spans.get_finished_spans() == ()
    plain = open_gateway()
    plain.ask("Q")
    assert spans.get_finished_spans() == ()
    assert not plain.cache.engine.timed


def test_spans_reach_a_collector(open_gateway: Open) -> None:
    """They are sent to ``endpoint`` by OTLP over HTTP, at the latest when the gateway ends."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceRequest,
    )

    bodies: list[bytes] = []

    async def collector(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        assert scope["path"] == "/v1/traces"
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with running(collector) as url:
        found = Tracing(TelemetrySettings(traces="otlp", endpoint=url, service="mine"))
        with found._tracer.start_as_current_span("one"):
            pass
        found.close()
    sent = ExportTraceServiceRequest.FromString(bodies[0])
    names = {one.key: one.value.string_value for one in sent.resource_spans[0].resource.attributes}
    assert names["service.name"] == "mine"
    assert sent.resource_spans[0].scope_spans[0].spans[0].name == "one"


def test_what_is_missing_or_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that is none, and OpenTelemetry that is not installed."""
    with pytest.raises(ConfigError, match=r"telemetry\.endpoint: 'here:1'"):
        Tracing(TelemetrySettings(traces="otlp", endpoint="here:1"))
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"likewise\[otel\]"):
        Tracing(TelemetrySettings(traces="console"))


# -- log lines for programs -----------------------------------------------------------------------


@pytest.fixture
def written() -> Iterator[Callable[[], dict[str, Any]]]:
    """The last line that a logger with this format has written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("likewise.test-lines")
    logger.addHandler(handler)
    logger.propagate = False

    def last() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(stream.getvalue().splitlines()[-1])
        return found

    yield last
    logger.removeHandler(handler)


def test_a_line_is_json(written: Callable[[], dict[str, Any]]) -> None:
    """One object a line; of an exception its type and places, not what it says."""
    logger = logging.getLogger("likewise.test-lines")
    logger.warning('of %d things\nand "more"', 3)
    line = written()
    assert line["message"] == 'of 3 things\nand "more"'
    assert line["level"] == "warning"
    assert "trace_id" not in line
    try:
        raise ValueError(CANARY)
    except ValueError:
        logger.exception("it failed")
    line = written()
    assert line["exception"] == "ValueError"
    assert "test_tracing.py" in line["at"][0]
    assert CANARY not in json.dumps(line)


def test_a_line_names_its_trace(written: Callable[[], dict[str, Any]]) -> None:
    """Inside a span, so that log and trace can be put side by side."""
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        logging.getLogger("likewise.test-lines").warning("here")
    assert written()["trace_id"] == format(span.get_span_context().trace_id, "032x")
