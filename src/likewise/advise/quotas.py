"""Other quotas: what each category would gain from more room, and lose with less.

For every number of entries the hits of a category that keeps the ones used last follow from one
pass over its requests, by how many others were asked since the same one was asked before (R.
Mattson et al., "Evaluation techniques for storage hierarchies", IBM Systems Journal 1970). Room is
then given where its next part brings most, on the upper hulls of these curves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from likewise.advise.events import History

_PARTS = 200
"""Into how many parts the room is cut."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a category gets.

    Attributes:
        entries: Entries it should be guaranteed.
        hits: Hits per request of it that so many entries give.
        hits_now: Those with what it holds by its present share.
        distinct: Different questions it was asked, which is all it can use.
    """

    entries: int
    hits: float
    hits_now: float
    distinct: int

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "entries": self.entries,
            "hits_per_request": self.hits,
            "hits_per_request_now": self.hits_now,
            "distinct": self.distinct,
        }


def advise_quotas(
    histories: Mapping[str, History], *, entries: int, now: Mapping[str, float]
) -> dict[str, Room]:
    """Share ``entries`` out between categories.

    Args:
        histories: By category.
        entries: Most entries of the cache.
        now: Entries guaranteed at present; the others share evenly what is left.
    """
    distances = {name: _distances(history) for name, history in histories.items()}
    distinct = {name: len(_questions(history)) for name, history in histories.items()}
    present = _present(list(histories), entries, now)
    step = max(1, entries // _PARTS)
    given = dict.fromkeys(histories, 0)
    left = min(entries, sum(distinct.values()))
    while left > 0:
        name, size = max(
            ((name, _stride(distances[name], given[name], distinct[name], step)) for name in given),
            key=lambda pair: _density(distances[pair[0]], given[pair[0]], pair[1]),
        )
        size = min(size, left)
        if size <= 0:
            break
        given[name] += size
        left -= size
    return {
        name: Room(
            given[name],
            _hits(distances[name], given[name]) / len(history.requests),
            _hits(distances[name], int(present[name])) / len(history.requests),
            distinct[name],
        )
        for name, history in histories.items()
    }


def _questions(history: History) -> list[tuple[str | None, str]]:
    return list(
        dict.fromkeys(
            (event.scope, event.question_hash) for event in history.requests if event.question_hash
        )
    )


def _distances(history: History) -> list[int]:
    """Return, sorted, how many different questions came since the same one, itself included."""
    last: dict[tuple[str | None, str], int] = {}
    asked = [(e.scope, e.question_hash) for e in history.requests if e.question_hash]
    marks = _Marks(len(asked))
    found = []
    for place, question in enumerate(asked):
        before = last.get(question)
        if before is not None:
            found.append(marks.after(before) + 1)
            marks.move(before, -1)
        marks.move(place, 1)
        last[question] = place
    return sorted(found)


class _Marks:
    """Counts marks at places (P. Fenwick, 1994)."""

    def __init__(self, size: int) -> None:
        self._tree = [0] * (size + 1)
        self._count = 0

    def move(self, place: int, by: int) -> None:
        """Add a mark at a place, or take one away."""
        self._count += by
        place += 1
        while place < len(self._tree):
            self._tree[place] += by
            place += place & -place

    def after(self, place: int) -> int:
        """Return how many marks stand behind a place."""
        before = 0
        place += 1
        while place:
            before += self._tree[place]
            place -= place & -place
        return self._count - before


def _hits(distances: list[int], entries: int) -> int:
    return bisect_right(distances, entries)


def _stride(distances: list[int], held: int, distinct: int, step: int) -> int:
    """Return how many more entries bring most hits each, at least ``step`` of them."""
    best, size = 0.0, 0
    room = distinct - held
    for parts in (1, 2, 4, 8, 16, 32, 64, 128):
        tried = min(step * parts, room)
        if tried <= 0:
            break
        density = _density(distances, held, tried)
        if density > best or not size:
            best, size = density, tried
    return size


def _density(distances: list[int], held: int, more: int) -> float:
    return (_hits(distances, held + more) - _hits(distances, held)) / more if more > 0 else -1.0


def _present(names: list[str], entries: int, now: Mapping[str, float]) -> dict[str, float]:
    """Return what each category is guaranteed: the others share evenly what is left."""
    given = {name: now[name] for name in names if name in now}
    others = [name for name in names if name not in given]
    rest = max(0.0, entries - sum(given.values()))
    return given | {name: rest / len(others) for name in others}
