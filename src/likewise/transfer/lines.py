"""What an exported file consists of: a header, records of several kinds, and an end.

In JSONL each is a line with its ``kind``; bytes are base64, a vector is float16, little-endian.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from likewise.category import check_name
from likewise.entry import Entry, Provenance, StoredVector, decode_answer, encode_answer
from likewise.errors import ConfigError
from likewise.scope import DIGEST_BYTES

FORMAT = 1
"""Version of the format; a file of a later one is refused."""


class Header(msgspec.Struct, tag="header", tag_field="kind", frozen=True):
    """The first line.

    ``entries`` is how many the store held, of which not all need be in the file.
    """

    version: int
    likewise: str
    made_at: float
    entries: int = 0


class EntryLine(msgspec.Struct, tag="entry", tag_field="kind", frozen=True):
    """An entry; see ``likewise.entry.Entry``.

    Without a ``vector`` but with an ``embedder`` the vector was left out; without both the entry
    has none, because only equal questions are to be answered from it.
    """

    id: str
    scope: bytes
    category: str
    question: str
    answer: msgspec.Raw
    created_at: float
    expires_at: float | None = None
    vector: bytes | None = None
    embedder: str = ""
    epoch: int = 0
    tenant: str = ""
    namespace: str = ""
    named: bool = True
    sources: str = ""
    provenance: Provenance = Provenance()


class VerdictLine(msgspec.Struct, tag="verdict", tag_field="kind", frozen=True):
    """What a user said of a pair; see ``likewise.stores.Verdict``."""

    entry_key: bytes
    key: bytes
    correct: bool


class LabelLine(msgspec.Struct, tag="label", tag_field="kind", frozen=True):
    """What learning in service was told."""

    data: bytes


class MemoLine(msgspec.Struct, tag="memo", tag_field="kind", frozen=True):
    """What was kept under a name."""

    name: str
    data: bytes


class CounterLine(msgspec.Struct, tag="counter", tag_field="kind", frozen=True):
    """A figure of the statistics."""

    category: str
    name: str
    value: float


class End(msgspec.Struct, tag="end", tag_field="kind", frozen=True):
    """The last line: without it the file was cut off."""

    entries: int


Line = Header | EntryLine | VerdictLine | LabelLine | MemoLine | CounterLine | End

decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
encode = msgspec.json.Encoder().encode


def line_of(entry: Entry, *, vectors: bool) -> EntryLine:
    """Return an entry as it is written."""
    kept = None if entry.vector is None or not vectors else entry.vector.astype("<f2").tobytes()
    return EntryLine(
        id=entry.id,
        scope=entry.scope,
        category=entry.category,
        question=entry.question,
        answer=msgspec.Raw(encode_answer(entry.answer)),
        created_at=entry.created_at,
        expires_at=entry.expires_at,
        vector=kept,
        embedder=entry.embedder if entry.vector is not None else "",
        epoch=entry.epoch,
        tenant=entry.tenant,
        namespace=entry.namespace,
        named=entry.named,
        sources=entry.sources,
        provenance=entry.provenance,
    )


def entry_of(line: EntryLine) -> Entry:
    """Return the entry that a line describes.

    Raises:
        ValueError: A value is wrong; the message says which, without quoting any text.
    """
    if not line.id or len(line.id) > 200:
        msg = "id: expected 1 to 200 characters"
        raise ValueError(msg)
    if len(line.scope) != DIGEST_BYTES:
        msg = f"scope: expected {DIGEST_BYTES} bytes, got {len(line.scope)}"
        raise ValueError(msg)
    try:
        check_name(line.category)
    except ConfigError:
        msg = "category: not a valid name"
        raise ValueError(msg) from None
    if not math.isfinite(line.created_at) or not math.isfinite(line.expires_at or 0.0):
        msg = "created_at, expires_at: not finite"
        raise ValueError(msg)
    return Entry(
        id=line.id,
        scope=line.scope,
        category=line.category,
        question=line.question,
        answer=decode_answer(bytes(line.answer)),
        created_at=line.created_at,
        expires_at=line.expires_at,
        vector=_vector(line.vector),
        embedder=line.embedder,
        epoch=line.epoch,
        tenant=line.tenant,
        namespace=line.namespace,
        named=line.named,
        sources=line.sources,
        provenance=line.provenance,
    )


def check_version(version: object) -> None:
    """Refuse a file that this version of Likewise cannot read.

    Raises:
        ConfigError: It is of a later format, or of none.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        msg = "import: the file has no header; it was not written by likewise export"
        raise ConfigError(msg)
    if version > FORMAT:
        msg = (
            f"import: the file is of format {version}, this Likewise reads up to {FORMAT}; "
            "upgrade it, or export with the older one"
        )
        raise ConfigError(msg)


def _vector(data: bytes | None) -> StoredVector | None:
    if data is None:
        return None
    if len(data) % 2 or not data:
        msg = f"vector: {len(data)} bytes are no float16 values"
        raise ValueError(msg)
    return np.frombuffer(data, dtype="<f2")
