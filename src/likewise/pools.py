"""Entries by category and tenant, how much these hold, and which entry goes when room is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from likewise.config import Policies
from likewise.errors import ConfigError
from likewise.eviction import Eviction
from likewise.index import Record
from likewise.quotas import borrower

_ROUNDING = 1e-9
_MOST_TENANTS = 256
"""Tenants of a category with a policy of their own; later ones share."""

_SHARED_POOLS = 64


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
    sized = [name for name, policy in listed.items() if isinstance(policy.quota, str)]
    if sized and max_bytes is None:
        msg = f"categories.{sized[0]}.quota is in bytes, which needs max_bytes; set it as well"
        raise ConfigError(msg)
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

    Entries are known by their exact keys: one that takes the place of another inherits its fame,
    and one that comes back is remembered. ``make`` gives a new policy for a category's entries.
    """

    def __init__(self, make: Callable[[str], Eviction]) -> None:
        self._make = make
        self._tenants: dict[str, dict[str, Eviction]] = {}
        self.entries: dict[str, int] = {}
        """By category."""
        self.bytes: dict[str, int] = {}
        """By category."""

    def add(self, record: Record) -> None:
        """Take note of a new entry, or of one in the place of another with the same key."""
        name, size = record.category, max(record.size, 1)
        pool = self._of(record)
        if pool is not None:
            self.bytes[name] += size - pool.items[record.key].size
            pool.resize(record.key, record.size, record.cost)
            return
        tenants = self._tenants.setdefault(name, {})
        tenant = record.tenant
        if tenant not in tenants and len(tenants) >= _MOST_TENANTS:
            tenant = _shared(tenant)
        pool = tenants.get(tenant)
        if pool is None:
            pool = tenants[tenant] = self._make(name)
        pool.add(record.key, record.size, record.cost)
        self.entries[name] = self.entries.get(name, 0) + 1
        self.bytes[name] = self.bytes.get(name, 0) + size

    def touch(self, record: Record) -> None:
        """Take note that an entry was asked for."""
        pool = self._of(record)
        if pool is not None:
            pool.touch(record.key)

    def blame(self, record: Record) -> None:
        """Take note that an entry was found wrong."""
        pool = self._of(record)
        if pool is not None:
            pool.blame(record.key)

    def remove(self, record: Record) -> None:
        """Forget an entry; one that is not here, or was chosen to go, is ignored."""
        name = record.category
        for tenant in (record.tenant, _shared(record.tenant)):
            pool = self._tenants.get(name, {}).get(tenant)
            if pool is not None and record.key in pool.items:
                self._lost(name, pool.items[record.key].size)
                pool.remove(record.key)
                self._tidy(name, tenant)
                return

    def victims(self, room: Room) -> list[bytes]:
        """Choose the entries that go so that what is held fits; forget them, return their keys."""
        chosen: list[bytes] = []
        while sum(self.entries.values()) > room.entries:
            held = self._free(self.entries, self.bytes, room.guaranteed_bytes)
            name = borrower(held, room.guaranteed_entries, room.entries)
            chosen.append(self._take(name, key=len))
        while room.bytes is not None and sum(self.bytes.values()) > room.bytes:
            held = self._free(self.bytes, self.entries, room.guaranteed_entries)
            name = borrower(held, room.guaranteed_bytes, room.bytes)
            chosen.append(self._take(name, key=_bytes_of))
        return chosen

    @staticmethod
    def _free(
        held: Mapping[str, int], other: Mapping[str, int], guaranteed: Mapping[str, float]
    ) -> Mapping[str, int]:
        """Return what is held by those that are above their guarantee in the other unit, too.

        The bounds of the whole go before all guarantees: where nobody is, all are asked.
        """
        free = {n: amount for n, amount in held.items() if other[n] > guaranteed.get(n, 0)}
        return free or held

    def _take(self, category: str, *, key: Callable[[Eviction], int]) -> bytes:
        """Choose an entry of a category: of the tenant that holds most, so all have equal parts."""
        tenants = self._tenants[category]
        tenant = max(tenants, key=lambda name: key(tenants[name]))
        pool = tenants[tenant]
        before = pool.bytes
        chosen = pool.evict()
        self._lost(category, before - pool.bytes)
        self._tidy(category, tenant)
        # Only keys are ever put in.
        return chosen if isinstance(chosen, bytes) else chosen.encode()

    def _lost(self, category: str, size: int) -> None:
        self.entries[category] -= 1
        self.bytes[category] -= size

    def _tidy(self, category: str, tenant: str) -> None:
        if not self.entries[category]:
            # The policies of a category that is empty keep what they remember of what is gone.
            del self.entries[category], self.bytes[category]
        tenants = self._tenants[category]
        if not len(tenants[tenant]) and len(tenants) > 1:
            del tenants[tenant]

    def _of(self, record: Record) -> Eviction | None:
        """Return the policy that knows an entry of this key, category and tenant."""
        tenants = self._tenants.get(record.category)
        if tenants is None:
            return None
        for tenant in (record.tenant, _shared(record.tenant)):
            pool = tenants.get(tenant)
            if pool is not None and record.key in pool.items:
                return pool
        return None


def _shared(tenant: str) -> str:
    """Return the pool that a tenant shares with others where there are too many for their own."""
    return f"\n{crc32(tenant.encode()) % _SHARED_POOLS}"


def _bytes_of(pool: Eviction) -> int:
    return pool.bytes
