"""Entries in this process only; gone when it ends."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from likewise.answers import answer_digest
from likewise.entry import Entry, decode_answer, encode_answer, size_of
from likewise.errors import StoreError
from likewise.stores.base import MOST_LABELS, AtHand, Counters, Held, IndexRow, Store, Verdict


class MemoryStore(Store):
    """Answers are kept as JSON, so that a caller who changes what it got changes nothing here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[Entry, bytes]] = {}
        self._ids: dict[bytes, str] = {}
        self._verdicts: dict[tuple[bytes, bytes], Verdict] = {}
        self._counters: dict[tuple[str, str], float] = {}
        self._labels: deque[tuple[int, bytes]] = deque(maxlen=MOST_LABELS)
        self._labelled = 0
        self._memos: dict[str, bytes] = {}
        self._at_hand = AtHand()
        self._closed = False

    @property
    def url(self) -> str:
        """See ``Store.url``."""
        return "memory://"

    def put(self, entry: Entry) -> list[str]:
        """See ``Store.put``."""
        answer = encode_answer(entry.answer)
        with self._open():
            old = self._ids.get(entry.key)
            replaced = [old] if old is not None and old != entry.id else []
            self._drop([*replaced, entry.id])
            self._entries[entry.id] = (replace(entry, answer=None), answer)
            self._ids[entry.key] = entry.id
            return replaced

    def get(self, entry_id: str) -> Entry | None:
        """See ``Store.get``."""
        since = self._at_hand.drops(entry_id)
        with self._open():
            found = self._entries.get(entry_id)
        if found is None:
            return None
        entry, answer = found
        self._at_hand.add(entry, answer, since=since)
        return replace(entry, answer=decode_answer(answer))

    def at_hand(self, entry_id: str) -> Held | None:
        """See ``Store.at_hand``."""
        self._open()
        return self._at_hand.of(entry_id)

    def delete(self, entry_ids: Sequence[str]) -> int:
        """See ``Store.delete``."""
        with self._open():
            return self._drop(entry_ids)

    def clear(self, *, category: str | None = None, scope: bytes | None = None) -> list[str]:
        """See ``Store.clear``."""
        with self._open():
            gone = [
                entry.id
                for entry, _ in self._entries.values()
                if category in (None, entry.category) and scope in (None, entry.scope)
            ]
            self._drop(gone)
            return gone

    def scan(self) -> Iterator[IndexRow]:
        """See ``Store.scan``."""
        with self._open():
            entries = list(self._entries.values())
        for e, answer in entries:
            yield IndexRow(
                id=e.id,
                scope=e.scope,
                category=e.category,
                question=e.question,
                created_at=e.created_at,
                expires_at=e.expires_at,
                epoch=e.epoch,
                embedder=e.embedder,
                answer_digest=answer_digest(decode_answer(answer)),
                named=e.named,
                sources=e.sources,
                tenant=e.tenant,
                size=size_of(e.question, answer, e.vector),
                cost=e.cost,
                vector=e.vector,
            )

    def counts(self) -> dict[str, int]:
        """See ``Store.counts``."""
        with self._open():
            return dict(Counter(entry.category for entry, _ in self._entries.values()))

    def add_verdict(self, verdict: Verdict) -> None:
        """See ``Store.add_verdict``."""
        with self._open():
            self._verdicts[verdict.entry_key, verdict.key] = verdict

    def verdicts(self) -> Iterator[Verdict]:
        """See ``Store.verdicts``."""
        with self._open():
            found = list(self._verdicts.values())
        yield from found

    def add_labels(self, labels: Sequence[bytes]) -> None:
        """See ``Store.add_labels``."""
        with self._open():
            for label in labels:
                self._labelled += 1
                self._labels.append((self._labelled, label))

    def labels(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """See ``Store.labels``."""
        with self._open():
            found = [pair for pair in self._labels if pair[0] > after]
        yield from found

    def put_memo(self, name: str, value: bytes) -> None:
        """See ``Store.put_memo``."""
        with self._open():
            self._memos[name] = value

    def memo(self, name: str) -> bytes | None:
        """See ``Store.memo``."""
        with self._open():
            return self._memos.get(name)

    def add_counters(self, increments: Counters) -> None:
        """See ``Store.add_counters``."""
        with self._open():
            for name, amount in increments.items():
                self._counters[name] = self._counters.get(name, 0.0) + amount

    def counters(self) -> dict[tuple[str, str], float]:
        """See ``Store.counters``."""
        with self._open():
            return dict(self._counters)

    def close(self) -> None:
        """See ``Store.close``."""
        with self._lock:
            self._closed = True
            self._entries.clear()
            self._at_hand.drop(None)

    def _open(self) -> threading.Lock:
        if self._closed:
            msg = "the store memory:// is closed"
            raise StoreError(msg)
        return self._lock

    def _drop(self, entry_ids: Sequence[str]) -> int:
        gone = [found for i in entry_ids if (found := self._entries.pop(i, None)) is not None]
        for entry, _ in gone:
            if self._ids.get(entry.key) == entry.id:
                del self._ids[entry.key]
        if gone:
            self._at_hand.drop([entry.id for entry, _ in gone])
        return len(gone)
