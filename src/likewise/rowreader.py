"""Makes of a store's rows what the index holds."""

from __future__ import annotations

import numpy as np

from likewise.embed import Vectors
from likewise.entry import OMITTED, UNNAMED, key_of
from likewise.index import Record
from likewise.stores import IndexRow

_MOST_SCOPES = 10_000


class RowReader:
    """Reads rows for one embedder. One object stands for all equal scopes.

    Args:
        embedder: Name of the embedder in use; a vector of another one means nothing beside its own.
        dimensions: Length of its vectors.
    """

    def __init__(self, *, embedder: str, dimensions: int) -> None:
        self._embedder = embedder
        self._dimensions = dimensions
        self._scopes: dict[bytes, bytes] = {}
        self.foreign = 0
        """Rows so far that another model has embedded."""

    def is_foreign(self, row: IndexRow) -> bool:
        """Return whether another embedder has made a row's vector."""
        return row.vector is not None and row.embedder != self._embedder

    def read(self, row: IndexRow) -> tuple[Record, Vectors | None]:
        """Return the record of a row, and its vector, float32, where it can be compared."""
        vector = None
        if row.vector is not None and row.embedder == self._embedder:
            vector = row.vector.astype(np.float32)
            if vector.shape != (self._dimensions,) or not np.isfinite(vector).all():
                vector = None  # damaged on disk: equal questions are still answered
        elif self.is_foreign(row):
            self.foreign += 1
        if len(self._scopes) > _MOST_SCOPES:
            self._scopes.clear()
        scope = self._scopes.setdefault(row.scope, row.scope)
        omitted = row.question.startswith(OMITTED)
        record = Record.of(
            row.id,
            key_of(scope, row.category if row.named else UNNAMED, row.question),
            scope,
            row.category,
            # Only guards read it: what is never compared need not be held in memory.
            row.question if vector is not None and not omitted else "",
            row.created_at,
            row.expires_at,
            row.epoch,
            row.answer_digest,
            tenant=row.tenant,
            size=row.size,
            cost=row.cost,
            sources=row.sources,
        )
        return record, vector
