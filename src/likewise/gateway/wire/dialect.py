"""The seam between the gateway and a wire protocol: what must be known of one to cache it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from likewise.errors import RequestError
from likewise.gateway.wire.controls import Asked, asked_of
from likewise.gateway.wire.shape import Shape, openai_error
from likewise.gateway.wire.sse import event_of
from likewise.request import Request
from likewise.scope import Scope

JsonObject = dict[str, Any]

_encode = msgspec.json.Encoder(order="sorted").encode


def canonical(value: object) -> str:
    """Return a JSON value as text that two equal values share, whatever the order of their keys."""
    return _encode(value).decode()


@dataclass(frozen=True, slots=True)
class Call:
    """A request, read.

    Attributes:
        dialect: The protocol it came in.
        request: Its canonical form.
        stream: Whether the answer is wanted as a stream.
        include_usage: Whether the stream is to end with the usage, where that is asked for.
        body: What goes to the model when the cache has no answer.
        raw: The same as the client wrote it; ``None`` when something was taken out.
        echo: What an answer repeats of the request although it is no part of its identity.
    """

    dialect: Dialect
    request: Request
    stream: bool
    include_usage: bool
    body: JsonObject = field(repr=False)
    raw: bytes | None = field(default=None, repr=False)
    echo: JsonObject = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Around:
    """What a request says apart from its body.

    Attributes:
        headers: Its headers, names in lower case, as far as they are read.
        tenant: Whose it is.
        query: What followed ``?`` in its URL: it goes to the model, so it is identity.
        asked: What it asks of the cache.
    """

    headers: Mapping[str, str]
    tenant: str
    query: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, ``None`` where it does not tell.

    Attributes:
        prompt: Tokens of what was asked, those that the model's own cache held included.
        output: Tokens of the answer.
        charged: Tokens at the full price of a prompt that cost as much as the prompt did.
    """

    prompt: int | None = None
    output: int | None = None
    charged: float | None = None


class Dialect(ABC):
    """A wire protocol: one path, its requests, its answers in their two forms, its errors.

    An answer is stored whole, as the protocol has it without a stream, and serves requests of the
    same protocol only: the path is part of the scope. Dialects hold nothing of any request.
    """

    path: ClassVar[str]
    identity_headers: ClassVar[tuple[str, ...]] = ()
    """Headers of the protocol that may change the answer, in lower case."""

    error_body: ClassVar[Shape] = staticmethod(openai_error)
    """Makes the body of an error, which is JSON in every dialect."""

    echoes: ClassVar[Mapping[str, object]] = {}
    """Fields that an answer repeats and that are no identity, with what stands in their place in an
    answer that is kept: each request is told its own."""

    asks_for_usage: ClassVar[bool] = False
    """Whether a stream tells the usage only when ``stream_options`` ask for it."""

    def read(
        self, data: bytes, headers: Mapping[str, str], *, tenant: str, query: str = ""
    ) -> Call | None:
        """Return the request in ``data``, or ``None`` when its shape is for the model to judge.

        Args:
            data: The body.
            headers: The request's headers, names in lower case.
            tenant: Whose request this is.
            query: What followed ``?`` in the request's URL.

        Raises:
            RequestError: The body is not JSON, or a control for the cache is wrong.
        """
        body = parse_json(data)
        if not isinstance(body, dict):
            msg = "the body is not a JSON object"
            raise RequestError(msg)
        raw = None if "cache" in body else data
        asked = asked_of(headers, body.pop("cache", None))
        request = self.request_of(body, Around(headers, tenant, query, asked))
        if request is None:
            return None
        options = body.get("stream_options")
        return Call(
            dialect=self,
            request=request,
            stream=body.get("stream") is True,
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
            body=body,
            raw=raw,
            echo={name: body[name] for name in self.echoes if body.get(name)},
        )

    def kept(self, answer: JsonObject) -> JsonObject:
        """Return an answer as it is stored: without what it repeats of one request."""
        if not self.echoes:
            return answer
        return {name: self.echoes.get(name, value) for name, value in answer.items()}

    @abstractmethod
    def request_of(self, body: JsonObject, around: Around) -> Request | None:
        """Return what a body asks, or ``None`` when its shape is for the model to judge."""

    @abstractmethod
    def is_well_formed(self, answer: object) -> bool:
        """Return whether a whole answer has what it takes to be sent in either form."""

    @abstractmethod
    def why_not_keep(self, answer: object) -> str | None:
        """Return why an answer may not be stored, or ``None`` when it is whole and successful."""

    @abstractmethod
    def from_stream(self, events: Sequence[bytes], *, needs_done: bool = True) -> JsonObject | None:
        """Return the whole form of a stream, or ``None`` when it is broken or ended early.

        Without ``needs_done`` a stream that lacks nothing but its last word is whole as well.
        """

    @abstractmethod
    def to_stream(self, answer: JsonObject, *, include_usage: bool) -> Iterator[bytes]:
        """Yield a well-formed answer as the events of a stream."""

    @abstractmethod
    def usage_of(self, answer: JsonObject) -> Usage:
        """Return what an answer says it took."""

    @abstractmethod
    def beginning(self, body: JsonObject) -> object:
        """Return the JSON by which the calls of one conversation are known, for warm caches."""

    def is_usage_only(self, event: bytes) -> bool:
        """Return whether an event is there only because the usage was asked for."""
        return False

    def error_event(
        self,
        message: str,
        *,
        status: int,
        position: int,
    ) -> bytes:
        """Return the event that says that a stream of ``position`` events broke off."""
        return event_of(self.error_body(message, status=status, code="upstream_error"))

    def scope_of(
        self,
        body: JsonObject,
        around: Around,
        *,
        context: object,
        without: frozenset[str],
        tools: object = None,
    ) -> Scope:
        """Return what must be equal for an answer to be reusable.

        Args:
            body: The request's.
            around: What it says apart from that.
            context: All that was said but the question.
            without: Fields of the body that are told elsewhere, or change no answer.
            tools: What the model may use, ``None`` for nothing.
        """
        headers = {n: around.headers[n] for n in self.identity_headers if n in around.headers}
        parameters = {name: value for name, value in body.items() if name not in without}
        return Scope(
            tenant=around.tenant,
            namespace=around.asked.namespace,
            model=str(body.get("model", "")),
            context=canonical(context),
            tools="" if tools is None else canonical(tools),
            # A list of four: what the chat protocol has here is an object, or a list of two.
            parameters=canonical([self.path, parameters, headers, around.query]),
        )


def parse_json(data: bytes) -> Any:
    """Return the JSON value of a body.

    Raises:
        RequestError: It is not JSON, or nested too deeply.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        msg = "the body's JSON is nested too deeply"
        raise RequestError(msg) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"the body is not valid JSON: {error}"
        raise RequestError(msg) from error


def count(value: object) -> int | None:
    """Return a number of tokens, or ``None`` when it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def openai_usage(answer: JsonObject, *, prompt: str, output: str) -> Usage:
    """Return the usage of an answer in whose ``usage`` these are the names of the two counts."""
    found = answer.get("usage")
    found = found if isinstance(found, dict) else {}
    asked = count(found.get(prompt))
    return Usage(asked, count(found.get(output)), asked)
