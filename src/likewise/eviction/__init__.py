"""Which entry goes when room is needed. Pure: no clock, no chance, no I/O.

A policy is told of what is added, asked for, and taken away, and names what is to go next. Each
holds the entries of one category and tenant; how much these may hold is decided elsewhere
(``quotas``). ``POLICIES`` has every policy by the name that a category's ``eviction`` uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from likewise.eviction.base import Eviction, Named
from likewise.eviction.frequency import Gdsf, Lfu, WTinyLfu
from likewise.eviction.queues import Lru, S3Fifo, S3Gdsf, Sieve
from likewise.eviction.returns import Protecting

DEFAULT_EVICTION = "s3-gdsf"

POLICIES: Mapping[str, Callable[[], Eviction]] = MappingProxyType(
    {
        "s3-gdsf": S3Gdsf,
        "gdsf": Gdsf,
        "s3-fifo": S3Fifo,
        "w-tinylfu": WTinyLfu,
        "sieve": Sieve,
        "lfu": Lfu,
        "lru": Lru,
    }
)
"""Every policy by name."""

RETURNS = "+returns"
"""Behind a policy's name: spare what is expected back, see ``Protecting``."""


def eviction_of(name: str) -> Eviction:
    """Return a new policy by its name in a configuration; ``KeyError`` when there is none."""
    inner = POLICIES[name.removesuffix(RETURNS)]()
    return Protecting(inner) if name.endswith(RETURNS) else inner


__all__ = [
    "DEFAULT_EVICTION",
    "POLICIES",
    "RETURNS",
    "Eviction",
    "Named",
    "Protecting",
    "eviction_of",
]
