"""Entries in this process only; gone when it ends."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import ClassVar

from likewise.answers import answer_digest
from likewise.entry import Entry, decode_answer, encode_answer, size_of
from likewise.errors import StoreError
from likewise.stores.base import MOST_LABELS, AtHand, Counters, Held, IndexRow, Store
from likewise.stores.feed import MOST_CHANGES, PAGE, Change, Kind, Mark, Verdict, lost


class MemoryStore(Store):
    """Answers are kept as JSON, so that a caller who changes what it got changes nothing here."""

    shared: ClassVar[bool] = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._identity = secrets.token_hex(8)
        self._feed: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._seq = 0
        self._until: dict[str, float] = {}
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

    def put(self, entry: Entry, *, keep_s: float | None = None) -> list[str]:
        """See ``Store.put``."""
        answer = encode_answer(entry.answer)
        with self._open():
            old = self._ids.get(entry.key)
            replaced = [old] if old is not None and old != entry.id else []
            self._drop([*replaced, entry.id])
            self._entries[entry.id] = (replace(entry, answer=None), answer)
            self._ids[entry.key] = entry.id
            if keep_s is not None:
                self._until[entry.id] = time.time() + keep_s
            self._tell(Kind.PUT, entry.id)
            return replaced

    def get(self, entry_id: str) -> Entry | None:
        """See ``Store.get``."""
        since = self._at_hand.drops(entry_id)
        with self._open():
            found = self._entries.get(entry_id)
            if found is None or self._is_past(entry_id):
                return None
            until = self._until.get(entry_id)
        entry, answer = found
        self._at_hand.add(entry, answer, since=since, until=until)
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
            entries = [found for i, found in self._entries.items() if not self._is_past(i)]
        yield from (_row(*found) for found in entries)

    def rows(self, entry_ids: Sequence[str]) -> list[IndexRow]:
        """See ``Store.rows``."""
        with self._open():
            found = [self._entries.get(i) for i in entry_ids if not self._is_past(i)]
        return [_row(*one) for one in found if one is not None]

    def expire(self) -> int:
        """See ``Store.expire``."""
        with self._open():
            return self._drop([i for i in self._until if self._is_past(i)])

    def mark(self) -> Mark:
        """See ``Store.mark``."""
        with self._open():
            return Mark(self._identity, self._seq)

    def changes(self, *, after: int) -> list[Change]:
        """See ``Store.changes``."""
        with self._open():
            missed = self._seq - after
            if missed < 0 or missed > len(self._feed):
                raise lost(self.url, after)
            start = len(self._feed) - missed
            return list(islice(self._feed, start, min(start + PAGE, len(self._feed))))

    def wait(self, *, after: int, timeout_s: float) -> None:
        """See ``Store.wait``."""
        with self._open():
            self._changed.wait_for(lambda: self._closed or self._seq != after, timeout_s)
        self._open()

    def counts(self) -> dict[str, int]:
        """See ``Store.counts``."""
        with self._open():
            return dict(Counter(entry.category for entry, _ in self._entries.values()))

    def add_verdict(self, verdict: Verdict) -> None:
        """See ``Store.add_verdict``."""
        with self._open():
            self._verdicts[verdict.entry_key, verdict.key] = verdict
            self._tell(Kind.VERDICT, verdict=verdict)

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
            if labels:
                self._tell(Kind.LABELS)

    def labels(self, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """See ``Store.labels``."""
        with self._open():
            found = [pair for pair in self._labels if pair[0] > after]
        yield from found

    def put_memo(self, name: str, value: bytes) -> None:
        """See ``Store.put_memo``."""
        with self._open():
            self._memos[name] = value
            self._tell(Kind.MEMO, name)

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
            self._changed.notify_all()
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
            names = [entry.id for entry, _ in gone]
            self._at_hand.drop(names)
            for name in names:
                self._until.pop(name, None)
            self._tell(Kind.GONE, *names)
        return len(gone)

    def _is_past(self, entry_id: str) -> bool:
        until = self._until.get(entry_id)
        return until is not None and until <= time.time()

    def _tell(self, kind: Kind, *names: str, verdict: Verdict | None = None) -> None:
        self._seq += 1
        self._feed.append(Change(self._seq, kind, names, verdict, own=True))
        self._changed.notify_all()


def _row(e: Entry, answer: bytes) -> IndexRow:
    return IndexRow(
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
