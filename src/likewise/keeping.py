"""Keeping an answer: the entry, its place in store and index, and what it teaches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from likewise.catalog import Catalog
from likewise.embed import Vectors
from likewise.entry import Entry, Provenance, new_entry_id
from likewise.errors import StoreError
from likewise.freshness import Changes
from likewise.gate import Gate
from likewise.index import Match, Record
from likewise.listener import Listener
from likewise.lookup import InForce, Lookup
from likewise.neighbours import Neighbours
from likewise.pace import Pace
from likewise.sources import written
from likewise.stats import Stats
from likewise.stores import Store
from likewise.teaching import Teaching, may_learn

_ALIKE = 0.9
"""Cosine from which on questions are nearly the same."""

_KEY_LOCKS = 64


class Keeper:
    """Stores and indexes answers. Safe to use from many threads.

    Args:
        store: Where entries live.
        catalog: The index.
        near: Finds the nearest entries.
        force: What is in force.
        gate: Makes the sketches of questions, where there are any.
        changes: Told of answers that took the place of others.
        stats: Counts.
        embedder: Name of the embedder in use.
        clock: Seconds since the epoch.
        grace_of: For how many seconds after its time an entry of a category may be served.
        refresh: Told of entries that are to be read from the store once more.
        followed: Number of the last change of the store that is known here.
        take_back: Deletes an entry, later if the store fails.
    """

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        near: Neighbours,
        force: InForce,
        gate: Gate | None,
        changes: Changes,
        stats: Stats,
        embedder: str,
        clock: Callable[[], float],
        grace_of: Callable[[str], float],
        refresh: Callable[[Sequence[str]], None],
        followed: Callable[[], int],
        take_back: Callable[[str], None],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._near = near
        self._force = force
        self._gate = gate
        self._changes = changes
        self._stats = stats
        self._embedder = embedder
        self._clock = clock
        self._grace_of = grace_of
        self._refresh = refresh
        self._followed = followed
        self._paces: dict[int, Pace] = {}
        self._take_back = take_back
        self._locks = [threading.Lock() for _ in range(_KEY_LOCKS)]
        self.listener: Listener | None = None
        """Who keeps a log of what is learned, if anybody."""

    def keep(
        self,
        lookup: Lookup,
        vector: Vectors | None,
        answer: object,
        *,
        provenance: Provenance | None,
        entry_id: str | None,
        sources: str | None,
        void: Callable[[], bool],
    ) -> Entry | None:
        """Store the answer to a named lookup and index its question; see ``Engine.keep``.

        ``void`` says whether a purge has begun since the answer was asked for: one that began while
        it was stored may have missed it, and ``None`` is returned.

        Raises:
            StoreError: The store refused; nothing was kept.
        """
        policy, question = lookup.policy, lookup.request.question
        entry = self._entry(
            lookup, vector, answer, provenance=provenance, entry_id=entry_id, sources=sources
        )
        record = _record(entry, lookup, text=vector is not None and not self._store.omits)
        # Zeros where there is no known word: such a question passes the gate, and only such a one
        # could be near.
        gate = None if vector is None else self._gate
        sketch = None if gate is None else gate.sketches([question])[0]
        # Found before the entry itself is among them; a request that was considered has them.
        near: list[Match] = []
        teaching = self._force.teaching if vector is not None and may_learn(policy) else None
        if vector is not None and self._wants_near(lookup, teaching):
            # An index on a server that fails teaches nothing, and keeps no answer from being kept.
            with suppress(StoreError):
                near = self._near.nearest(lookup, vector, -1.0)
        # Two answers to one question must reach the store and the index in the same order.
        with self._locks[lookup.key[0] % len(self._locks)]:
            known = self._followed()
            if self._is_void(void):
                return None
            self._store.put(entry, keep_s=self._keep_s(entry))
            if self._is_void(void):
                self._take_back(entry.id)
                return None
            before = self._catalog.add(record, vector, sketch)
            if self._followed() != known:
                self._settle(entry, before)
        if before is not None:
            self._renewed(before, record)
        if teaching is not None:
            teaching.learn(lookup.pair, question, policy, answer, near)
        elif near:
            self._tell(lookup, near[0], record.answer)
        if self._force.judging is not None:
            self._force.judging.learn([(policy.name, question)])
        self._count(entry)
        return entry

    def floods(self, lookup: Lookup, vector: Vectors | None) -> bool:
        """Return whether a tenant has lately had more kept than it may, and this is more alike.

        Who sends the same in ever other words would else fill a category, and evict what others
        have in it. The library's callers, who are of no tenant, are not counted.
        """
        policy, tenant = lookup.policy, lookup.request.scope.tenant
        if policy.alike_per_minute is None or not tenant:
            return False
        pace = self._paces.get(policy.alike_per_minute)
        if pace is None:
            pace = self._paces[policy.alike_per_minute] = Pace(policy.alike_per_minute)
        who = f"{tenant} {policy.name}"
        if not pace.wait_s(who):
            pace.count(who)
            return False
        if vector is None:
            return True  # nothing tells how alike it is
        near: list[Match] = []
        with suppress(StoreError):
            near = self._near.nearest(lookup, vector, _ALIKE)
        if not near or near[0][1] < _ALIKE:
            return False
        self._stats.add(policy.name, damped=1)
        return True

    def _entry(
        self,
        lookup: Lookup,
        vector: Vectors | None,
        answer: object,
        *,
        provenance: Provenance | None,
        entry_id: str | None,
        sources: str | None,
    ) -> Entry:
        request, policy, now = lookup.request, lookup.policy, self._clock()
        limits = policy.ttl_s, request.controls.ttl_s, self._force.retention_s
        lifetimes = [limit for limit in limits if limit is not None]
        if sources is None:
            sources = written(request.controls.sources, self._force.sources)
        return Entry(
            id=entry_id or new_entry_id(),
            scope=lookup.scope,
            category=policy.name,
            question=request.question,
            answer=answer,
            created_at=now,
            expires_at=now + min(lifetimes) if lifetimes else None,
            vector=None if vector is None else vector.astype(np.float16),
            embedder="" if vector is None else self._embedder,
            epoch=policy.epoch,
            tenant=request.scope.tenant,
            namespace=request.scope.namespace,
            named=lookup.key == lookup.pair,
            sources=sources,
            provenance=provenance or Provenance(),
        )

    @staticmethod
    def _is_void(void: Callable[[], bool]) -> bool:
        """Return whether an answer is void, also when that cannot be told."""
        try:
            return void()
        except StoreError:
            return True

    def _settle(self, entry: Entry, before: Record | None) -> None:
        """See to an entry that another may have deleted or replaced before it was indexed here.

        Who follows the store has seen that already, and would not look at it again.
        """
        if self._store.rows([entry.id]):
            return
        self._catalog.remove([entry.id])
        if before is not None:
            self._refresh([before.entry_id])

    def _keep_s(self, entry: Entry) -> float | None:
        """Return for how many seconds the store need keep an entry at most."""
        if entry.expires_at is None:
            return None
        life_s = entry.expires_at - entry.created_at + self._grace_of(entry.category)
        return life_s if self._force.retention_s is None else min(life_s, self._force.retention_s)

    def _wants_near(self, lookup: Lookup, teaching: Teaching | None) -> bool:
        if teaching is None:
            return self.listener is not None
        return not teaching.learner.awaits(lookup.pair)

    def _renewed(self, before: Record, record: Record) -> None:
        """Take note of whether an answer had changed, where both can be compared."""
        if before.entry_id == record.entry_id:
            return  # whoever follows the store was here first
        if not before.answer or not record.answer:
            return
        gap_s, changed = record.created_at - before.created_at, before.answer != record.answer
        self._changes.add(record.category, gap_s, changed=changed)
        if self.listener is not None:
            self.listener.renewed(record.category, gap_s, changed=changed)

    def _tell(self, lookup: Lookup, nearest: Match, answer: int) -> None:
        """Tell the log what a fresh answer says of the nearest entry, where nothing is learned."""
        record, similarity = nearest
        if self.listener is None or not answer or not record.answer:
            return
        self.listener.label(
            lookup.policy.name,
            lookup.request.question,
            kind="similarity",
            score=similarity,
            right=answer == record.answer,
            propensity=1.0,
            audited=False,
        )

    def _count(self, entry: Entry) -> None:
        self._stats.add(entry.category, stored=1)
        provenance = entry.provenance
        if provenance.latency_s is not None:
            self._stats.model(
                entry.category,
                tenant=entry.tenant,
                seconds=provenance.latency_s,
                usd=provenance.cost_usd,
                tokens=provenance.total_tokens,
            )


def _record(entry: Entry, lookup: Lookup, *, text: bool) -> Record:
    """Return what the index holds of an entry, with or without the ``text`` of its question."""
    return Record.of(
        entry.id,
        lookup.key,
        lookup.scope,
        entry.category,
        # Only guards read it: what is never compared need not be held in memory.
        entry.question if text else "",
        entry.created_at,
        entry.expires_at,
        entry.epoch,
        entry.answer_digest,
        tenant=entry.tenant,
        size=entry.size,
        cost=entry.cost,
        sources=entry.sources,
    )
