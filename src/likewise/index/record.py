"""What the process remembers of an entry: enough to decide without any I/O."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Record:
    """An entry without its answer and without its vector.

    ``answer`` is the digest of its answer, 0 when that is not known: whether two entries agree can
    be told without I/O. ``tenant`` is whose it is, ``size`` its bytes with answer and vector, and
    ``cost`` the seconds of a model that it takes to make it again, ``sources`` what it was made of.
    ``label`` is the entry's row in its partition, ``-1`` while it has none; only the partition
    writes it.
    """

    entry_id: str
    key: bytes
    scope: bytes
    category: str
    question: str = field(repr=False)
    created_at: float
    expires_at: float | None
    epoch: int
    answer: int = 0
    label: int = -1
    tenant: str = ""
    size: int = 1
    cost: float = 1.0
    sources: str = ""
