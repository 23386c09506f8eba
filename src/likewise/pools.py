"""Entries by category and tenant, how much these hold, and which entry goes when room is needed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

from likewise.config import Policies
from likewise.errors import ConfigError
from likewise.eviction import Eviction
from likewise.eviction.saved import kind_of, restore, saved
from likewise.index import Record
from likewise.index.records import Records
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


class _Pool(NamedTuple):
    category: str
    tenant: str
    policy: Eviction


class Pools:
    """Not safe for threads by itself: the catalog holds its lock around every call.

    Entries are known by their slots: one that takes the place of another inherits its fame, and one
    that comes back is remembered by its key. ``make`` gives a new policy for a category's entries.
    """

    def __init__(self, make: Callable[[str], Eviction]) -> None:
        self._make = make
        self._pools: list[_Pool | None] = []
        self._tenants: dict[str, dict[str, int]] = {}
        """Numbers of the pools of a category, by tenant."""
        self._pool_of = array("i")
        """By slot: the number of its pool, -1 without one."""
        self._place_of = array("i")
        """By slot: its place there."""
        self.entries: dict[str, int] = {}
        """By category."""
        self.bytes: dict[str, int] = {}
        """By category."""

    def add(self, slot: int, record: Record) -> None:
        """Take note of a new entry, or of one in the place of another of the same kind."""
        name, size = record.category, max(record.size, 1)
        pool = self._of(slot)
        if pool is not None:
            place = self._place_of[slot]
            self.bytes[name] += size - pool.policy.sizes[place]
            pool.policy.resize(place, size, record.cost)
            return
        number = self._number(name, record.tenant)
        while len(self._pool_of) <= slot:
            self._pool_of.append(-1)
            self._place_of.append(-1)
        self._pool_of[slot] = number
        policy = self._at(number).policy
        self._place_of[slot] = policy.add(slot, _mark(record.key), size, record.cost)
        self.entries[name] = self.entries.get(name, 0) + 1
        self.bytes[name] = self.bytes.get(name, 0) + size

    def touch(self, slot: int) -> None:
        """Take note that an entry was asked for."""
        pool = self._of(slot)
        if pool is not None:
            pool.policy.touch(self._place_of[slot])

    def blame(self, slot: int) -> None:
        """Take note that an entry was found wrong."""
        pool = self._of(slot)
        if pool is not None:
            pool.policy.blame(self._place_of[slot])

    def remove(self, slot: int) -> None:
        """Forget an entry; one that is not here, or was chosen to go, is ignored."""
        pool = self._of(slot)
        if pool is not None:
            place = self._place_of[slot]
            size = pool.policy.sizes[place]
            pool.policy.remove(place)
            self._lost(slot, pool, size)

    def victims(self, room: Room) -> list[int]:
        """Choose the entries that go so that what is held fits; forget them, return their slots."""
        chosen: list[int] = []
        while sum(self.entries.values()) > room.entries:
            held = self._free(self.entries, self.bytes, room.guaranteed_bytes)
            name = borrower(held, room.guaranteed_entries, room.entries)
            chosen.append(self._take(name, key=len))
        while room.bytes is not None and sum(self.bytes.values()) > room.bytes:
            held = self._free(self.bytes, self.entries, room.guaranteed_entries)
            name = borrower(held, room.guaranteed_bytes, room.bytes)
            chosen.append(self._take(name, key=_bytes_of))
        return chosen

    def saved(self) -> dict[str, Any]:
        """Return what is known, as plain values."""
        return {
            "pools": [
                None if p is None else [p.category, p.tenant, kind_of(p.policy), saved(p.policy)]
                for p in self._pools
            ],
            "pool_of": self._pool_of.tobytes(),
            "place_of": self._place_of.tobytes(),
            "entries": self.entries,
            "bytes": self.bytes,
        }

    def restore(self, known: dict[str, Any], records: Records) -> None:
        """Take up what others have known.

        Where a category has another policy now, that one is told of the entries as if they were
        new.

        Raises:
            ValueError: It is not that.
            KeyError: The same.
        """
        self._pool_of.frombytes(known["pool_of"])
        self._place_of.frombytes(known["place_of"])
        self.entries, self.bytes = known["entries"], known["bytes"]
        for number, pool in enumerate(known["pools"]):
            if pool is None:
                self._pools.append(None)
                continue
            category, tenant, kind, knows = pool
            policy = self._make(category)
            self._pools.append(_Pool(category, tenant, policy))
            self._tenants.setdefault(category, {})[tenant] = number
            if kind_of(policy) == kind:
                restore(policy, knows)
                continue
            for slot in [slot for slot, pool in enumerate(self._pool_of) if pool == number]:
                record = records[slot]
                self._place_of[slot] = policy.add(
                    slot, _mark(record.key), max(record.size, 1), record.cost
                )

    @staticmethod
    def _free(
        held: Mapping[str, int], other: Mapping[str, int], guaranteed: Mapping[str, float]
    ) -> Mapping[str, int]:
        """Return what is held by those that are above their guarantee in the other unit, too.

        The bounds of the whole go before all guarantees: where nobody is, all are asked.
        """
        free = {n: amount for n, amount in held.items() if other[n] > guaranteed.get(n, 0)}
        return free or held

    def _take(self, category: str, *, key: Callable[[Eviction], int]) -> int:
        """Choose an entry of a category: of the tenant that holds most, so all have equal parts."""
        pools = [self._at(number) for number in self._tenants[category].values()]
        pool = max(pools, key=lambda each: key(each.policy))
        before = pool.policy.bytes
        slot = pool.policy.evict()
        self._lost(slot, pool, before - pool.policy.bytes)
        return slot

    def _lost(self, slot: int, pool: _Pool, size: int) -> None:
        number, name = self._pool_of[slot], pool.category
        self._pool_of[slot] = -1
        self.entries[name] -= 1
        self.bytes[name] -= size
        if not self.entries[name]:
            # The policies of a category that is empty keep what they remember of what is gone.
            del self.entries[name], self.bytes[name]
        tenants = self._tenants[name]
        if not len(pool.policy) and len(tenants) > 1:
            del tenants[pool.tenant]
            self._pools[number] = None

    def _number(self, category: str, tenant: str) -> int:
        """Return the number of the pool for an entry, which is made where there is none."""
        tenants = self._tenants.setdefault(category, {})
        if tenant not in tenants and len(tenants) >= _MOST_TENANTS:
            tenant = _shared(tenant)
        number = tenants.get(tenant)
        if number is None:
            pool = _Pool(category, tenant, self._make(category))
            number = next((n for n, p in enumerate(self._pools) if p is None), len(self._pools))
            self._pools[number : number + 1] = [pool]
            tenants[tenant] = number
        return number

    def _at(self, number: int) -> _Pool:
        pool = self._pools[number]
        assert pool is not None  # noqa: S101 - numbers come from here
        return pool

    def _of(self, slot: int) -> _Pool | None:
        """Return the pool that an entry is in."""
        number = self._pool_of[slot] if slot < len(self._pool_of) else -1
        return None if number < 0 else self._at(number)


def _shared(tenant: str) -> str:
    """Return the pool that a tenant shares with others where there are too many for their own."""
    return f"\n{crc32(tenant.encode()) % _SHARED_POOLS}"


def _bytes_of(pool: Eviction) -> int:
    return pool.bytes


def _mark(key: bytes) -> int:
    return int.from_bytes(key[-8:], "little")
