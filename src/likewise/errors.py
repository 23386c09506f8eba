"""Every error Likewise raises on purpose.

    LikewiseError
    ├── ConfigError             the configuration, an option or an argument is wrong
    ├── RequestError            a request's body or headers are wrong
    ├── StoreError              the store cannot be opened, read or written
    ├── EmbedderError           the embedder failed or did not answer in time
    │   ├── WeightsNotFoundError    the default embedder's weights are not installed
    │   └── WeightsCorruptError     weights are there, but are not the published ones
    ├── JudgeError              a judge of answers failed; nothing is learned from the request
    ├── UpstreamError           the model behind could not be reached
    └── AddressInUseError       the port to listen on is taken

A message says what was wrong, where, and the remedy, in one line. It never contains a prompt, an
answer or a key. ``exit_code`` is what the command line exits with (see ``likewise --help``).
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line, by name."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    CONFIG = 3
    STORE = 4
    EMBEDDER = 5
    UPSTREAM = 6
    PORT_TAKEN = 7
    CHECK_FAILED = 8


class LikewiseError(Exception):
    """Base of every error Likewise raises on purpose."""

    exit_code = ExitCode.UNEXPECTED


class ConfigError(LikewiseError):
    """The configuration, an option or an argument is wrong."""

    exit_code = ExitCode.CONFIG


class RequestError(LikewiseError):
    """A request's body or headers are wrong.

    ``param`` names the field at fault, as OpenAI's error shape does.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class StoreError(LikewiseError):
    """The store cannot be opened, read or written."""

    exit_code = ExitCode.STORE


class EmbedderError(LikewiseError):
    """The embedder failed or did not answer in time."""

    exit_code = ExitCode.EMBEDDER


class WeightsNotFoundError(EmbedderError):
    """The default embedder's weights are not installed."""


class WeightsCorruptError(EmbedderError):
    """Weights are there, but they are not the published ones."""


class JudgeError(LikewiseError):
    """A judge of answers failed; nothing is learned from the request."""


class UpstreamError(LikewiseError):
    """The model behind could not be reached, or is too busy.

    ``retry_after_s`` says when it is worth asking again, ``None`` when nobody knows.
    """

    exit_code = ExitCode.UPSTREAM

    def __init__(
        self, message: str, *, status: int = 502, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class AddressInUseError(LikewiseError):
    """The port to listen on is taken."""

    exit_code = ExitCode.PORT_TAKEN
