"""Rebuilds the in-memory side from the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from likewise.catalog import Catalog
from likewise.embed import Vectors
from likewise.index import Record
from likewise.rowreader import RowReader
from likewise.stores import Store

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
    done = 0
    reader = RowReader(embedder=embedder, dimensions=catalog.dimensions)

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None and more:
            progress(done, max(done, total))

    def rows() -> Iterator[tuple[Record, Vectors | None]]:
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
            yield reader.read(row)
        if expired:
            store.delete(expired)
            tell(len(expired))

    with catalog.loading():
        catalog.load(rows(), sketches, tell)
    if reader.foreign:
        logger.warning(
            "%d entries were embedded by another model than %s; only equal questions are answered "
            "from them, until they are asked anew",
            reader.foreign,
            embedder,
        )
