"""Makes the vectors of entries anew, in place, when the embedder has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from likewise.embed import Embedder, Vectors
from likewise.entry import Entry
from likewise.errors import EmbedderError
from likewise.stores import IndexRow, Store
from likewise.transfer.importing import BATCH, is_unit


def reembed(
    store: Store, embedder: Embedder, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Embed every entry whose vector is not of this embedder, batch by batch.

    Each batch is in the store before the next begins, so that it can be interrupted and run again.
    Entries that only equal questions are answered from stay so. Returns how many were ``embedded``,
    had ``gone`` meanwhile, or have a text that the embedder cannot read (``failed``): equal
    questions are still answered from those.

    Raises:
        StoreError: The store failed.
        EmbedderError: The embedder failed on every text of a batch.
    """
    counts = dict.fromkeys(("embedded", "gone", "failed"), 0)
    wanted = [row.id for row in store.scan() if _is_foreign(row, embedder)]
    for start in range(0, len(wanted), BATCH):
        found = [store.get(entry_id) for entry_id in wanted[start : start + BATCH]]
        entries = [entry for entry in found if entry is not None]
        counts["gone"] += len(found) - len(entries)
        for entry, vector in zip(entries, _vectors(entries, embedder), strict=True):
            if store.get(entry.id) is None:  # its place was taken while we embedded
                counts["gone"] += 1
            elif vector is None:
                counts["failed"] += 1
            else:
                kept = vector.astype(np.float16)
                store.put(replace(entry, vector=kept, embedder=embedder.name))
                counts["embedded"] += 1
        if progress is not None:
            progress(min(start + BATCH, len(wanted)), len(wanted))
    return counts


def _is_foreign(row: IndexRow, embedder: Embedder) -> bool:
    if not row.embedder:
        return False
    return row.embedder != embedder.name or not is_unit(row.vector, embedder)


def _vectors(entries: list[Entry], embedder: Embedder) -> list[Vectors | None]:
    """Return the vector of each entry's question, ``None`` where there is none to be had."""
    fitting = [entry.question for entry in entries if embedder.fits(entry.question)]
    made: dict[str, Vectors] = {}
    failed: EmbedderError | None = None
    try:
        if fitting:
            made = dict(zip(fitting, embedder.embed(fitting), strict=True))
    except EmbedderError:
        for text in fitting:
            try:
                made[text] = embedder.embed([text])[0]
            except EmbedderError as error:
                failed = error
        if failed is not None and not made:
            raise failed from None
    return [made.get(entry.question) for entry in entries]
