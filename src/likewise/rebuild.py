"""Rebuilds the in-memory side from the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from likewise.catalog import Catalog
from likewise.embed import Vectors
from likewise.entry import UNNAMED, exact_key
from likewise.index import Record
from likewise.stores import IndexRow, Store

logger = logging.getLogger("likewise")

_EXPIRED = 1_000
"""Entries that are deleted at once."""

Progress = Callable[[int, int], None]
"""Called with how many entries are done and how many there are."""


def rebuild(
    catalog: Catalog,
    store: Store,
    *,
    embedder: str,
    sketches: Callable[[Sequence[str]], Vectors] | None = None,
    now: float,
    grace_of: Callable[[str], float] = lambda _: 0.0,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Fill ``catalog`` with what ``store`` holds, and delete there what has expired.

    It may run in a thread of its own while the catalog is in use: entries are found as they come,
    and what is stored or removed meanwhile is not undone by an older row. Once ``stop`` holds, it
    ends where it is.

    ``grace_of`` gives for how many seconds an entry of a category may be served after its time,
    ``sketches`` makes the coarse vectors of questions, where the embedder has any.

    An entry whose vector another embedder made is served by the exact tier only: its vector means
    nothing beside this embedder's.

    Raises:
        StoreError: The store cannot be read.
    """
    total = store.count()
    done = foreign = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None and more:
            progress(done, max(done, total))

    def rows() -> Iterator[tuple[Record, Vectors | None]]:
        nonlocal foreign
        scopes: dict[bytes, bytes] = {}
        expired: list[str] = []
        for row in store.scan():
            if stop():
                return
            late = 0.0 if row.expires_at is None else now - row.expires_at
            if row.expires_at is not None and late >= grace_of(row.category):
                expired.append(row.id)
                if len(expired) >= _EXPIRED:
                    store.delete(expired)
                    tell(len(expired))
                    expired.clear()
                continue
            scope = scopes.setdefault(row.scope, row.scope)
            vector = None
            if row.vector is not None and row.embedder == embedder:
                vector = row.vector.astype(np.float32)
                if vector.shape != (catalog.dimensions,) or not np.isfinite(vector).all():
                    vector = None  # damaged on disk: equal questions are still answered
            elif row.vector is not None:
                foreign += 1
            yield _record(row, scope, indexed=vector is not None), vector
        if expired:
            store.delete(expired)
            tell(len(expired))

    with catalog.loading():
        catalog.load(rows(), sketches, tell)
    if foreign:
        logger.warning(
            "%d entries were embedded by another model than %s; only equal questions are answered "
            "from them, until they are asked anew",
            foreign,
            embedder,
        )


def _record(row: IndexRow, scope: bytes, *, indexed: bool) -> Record:
    return Record.of(
        row.id,
        exact_key(scope, row.category if row.named else UNNAMED, row.question),
        scope,
        row.category,
        # As in service: what is never compared need not be held in memory.
        row.question if indexed else "",
        row.created_at,
        row.expires_at,
        row.epoch,
        row.answer_digest,
        tenant=row.tenant,
        size=row.size,
        cost=row.cost,
        sources=row.sources,
    )
