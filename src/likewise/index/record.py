"""What the process remembers of an entry: enough to decide without any I/O."""

from __future__ import annotations

from struct import Struct as Layout
from typing import NamedTuple

import msgspec

_HEAD = Layout("<dddqqqBH")
"""When it was made and expires, cost, answer, size, epoch; lengths of the key and the identifier.
They follow, then the question."""

_NEVER = float("inf")
_AT = _HEAD.size
_FACTS = Layout("<dd24xqBH")
_LENGTHS = Layout("<BH")
_AT_LENGTHS = _AT - _LENGTHS.size


class Shared(NamedTuple):
    """What many entries have in common: one object for all of them."""

    scope: bytes
    category: str
    tenant: str
    sources: str


Facts = tuple[str, bytes, str, float, float | None, int]
"""What a decision asks of an entry: identifier, key, question, times it was made and expires,
epoch. Read at once, as it is of many entries for each lookup."""


class Record(msgspec.Struct, gc=False, eq=False):
    """An entry without its answer and without its vector; make one by ``Record.of``.

    It is one string of bytes, read when it is asked for: there may be millions, and an object for
    each of its parts would take three times as much. The collector of garbage does not know it, as
    it refers to nothing that could refer to it.

    ``label`` is the entry's row in its partition, ``-1`` while it has none; only the partition
    writes it.
    """

    packed: bytes
    shared: Shared
    label: int = -1

    @classmethod
    def of(  # noqa: PLR0917 - in the order of an entry's own fields
        cls,
        entry_id: str,
        key: bytes,
        scope: bytes,
        category: str,
        question: str,
        created_at: float,
        expires_at: float | None,
        epoch: int,
        answer: int = 0,
        *,
        tenant: str = "",
        size: int = 1,
        cost: float = 1.0,
        sources: str = "",
    ) -> Record:
        """Return the record of an entry.

        ``answer`` is the digest of its answer, 0 when that is not known: whether two entries agree
        can be told without I/O. ``tenant`` is whose it is, ``size`` its bytes with answer and
        vector, and ``cost`` the seconds of a model that it takes to make it again, ``sources`` what
        it was made of.
        """
        named = entry_id.encode("utf-8", "surrogatepass")
        head = _HEAD.pack(
            created_at,
            _NEVER if expires_at is None else expires_at,
            cost,
            answer,
            size,
            epoch,
            len(key),
            len(named),
        )
        text = question.encode("utf-8", "surrogatepass")
        return cls(head + key + named + text, Shared(scope, category, tenant, sources))

    def __repr__(self) -> str:
        return f"Record({self.entry_id!r})"

    @property
    def facts(self) -> Facts:
        """What a decision asks of it."""
        packed = self.packed
        created_at, expires_at, epoch, keys, names = _FACTS.unpack_from(packed)
        named = _AT + keys
        asked = named + names
        return (
            packed[named:asked].decode("utf-8", "surrogatepass"),
            packed[_AT:named],
            packed[asked:].decode("utf-8", "surrogatepass"),
            created_at,
            None if expires_at == _NEVER else expires_at,
            epoch,
        )

    @property
    def entry_id(self) -> str:
        """The entry's identifier."""
        packed = self.packed
        keys, names = _LENGTHS.unpack_from(packed, _AT_LENGTHS)
        named = _AT + keys
        return packed[named : named + names].decode("utf-8", "surrogatepass")

    @property
    def key(self) -> bytes:
        """What requests share that the entry serves to the letter."""
        packed = self.packed
        return packed[_AT : _AT + packed[_AT_LENGTHS]]

    @property
    def question(self) -> str:
        """What was asked, empty where it is never compared."""
        packed = self.packed
        keys, names = _LENGTHS.unpack_from(packed, _AT_LENGTHS)
        return packed[_AT + keys + names :].decode("utf-8", "surrogatepass")

    @property
    def created_at(self) -> float:
        """When it was made, in seconds since the epoch."""
        found: float = _HEAD.unpack_from(self.packed)[0]
        return found

    @property
    def expires_at(self) -> float | None:
        """When it expires, in seconds since the epoch."""
        found: float = _HEAD.unpack_from(self.packed)[1]
        return None if found == _NEVER else found

    @property
    def cost(self) -> float:
        """The seconds of a model that it takes to make it again."""
        found: float = _HEAD.unpack_from(self.packed)[2]
        return found

    @property
    def answer(self) -> int:
        """The digest of its answer, 0 when that is not known."""
        found: int = _HEAD.unpack_from(self.packed)[3]
        return found

    @property
    def size(self) -> int:
        """Its bytes with answer and vector."""
        found: int = _HEAD.unpack_from(self.packed)[4]
        return found

    @property
    def epoch(self) -> int:
        """The epoch of its category when it was stored."""
        found: int = _HEAD.unpack_from(self.packed)[5]
        return found

    @property
    def scope(self) -> bytes:
        """The digest of its scope."""
        return self.shared.scope

    @property
    def category(self) -> str:
        """Its category."""
        return self.shared.category

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.shared.tenant

    @property
    def sources(self) -> str:
        """What it was made of."""
        return self.shared.sources
