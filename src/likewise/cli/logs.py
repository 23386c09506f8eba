"""Log lines for programs: JSON, a line an event."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object.

    ``time`` is in seconds since the epoch; ``trace_id`` is there inside a traced request. Of an
    exception the type and the places are written, not its message: it may hold a text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line."""
        line: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["at"] = _places(record.exc_info[2])
        trace_id = _trace_id()
        if trace_id:
            line["trace_id"] = trace_id
        return msgspec.json.encode(line).decode()


def _places(traceback: Any) -> list[str]:
    found = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        found.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return found


def _trace_id() -> str:
    """Return the identifier of the trace that is under way, if OpenTelemetry is in use at all."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else ""
