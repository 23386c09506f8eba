"""An index on a server: vectors elsewhere, records here.

    lookup --> RemotePartition.search ----------------------> RemoteIndex.search
    writer --> RemotePartition.add, remove --> Remote (queue) --> RemoteIndex.add, remove

Writers hold the catalog's lock, so they only queue what is to change; one thread does it behind
them, in order, and again when the server fails.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from likewise.embed import Vectors
from likewise.index.partition import Match, Partition
from likewise.index.record import Record
from likewise.scope import digest_of

logger = logging.getLogger("likewise")

_AT_ONCE = 500
"""Vectors that are sent together."""

_MOST = 20_000
"""Vectors that wait to be sent: 30 MB of 384 dimensions. Loading waits for room beyond it."""

_RETRY_S, _MOST_RETRY_S = 0.2, 5.0
_CLOSE_S = 5.0
"""How long closing waits for what is still to be sent; the next start sends the rest."""


class RemoteIndex(ABC):
    """Vectors on a server that several processes share. Safe to use from many threads.

    A *place* is where the vectors of one scope and category are: 16 bytes that stand for both. No
    search leaves its place.

    Every method but ``close`` raises ``StoreError`` when the server fails or is too slow, and may
    be called again then: each does the same when it is done twice, here or by another process.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """The address as it may be shown, without secrets."""

    @abstractmethod
    def prepare(self, *, store: str, embedder: str, dimensions: int) -> None:
        """Make ready for the vectors of an embedder for the entries of a store.

        Raises:
            ConfigError: It holds vectors of another embedder, or of another store's entries.
        """

    @abstractmethod
    def add(self, place: bytes, entry_ids: Sequence[str], vectors: Vectors) -> None:
        """Add entries with their unit vectors, float32 ``(n, dimensions)``; those there stay."""

    @abstractmethod
    def remove(self, place: bytes, entry_ids: Sequence[str]) -> None:
        """Remove entries; those that are not there are ignored."""

    @abstractmethod
    def search(self, place: bytes, vector: Vectors, k: int) -> list[tuple[str, float]]:
        """Return up to ``k`` entries of one place with their cosine, nearest first."""

    @abstractmethod
    def held(self) -> Iterator[tuple[bytes, str]]:
        """Yield the entries that were there before ``prepare``."""

    def settle(self) -> None:
        """Called when nothing is left to send: the time for what takes long."""
        return

    @abstractmethod
    def close(self) -> None:
        """Let go of the server; may be called twice."""


class _Change(NamedTuple):
    """One entry that is to come (with a vector) or to go."""

    place: bytes
    entry_id: str
    vector: Vectors | None


class Remote:
    """What a catalog has of a remote index: searches at once, changes behind.

    Args:
        index: The index, which is closed with this.
        fault: Told of a server that fails while something is sent.
    """

    def __init__(self, index: RemoteIndex, fault: Callable[[Exception], None]) -> None:
        self.index = index
        self._fault = fault
        self._waiting: deque[_Change] = deque()
        self._changed = threading.Condition()
        self._under_way = self._taken = 0
        self._settled = True
        self._ended = False
        self._dropped = False
        self._loading = False
        self._thread = threading.Thread(target=self._run, name="likewise-index", daemon=True)
        self._thread.start()

    def add(self, place: bytes, entry_ids: Sequence[str], vectors: Vectors) -> None:
        """Send entries soon. Of a server that is away too long the latest are not kept waiting.

        They are found by equality only until the next start, which sends them.
        """
        with self._changed:
            if len(self._waiting) >= 2 * _MOST:
                if not self._dropped:
                    logger.warning(
                        "the index %s has not taken entries for long: further ones are found by "
                        "equality only, until the next start",
                        self.index.url,
                    )
                self._dropped = True
                return
            # Copied: a row of a chunk would keep all of it.
            self._waiting.extend(map(_Change, [place] * len(entry_ids), entry_ids, vectors.copy()))
            self._changed.notify_all()

    def remove(self, place: bytes, entry_id: str) -> None:
        """Remove an entry soon."""
        with self._changed:
            self._waiting.append(_Change(place, entry_id, None))
            self._changed.notify_all()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """While it lasts, nothing is settled: much more is to come."""
        self._loading = True
        try:
            yield
        finally:
            with self._changed:
                self._loading = False
                self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Return when the server has taken most of what it was sent, or takes nothing for long."""
        with self._changed:
            while True:
                taken = self._taken
                if self._changed.wait_for(
                    lambda: self._ended or len(self._waiting) < _MOST, _MOST_RETRY_S
                ):
                    return
                if self._taken == taken:
                    return

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return whether all is sent, after waiting for it."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._under_way and self._settled, timeout_s
            )

    def reconcile(self, known: Callable[[str], bool]) -> int:
        """Remove what was there at the start and no entry is known of; return how many.

        To be called once, when all of the store is known.
        """
        count = 0
        for place, entry_id in self.index.held():
            if not known(entry_id):
                self.remove(place, entry_id)
                count += 1
        return count

    def close(self) -> None:
        """Send what is left, as far as the server takes it, and let go of it."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or not (self._waiting or self._under_way), _CLOSE_S
            )
            self._ended = True
            self._changed.notify_all()
        self.index.close()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        retry_s = _RETRY_S
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._ended or bool(self._waiting) or not (self._settled or self._loading)
                    )
                )
                if self._ended:
                    return
                batch = self._take()
                self._under_way = len(batch)
                self._settled = self._settled and not batch
            try:
                if batch:
                    self._send(batch)
                else:
                    self.index.settle()
                    self._settled = True
                retry_s = _RETRY_S
            except Exception as error:
                if self._is_over():
                    return
                self._fault(error)
                with self._changed:
                    self._waiting.extendleft(reversed(batch))
                    self._under_way = 0
                    self._changed.wait_for(lambda: self._ended, retry_s)
                retry_s = min(2 * retry_s, _MOST_RETRY_S)
                continue
            with self._changed:
                self._taken += len(batch)
                self._under_way = 0
                self._changed.notify_all()

    def _is_over(self) -> bool:
        return self._ended

    def _take(self) -> list[_Change]:
        """Take the first changes that are of one kind and one place."""
        batch: list[_Change] = []
        while self._waiting and len(batch) < _AT_ONCE:
            first, change = (batch or self._waiting)[0], self._waiting[0]
            if change.place != first.place or (change.vector is None) != (first.vector is None):
                break
            batch.append(self._waiting.popleft())
        return batch

    def _send(self, batch: Sequence[_Change]) -> None:
        place, names = batch[0].place, [change.entry_id for change in batch]
        vectors = [change.vector for change in batch if change.vector is not None]
        if vectors:
            self.index.add(place, names, np.stack(vectors))
        else:
            self.index.remove(place, names)


class RemotePartition(Partition):
    """A partition whose vectors are on a server; records and sketches are here.

    ``search`` raises ``StoreError`` when the server does.
    """

    def __init__(
        self,
        scope: bytes,
        category: str,
        remote: Remote,
        named: Callable[[str], Record | None],
        *,
        sketched: int | None = None,
    ) -> None:
        super().__init__(0, sketched=sketched)  # no vector is here
        self._scope, self._category = scope, category
        self._place = place_of(scope, category)
        self._remote = remote
        self._named = named

    @property
    def kind(self) -> str:
        """See ``Partition.kind``."""
        return "remote"

    def add(
        self, records: Sequence[Record], vectors: Vectors, sketches: Vectors | None = None
    ) -> None:
        """See ``Partition.add``; the vectors can be found a moment later."""
        rows = self._state[1]
        if self._sketches is not None:
            self._sketches.add(sketches, len(records))
        first = len(rows)
        rows.extend(records)
        for label, record in enumerate(records, start=first):
            record.label = label
        self._remote.add(self._place, [record.entry_id for record in records], vectors)

    def _erase(self, record: Record, label: int) -> None:
        self._remote.remove(self._place, record.entry_id)

    def _nearest(self, vector: Vectors, k: int, floor: float) -> list[Match]:
        found: list[Match] = []
        for entry_id, cosine in self._remote.index.search(self._place, vector, k):
            if found and cosine < floor:
                break
            record = self._named(entry_id)
            # The server may still have what is gone here, or have what is not known here yet.
            if (
                record is not None
                and record.scope == self._scope
                and record.category == self._category
            ):
                found.append((record, cosine))
        return found

    def _rebuild(self, extra: Sequence[Record] = (), extra_vectors: Vectors | None = None) -> None:
        index, rows = self._state
        kept = [record for record in rows if record is not None]
        if self._sketches is not None:
            self._sketches = self._sketches.kept([record.label for record in kept])
        self._state = (index, list(kept))
        self._removed = 0
        for label, record in enumerate(kept):
            record.label = label


def place_of(scope: bytes, category: str) -> bytes:
    """Return what stands for a scope and category: 16 bytes."""
    return digest_of("place", scope, category)
