"""The change feed of a store: what came and went, numbered, for those who follow it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import msgspec

from likewise.errors import StoreError

MOST_CHANGES = 100_000
"""Changes kept. Who was away for more than these takes stock of the whole store instead."""

PAGE = 1_000
"""Most changes, or rows, that are read at once."""


class Kind(Enum):
    """What a change was."""

    PUT = "put"
    """Entries came, or were put again; ``names`` are their identifiers."""

    GONE = "gone"
    """Entries went: deleted, replaced or expired; ``names`` are their identifiers."""

    VERDICT = "verdict"
    """A user judged a pair; ``verdict`` is what was said."""

    LABELS = "labels"
    """Labels were appended."""

    OTHER = "other"
    """What a later version may tell of."""

    MEMO = "memo"
    """A value was kept under a name, which is in ``names``."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a user said of a pair: the entry's own exact key, and that of the question it served."""

    entry_key: bytes
    key: bytes
    correct: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a store's history.

    Attributes:
        seq: Its number; of two changes the later has the greater.
        kind: What it was.
        names: Of entries, or of a memo.
        verdict: What was said of a pair.
        own: Whether it was made through this very ``Store`` object.
    """

    seq: int
    kind: Kind
    names: tuple[str, ...] = ()
    verdict: Verdict | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a store's history.

    Attributes:
        store: Identity of the store, drawn when it was made: another one has another history.
        seq: Number of the latest change.
    """

    store: str
    seq: int


class FeedLostError(StoreError):
    """The changes asked for are not kept any more, or the store is another one than before."""


def lost(url: str, after: int) -> FeedLostError:
    """Return the error of a store whose feed does not reach back to a number."""
    return FeedLostError(f"the changes of {url} after number {after} are not kept any more")


def pack(names: tuple[str, ...] = (), verdict: Verdict | None = None) -> bytes:
    """Return what a change says beside its kind, as JSON."""
    return msgspec.json.encode(names if verdict is None else verdict)


def unpack(seq: int, kind: str, body: bytes | str, *, own: bool) -> Change:
    """Return the change that ``pack`` made ``body`` of; ``OTHER`` where it cannot be read."""
    try:
        what = Kind(kind)
        if what is Kind.VERDICT:
            verdict = msgspec.json.decode(body, type=Verdict)
            return Change(seq, what, verdict=verdict, own=own)
        return Change(seq, what, msgspec.json.decode(body, type=tuple[str, ...]), own=own)
    except (ValueError, msgspec.DecodeError):
        return Change(seq, Kind.OTHER, own=own)
