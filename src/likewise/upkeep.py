"""Keeps the house within its bounds: forgetting, eviction, expiry, and saving the statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from likewise.catalog import Catalog
from likewise.category import DEFAULT
from likewise.errors import StoreError
from likewise.faults import Faults
from likewise.pools import Room
from likewise.stats import Stats
from likewise.stores import Store

_EVERY_S = 30.0
_CHUNK = 1_000
"""Entries that are deleted at once."""


class Upkeep:
    """Deletes from store and index alike. Safe to use from many threads.

    ``room`` gives how much may be held, ``grace_of`` for how many seconds after its time an entry
    of a category is kept, because it may be served then; ``clearing`` is told before a purge,
    ``forgotten`` of the entries that somebody had deleted, ``None`` for too many to name.
    """

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        stats: Stats,
        faults: Faults,
        clock: Callable[[], float],
        room: Callable[[], Room],
        grace_of: Callable[[str], float] = lambda _: 0.0,
        clearing: Callable[[], None] = lambda: None,
        forgotten: Callable[[Sequence[str] | None], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._stats = stats
        self._faults = faults
        self._clock = clock
        self._room = room
        self._grace_of = grace_of
        self._clearing = clearing
        self._forgotten = forgotten
        self._tidied_at = clock()
        self._owed: set[str] = set()
        """Entries that are to go from the store, which failed when it was told."""

    def forget(self, entry_ids: Sequence[str]) -> int:
        """Delete entries from store and index; return how many the store held."""
        self._catalog.remove(entry_ids)
        try:
            # Before others are told to look: else they may not see yet that it is gone.
            return self._store.delete(entry_ids)
        finally:
            self._forgotten(entry_ids)

    def clear(
        self,
        *,
        category: str | None = None,
        scope: bytes | None = None,
        tenant: str | None = None,
    ) -> int:
        """Delete the entries of a category, of a scope, of a tenant, of all of them, or everything.

        Returns:
            How many the store held.

        Raises:
            StoreError: The store failed; some of a tenant's may be left, to be deleted once more.
        """
        self._clearing()
        # Chosen first: what is asked for and stored in the meantime stays in both.
        known = self._catalog.select(
            lambda r: (
                category in (None, r.category)
                and scope in (None, r.scope)
                and tenant in (None, r.tenant)
            )
        )
        if tenant is None:
            gone = self._store.clear(category=category, scope=scope)
            count = len(gone)
        else:
            gone = [
                row.id
                for row in self._store.scan()
                if row.tenant == tenant
                and category in (None, row.category)
                and scope in (None, row.scope)
            ]
            count = sum(
                self._store.delete(gone[start : start + _CHUNK])
                for start in range(0, len(gone), _CHUNK)
            )
        self._catalog.remove([*gone, *known])
        self._forgotten(None)
        return count

    def take_back(self, entry_id: str) -> None:
        """Delete an entry that was stored and is not to be served; later if the store fails now."""
        self._delete([entry_id])

    def tidy(self) -> None:
        """Delete what has expired and hand the counters to the store; no fault gets out."""
        now = self._tidied_at = self._clock()
        expired = self._catalog.expired(now, self._grace_of)
        if expired:
            self._discard(expired, why="expired")
        try:
            self._store.expire()
            if owed := list(self._owed):
                self._store.delete(owed)
                self._owed.difference_update(owed)
        except StoreError as error:
            self._faults.report(DEFAULT, "store", error)
        self.flush()

    @property
    def is_due(self) -> bool:
        """Whether the last time is long enough ago to tidy again."""
        return self._clock() - self._tidied_at >= _EVERY_S

    def evict(self) -> None:
        """Delete what is held beyond the bounds."""
        victims = self._catalog.victims(self._room())
        if victims:
            self._discard(victims, why="evicted")

    def flush(self) -> None:
        """Hand the counters collected so far to the store; no fault gets out."""
        new = self._stats.unflushed()
        if not new:
            return
        try:
            self._store.add_counters(new)
        except StoreError as error:
            self._stats.unflush(new)
            self._faults.report(DEFAULT, "store", error)

    def _discard(self, entry_ids: Sequence[str], *, why: str) -> None:
        """Delete entries nobody asked to delete: a store that fails now is asked again later."""
        records = [r for i in entry_ids if (r := self._catalog.record(i)) is not None]
        for category, count in Counter(r.category for r in records).items():
            self._stats.add(category, **{why: count})
        self._catalog.remove(entry_ids)
        self._delete(entry_ids)

    def _delete(self, entry_ids: Sequence[str]) -> None:
        try:
            self._store.delete(entry_ids)
        except StoreError as error:
            self._owed.update(entry_ids)
            self._faults.report(DEFAULT, "store", error)
