"""An entry without its answer as one piece of bytes, for stores that have no columns of ours."""

from __future__ import annotations

from typing import Annotated, Any
from zlib import crc32

import msgspec
import numpy as np

from likewise.entry import (
    Entry,
    Provenance,
    StoredVector,
    cost_of,
    decode_answer,
    encode_answer,
)
from likewise.errors import StoreError
from likewise.stores.base import IndexRow

_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What an index keeps as 64 bits; a row that has more is damaged."""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    scope: bytes
    category: str
    question: str
    created_at: float
    expires_at: float | None
    epoch: _Whole
    embedder: str
    answer_digest: _Whole
    named: bool
    sources: str
    tenant: str
    namespace: str
    provenance: Provenance
    vector: bytes | None
    answer_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**48)]
    checksum: int


_rows = msgspec.msgpack.Decoder(_Row)


def pack_entry(entry: Entry) -> tuple[bytes, bytes]:
    """Return an entry as MessagePack, and its answer as JSON.

    Raises:
        StoreError: It cannot be written down.
    """
    answer = encode_answer(entry.answer)
    row = _Row(
        entry.scope,
        entry.category,
        entry.question,
        entry.created_at,
        entry.expires_at,
        entry.epoch,
        entry.embedder,
        entry.answer_digest,
        entry.named,
        entry.sources,
        entry.tenant,
        entry.namespace,
        entry.provenance,
        None if entry.vector is None else entry.vector.astype("<f2").tobytes(),
        len(answer),
        crc32(answer),
    )
    try:
        return msgspec.msgpack.encode(row), answer
    except (TypeError, ValueError, OverflowError) as error:
        # The message of a text that is no Unicode would quote it.
        msg = f"an entry cannot be written down: {type(error).__name__} in one of its texts"
        raise StoreError(msg) from None


def unpack_entry(entry_id: str, packed: bytes | None, answer: bytes | None) -> Entry | None:
    """Return the entry that ``pack_entry`` made both of; ``None`` when they are damaged."""
    row = _row(packed)
    if row is None or answer is None or crc32(answer) != row.checksum:
        return None
    try:
        decoded = decode_answer(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Entry(
        id=entry_id,
        scope=row.scope,
        category=row.category,
        question=row.question,
        answer=decoded,
        created_at=row.created_at,
        expires_at=row.expires_at,
        vector=_vector(row.vector),
        embedder=row.embedder,
        epoch=row.epoch,
        tenant=row.tenant,
        namespace=row.namespace,
        named=row.named,
        sources=row.sources,
        provenance=row.provenance,
    )


def unpack_row(entry_id: str, packed: bytes | None) -> IndexRow | None:
    """Return what an index needs of a packed entry; ``None`` when it is damaged."""
    row = _row(packed)
    if row is None:
        return None
    size = len(row.question.encode()) + row.answer_bytes + len(row.vector or b"")
    return IndexRow(
        id=entry_id,
        scope=row.scope,
        category=row.category,
        question=row.question,
        created_at=row.created_at,
        expires_at=row.expires_at,
        epoch=row.epoch,
        embedder=row.embedder,
        answer_digest=row.answer_digest,
        named=row.named,
        sources=row.sources,
        tenant=row.tenant,
        size=size,
        cost=cost_of(row.provenance),
        vector=_vector(row.vector),
    )


def _row(packed: Any) -> _Row | None:
    try:
        return None if packed is None else _rows.decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _vector(blob: bytes | None) -> StoredVector | None:
    if blob is None or len(blob) % 2:
        return None
    return np.frombuffer(blob, dtype="<f2")
