"""What the gateway serves, in OpenAPI's form (version 3.1), made of the very types that are read.

``PUBLIC`` is the table of what is open to every client; the admin API is made of its acts. Whoever
adds an endpoint adds a line here, and a test compares the table with what is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

import likewise
from likewise.gateway import feedback
from likewise.gateway.wire import DIALECTS
from likewise.gateway.wire.controls import (
    CATEGORY_HEADER,
    NAMESPACE_HEADER,
    SOURCES_HEADER,
    CacheField,
)
from likewise.gateway.wire.shape import openai_error

if TYPE_CHECKING:
    from likewise.gateway.admin.acts import Act

PATH = "/openapi.json"

Schema = dict[str, Any]

_JSON, _EVENTS, _TEXT = "application/json", "text/event-stream", "text/plain"
_REF = "#/components/schemas/{name}"
_CONTROLS = (CATEGORY_HEADER, NAMESPACE_HEADER, SOURCES_HEADER, "cache-control")

_STATUSES = {
    400: "The request is wrong; the message says where",
    401: "The key is missing or wrong",
    403: "The key's role may not do this",
    404: "There is no such thing, or no admin key is configured",
    413: "The body is too long",
    429: "Too often; the header Retry-After says how long to wait",
    502: "The model cannot be reached",
    503: "The gateway starts or shuts down, or the line before the model is full",
    504: "The model did not answer in time",
}


class ErrorOf(msgspec.Struct):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(msgspec.Struct):
    """An error."""

    error: ErrorOf


class Status(msgspec.Struct):
    """How the process is."""

    status: str


class AnthropicErrorOf(msgspec.Struct):
    """What went wrong, as Anthropic's clients read it."""

    type: str
    message: str


class AnthropicError(msgspec.Struct):
    """An error in Anthropic's shape."""

    type: str
    error: AnthropicErrorOf


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint that is open to every client.

    Attributes:
        method: Of HTTP.
        path: Whole.
        summary: What it does, in a line.
        body: The type of its body, or the schema of one that no type describes.
        headers: Headers that it reads.
        gives: The media types of a success.
        schema: What a success in JSON looks like.
        errors: Statuses of errors of ours.
        passes: Whether a model's own errors come through, in whatever shape.
        error: The shape of errors of ours.
    """

    method: str
    path: str
    summary: str
    body: Any = None
    headers: Sequence[str] = ()
    gives: Sequence[str] = (_JSON,)
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    errors: Sequence[int] = ()
    passes: bool = False
    error: type = Error


_CHAT: Schema = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
        "stream": {"type": "boolean"},
        "temperature": {"type": "number"},
        "cache": {"$ref": _REF.format(name="CacheField")},
    },
    "required": ["model", "messages"],
}
"""OpenAI's description has the rest, all of which goes to the model; ``cache`` does not."""

_STATUS: Schema = {
    "type": "object",
    "properties": {"status": {"type": "string"}},
    "required": ["status"],
}
_TOLD: Schema = {
    "type": "object",
    "properties": {"entry_id": {"type": "string"}, "correct": {"type": "boolean"}},
    "required": ["entry_id", "correct"],
}
_OF_A_MODEL = (400, 404, 413, 429, 502, 503, 504)

_TEXTS: Schema = {"anyOf": [{"type": "string"}, {"type": "array"}]}
_CACHE: Schema = {"$ref": _REF.format(name="CacheField")}


def _asks(name: str, schema: Schema, **more: Schema) -> Schema:
    """Return the schema of a body that asks a model by a field of this name."""
    properties = {"model": {"type": "string"}, name: schema, "cache": _CACHE, **more}
    return {"type": "object", "properties": properties, "required": ["model", name]}


_STREAM: Schema = {"type": "boolean"}
_ASKED: Mapping[str, tuple[str, Schema]] = {
    "/v1/chat/completions": ("Answer a chat", _CHAT),
    "/v1/completions": ("Complete a text", _asks("prompt", _TEXTS, stream=_STREAM)),
    "/v1/responses": ("Answer by OpenAI's Responses", _asks("input", _TEXTS, stream=_STREAM)),
    "/v1/embeddings": ("Embed texts", _asks("input", _TEXTS)),
    "/v1/messages": (
        "Answer by Anthropic's Messages",
        _asks("messages", {"type": "array"}, stream=_STREAM, max_tokens={"type": "integer"}),
    ),
}
"""By path, what a protocol is for, and the least that a request of it holds."""

PUBLIC: tuple[Endpoint, ...] = (
    *(
        Endpoint(
            "POST",
            dialect.path,
            f"{_ASKED[dialect.path][0]} from cache, or by the model",
            body=_ASKED[dialect.path][1],
            headers=_CONTROLS,
            gives=(_JSON, _EVENTS),
            errors=_OF_A_MODEL,
            passes=True,
            error=Error if dialect.error_body is openai_error else AnthropicError,
        )
        for dialect in DIALECTS
    ),
    Endpoint(
        "POST",
        feedback.PATH,
        "Say whether an answer from cache was right",
        body=feedback.Verdict,
        schema=_TOLD,
        errors=(400, 404, 413),
    ),
    Endpoint("GET", "/healthz", "Whether the process lives", schema=_STATUS),
    Endpoint(
        "GET", "/readyz", "Whether requests are served", schema=_STATUS, errors=(503,), error=Status
    ),
    Endpoint("GET", "/metrics", "Figures for Prometheus", gives=(_TEXT,)),
    Endpoint("GET", PATH, "This description"),
)
"""All that is open to every client. Any other path below ``/v1`` is passed to the model."""


@lru_cache(maxsize=1)
def public() -> bytes:
    """Return the description of what is open to every client, as JSON."""
    schemas = _Schemas([CacheField, Error])
    paths: dict[str, Any] = {}
    for endpoint in PUBLIC:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _endpoint(endpoint, schemas)
    return msgspec.json.encode(_document("Likewise", paths, schemas.known, secured=False))


def admin(acts: Iterable[Act]) -> dict[str, Any]:
    """Return the description of the admin API."""
    schemas = _Schemas([Error])
    paths: dict[str, Any] = {}
    for act in acts:
        paths.setdefault(f"/admin{act.path}", {})[act.method.lower()] = _act(act, schemas)
    return _document("Likewise, admin API", paths, schemas.known, secured=True)


class _Schemas:
    """Schemas of types, of which those with a name are kept under it."""

    def __init__(self, kinds: Sequence[Any]) -> None:
        self.known: dict[str, Any] = {}
        for kind in kinds:
            self.of(kind)

    def of(self, kind: Any) -> Schema:
        """Return the schema of a type; one that is written as a schema is its own."""
        if isinstance(kind, dict):
            return kind
        (schema,), known = msgspec.json.schema_components([kind], ref_template=_REF)
        self.known.update(known)
        return schema

    def fields(self, kind: Any) -> tuple[Mapping[str, Any], Sequence[str]]:
        """Return the schemas of a struct's fields, and which of them must be there."""
        _, known = msgspec.json.schema_components([kind], ref_template=_REF)
        whole = known[kind.__name__]
        return whole["properties"], whole.get("required", ())


def _document(
    title: str, paths: dict[str, Any], schemas: dict[str, Any], *, secured: bool
) -> dict[str, Any]:
    components: dict[str, Any] = {"schemas": schemas}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": likewise.__version__,
            "license": {"name": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }
    if secured:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _endpoint(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    schemas_of = {_JSON: {"schema": dict(endpoint.schema)}, _TEXT: {"schema": {"type": "string"}}}
    given = {kind: schemas_of.get(kind, {}) for kind in endpoint.gives}
    described: dict[str, Any] = {
        "summary": endpoint.summary,
        "responses": {
            "200": {"description": "Done", "content": given},
            **_errors(
                endpoint.errors,
                _STATUS if endpoint.path == "/readyz" else schemas.of(endpoint.error),
            ),
        },
    }
    if endpoint.passes:
        described["responses"]["default"] = {"description": "What the model says"}
    if endpoint.headers:
        described["parameters"] = [
            {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
            for name in endpoint.headers
        ]
    if endpoint.body is not None:
        described["requestBody"] = _body(schemas.of(endpoint.body))
    return described


def _act(act: Act, schemas: _Schemas) -> dict[str, Any]:
    names = [part[1:-1] for part in act.path.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]
    if act.query is not None:
        properties, required = schemas.fields(act.query)
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in properties.items()
        ]
    statuses = [400, 401, 403, 404, 429] + ([413] if act.body is not None else [])
    described: dict[str, Any] = {
        "summary": act.summary,
        "description": f"For keys that may {act.role.name.lower()}.",
        "responses": {
            "200": {"description": "Done", "content": {_JSON: {"schema": {"type": "object"}}}},
            **_errors(sorted(statuses), schemas.of(Error)),
        },
    }
    if parameters:
        described["parameters"] = parameters
    if act.body is not None:
        described["requestBody"] = _body(schemas.of(act.described or act.body))
    return described


def _body(schema: Schema) -> dict[str, Any]:
    return {"required": True, "content": {_JSON: {"schema": schema}}}


def _errors(statuses: Iterable[int], shape: Schema) -> dict[str, Any]:
    return {
        str(status): {"description": _STATUSES[status], "content": {_JSON: {"schema": shape}}}
        for status in statuses
    }
