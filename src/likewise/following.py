"""Keeps what a process knows in step with a store that others write to as well."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from likewise.catalog import Catalog
from likewise.category import DEFAULT
from likewise.embed import Vectors
from likewise.errors import StoreError
from likewise.faults import Faults
from likewise.feedback import Feedback
from likewise.rowreader import RowReader
from likewise.stores import Change, FeedLostError, IndexRow, Kind, Store

logger = logging.getLogger("likewise")

_WAIT_S = 5.0
_RETRY_S, _MOST_RETRY_S = 0.2, 2.0
"""After a failure it is tried again: soon, then less often, so that a server that is back is
followed at once and one that is away is left in peace."""

_PAGE = 1_000


class Following:
    """Reads the feed of a store and does in memory what others have done to it.

    One thread at a time may ``step``; whoever serves requests goes on meanwhile.

    Args:
        store: Whose changes are followed.
        catalog: What is known of its entries.
        reader: Makes records of the store's rows.
        feedback: What is known of verdicts.
        faults: Told of a store that fails.
        sketches: Makes the coarse vectors of questions, where there are any.
        learned: Told of the categories and questions of entries that others have stored.
        forgotten: Told of entries that somebody has deleted.
        labelled: Called when others have appended labels.
        noted: Called with the name of a memo that another has kept.
        memos: Names of those that concern this process.
    """

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        reader: RowReader,
        feedback: Feedback,
        faults: Faults,
        sketches: Callable[[Sequence[str]], Vectors] | None,
        learned: Callable[[Sequence[tuple[str, str]]], None],
        forgotten: Callable[[Sequence[str]], None],
        labelled: Callable[[], None],
        noted: Callable[[str], None],
        memos: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._reader = reader
        self._feedback = feedback
        self._faults = faults
        self._sketches = sketches
        self._learned = learned
        self._forgotten = forgotten
        self._labelled = labelled
        self._noted = noted
        self._memos = memos
        self._stepping = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.seq = 0
        """Number of the latest change that is known here."""

    def step(self) -> int:
        """Take over what is new; return how many changes there were.

        Raises:
            StoreError: The store cannot be read; what was taken over stays.
        """
        count = 0
        with self._stepping:
            while True:
                try:
                    changes = self._store.changes(after=self.seq)
                except FeedLostError:
                    logger.info("too far behind the store: taking stock of all of it")
                    self._take_stock()
                    continue
                if not changes:
                    return count
                self._apply(changes)
                self.seq = changes[-1].seq
                count += len(changes)

    def start(self) -> None:
        """Follow on a thread of its own until ``stop``."""
        self._thread = threading.Thread(target=self._run, name="likewise-following", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread as soon as the store lets it, which closing does."""
        self._ended.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        retry_s = _RETRY_S
        while not self._ended.is_set():
            try:
                self._store.wait(after=self.seq, timeout_s=_WAIT_S)
                self.step()
                retry_s = _RETRY_S
            except Exception as error:
                if self._ended.is_set():
                    return
                kind = "store" if isinstance(error, StoreError) else "internal"
                self._faults.report(DEFAULT, kind, error)
                self._ended.wait(retry_s)
                retry_s = min(2 * retry_s, _MOST_RETRY_S)

    def _apply(self, changes: Sequence[Change]) -> None:
        last: dict[str, Change] = {}
        labelled, memos = False, list[str]()
        for change in changes:
            match change.kind:
                case Kind.PUT | Kind.GONE:
                    for name in change.names:
                        last.pop(name, None)  # in the order of the latest
                        last[name] = change
                case Kind.VERDICT if change.verdict is not None:
                    # Own ones too: the order of all of them is that of the feed.
                    self._feedback.apply(change.verdict)
                case Kind.LABELS:
                    labelled |= not change.own
                case Kind.MEMO if not change.own:
                    memos += change.names
        gone = [name for name, change in last.items() if change.kind is Kind.GONE]
        self._catalog.remove(gone)
        others = [name for name in gone if not last[name].own]
        if others:
            self._forgotten(others)
        # What this process has put is known here, unless another's answer came between.
        new = [
            name
            for name, change in last.items()
            if change.kind is Kind.PUT and (not change.own or self._catalog.record(name) is None)
        ]
        for start in range(0, len(new), _PAGE):
            self._add(self._store.rows(new[start : start + _PAGE]))
        for name in memos:
            self._noted(name)
        if labelled:
            self._labelled()

    def refresh(self, entry_ids: Sequence[str]) -> None:
        """Take over what this process itself has changed in the store, past the index.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._stepping:
            self._add(self._store.rows(entry_ids))

    def _is_served(self, row: IndexRow) -> bool:
        """Return whether what is known of an entry serves better than its row.

        Another embedder has made its vector anew: ours is good until the next start.
        """
        record = self._catalog.record(row.id)
        return (
            record is not None
            and self._reader.is_foreign(row)
            and (record.created_at, record.answer) == (row.created_at, row.answer_digest)
        )

    def _add(self, rows: Sequence[IndexRow]) -> None:
        rows = [row for row in rows if not self._is_served(row)]
        # One that was put again, with another question or vector, is another.
        self._catalog.remove([row.id for row in rows])
        found = [self._reader.read(row) for row in rows]
        self._catalog.load(found, self._sketches)
        self._learned([(record.category, record.question) for record, _ in found])

    def _take_stock(self) -> None:
        """Compare everything that is known with everything that is there."""
        mark = self._store.mark()
        known = set(self._catalog.select(lambda _: True))
        page: list[IndexRow] = []
        for row in self._store.scan():
            known.discard(row.id)
            record = self._catalog.record(row.id)
            if record is not None and (record.created_at, record.answer) == (
                row.created_at,
                row.answer_digest,
            ):
                continue
            page.append(row)
            if len(page) == _PAGE:
                self._add(page)
                page = []
        self._add(page)
        self._catalog.remove(list(known))
        for verdict in self._store.verdicts():
            self._feedback.apply(verdict)
        self._labelled()
        self._forgotten(list(known))
        for name in self._memos:
            self._noted(name)
        self.seq = mark.seq
