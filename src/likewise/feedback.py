"""What users said of answers: a pair of question and entry marked wrong is never served again."""

from __future__ import annotations

import threading
from collections import OrderedDict

from likewise.entry import UNNAMED, exact_key
from likewise.index import Record
from likewise.stores import Store, Verdict

_REMEMBERED_QUESTIONS = 8
_REMEMBERED_HITS = 10_000
"""Hits for which feedback by entry alone still finds the question that was asked."""


class Feedback:
    """The pairs that are blocked, and which questions each entry served lately.

    A pair is that of two exact keys: the entry's own question and the one it was served to. So it
    stays blocked when the answer is stored anew.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._served: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._blocked: dict[bytes, frozenset[bytes]] = {}
        self._strikes: dict[bytes, int] = {}
        for verdict in store.verdicts():
            self.apply(verdict)

    @property
    def blocks(self) -> bool:
        """Whether any pair is blocked at all."""
        return bool(self._blocked)

    def blocked(self, key: bytes) -> frozenset[bytes]:
        """Return the exact keys of the entries that may not serve the question with this one."""
        return self._blocked.get(key, frozenset())

    def strikes(self, entry_key: bytes) -> int:
        """Return for how many questions the entry with this exact key was marked wrong."""
        return self._strikes.get(entry_key, 0)

    def served(self, entry_id: str, key: bytes) -> None:
        """Remember that an entry served the question with this exact key."""
        with self._lock:
            keys = self._served.get(entry_id)
            if keys is not None and keys[-1] == key:
                self._served.move_to_end(entry_id)
                return
            others = [k for k in self._served.pop(entry_id, ()) if k != key]
            self._served[entry_id] = (*others[1 - _REMEMBERED_QUESTIONS :], key)
            if len(self._served) > _REMEMBERED_HITS:
                self._served.popitem(last=False)

    def meant(self, record: Record, *, correct: bool, question: str | None) -> tuple[bytes, ...]:
        """Return the exact keys of the questions that a verdict is about; see ``judge``."""
        if question is not None:
            if exact_key(record.scope, UNNAMED, question) == record.key:
                return (record.key,)
            return (exact_key(record.scope, record.category, question),)
        keys = self._served.get(record.entry_id, (record.key,))
        return keys[-1:] if correct else keys

    def judge(self, record: Record, *, correct: bool, question: str | None) -> bool:
        """Take a verdict; return whether the answer itself is wrong, so that its entry must go.

        Without a ``question`` praise is for the one the entry served last, and blame for every one
        it served lately: which of them was meant is not known, and none may be wrong again.

        Raises:
            StoreError: The verdict could not be kept.
        """
        keys = self.meant(record, correct=correct, question=question)
        for key in keys:
            if key != record.key:
                verdict = Verdict(record.key, key, correct)
                self._store.add_verdict(verdict)
                self.apply(verdict)
        return not correct and record.key in keys

    def apply(self, verdict: Verdict) -> None:
        """Take over a verdict that is in the store."""
        with self._lock:
            before = self.blocked(verdict.key)
            others = before - {verdict.entry_key}
            strikes = self.strikes(verdict.entry_key)
            strikes += (not verdict.correct) - (verdict.entry_key in before)
            self._strikes[verdict.entry_key] = strikes
            if not verdict.correct:
                others |= {verdict.entry_key}
            if others:
                self._blocked[verdict.key] = others
            else:
                self._blocked.pop(verdict.key, None)
