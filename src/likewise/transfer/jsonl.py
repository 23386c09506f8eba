"""Exported files as JSON, a line each, plain or compressed by gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import msgspec

from likewise.errors import ConfigError
from likewise.transfer.lines import Header, Line, check_version, decoder, encode
from likewise.transfer.records import Refused


class JsonlWriter:
    """Writes lines to a binary stream, which stays the caller's."""

    def __init__(self, stream: IO[bytes], *, compress: bool = False) -> None:
        self._zip = gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) if compress else None
        self._stream: IO[bytes] = stream if self._zip is None else self._zip  # type: ignore[assignment]

    def write(self, line: Line) -> None:
        """Write one line.

        Raises:
            UnicodeEncodeError: A text cannot be written as UTF-8.
        """
        self._stream.write(encode(line) + b"\n")

    def close(self) -> None:
        """Write what is left."""
        if self._zip is not None:
            self._zip.close()


def read_jsonl(path: Path) -> Iterator[tuple[str, Line | Refused]]:
    """Yield each line of a file with where it is; the header comes first.

    Raises:
        ConfigError: The file cannot be read, was not written by us, or is of a later format.
    """
    try:
        with _opened(path) as stream:
            numbered = enumerate(_lines(stream), start=1)
            yield "line 1", _header(next(numbered, (1, b""))[1])
            for number, data in numbered:
                where = f"line {number}"
                if isinstance(data, Refused):
                    yield where, data
                elif data.strip():
                    yield where, _line(data)
    except OSError as error:
        msg = f"import: cannot read {path}: {error.strerror or error}"
        raise ConfigError(msg) from error


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _lines(stream: IO[bytes]) -> Iterator[bytes | Refused]:
    try:
        yield from stream
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield Refused("the compressed file is damaged or cut off here")


def _header(data: bytes | Refused) -> Header:
    version = None
    if isinstance(data, bytes):
        try:
            found = msgspec.json.decode(data)
            if isinstance(found, dict) and found.get("kind") == "header":
                version = found.get("version")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    check_version(version)
    line = _line(data) if isinstance(data, bytes) else data
    if isinstance(line, Header):
        return line
    msg = "import: the file's header is damaged"
    raise ConfigError(msg)


def _line(data: bytes) -> Line | Refused:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        return Refused(str(error))  # names the field and the types, never a value
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Refused("not a line of JSON")
