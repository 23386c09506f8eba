"""Exported files as Parquet: a row for each record, an entry's fields in columns of their own.

What is no entry has its line of JSON in the column ``record``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from likewise.errors import ConfigError
from likewise.transfer.lines import EntryLine, Header, Line, check_version, decoder, encode
from likewise.transfer.records import Refused

_ROWS = 2_000
"""Rows in memory at once: with vectors of 384 values and short answers about 6 MB."""

_HEADER = b"likewise"


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - only who asks for Parquet needs it
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        msg = "Parquet needs the package pyarrow: pip install 'likewise[parquet]'; JSONL needs none"
        raise ConfigError(msg) from error
    return pa, pq


def _schema(pa: Any, header: Header) -> Any:
    text, binary = pa.string(), pa.binary()
    return pa.schema(
        [
            ("kind", text),
            ("id", text),
            ("scope", binary),
            ("category", text),
            ("question", text),
            ("answer", text),
            ("created_at", pa.float64()),
            ("expires_at", pa.float64()),
            ("vector", pa.list_(pa.float32())),
            ("embedder", text),
            ("epoch", pa.int64()),
            ("tenant", text),
            ("namespace", text),
            ("named", pa.bool_()),
            ("sources", text),
            ("model", text),
            ("prompt_tokens", pa.int64()),
            ("completion_tokens", pa.int64()),
            ("latency_s", pa.float64()),
            ("cost_usd", pa.float64()),
            ("record", text),
        ],
        metadata={_HEADER: encode(header)},
    )


class ParquetWriter:
    """Writes lines to a binary stream, some thousands at a time."""

    def __init__(self, stream: IO[bytes], header: Header) -> None:
        self._pa, pq = _pyarrow()
        self._schema = _schema(self._pa, header)
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, line: Line) -> None:
        """Write one record; the header was written at the beginning.

        Raises:
            UnicodeEncodeError: A text cannot be written as UTF-8.
        """
        if isinstance(line, Header):
            return
        if isinstance(line, EntryLine):
            line.question.encode()
            row = _row(line)
        else:
            row = {"kind": type(line).__struct_config__.tag, "record": encode(line).decode()}
        self._rows.append(row)
        if len(self._rows) >= _ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


def read_parquet(path: Path) -> Iterator[tuple[str, Line | Refused]]:
    """Yield each record of a file with where it is; the header comes first.

    Raises:
        ConfigError: The file cannot be read, was not written by us, or is of a later format; or
            pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    try:
        file = pq.ParquetFile(path)
        told = (file.schema_arrow.metadata or {}).get(_HEADER, b"")
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        msg = f"import: {path} is no Parquet file that can be read: {type(error).__name__}"
        raise ConfigError(msg) from error
    with file:
        yield "header", _header(told)
        number = 0
        try:
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", _line(row)
        except (OSError, UnicodeDecodeError, pa.ArrowException):
            yield f"row {number + 1}", Refused("the file is damaged from here on")


def _header(data: bytes) -> Header:
    try:
        version = msgspec.json.decode(data).get("version")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        version = None
    check_version(version)
    try:
        return msgspec.json.decode(data, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = "import: the file's header is damaged"
        raise ConfigError(msg) from error


def _row(line: EntryLine) -> dict[str, Any]:
    row = msgspec.structs.asdict(line)
    del row["provenance"]
    vector = None if line.vector is None else np.frombuffer(line.vector, "<f2").astype(np.float32)
    provenance = {name: getattr(line.provenance, name) for name in _PROVENANCE}
    answer = bytes(line.answer).decode()
    return {**row, **provenance, "kind": "entry", "answer": answer, "vector": vector}


_PROVENANCE = ("model", "prompt_tokens", "completion_tokens", "latency_s", "cost_usd")


def _line(row: dict[str, Any]) -> Line | Refused:
    try:
        if row["kind"] != "entry":
            return decoder.decode(row["record"])
        fields = {name: row[name] for name in EntryLine.__struct_fields__ if name in row}
        if (vector := row["vector"]) is not None:
            fields["vector"] = np.array(vector, np.float32).astype("<f2").tobytes()
        fields["answer"] = msgspec.Raw(row["answer"].encode())
        fields["provenance"] = {name: row[name] for name in _PROVENANCE}
        return decoder.decode(encode({**fields, "kind": "entry"}))
    except msgspec.ValidationError as error:
        return Refused(str(error))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return Refused("not a row of likewise export")
