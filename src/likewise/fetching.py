"""A hit's answer: at hand, or from the store."""

from __future__ import annotations

from likewise.catalog import Catalog
from likewise.entry import decode_answer, exact_key
from likewise.errors import StoreError
from likewise.faults import Faults
from likewise.feedback import Feedback
from likewise.lookup import Lookup
from likewise.policy import Decision, Hit, Miss, Reason
from likewise.stores import Held, Store


class Fetcher:
    """Fetches answers. Safe to use from many threads.

    Args:
        store: Where entries live.
        catalog: Forgets what the store has no longer, and is told of what is asked for.
        feedback: Told of which question was served which entry.
        faults: Told of stores that fail.
    """

    def __init__(
        self, *, store: Store, catalog: Catalog, feedback: Feedback, faults: Faults
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._feedback = feedback
        self._faults = faults

    def at_hand(self, lookup: Lookup, hit: Hit) -> Held | None:
        """Return a hit's answer, and count it as served, when it is there without any waiting."""
        try:
            held = self._store.at_hand(hit.entry_id)
        except Exception:
            return None  # asked in earnest, it fails again, and that is a fault to report
        if held is None or held.scope != lookup.scope:
            return None
        self._served(lookup, hit)
        return held

    def fetch(self, lookup: Lookup, hit: Hit) -> Decision:
        """Return a hit with its answer, or the miss it becomes when the store has none."""
        held = self.at_hand(lookup, hit)
        if held is not None:
            return hit.with_answer(decode_answer(held.answer), held.provenance)
        try:
            entry = self._store.get(hit.entry_id)
        except StoreError as error:
            self._faults.report(hit.category, "store", error)
            return Miss(hit.category, Reason.STORE_FAULT)
        except Exception as error:
            self._faults.report(hit.category, "internal", error)
            return Miss(hit.category, Reason.INTERNAL_FAULT)
        if entry is None or entry.scope != lookup.scope:
            self._catalog.remove([hit.entry_id])
            return Miss(hit.category, Reason.GONE)
        self._served(lookup, hit)
        return hit.with_answer(entry.answer, entry.provenance)

    def _served(self, lookup: Lookup, hit: Hit) -> None:
        """Count an entry as asked for, and remember what it was served to."""
        record, pair = self._catalog.record(hit.entry_id), lookup.pair
        if record is not None:
            self._catalog.touch(record)
            if lookup.naming is None and record.key != lookup.key:
                pair = exact_key(lookup.scope, record.category, lookup.request.question)
        self._feedback.served(hit.entry_id, pair)
