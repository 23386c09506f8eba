"""Rebuilds the in-memory side from the store at start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from likewise.catalog import Catalog
from likewise.embed import Vectors
from likewise.index import Record
from likewise.rowreader import RowReader
from likewise.stores import Store

logger = logging.getLogger("likewise")

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
) -> None:
    """Fill ``catalog`` with what ``store`` holds, and delete there what has expired.

    ``grace_of`` gives for how many seconds an entry of a category may be served after its time,
    ``sketches`` makes the coarse vectors of questions, where the embedder has any.

    An entry whose vector another embedder made is served by the exact tier only: its vector means
    nothing beside this embedder's.

    Raises:
        StoreError: The store cannot be read.
    """
    total = store.count()
    expired: list[str] = []
    reader = RowReader(embedder=embedder, dimensions=catalog.dimensions)

    def rows() -> Iterator[tuple[Record, Vectors | None]]:
        for done, row in enumerate(store.scan(), start=1):
            if progress is not None:
                progress(done, max(done, total))
            late = 0.0 if row.expires_at is None else now - row.expires_at
            if row.expires_at is not None and late >= grace_of(row.category):
                expired.append(row.id)
            else:
                yield reader.read(row)

    catalog.load(rows(), sketches)
    if expired:
        store.delete(expired)
    if reader.foreign:
        logger.warning(
            "%d entries were embedded by another model than %s; only equal questions are answered "
            "from them, until they are asked anew",
            reader.foreign,
            embedder,
        )
