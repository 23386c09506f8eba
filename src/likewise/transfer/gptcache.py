"""GPTCache's SQLite file: what its own storage writes (package gptcache 0.1.44).

Its tables are ``PREFIX_question`` (``question``, ``create_on`` as local time, ``embedding_data`` as
float32, ``deleted`` 0 or -1), ``PREFIX_answer`` (``question_id``, ``answer``, ``answer_type`` 0 for
a text) and ``PREFIX_question_dep`` (what belongs to a question beside its text). Of several answers
GPTCache serves the first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np

from likewise.errors import ConfigError
from likewise.transfer.records import Foreign, Refused

_TEXT = 0
"""The ``answer_type`` of a text; 1 and 2 are pictures."""

_QUESTIONS = """
    SELECT q.id, q.question, q.create_on, q.embedding_data, q.deleted,
      a.answer, a.answer_type,
      EXISTS (SELECT 1 FROM "{p}_question_dep" d WHERE d.question_id = q.id) AS parts
    FROM "{p}_question" q LEFT JOIN "{p}_answer" a
      ON a.id = (SELECT min(id) FROM "{p}_answer" WHERE question_id = q.id)
    ORDER BY q.id
"""


def is_sqlite(path: Path) -> bool:
    """Return whether a file is an SQLite database."""
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def read_gptcache(
    path: Path, prefix: str | None = None
) -> tuple[int, Iterator[tuple[str, Foreign | Refused]]]:
    """Return how many questions a file of GPTCache holds, and an iterator over them.

    Raises:
        ConfigError: It is none, or ``prefix`` does not say which of several caches is meant.
    """
    db = _opened(path)
    try:
        chosen = _prefix(db, path, prefix)
        (total,) = db.execute(f'SELECT count(*) FROM "{chosen}_question"').fetchone()  # noqa: S608 - a table that is there
    except (sqlite3.Error, UnicodeDecodeError) as error:
        db.close()
        raise _unreadable(path, error) from error
    except ConfigError:
        db.close()
        raise
    return total, _rows(db, path, chosen)


def _opened(path: Path) -> sqlite3.Connection:
    if not is_sqlite(path):
        msg = f"import: {path} is no SQLite file; give the file of GPTCache's sql_url"
        raise ConfigError(msg)
    try:
        db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    db.row_factory = sqlite3.Row
    return db


def _prefix(db: sqlite3.Connection, path: Path, wanted: str | None) -> str:
    """Return the prefix of the tables of the one cache that is meant."""
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    found: list[str] = sorted(
        base
        for name in names
        if (base := name.removesuffix("_question")) != name
        and '"' not in base
        and {f"{base}_answer", f"{base}_question_dep"} <= names
    )
    if wanted is not None:
        found = [base for base in found if base == wanted]
    if len(found) == 1:
        return found[0]
    if not found:
        what = "a GPTCache" if wanted is None else f"a GPTCache with the table name {wanted!r}"
        msg = f"import: {path} holds no tables of {what}"
    else:
        msg = f"import: {path} holds several caches; name one by --prefix: {', '.join(found)}"
    raise ConfigError(msg)


def _rows(
    db: sqlite3.Connection, path: Path, prefix: str
) -> Iterator[tuple[str, Foreign | Refused]]:
    with closing(db):
        try:
            for row in db.execute(_QUESTIONS.format(p=prefix)):
                yield f"{prefix}_question {row['id']}", _found(row)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise _unreadable(path, error) from error


def _found(row: sqlite3.Row) -> Foreign | Refused:
    if (why := _why_not(row)) is not None:
        return why
    question, answer, embedding = row["question"], row["answer"], row["embedding_data"]
    try:
        created_at = datetime.fromisoformat(row["create_on"]).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return Refused("create_on is no time")
    vector = None
    if isinstance(embedding, bytes) and embedding and len(embedding) % 4 == 0:
        vector = np.frombuffer(embedding, "<f4").astype(np.float32)
    return Foreign(question, answer, created_at, vector=vector)


def _why_not(row: sqlite3.Row) -> Refused | None:
    """Return why a question with its first answer is not taken."""
    if row["deleted"]:
        return Refused("deleted in GPTCache", damaged=False)
    if row["answer_type"] is None:
        return Refused("a question without an answer")
    if row["answer_type"] != _TEXT:
        return Refused("an answer that is a picture", damaged=False)
    if row["parts"]:
        return Refused("a question with parts beside its text", damaged=False)
    if not isinstance(row["question"], str) or not isinstance(row["answer"], str):
        return Refused("a question or an answer that is no text")
    return None


def _unreadable(path: Path, error: Exception) -> ConfigError:
    # The message of bytes that are no text would quote them.
    why = error if isinstance(error, sqlite3.Error) else "a text in it is damaged"
    return ConfigError(f"import: cannot read {path}: {why}; is it whole, and GPTCache's?")
