"""Who is told how requests fare: the event log, traces, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from likewise.entry import Provenance
from likewise.gateway.call import Timing
from likewise.lookup import Lookup
from likewise.policy import Decision


class Watcher(Protocol):
    """Told of decisions and of the model's answers; must not fail, and must not wait."""

    def request(self, lookup: Lookup, decision: Decision, lookup_s: float) -> None:
        """Take note of how a request was decided, in ``lookup_s`` seconds."""

    def answer(
        self, request_id: str, timing: Timing, provenance: Provenance, entry_id: str | None
    ) -> None:
        """Take note of how a call to the model went; ``entry_id`` is what it became, if kept."""


class Watchers:
    """Several watchers as one."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def request(self, lookup: Lookup, decision: Decision, lookup_s: float) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.request(lookup, decision, lookup_s)

    def answer(
        self, request_id: str, timing: Timing, provenance: Provenance, entry_id: str | None
    ) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.answer(request_id, timing, provenance, entry_id)


def together(watchers: Sequence[Watcher | None]) -> Watcher | None:
    """Return those that there are as one, ``None`` when there is none."""
    found = [watcher for watcher in watchers if watcher is not None]
    return found[0] if len(found) == 1 else Watchers(found) if found else None
