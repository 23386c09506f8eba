"""The shapes of errors, by protocol."""

from __future__ import annotations

from typing import Protocol

import msgspec

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

_ANTHROPIC_KINDS = {
    **_KINDS,
    403: "permission_error",
    413: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
}
"""As https://docs.anthropic.com/en/api/errors has them."""

_MESSAGES = "/v1/messages"


class Shape(Protocol):
    """Makes the body of an error."""

    def __call__(
        self, message: str, *, status: int, code: str | None, param: str | None = None
    ) -> bytes:
        """Return it as JSON."""


def openai_error(message: str, *, status: int, code: str | None, param: str | None = None) -> bytes:
    """Return an error as OpenAI's clients expect it."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": error})


def anthropic_error(
    message: str,
    *,
    status: int,
    code: str | None,
    param: str | None = None,
) -> bytes:
    """Return an error as Anthropic's clients expect it."""
    kind = _ANTHROPIC_KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    told = message if param is None or param in message else f"{param}: {message}"
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": told}})


def shape_of(path: str) -> Shape:
    """Return the shape of errors below a path.

    >>> shape_of("/v1/messages/count_tokens").__name__, shape_of("/v1/models").__name__
    ('anthropic_error', 'openai_error')
    """
    is_anthropic = path == _MESSAGES or path.startswith(f"{_MESSAGES}/")
    return anthropic_error if is_anthropic else openai_error
