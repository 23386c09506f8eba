"""Requests that wait for their turn at a model that is full or refuses."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

WEIGHTS = {"high": 8.0, "normal": 4.0, "low": 1.0}
"""Turns of each priority while all of them wait."""

W = TypeVar("W")
P = TypeVar("P")


@dataclass(slots=True, eq=False)
class Waiter(Generic[W, P]):
    """One that waits: what it wants, whose it is, and the place that it is given."""

    wanted: W
    flow: str
    priority: str
    turn: asyncio.Future[P]


@dataclass(slots=True)
class _Class(Generic[W, P]):
    """The waiters of one priority; tenants take turns, each in the order in which it came."""

    weight: float
    spent: float = 0.0
    flows: OrderedDict[str, deque[Waiter[W, P]]] = field(default_factory=OrderedDict)


class Line(Generic[W, P]):
    """Shares turns out: by weight between priorities, evenly between a priority's tenants.

    Between priorities it is weighted fair queueing: the one that has had least for its weight is
    next, and one that was idle has saved nothing up. So no tenant and no priority is ever starved.
    Lives in one event loop.
    """

    def __init__(self) -> None:
        self._classes = {name: _Class[W, P](weight) for name, weight in WEIGHTS.items()}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def join(
        self, wanted: W, *, flow: str, priority: str, turn: asyncio.Future[P] | None = None
    ) -> Waiter[W, P]:
        """Return a new waiter at the end of its tenant's part of the line.

        Its place is the result of ``turn``, of a new future unless one is given.
        """
        found = self._classes[priority]
        if not found.flows:
            busy = [c.spent for c in self._classes.values() if c.flows]
            found.spent = max(found.spent, min(busy, default=0.0))
        if turn is None:
            turn = asyncio.get_running_loop().create_future()
        waiter = Waiter(wanted, flow, priority, turn)
        found.flows.setdefault(flow, deque()).append(waiter)
        self._count += 1
        return waiter

    def last_of_most(self, flow: str) -> Waiter[W, P] | None:
        """Return the last waiter of the flow of which most wait, the lowest priority first.

        ``None`` when a newcomer of ``flow`` would not be better off: hers are as many.
        """
        counts: dict[str, int] = {}
        for found in self._classes.values():
            for name, waiters in found.flows.items():
                counts[name] = counts.get(name, 0) + len(waiters)
        most = max(counts, key=lambda name: counts[name], default=None)
        if most is None or counts[most] <= counts.get(flow, 0) + 1:
            return None
        lowest = sorted(self._classes.values(), key=lambda c: c.weight)
        return next(found.flows[most][-1] for found in lowest if most in found.flows)

    def leave(self, waiter: Waiter[W, P]) -> None:
        """Take a waiter out who will not wait any longer; one who had a turn is not there."""
        waiters = self._classes[waiter.priority].flows.get(waiter.flow)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            self._took(waiter, waiters)

    def serve(self, place_for: Callable[[W], P | None]) -> None:
        """Give turns for as long as there are places.

        ``place_for`` returns the place for what a waiter wants, already taken for it, or ``None``.
        """
        while self._count and self._serve_one(place_for):
            pass

    def give_up(self, error: Exception) -> None:
        """Send everybody away with an error."""
        for found in self._classes.values():
            for waiters in found.flows.values():
                for waiter in waiters:
                    waiter.turn.set_exception(error)
            found.flows.clear()
        self._count = 0

    def _serve_one(self, place_for: Callable[[W], P | None]) -> bool:
        for waiter in self._heads():
            found = self._classes[waiter.priority]
            waiters = found.flows[waiter.flow]
            place = place_for(waiter.wanted)
            if place is not None:
                waiters.popleft()
                found.spent += 1.0 / found.weight
                if waiters:
                    found.flows.move_to_end(waiter.flow)
                self._took(waiter, waiters)
                waiter.turn.set_result(place)
                return True
        return False

    def _heads(self) -> Iterator[Waiter[W, P]]:
        """Return the first waiter of each flow, in the order in which they are to be served."""
        for found in sorted(self._classes.values(), key=lambda c: c.spent):
            yield from [waiters[0] for waiters in found.flows.values()]

    def _took(self, waiter: Waiter[W, P], left: deque[Waiter[W, P]]) -> None:
        self._count -= 1
        found = self._classes[waiter.priority]
        if not left:
            del found.flows[waiter.flow]
        if not self._count:
            for one in self._classes.values():
                one.spent = 0.0
