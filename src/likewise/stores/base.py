"""What every store promises."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from likewise.entry import Entry, Provenance, StoredVector
from likewise.recent import Recent
from likewise.stores.feed import Change, Mark, Verdict


@dataclass(frozen=True, slots=True, eq=False)
class IndexRow:
    """An entry without its answer: what an index is rebuilt from."""

    id: str
    scope: bytes
    category: str
    question: str = field(repr=False)
    created_at: float
    expires_at: float | None
    epoch: int
    embedder: str
    answer_digest: int
    named: bool
    sources: str
    tenant: str
    size: int
    cost: float
    vector: StoredVector | None = field(repr=False)


Counters = Mapping[tuple[str, str], float]
"""Statistics by category and name."""


MOST_LABELS = 50_000
"""Labels kept: what was learned from older ones is in the memo; see ``learn``."""


MOST_AT_HAND_BYTES = 64 * 1024 * 1024
"""Bytes of the answers that a store keeps at hand."""

_HELD_BYTES = 500
"""What an answer at hand takes beside its text."""


@dataclass(slots=True, eq=False)
class Held:
    """An answer at hand.

    ``answer`` is the JSON that it is kept as. ``ready`` is for those who serve it: what they have
    made of it, by a name of their own, goes when the answer does. It may take as much as the answer
    itself.
    """

    scope: bytes
    provenance: Provenance
    answer: bytes = field(repr=False)
    until: float = math.inf
    """When the store gives it out no more, in seconds since the epoch."""
    ready: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Bytes it takes, with what may be made of it."""
        return 2 * len(self.answer) + _HELD_BYTES


class AtHand:
    """The answers that a store was asked for lately. Safe to use from many threads.

    A store tells of all that goes from it as soon as it has gone, so that nothing is at hand that
    is not in the store.
    """

    def __init__(self, most_bytes: int = MOST_AT_HAND_BYTES) -> None:
        self._recent: Recent[str, Held] = Recent(most_bytes)
        self.drop = self._recent.drop
        self.drops = self._recent.drops

    def of(self, entry_id: str) -> Held | None:
        """Return an entry's answer."""
        held = self._recent.of(entry_id)
        return None if held is None or held.until <= time.time() else held

    def add(self, entry: Entry, answer: bytes, *, since: int, until: float | None = None) -> None:
        """Keep an entry's answer at hand, unless it went since: ``drops`` from before the read."""
        held = Held(entry.scope, entry.provenance, answer, math.inf if until is None else until)
        self._recent.add(entry.id, held, held.size, since=since)


class Store(ABC):
    """Where entries live. Synchronous, safe to call from many threads.

    A write that returned is durable against the death of the process; one that raised left no
    trace. A read returns whole entries or ``None``: a damaged entry counts as gone. Every failure
    raises ``StoreError``, within seconds, never hangs. One entry exists per exact key: a newer one
    takes the place of the older.

    All that changes is told in a feed, in the order of its numbers, so that others can follow:
    other objects over the same store, in this process, in another or on another machine. When
    ``delete`` or ``clear`` have returned, none of them gives out any more what has gone.
    """

    shared: ClassVar[bool] = True
    """Whether others may write to the store beside this object."""

    @property
    def omits(self) -> bool:
        """Whether it leaves the texts of questions out."""
        return False

    @property
    @abstractmethod
    def url(self) -> str:
        """The store's address, without any password."""

    @abstractmethod
    def put(self, entry: Entry, *, keep_s: float | None = None) -> list[str]:
        """Keep an entry; return the identifiers of those it took the place of.

        After ``keep_s`` seconds, by its own clock, the store gives it out no more, whether anybody
        deletes it or not; without them it stays.
        """

    @abstractmethod
    def revector(self, entry: Entry) -> bool:
        """Keep an entry's vector in the place of the one before; return whether it was there.

        All else of the entry is as ``get`` gave it. What has gone meanwhile does not come back, and
        its time to go stays what it was.
        """

    @abstractmethod
    def get(self, entry_id: str) -> Entry | None:
        """Return an entry, or ``None`` when it is gone or damaged."""

    def at_hand(self, entry_id: str) -> Held | None:
        """Return an entry's answer when that needs no waiting for a disk, a network or a writer.

        ``None`` says nothing of whether the entry is there. A store need not keep any at hand; what
        was deleted or replaced through this store is not at hand any more.

        Raises:
            StoreError: The store is closed.
        """
        return None

    @abstractmethod
    def delete(self, entry_ids: Sequence[str]) -> int:
        """Delete entries; return how many there were. Verdicts stay: the answer may come back."""

    @abstractmethod
    def clear(self, *, category: str | None = None, scope: bytes | None = None) -> list[str]:
        """Delete every entry, or those of a category, of a scope, or of both; return which."""

    def scrub(self) -> None:  # noqa: B027 - most have nothing to do
        """Leave nothing on the disk of what was deleted, as far as that is in the store's hands.

        Called after a purge; what a server keeps of deleted rows is its own matter.

        Raises:
            StoreError: It could not be done now.
        """

    @abstractmethod
    def scan(self) -> Iterator[IndexRow]:
        """Yield every entry without its answer, oldest first."""

    @abstractmethod
    def rows(self, entry_ids: Sequence[str]) -> list[IndexRow]:
        """Return some entries without their answers; those that are not there are left out."""

    @abstractmethod
    def expire(self) -> int:
        """Delete what is past its ``keep_s``; return how many entries went."""

    @abstractmethod
    def mark(self) -> Mark:
        """Return where the store's history stands: who reads all after it misses nothing."""

    @abstractmethod
    def changes(self, *, after: int) -> list[Change]:
        """Return the next changes after a number, oldest first, a page of them at most.

        Raises:
            FeedLostError: They are not kept any more, or the store has become another.
            StoreError: The store cannot be read.
        """

    @abstractmethod
    def wait(self, *, after: int, timeout_s: float) -> None:
        """Return when something may have changed after a number, at the latest after a while.

        Raises:
            StoreError: The store is closed or cannot be read.
        """

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return the number of entries of each category that has any."""

    def count(self) -> int:
        """Return the number of entries."""
        return sum(self.counts().values())

    @abstractmethod
    def add_verdict(self, verdict: Verdict) -> None:
        """Keep what a user said, whether the entry is there or not; the latest on a pair wins."""

    @abstractmethod
    def verdicts(self) -> Iterator[Verdict]:
        """Yield every verdict kept."""

    @abstractmethod
    def add_labels(self, labels: Sequence[bytes]) -> None:
        """Append to the log of labels, of which the latest ``MOST_LABELS`` are kept."""

    @abstractmethod
    def labels(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the labels kept, oldest first, each with its number; those above ``after``."""

    @abstractmethod
    def put_memo(self, name: str, value: bytes) -> None:
        """Keep a value under a name; it takes the place of the one before."""

    @abstractmethod
    def memo(self, name: str) -> bytes | None:
        """Return the value kept under a name."""

    @abstractmethod
    def add_counters(self, increments: Counters) -> None:
        """Add to the statistics kept with the entries."""

    @abstractmethod
    def counters(self) -> dict[tuple[str, str], float]:
        """Return the statistics kept with the entries."""

    @abstractmethod
    def close(self) -> None:
        """Release every resource. A closed store raises ``StoreError``; closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
