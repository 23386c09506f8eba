"""Entries by category and tenant, how much these hold, and which entry goes when room is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from likewise.config import Policies
from likewise.errors import ConfigError
from likewise.eviction import Eviction
from likewise.index import Record
from likewise.quotas import borrower

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Room:
    """How much may be held, and who is guaranteed how much of it.

    Attributes:
        entries: Most entries.
        bytes: Most bytes of questions, answers and vectors; ``None`` for no bound.
        guaranteed_entries: By category; together at most ``entries``.
        guaranteed_bytes: By category; together at most ``bytes``.
    """

    entries: int
    bytes: int | None = None
    guaranteed_entries: Mapping[str, float] = field(default_factory=dict)
    guaranteed_bytes: Mapping[str, float] = field(default_factory=dict)


def room_of(policies: Policies, *, max_entries: int, max_bytes: int | None) -> Room:
    """Return the room of a cache with what the policies' quotas guarantee.

    Raises:
        ConfigError: More is guaranteed than there is.
    """
    listed = {**policies.categories, policies.default.name: policies.default}
    entries = {n: q for n, p in listed.items() if (q := p.guaranteed_entries(max_entries))}
    held = 0 if max_bytes is None else max_bytes
    bytes_ = {n: q for n, p in listed.items() if held and (q := p.guaranteed_bytes(held))}
    for what, quotas, total in (("entries", entries, max_entries), ("bytes", bytes_, held)):
        if sum(quotas.values()) > total * (1 + _ROUNDING):
            msg = (
                f"quotas guarantee {sum(quotas.values()):,.0f} {what} of {total:,}: "
                f"{', '.join(f'{name} {quota:,.0f}' for name, quota in sorted(quotas.items()))}; "
                f"lower some, or raise max_{what}"
            )
            raise ConfigError(msg)
    return Room(max_entries, max_bytes, entries, bytes_)


class Pools:
    """Not safe for threads by itself: the catalog holds its lock around every call.

    ``make`` gives a new policy for the entries of a category.
    """

    def __init__(self, make: Callable[[str], Eviction]) -> None:
        self._make = make
        self._tenants: dict[str, dict[str, Eviction]] = {}
        self.entries: dict[str, int] = {}
        """By category."""
        self.bytes: dict[str, int] = {}
        """By category."""

    def add(self, record: Record) -> None:
        """Take note of a new entry."""
        name = record.category
        tenants = self._tenants.setdefault(name, {})
        pool = tenants.get(record.tenant)
        if pool is None:
            pool = tenants[record.tenant] = self._make(name)
        pool.add(record.entry_id, record.size, record.cost)
        self.entries[name] = self.entries.get(name, 0) + 1
        self.bytes[name] = self.bytes.get(name, 0) + max(record.size, 1)

    def touch(self, record: Record) -> None:
        """Take note that an entry was asked for."""
        pool = self._of(record)
        if pool is not None:
            pool.touch(record.entry_id)

    def blame(self, record: Record) -> None:
        """Take note that an entry was found wrong."""
        pool = self._of(record)
        if pool is not None:
            pool.blame(record.entry_id)

    def remove(self, record: Record) -> None:
        """Forget an entry; one that is not here, or was chosen to go, is ignored."""
        pool = self._of(record)
        if pool is not None and record.entry_id in pool.items:
            self._lost(record.category, pool.items[record.entry_id].size)
            pool.remove(record.entry_id)
            self._tidy(record.category, record.tenant)

    def victims(self, room: Room) -> list[str]:
        """Choose the entries that go so that what is held fits, and forget them."""
        chosen: list[str] = []
        while sum(self.entries.values()) > room.entries:
            chosen.append(self._take(borrower(self.entries, room.guaranteed_entries, room.entries)))
        while room.bytes is not None and sum(self.bytes.values()) > room.bytes:
            chosen.append(self._take(borrower(self.bytes, room.guaranteed_bytes, room.bytes)))
        return chosen

    def _take(self, category: str) -> str:
        """Choose an entry of a category: of the tenant that holds most, so all have equal parts."""
        tenants = self._tenants[category]
        tenant = max(tenants, key=lambda name: tenants[name].bytes)
        pool = tenants[tenant]
        before = pool.bytes
        name = pool.evict()
        self._lost(category, before - pool.bytes)
        self._tidy(category, tenant)
        return name

    def _lost(self, category: str, size: int) -> None:
        self.entries[category] -= 1
        self.bytes[category] -= size

    def _tidy(self, category: str, tenant: str) -> None:
        tenants = self._tenants[category]
        if not len(tenants[tenant]):
            del tenants[tenant]
        if not tenants:
            del self._tenants[category], self.entries[category], self.bytes[category]

    def _of(self, record: Record) -> Eviction | None:
        return self._tenants.get(record.category, {}).get(record.tenant)
