"""JSON lines, gzipped or not, read with errors that name file and line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from likewise.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)


def decoded(path: Path, kind: type[T], *, partial_end: bool = False) -> Iterator[tuple[int, T]]:
    """Yield the number, from 1, and the object of every line of a file that is not blank.

    With ``partial_end`` a last line that is cut short, without its line feed, is passed over: the
    one who writes the file may be writing it just now.

    Raises:
        ConfigError: The file cannot be read, or a line is not such an object.
    """
    decoder = msgspec.json.Decoder(kind)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    yield number, decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    if partial_end and not line.endswith(b"\n"):
                        return
                    msg = f"{path.name}, line {number}: {_told(kind)}: {error}"
                    raise ConfigError(msg) from error
    except (OSError, EOFError, zlib.error) as error:
        msg = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(msg) from error


def _told(kind: type[msgspec.Struct]) -> str:
    needed = [field.name for field in msgspec.structs.fields(kind) if field.required]
    return f"not a JSON object with {', '.join(needed)}"
