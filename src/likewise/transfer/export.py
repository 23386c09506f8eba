"""Everything of a store, written line by line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from likewise import __version__
from likewise.errors import ConfigError
from likewise.freshness import CHANGES_MEMO
from likewise.stores import Store
from likewise.transfer.lines import (
    FORMAT,
    CounterLine,
    End,
    Header,
    LabelLine,
    Line,
    MemoLine,
    VerdictLine,
    line_of,
)

MEMOS = (CHANGES_MEMO,)
"""What is exported of the memos: that of the learner is made anew of the labels."""

Progress = Callable[[int, int], None]


class Writer(Protocol):
    """Takes lines."""

    def write(self, line: Line) -> None:
        """Write one line."""


def header_of(store: Store, *, now: float) -> Header:
    """Return the first line of a store's export."""
    return Header(version=FORMAT, likewise=__version__, made_at=now, entries=store.count())


def export(
    store: Store,
    writer: Writer,
    header: Header,
    *,
    category: str | None = None,
    vectors: bool = True,
    expired: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write the entries of a store, or of one category, and what belongs to them.

    Labels go along only when all categories do. Returns how many of each kind were written, how
    many entries were ``expired`` and how many could not be read or written (``failed``).
    """
    counts = dict.fromkeys(("entries", "verdicts", "labels", "expired", "failed"), 0)
    pairs: set[bytes] | None = None if category is None else set()
    writer.write(header)
    for done, row in enumerate(store.scan(), start=1):
        if progress is not None:
            progress(done, max(done, header.entries))
        if category not in (None, row.category):
            continue
        if not expired and row.expires_at is not None and row.expires_at <= header.made_at:
            counts["expired"] += 1
            continue
        entry = store.get(row.id)
        if entry is None:  # damaged, or deleted since
            counts["failed"] += 1
            continue
        try:
            writer.write(line_of(entry, vectors=vectors))
        except UnicodeEncodeError:
            counts["failed"] += 1
            continue
        counts["entries"] += 1
        if pairs is not None:
            pairs.add(entry.key)
    for line in _others(store, category, pairs):
        writer.write(line)
        counts["verdicts"] += isinstance(line, VerdictLine)
        counts["labels"] += isinstance(line, LabelLine)
    writer.write(End(counts["entries"]))
    return counts


def _others(store: Store, category: str | None, pairs: set[bytes] | None) -> Iterator[Line]:
    for verdict in store.verdicts():
        if pairs is None or verdict.entry_key in pairs:
            yield VerdictLine(verdict.entry_key, verdict.key, verdict.correct)
    for (name_of_category, name), value in store.counters().items():
        if category in (None, name_of_category):
            yield CounterLine(name_of_category, name, value)
    if category is not None:
        return
    for _, data in store.labels():
        yield LabelLine(data)
    for name in MEMOS:
        if (memo := store.memo(name)) is not None:
            yield MemoLine(name, memo)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that is there when it is whole, and nobody else's to read.

    Raises:
        ConfigError: It cannot be written; what was there before still is.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        msg = f"export: cannot write {path}: {error.strerror or error}"
        raise ConfigError(msg) from error
    finally:
        temporary.unlink(missing_ok=True)
