"""Fills the index at start, from its snapshot or from the store, and writes the snapshots."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from likewise.catalog import Catalog
from likewise.category import DEFAULT
from likewise.embed import Vectors
from likewise.errors import StoreError
from likewise.faults import Faults
from likewise.following import Following
from likewise.rebuild import Progress, rebuild
from likewise.snapshots import Snapshots
from likewise.stores import Mark, Store

logger = logging.getLogger("likewise")

PURGED_MEMO = "purged"
"""Name of the memo that a purge leaves in the store, for all who keep snapshots of it."""

CLEARED_MEMO = "cleared"
"""Name of the memo that a purge leaves before it begins, for all whose calls are under way."""

_LEAST = 5_000
"""Entries from which on a snapshot is worth its bytes: fewer are read in a second."""

_LEAST_CHANGED = 0.01
"""Share of the entries that must have changed before another snapshot is written."""

_ASIDE_FROM = 20_000
"""Entries from which on the index is filled while requests are served already, where that may be:
few are there before the first request."""

_RETRY_S = 1.0


class Filling:
    """Fills a catalog once, and keeps a snapshot of it. Safe to use from many threads.

    Args:
        store: What it is filled from.
        catalog: What is filled.
        following: Goes on from there.
        snapshots: Where they are kept; ``None`` keeps none.
        every_s: Least seconds between two of them.
        embedder: Name of the embedder in use.
        sketches: Makes the coarse vectors of questions, where there are any.
        grace_of: For how many seconds after its time an entry of a category may be served.
        faults: Told of a store that fails meanwhile.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        following: Following,
        snapshots: Snapshots | None,
        every_s: float,
        embedder: str,
        sketches: Callable[[Sequence[str]], Vectors] | None,
        grace_of: Callable[[str], float],
        faults: Faults,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._following = following
        self._snapshots = snapshots
        self._every_s = every_s
        self._embedder = embedder
        self._sketches = sketches
        self._grace_of = grace_of
        self._faults = faults
        self._clock = clock
        self._ended = threading.Event()
        self._filler: threading.Thread | None = None
        self._writer: threading.Thread | None = None
        self._written_s, self._written_seq = time.monotonic(), -1
        self.share = 1.0
        """How much of the index is there, 0 to 1."""
        self.held = False
        """Whether no snapshot is to be written: what is still to be embedded is not in it."""
        self.foreign = 0
        """Entries that another embedder has embedded, and that are not embedded anew yet."""

    def fill(
        self,
        mark: Mark,
        progress: Progress | None,
        *,
        aside: bool,
        filled: Callable[[], None],
    ) -> None:
        """Fill the catalog; ``aside``, when there is much, on a thread of its own.

        ``mark`` is the place in the store's history from before anything of it was read; ``filled``
        is called when all is there and nothing has been followed yet.

        Raises:
            StoreError: The store cannot be read.
        """
        if self._snapshots is not None:
            seq = self._snapshots.read(self._catalog, store=mark.store, seq=mark.seq)
            if seq is not None:
                self._following.seq = self._written_seq = seq
                self._following.step()
                filled()
                if self._store.shared:
                    self._start_writing(self._settle)
                return
        self._following.seq = mark.seq
        if aside and self._store.count() >= _ASIDE_FROM:
            self.share = 0.0
            self._filler = threading.Thread(
                target=self._fill_aside, args=(progress, filled), name="likewise-filling"
            )
            self._filler.daemon = True
            self._filler.start()
        else:
            self._rebuild(progress)
            filled()

    def reembedded(self, done: int, total: int) -> None:
        """Take note of how many have been embedded anew."""
        self.foreign = total - done

    def wait(self) -> None:
        """Return when all is there, or the cache is closed."""
        if self._filler is not None:
            self._filler.join()

    def tidy(self) -> None:
        """Write a snapshot when one is due, on a thread of its own."""
        if self._is_due():
            self._start_writing(self._write)

    def purged(self) -> None:
        """Leave nothing of what was purged on the disk."""
        if self._snapshots is not None:
            self._snapshots.discard()
            self._written_seq = -1

    def close(self) -> None:
        """End what is under way, and leave a snapshot for the next start where one is worth it."""
        self._ended.set()
        for thread in (self._filler, self._writer):
            if thread is not None:
                thread.join()
        if self.share == 1.0 and self._is_due(now=True):
            self._write()

    def _rebuild(self, progress: Progress | None) -> None:
        def told(done: int, total: int) -> None:
            if self.share < 1.0:
                self.share = min(done / max(total, 1), 0.999)
            if progress is not None:
                progress(done, total)

        self.foreign = rebuild(
            self._catalog,
            self._store,
            embedder=self._embedder,
            sketches=self._sketches,
            now=self._clock(),
            grace_of=self._grace_of,
            progress=told,
            stop=self._ended.is_set,
        )

    def _fill_aside(self, progress: Progress | None, filled: Callable[[], None]) -> None:
        while not self._ended.is_set():
            try:
                self._rebuild(progress)
            except Exception as error:
                kind = "store" if isinstance(error, StoreError) else "internal"
                self._faults.report(DEFAULT, kind, error)
                self._ended.wait(_RETRY_S)
                continue
            if not self._ended.is_set():
                self.share = 1.0
                filled()
            return

    def _is_due(self, *, now: bool = False) -> bool:
        entries = len(self._catalog)
        if self._snapshots is None or self.held or self.share < 1.0 or entries < _LEAST:
            return False
        if self._writer is not None and self._writer.is_alive():
            return False
        if not now and time.monotonic() - self._written_s < self._every_s:
            return False
        changed = self._following.seq - self._written_seq
        return self._written_seq < 0 or changed >= _LEAST_CHANGED * entries

    def _start_writing(self, target: Callable[[], None]) -> None:
        self._writer = threading.Thread(target=target, name="likewise-snapshot", daemon=True)
        self._writer.start()

    def _settle(self) -> None:
        """Load what the snapshot has mapped, before the first writer has to."""
        try:
            self._catalog.settle()
        except Exception as error:
            self._faults.report(DEFAULT, "internal", error)

    def _write(self) -> None:
        snapshots = self._snapshots
        if snapshots is None:
            return
        try:
            with _alone(snapshots.folder) as alone:
                if not alone:
                    self._written_s = time.monotonic()  # another process of this machine does
                    return
                self._following.step()
                seq, mark = self._following.seq, self._store.mark()
                if snapshots.write(self._catalog, store=mark.store, seq=seq):
                    self._written_s, self._written_seq = time.monotonic(), seq
                # Of a purge meanwhile this hears now, and removes it again.
                self._following.step()
        except Exception as error:
            kind = "store" if isinstance(error, StoreError) else "internal"
            self._faults.report(DEFAULT, kind, error)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Yield whether no other process of this machine writes there, and none may meanwhile."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
