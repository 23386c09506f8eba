"""Makes the vectors of entries anew, in place, when the embedder has changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from likewise.category import DEFAULT
from likewise.embed import Embedder, Vectors
from likewise.entry import OMITTED, Entry
from likewise.errors import EmbedderError, StoreError
from likewise.faults import Faults
from likewise.filling import Filling
from likewise.rebuild import Progress
from likewise.stores import IndexRow, Store

logger = logging.getLogger("likewise")

BATCH = 64
"""Texts that are embedded at once."""

_SMALL_BATCH = 8
"""The same beside requests, which wait for no longer than these take."""

_RETRY_S, _MOST_RETRY_S = 1.0, 60.0
"""Between attempts to embed anew."""

_UNIT = 0.02
"""How far the length of a whole vector may be from 1 in half precision."""


def reembed(
    store: Store,
    embedder: Embedder,
    *,
    progress: Progress | None = None,
    done: Callable[[Sequence[str]], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    gently: bool = False,
) -> dict[str, int]:
    """Embed every entry whose vector is not of this embedder, batch by batch.

    Each batch is in the store before the next begins, so that it can be interrupted and run again;
    what is deleted meanwhile stays deleted. Entries that only equal questions are answered from
    stay so.

    Args:
        store: Where they are.
        embedder: What embeds.
        progress: Told of how many are done.
        done: Told of the entries of each batch that have a new vector.
        stop: Asked before each batch.
        gently: Whether to take small batches and to rest as long as each took, because requests
            are served meanwhile.

    Returns:
        How many were ``embedded``, had ``gone`` meanwhile, or have a text that the embedder cannot
        read (``failed``): equal questions are still answered from those.

    Raises:
        StoreError: The store failed.
        EmbedderError: The embedder failed on every text of a batch.
    """
    counts = dict.fromkeys(("embedded", "gone", "failed"), 0)
    wanted = [row.id for row in store.scan() if _is_foreign(row, embedder)]
    size = _SMALL_BATCH if gently else BATCH
    for start in range(0, len(wanted), size):
        if stop():
            break
        began = time.monotonic()
        found = [store.get(entry_id) for entry_id in wanted[start : start + size]]
        entries = [entry for entry in found if entry is not None]
        counts["gone"] += len(found) - len(entries)
        kept = []
        for entry, vector in zip(entries, _vectors(entries, embedder), strict=True):
            if vector is None:
                counts["failed"] += 1
                continue
            new = replace(entry, vector=vector.astype(np.float16), embedder=embedder.name)
            if store.revector(new):
                kept.append(entry.id)
            else:
                counts["gone"] += 1
        counts["embedded"] += len(kept)
        done(kept)
        if progress is not None:
            progress(min(start + size, len(wanted)), len(wanted))
        if gently:
            time.sleep(time.monotonic() - began)
    return counts


class Reembedder:
    """Embeds anew what another embedder has embedded, in a thread beside requests.

    A store or an embedder that fails is asked again later: what is done is done.

    Args:
        store: Where the entries are.
        embedder: What embeds.
        filling: Told of the progress; keeps no snapshot meanwhile.
        refresh: Told of the entries of each batch that have a new vector.
        faults: Told of failures.
    """

    def __init__(
        self,
        *,
        store: Store,
        embedder: Embedder,
        filling: Filling,
        refresh: Callable[[Sequence[str]], None],
        faults: Faults,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._filling = filling
        self._refresh = refresh
        self._faults = faults
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="likewise-reembedding", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it end with the batch under way."""
        self._ending.set()

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended, if it has begun."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        self._filling.held = True
        retry_s = _RETRY_S
        while not self._done():
            if self._ending.wait(retry_s):
                return
            retry_s = min(2 * retry_s, _MOST_RETRY_S)
        self._filling.held = False

    def _done(self) -> bool:
        """Return whether all is embedded by this embedder now."""
        logger.info(
            "%d entries are embedded anew by %s", self._filling.foreign, self._embedder.name
        )
        try:
            counts = reembed(
                self._store,
                self._embedder,
                progress=self._filling.reembedded,
                done=self._refresh,
                stop=self._ending.is_set,
                gently=True,
            )
        except Exception as error:
            kind = next(
                (k for k, e in (("store", StoreError), ("embedder", EmbedderError))
                 if isinstance(error, e)), "internal"
            )  # fmt: skip
            self._faults.report(DEFAULT, kind, error)
            return False
        logger.info("%d entries have been embedded anew", counts["embedded"])
        return not self._ending.is_set()


def is_unit(vector: Any, embedder: Embedder) -> bool:
    """Return whether a kept vector is whole: of the right length in both senses."""
    if vector is None or vector.shape != (embedder.dimensions,):
        return False
    return bool(abs(float(np.linalg.norm(vector.astype(np.float32))) - 1.0) < _UNIT)


def _is_foreign(row: IndexRow, embedder: Embedder) -> bool:
    if not row.embedder:
        return False
    return row.embedder != embedder.name or not is_unit(row.vector, embedder)


def _vectors(entries: list[Entry], embedder: Embedder) -> list[Vectors | None]:
    """Return the vector of each entry's question, ``None`` where there is none to be had."""
    fitting = [
        entry.question
        for entry in entries
        if not entry.question.startswith(OMITTED) and embedder.fits(entry.question)
    ]
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
