"""What users said of answers: a pair of question and entry marked wrong is never served again."""

from __future__ import annotations

import threading
from collections import OrderedDict

from likewise.entry import exact_key
from likewise.index import Record
from likewise.stores import Store, Verdict

_REMEMBERED_HITS = 10_000
"""Hits for which feedback by entry alone still finds the question that was asked."""


class Feedback:
    """The pairs that are blocked, and which question each entry was last served to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._served: OrderedDict[str, bytes] = OrderedDict()
        self._blocked: dict[bytes, frozenset[str]] = {}
        for verdict in store.verdicts():
            self._apply(verdict)

    def blocked(self, key: bytes) -> frozenset[str]:
        """Return the entries that may not serve the question with this exact key."""
        return self._blocked.get(key, frozenset())

    def served(self, entry_id: str, key: bytes) -> None:
        """Remember that an entry served the question with this exact key."""
        with self._lock:
            self._served[entry_id] = key
            self._served.move_to_end(entry_id)
            if len(self._served) > _REMEMBERED_HITS:
                self._served.popitem(last=False)

    def judge(self, record: Record, *, correct: bool, question: str | None) -> bool:
        """Take a verdict; return whether the answer itself is wrong, so that its entry must go.

        Without a ``question`` the one the entry served last is meant.

        Raises:
            StoreError: The verdict could not be kept.
        """
        if question is not None:
            key = exact_key(record.scope, record.category, question)
        else:
            key = self._served.get(record.entry_id, record.key)
        if key == record.key:
            return not correct
        verdict = Verdict(record.entry_id, key, correct)
        self._store.add_verdict(verdict)
        self._apply(verdict)
        return False

    def _apply(self, verdict: Verdict) -> None:
        with self._lock:
            others = self.blocked(verdict.key) - {verdict.entry_id}
            if not verdict.correct:
                others |= {verdict.entry_id}
            self._blocked[verdict.key] = others
