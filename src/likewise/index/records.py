"""The records of all entries, found by key and by identifier."""

from __future__ import annotations

from array import array
from collections import Counter
from zlib import crc32

from likewise.index.record import Record, Shared
from likewise.slots import Slots


class Records:
    """Records, each in a slot of its own, a number that is used again when its entry is gone.

    Readers take no lock; writers must be serialised by the caller.
    """

    def __init__(self) -> None:
        self._rows: list[Record | None] = []
        self._free = array("i")
        self._by_key = Slots(lambda slot: crc32(self[slot].key))
        self._by_id = Slots(lambda slot: _hash_of(self[slot].entry_id))
        self._shared: dict[Shared, tuple[Shared, int]] = {}
        """What entries have in common, and how many of them."""

    def __len__(self) -> int:
        return self._by_key.live

    def __getitem__(self, slot: int) -> Record:
        """Return the record in a slot that is taken."""
        record = self._rows[slot]
        assert record is not None  # noqa: S101 - slots come from here
        return record

    def all(self) -> list[Record]:
        """Return every record."""
        return [record for record in self._rows if record is not None]

    def slot(self, key: bytes) -> int:
        """Return where the record of a key is, or -1."""
        rows = self._rows

        def same(slot: int) -> bool:
            record = rows[slot]
            return record is not None and record.key == key

        return self._by_key.find(crc32(key), same)

    def exact(self, key: bytes) -> Record | None:
        """Return the record of a key."""
        for slot in self._by_key.like(crc32(key)):
            # Looked at once: a moment later the slot may be another's.
            record = self._rows[slot]
            if record is not None and record.key == key:
                return record
        return None

    def named(self, entry_id: str) -> Record | None:
        """Return the record of an identifier."""
        for slot in self._by_id.like(_hash_of(entry_id)):
            record = self._rows[slot]
            if record is not None and record.entry_id == entry_id:
                return record
        return None

    def add(self, record: Record) -> int:
        """Add a record whose key is not there; return its slot."""
        self._share(record)
        if self._free:
            slot = self._free.pop()
            self._rows[slot] = record
        else:
            slot = len(self._rows)
            self._rows.append(record)
        self._by_key.add(crc32(record.key), slot)
        self._by_id.add(_hash_of(record.entry_id), slot)
        return slot

    def replace(self, slot: int, record: Record) -> None:
        """Put a record in the place of another of the same key."""
        self._share(record)
        old = self[slot]
        self._by_id.remove(_hash_of(old.entry_id), slot)
        self._rows[slot] = record
        self._by_id.add(_hash_of(record.entry_id), slot)
        self._unshare(old)

    def remove(self, slot: int) -> None:
        """Forget the record in a slot."""
        old = self[slot]
        self._by_key.remove(crc32(old.key), slot)
        self._by_id.remove(_hash_of(old.entry_id), slot)
        self._rows[slot] = None
        self._free.append(slot)
        self._unshare(old)

    def rows(self) -> list[Record | None]:
        """Return the record of every slot."""
        return self._rows.copy()

    def tables(self) -> dict[str, Slots]:
        """Return the tables, by the name of what they find records by."""
        return {"keys": self._by_key, "ids": self._by_id}

    def restore(self, rows: list[Record | None]) -> None:
        """Take up the records of others, whose tables are restored apart."""
        self._rows = rows
        self._free = array("i", [slot for slot, record in enumerate(rows) if record is None])
        counts = Counter(id(record.shared) for record in rows if record is not None)
        shared = {id(record.shared): record.shared for record in rows if record is not None}
        self._shared = {shared[at]: (shared[at], count) for at, count in counts.items()}

    def _share(self, record: Record) -> None:
        shared, count = self._shared.get(record.shared, (record.shared, 0))
        record.shared = shared
        self._shared[shared] = (shared, count + 1)

    def _unshare(self, record: Record) -> None:
        shared, count = self._shared[record.shared]
        if count == 1:
            del self._shared[shared]
        else:
            self._shared[shared] = (shared, count - 1)


def _hash_of(entry_id: str) -> int:
    return crc32(entry_id.encode("utf-8", "surrogatepass"))
