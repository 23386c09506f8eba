"""Keeps the index on disk beside its store, so that the next start need not build it anew."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from likewise.catalog import Catalog
from likewise.index.snapshot import DamagedError, Reader, Writer, sync_folder
from likewise.kept import cache_folder

logger = logging.getLogger("likewise")

_SNAPSHOT, _PARTIAL, _ASIDE = "snapshot-", "partial-", "set-aside"


def folder_of(url: str) -> Path | None:
    """Return where the index of the store at an address is kept; ``None`` for one in memory.

    Beside a file of SQLite, else in the cache folder.

    Raises:
        RuntimeError: There is no cache folder.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        return None
    if scheme == "sqlite":
        return Path(rest.removeprefix("/") + "-index").expanduser()
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return cache_folder() / "index" / digest


class Snapshots:
    """The snapshots of one index, in a folder that is its own. Safe to use from many threads.

    At most one snapshot is there, and one that could not be used. For its owner only: it has the
    questions.

    Args:
        folder: Where they are; it is made when it is needed.
        embedder: Name of what makes the vectors.
        sketcher: What makes the coarse vectors, empty without any.
    """

    def __init__(self, folder: Path, *, embedder: str, sketcher: str = "") -> None:
        self.folder = folder
        self._embedder = embedder
        self._sketcher = sketcher
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._discarded = 0

    def write(self, catalog: Catalog, *, store: str, seq: int) -> bool:
        """Write a snapshot in the place of the one before; return whether it is there.

        No reader of the catalog waits for it, and writers only while graphs are copied to the disk.
        Nothing that is gone from the catalog is left in it. A fault of the disk is logged, and the
        snapshot before stays; when ``discard`` is called meanwhile, neither stays.

        Args:
            catalog: Of what.
            store: The store's identity.
            seq: Number of a change of the store. It and all before have reached the catalog: so it
                is asked for first, and what is on its way from the store to the catalog is waited
                for before this is called. Later ones may be in the snapshot or not.
        """
        with self._writing:
            before = self._discarded
            partial = self.folder / f"{_PARTIAL}{os.getpid()}"
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._remove_partial(own=True)
                writer = Writer(partial)
                entries = catalog.dump(writer)
                writer.finish(
                    store=store,
                    seq=seq,
                    embedder=self._embedder,
                    sketcher=self._sketcher,
                    dimensions=catalog.dimensions,
                    entries=entries,
                )
                with self._lock:
                    return self._discarded == before and self._put(partial)
            except OSError as error:
                logger.warning("the index's snapshot cannot be written: %s", error)
                return False
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def read(self, catalog: Catalog, *, store: str, seq: int) -> int | None:
        """Fill an empty catalog from the snapshot; return the number of its store's last change.

        What the store changed after that is the caller's to add. One that is damaged or of
        something else is set aside with one line in the log; ``None`` then, and where there is no
        snapshot.

        Args:
            catalog: To be filled.
            store: The store's identity.
            seq: Number of its last change.
        """
        with self._lock:
            found = self._found()
            if not found:
                return None
            try:
                reader = Reader(found[-1])
                self._check(reader, catalog, store=store, seq=seq)
                catalog.restore(reader)
            except (DamagedError, OSError) as error:
                self._set_aside(found[-1], error)
                return None
            return reader.manifest.seq

    def discard(self) -> None:
        """Remove every snapshot at once, also one that is being written."""
        with self._lock:
            self._discarded += 1
            for path in (*self._found(), self.folder / _ASIDE):
                shutil.rmtree(path, ignore_errors=True)
            self._remove_partial(own=False)

    def _check(self, reader: Reader, catalog: Catalog, *, store: str, seq: int) -> None:
        """Raise ``DamagedError`` unless a snapshot is of what is there now."""
        manifest = reader.manifest
        for what, its, now in (
            ("store", manifest.store, store),
            ("embedder", manifest.embedder, self._embedder),
            ("sketches", manifest.sketcher, self._sketcher),
            ("dimensions", manifest.dimensions, catalog.dimensions),
        ):
            if its != now:
                msg = f"it is of other {what} ({its!r}, now {now!r})"
                raise DamagedError(msg)
        if manifest.seq > seq:
            msg = "it is newer than the store, which may come from a backup"
            raise DamagedError(msg)

    def _put(self, partial: Path) -> bool:
        """Make a folder that is complete the snapshot, and remove all others."""
        old = self._found()
        number = 1 + max((_number(path) for path in old), default=0)
        partial.rename(self.folder / f"{_SNAPSHOT}{number}")
        sync_folder(self.folder)
        # What was purged meanwhile must not stay in one that was set aside.
        for path in (*old, self.folder / _ASIDE):
            shutil.rmtree(path, ignore_errors=True)
        return True

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = self.folder / _ASIDE
        logger.warning(
            "the index's snapshot is set aside as %s, the index is built anew: %s", aside, error
        )
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            path.rename(aside)
        for other in self._found():
            shutil.rmtree(other, ignore_errors=True)

    def _found(self) -> list[Path]:
        """Return the snapshots that are there, the newest last."""
        with suppress(OSError):
            paths = [p for p in self.folder.iterdir() if p.name.startswith(_SNAPSHOT)]
            return sorted((p for p in paths if _number(p)), key=_number)
        return []

    def _remove_partial(self, *, own: bool) -> None:
        """Remove what a process left that died while it wrote, and what this one left."""
        for path in self.folder.glob(f"{_PARTIAL}*"):
            process = path.name.removeprefix(_PARTIAL)
            if own if process == str(os.getpid()) else not _lives(process):
                shutil.rmtree(path, ignore_errors=True)


def _number(path: Path) -> int:
    digits = path.name.removeprefix(_SNAPSHOT)
    return int(digits) if digits.isdecimal() else 0


def _lives(process: str) -> bool:
    if not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
