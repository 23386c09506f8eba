"""Which entry goes when a category is full: the one asked for least recently."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice


class Recency:
    """The order in which the entries of one category were last asked for."""

    def __init__(self) -> None:
        self._order: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, entry_id: str) -> None:
        """Count a new entry as asked for now."""
        self._order[entry_id] = None

    def touch(self, entry_id: str) -> None:
        """Count an entry as asked for now; one that is gone meanwhile is ignored."""
        try:
            self._order.move_to_end(entry_id)
        except KeyError:
            return

    def remove(self, entry_id: str) -> None:
        """Forget an entry."""
        self._order.pop(entry_id, None)

    def first(self, count: int) -> list[str]:
        """Return the ``count`` entries asked for least recently, the first to go first."""
        return list(islice(self._order, count))


def fullest(counts: Mapping[str, int], quotas: Mapping[str, int]) -> str:
    """Return the category that uses most of its quota: it gives way when the whole cache is full.

    >>> fullest({"code": 50, "prices": 9}, {"code": 100, "prices": 10})
    'prices'
    """
    return max((name for name in counts if counts[name]), key=lambda n: counts[n] / quotas[n])
