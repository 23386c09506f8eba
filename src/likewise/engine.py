"""The steps of a request through the cache, one short method each, shared by both front doors.

``Cache`` and ``AsyncCache`` call them in the same order and differ only in who waits:

    start -> exact -> (semantic) -> finish            a lookup
    keep                                              after a miss

Only ``finish`` (on a hit) and ``keep`` touch the store; a miss touches neither disk nor network,
unless the index is on a server, which ``semantic`` asks then.

The file is long because the steps share every part and are read one after the other; what does not
belong to a request's way is elsewhere: ``upkeep``, ``rebuild``, ``feedback``, ``explain``.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from likewise.accounts import Accounts
from likewise.adaptive import STEADY, Adapting, longest_delay_s
from likewise.answers import answer_text
from likewise.beginning import begin
from likewise.catalog import Catalog
from likewise.category import DEFAULT, Category
from likewise.classify import Classifier
from likewise.classify.nearest import Nearest
from likewise.clock import now
from likewise.config import DEFAULT_MAX_ENTRIES, SURE, Policies
from likewise.embed import Embedder, Vectors, sketcher_of
from likewise.entry import Entry, Provenance, exact_key
from likewise.errors import ConfigError, EmbedderError, StoreError
from likewise.eviction import eviction_of
from likewise.faults import Faults
from likewise.feedback import Feedback
from likewise.fetching import Fetcher
from likewise.filling import CLEARED_MEMO, PURGED_MEMO, Filling
from likewise.following import Following
from likewise.freshness import CHANGES_MEMO, Changes
from likewise.gate import Coarse, Gate
from likewise.gatekeeper import Gatekeeper
from likewise.index import Record
from likewise.index.remote import Remote, RemoteIndex
from likewise.keeping import Keeper
from likewise.learn.judge import Judge
from likewise.learn.judging import Judging
from likewise.learn.learner import Learner, Terms
from likewise.ledger import LedgerTerms
from likewise.listener import Listener
from likewise.load import Load, LoadTerms
from likewise.lookup import InForce, Lookup
from likewise.naming import Namer, Naming
from likewise.neighbours import Neighbours
from likewise.overrides import POLICIES_MEMO
from likewise.policy import (
    Bypass,
    Candidate,
    Decision,
    Hit,
    Miss,
    Reason,
    Tier,
    bypass_of,
    decide,
    exact_only_of,
    threshold_of,
)
from likewise.policybook import PolicyBook
from likewise.rebuild import Progress
from likewise.receipts import Receipt, Receipts
from likewise.reembedding import Reembedder
from likewise.request import TOOL_RESULTS, Request
from likewise.rowreader import RowReader
from likewise.sensitive import sensitive
from likewise.snapshots import Snapshots
from likewise.sources import NO_SOURCES, Versions
from likewise.stats import Stats
from likewise.stores import Store
from likewise.teaching import Teaching
from likewise.upkeep import Upkeep
from likewise.vectors import VectorMemo

logger = logging.getLogger("likewise")

D = TypeVar("D", Decision, Decision | None)

_PURGE_BYTES = 8

_JOIN_S = 5.0
"""How long closing waits for who follows the store."""


class Engine:
    """The parts of a cache and the steps over them. Safe to use from many threads.

    Args:
        store: Where entries live; closed with the engine.
        embedder: What turns questions into vectors.
        policies: The policy of every category.
        classifiers: Asked in order for the category of a request that names none, each with the
            word for what it is.
        nearest: Names categories by examples where these do not.
        coarse: The same by sketches, for questions that need not be embedded.
        gated: Whether sketches may spare the embedder a question, where it has any.
        sure: Confidence from which on it is believed without reserve.
        max_entries: Most entries over all categories.
        max_bytes: Most bytes of questions, answers and vectors; ``None`` for no bound.
        sources: Versions in force of what answers are made of.
        clock: Seconds since the epoch.
        progress: Told of the rebuilding of the index at start.
        judging: A verifier in service, for the categories with a ``probability_threshold``.
        learning: How to learn in service; ``None`` is not to.
        judge: Tells whether two answers serve the same question; without one only equal ones do.
        ledger: How costs and savings are weighed.
        embed_usd: US dollars that embedding a character of a question costs.
        load: How the pressure on a model is found.
        adapting: How far policies follow it.
        index: A server that searches the vectors, closed with the engine; ``None`` searches them
            in this process.
        follow: Whether to follow what others do to a store that is shared.
        snapshots: Where the index is kept for the next start; ``None`` keeps none.
        snapshot_every_s: Least seconds between two snapshots.
        aside: Whether to serve requests while a large index is still filled.
        reembeds: Whether to embed anew, beside requests, what another embedder has embedded.

    Raises:
        ConfigError: The verifier was fitted with another embedder, or the index is of another.
        StoreError: The store or the index cannot be read.
    """

    def __init__(
        self,
        *,
        store: Store,
        embedder: Embedder,
        policies: Policies,
        classifiers: Sequence[tuple[str, Classifier]] = (),
        nearest: Nearest | None = None,
        coarse: Nearest | None = None,
        gated: bool = True,
        sure: float = SURE,
        max_entries: int = DEFAULT_MAX_ENTRIES,
        max_bytes: int | None = None,
        sources: Versions = NO_SOURCES,
        clock: Callable[[], float] = now,
        progress: Progress | None = None,
        judging: Judging | None = None,
        learning: Terms | None = None,
        judge: Judge | None = None,
        ledger: LedgerTerms | None = None,
        embed_usd: float = 0.0,
        load: LoadTerms | None = None,
        adapting: Adapting = STEADY,
        index: RemoteIndex | None = None,
        follow: bool = True,
        snapshots: Path | None = None,
        snapshot_every_s: float = 300.0,
        aside: bool = False,
        reembeds: bool = False,
    ) -> None:
        # Before anything is read: what changes from here on is followed.
        mark = store.mark()
        self.store = store
        self.embedder = embedder
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self.book = PolicyBook(store, policies, max_entries=max_entries, max_bytes=max_bytes)
        """The policies in force, and where to put others in force."""
        policies = self.book.policies
        self.force = InForce(policies, sources, adapting=adapting)
        self.clock = clock
        self.load = Load(load, clock=time.monotonic if clock is now else clock)
        self.stats = Stats()
        self._embed_usd = embed_usd
        self.faults = Faults(self.stats)
        namer = Namer(policies, classifiers, nearest, sure=sure, coarse=coarse, faults=self.faults)
        sketcher = sketcher_of(embedder) if gated else None
        self.remote = None if index is None else self._reached(index)
        """The index on a server, if there is one."""
        self.catalog = Catalog(
            embedder.dimensions,
            sketched=None if sketcher is None else sketcher.dimensions,
            eviction=lambda name: eviction_of(self.force.policies.of(name).eviction),
            remote=self.remote,
        )
        self.gate = None if sketcher is None else Gate(sketcher, self.catalog)
        self.book.open(
            self.force,
            namer,
            self.faults,
            lambda: None if self.gate is None else self.gate.forget(),
        )
        self.receipts = Receipts()
        self._vectors = VectorMemo(embedder)
        self.upkeep = Upkeep(
            store=store,
            catalog=self.catalog,
            stats=self.stats,
            faults=self.faults,
            clock=clock,
            room=lambda: self.book.room,
            grace_of=self._grace_of,
            clearing=self._clearing,
            forgotten=self._forgotten,
        )
        self.purge = store.memo(CLEARED_MEMO) or b""
        """Names the latest purge that is known of: what was asked for before it is not kept."""
        self.changes = Changes()
        if (known := store.memo(CHANGES_MEMO)) is not None:
            self.changes.load(known)
        self.timed = False
        """Whether the steps of each lookup are timed, for a trace."""
        self.audits_aside = False
        """Whether the front door audits hits off the caller's path; else an audit is a miss."""
        self.force.judging = self._briefed(
            Judging(None) if judging is None and learning is not None else judging
        )
        if learning is not None and self.force.judging is not None:
            self.force.teaching = Teaching(
                judging=self.force.judging,
                judge=judge,
                store=store,
                embedder=embedder.name,
                stats=self.stats,
                faults=self.faults,
                # Other policies may come into force.
                policy_of=lambda name: self.force.policies.of(name),  # noqa: PLW0108
                claims=sum(
                    len(p.budgets) for p in (policies.default, *policies.categories.values())
                ),
                terms=learning,
            )
        self._feedback = Feedback(store)
        fetcher = Fetcher(
            store=store, catalog=self.catalog, feedback=self._feedback, faults=self.faults
        )
        self.at_hand, self.fetch = fetcher.at_hand, fetcher.fetch
        self._near = Neighbours(
            catalog=self.catalog, feedback=self._feedback, clock=clock, force=self.force
        )
        self._keeper = Keeper(
            store=store,
            catalog=self.catalog,
            near=self._near,
            force=self.force,
            gate=self.gate,
            changes=self.changes,
            stats=self.stats,
            embedder=embedder.name,
            clock=clock,
            grace_of=self._grace_of,
            refresh=lambda ids: self.following.refresh(ids),  # noqa: PLW0108 - is made below
            followed=lambda: self.following.seq,
            take_back=self.upkeep.take_back,
        )
        self._gatekeeper = (
            None
            if self.gate is None
            else Gatekeeper(
                self.gate,
                catalog=self.catalog,
                force=self.force,
                stats=self.stats,
                faults=self.faults,
            )
        )
        self._accounts = Accounts(
            stats=self.stats,
            catalog=self.catalog,
            changes=self.changes,
            force=self.force,
            terms=ledger,
        )
        sketches = None if sketcher is None else sketcher.sketch
        self.following = Following(
            store=store,
            catalog=self.catalog,
            reader=RowReader(embedder=embedder.name, dimensions=embedder.dimensions),
            feedback=self._feedback,
            faults=self.faults,
            sketches=sketches,
            learned=self._learned,
            forgotten=self.receipts.forget,
            labelled=self._labelled,
            noted=self._noted,
            memos=(CLEARED_MEMO, PURGED_MEMO, POLICIES_MEMO),
        )
        self._follows = follow and store.shared
        self.filling = Filling(
            store=store,
            catalog=self.catalog,
            following=self.following,
            snapshots=None
            if snapshots is None or self.remote is not None
            else Snapshots(
                snapshots,
                embedder=embedder.name,
                sketcher="" if sketcher is None else sketcher.name,
            ),
            every_s=snapshot_every_s,
            embedder=embedder.name,
            sketches=sketches,
            grace_of=self._grace_of,
            faults=self.faults,
            clock=clock,
        )
        self._reembedder = Reembedder(
            store=store,
            embedder=embedder,
            filling=self.filling,
            refresh=self.following.refresh,
            faults=self.faults,
        )
        self._reembeds = reembeds
        self.filling.fill(mark, progress, aside=aside, filled=self._filled)

    # -- a lookup ---------------------------------------------------------------------------------

    def start(
        self, request: Request, *, dry: bool = False, pressure: float | None = None
    ) -> Lookup:
        """Name the request's category and compute what identifies it.

        ``pressure`` is that of the model now, unless another is given.
        """
        if pressure is None:
            pressure = self.load.of(request.scope.model)
        lookup = begin(request, self.book.namer, self.force, dry=dry, pressure=pressure)
        if self.timed:
            lookup.meter.steps = []
        return lookup

    def exact(self, lookup: Lookup) -> Decision | None:
        """Decide by equality to the letter; ``None`` when meaning may still make it a hit."""
        record = self.catalog.exact(lookup.key)
        if lookup.naming is None:
            if record is not None:
                lookup = self._as_stored(lookup, record)
            elif self._tells(lookup.request):
                controls = lookup.request.controls
                if controls.no_cache:
                    return Bypass(DEFAULT, Reason.NO_CACHE, store=not controls.no_store)
                return None  # examples say first what kind of question it is
        if record is None:
            request, policy = lookup.request, lookup.policy
            if bypass_of(request, policy) is None and exact_only_of(request, policy) is None:
                return None  # the usual case, without a decision that says no more
            candidates = []
        else:
            candidates = [self._near.candidate(lookup, record, 1.0, Tier.EXACT)]
        decision = self._decide(lookup, candidates)
        match decision:
            case Miss() if decision.semantic:
                return None
            case Hit(reason=Reason.REVALIDATING | Reason.STALE_IF_ERROR):
                if exact_only_of(lookup.request, lookup.policy) is None:
                    return None  # meaning may find a fresh answer, which goes before
        return decision

    def embeds(self, lookup: Lookup) -> bool:
        """Return whether ``semantic`` has to embed the question, which takes a while."""
        naming = lookup.naming
        if naming is None and not self._tells(lookup.request):
            naming = self.book.namer.otherwise
        return naming is None or any(self.catalog.holds(lookup.scope, n) for n in naming.places)

    def semantic(self, lookup: Lookup) -> Decision:
        """Decide by nearness in meaning; embeds the question."""
        lookup, decision = self._by_meaning(lookup)
        if isinstance(decision, Hit) and not decision.stale_s:
            return decision
        record = self.catalog.exact(lookup.key)
        if record is not None and lookup.naming is None:
            # The embedder failed: the entry itself is all that tells what it is.
            lookup = self._as_stored(lookup, record)
        if record is None or not lookup.policy.grace_s(on_error=lookup.on_error):
            return decision
        stale = self._decide(lookup, [self._near.candidate(lookup, record, 1.0, Tier.EXACT)])
        return stale if isinstance(stale, Hit) else decision

    def _by_meaning(self, lookup: Lookup) -> tuple[Lookup, Decision]:
        """Return the lookup with its category named, and what nearness in meaning decides."""
        request = lookup.request
        if lookup.naming is None and not self._tells(request):
            lookup = self._under(lookup, self.book.namer.otherwise)
        if lookup.naming is not None and not self._near.holds(lookup):
            return lookup, self._decide(lookup, [])
        if not self.embedder.fits(request.question):
            request = replace(request, exact_only="longer than the embedder reads")
            return lookup, self._decide(msgspec.structs.replace(lookup, request=request), [])
        if (turned_away := self._gated(lookup)) is not None:
            return turned_away
        started = time.perf_counter()
        try:
            with lookup.meter.step("embed"):
                vector = self._vectors.of(request.question)
        except EmbedderError as error:
            self.faults.report(lookup.policy.name, "embedder", error)
            self._decide(lookup, [])  # leaves a receipt
            return lookup, Miss(lookup.policy.name, Reason.EMBEDDER_FAULT)
        finally:
            lookup.meter.embed_s = time.perf_counter() - started
        if lookup.naming is None:
            lookup = self._under(lookup, self.book.namer.by_examples(request.question, vector))
            self._count_naming(lookup)
        try:
            decision = self._compared(lookup, vector)
        except StoreError as error:
            self.faults.report(lookup.policy.name, "index", error)
            self._decide(lookup, [])  # leaves a receipt
            return lookup, Miss(lookup.policy.name, Reason.INDEX_FAULT)
        if self._gatekeeper is not None and isinstance(decision, Hit):
            self._gatekeeper.served(lookup)
        return lookup, decision

    def _gated(self, lookup: Lookup) -> tuple[Lookup, Decision] | None:
        """Return the miss of a question that need not be embedded; ``None`` to embed it."""
        keeper = self._gatekeeper
        if keeper is None or lookup.dry or lookup.on_error:
            return None
        near: list[Candidate] = []
        try:
            if lookup.naming is not None or self.catalog.categories(lookup.scope):
                with lookup.meter.step("gate"):
                    coarse = keeper.look(lookup)
                if coarse is None or not coarse.closed:
                    return None
                near = [coarse.candidate()]
            naming = lookup.naming or keeper.seeming(lookup, self.book.namer)
        except EmbedderError:
            return None  # a question that cannot be read: embedding says so
        if naming is None:
            return None
        seeming = lookup if lookup.naming is not None else self._under(lookup, naming)
        decision = self._decide(seeming, near)
        # What only a sketch has named may be stored all the same.
        if seeming is not lookup and isinstance(decision, Bypass):
            return None
        if near:
            keeper.gate.turned_away()
        return seeming, decision

    def _compared(self, lookup: Lookup, vector: Vectors) -> Decision:
        """Decide on a named lookup by the entries nearest to its question."""
        request = lookup.request
        barred = bypass_of(request, lookup.policy) or exact_only_of(request, lookup.policy)
        if barred or not self._near.holds(lookup):
            return self._decide(lookup, [])
        policy = self.in_force(lookup)
        lookup = msgspec.structs.replace(lookup, policy=policy)
        floor = threshold_of(request, policy)
        judged = policy.probability_threshold is not None
        search = self._near.judged if judged else self._near.candidates
        with lookup.meter.step("nearest"):
            near = search(lookup, vector, floor)
        with lookup.meter.step("decide"):
            decision = self._decide(lookup, near)
        if not judged:
            return decision
        if self.force.teaching is None or lookup.dry or not isinstance(decision, Hit):
            return decision
        return self.force.teaching.audit(lookup.pair, lookup.id, decision, aside=self.audits_aside)

    def stale(self, lookup: Lookup) -> Decision | None:
        """Decide once more after the model has failed; ``None`` when the policy allows no more."""
        lookup = msgspec.structs.replace(self.named(lookup), dry=True, on_error=True)
        if lookup.naming is None or lookup.policy.stale_if_error is None:
            return None
        return self.exact(lookup) or self.semantic(lookup)

    def named(self, lookup: Lookup) -> Lookup:
        """Return the lookup with its category named, by examples if nothing else does.

        It stays without a name when examples were to name it and its vector cannot be had: what
        kind of question it is, and whether it may be kept at all, is not known then.
        """
        if lookup.naming is not None:
            return lookup
        question = lookup.request.question
        if not self._tells(lookup.request) or not self.embedder.fits(question):
            return self._under(lookup, self.book.namer.otherwise)
        try:
            vector = self._vectors.of(question)
        except Exception as error:
            kind = "embedder" if isinstance(error, EmbedderError) else "internal"
            self.faults.report(lookup.policy.name, kind, error)
            return lookup
        return self._under(lookup, self.book.namer.by_examples(question, vector))

    def finish(self, lookup: Lookup, decision: Decision) -> Decision:
        """Fetch a hit's answer from the store and count the decision."""
        if isinstance(decision, Hit):
            decision = self.fetch(lookup, decision)
        return self.count(lookup, decision)

    def count(self, lookup: Lookup, decision: Decision) -> Decision:
        """Count a decision."""
        if lookup.meter.receipt is not None:
            self.receipts.add(lookup.meter.receipt, decision)
        question, embed_s = lookup.request.question, lookup.meter.embed_s
        self.stats.count(
            decision,
            lookup_s=time.perf_counter() - lookup.started,
            tenant=lookup.request.scope.tenant,
            embed_s=embed_s,
            embed_usd=0.0
            if not self._embed_usd or embed_s is None
            else self._embed_usd * len(question),
        )
        return decision

    def guarded(self, lookup: Lookup, step: Callable[[Lookup], D]) -> D | Miss:
        """Run a step; a fault of the cache's own becomes a miss."""
        try:
            if lookup.meter.steps is None:
                return step(lookup)
            with lookup.meter.step(step.__name__):
                return step(lookup)
        except Exception as error:
            self.faults.report(lookup.policy.name, "internal", error)
            if lookup.meter.receipt is None:
                with suppress(Exception):
                    self._decide(lookup, [])  # leaves a receipt
            return Miss(lookup.policy.name, Reason.INTERNAL_FAULT)

    # -- keeping an answer ------------------------------------------------------------------------

    def keep(
        self,
        request: Request,
        answer: object,
        *,
        provenance: Provenance | None = None,
        entry_id: str | None = None,
        sources: str | None = None,
        since: bytes | None = None,
    ) -> Entry | None:
        """Store an answer and index its question; ``None`` when the policy forbids it.

        ``sources`` are those it was made of, with the versions in force when it was asked for;
        without them those that the request names, with the versions in force now. ``since`` is what
        ``purge`` was then: after another one the answer is not kept.

        An embedder that fails leaves an entry that the exact tier serves.

        Raises:
            StoreError: The store refused; nothing was kept.
        """
        # An answer that is new is kept for as long as without any load.
        lookup = self.named(self.start(request, pressure=0.0))
        policy = lookup.policy
        bypass = bypass_of(request, policy)
        if (
            lookup.naming is None
            or (since is not None and since != self.purge)
            or request.controls.no_store
            or (bypass is not None and not bypass.store)
            or (request.exact_only == TOOL_RESULTS and not policy.tool_results)
            or sensitive(answer_text(answer), policy.detect)
        ):
            return None
        vector = self._vector_to_keep(lookup)
        if self._keeper.floods(lookup, vector):
            return None
        if vector is not None and self._gatekeeper is not None:
            self._gatekeeper.check(lookup, lambda dry: isinstance(self._compared(dry, vector), Hit))
        entry = self._keeper.keep(
            lookup,
            vector,
            answer,
            provenance=provenance,
            entry_id=entry_id,
            sources=sources,
            void=lambda: self._is_void(since),
        )
        if entry is None:
            return None
        self.upkeep.evict()
        self.tidy_now_and_then()
        return entry

    def audited(self, lookup: Lookup, hit: Hit, answer: object) -> None:
        """Learn from the model's answer to a question that ``hit`` was served to."""
        if self.force.teaching is None:
            return
        lookup = self.named(lookup)
        if lookup.naming is None:
            return
        question, policy = lookup.request.question, lookup.policy
        right = self.force.teaching.learn(lookup.pair, question, policy, answer, aside=lookup.id)
        record = self.catalog.record(hit.entry_id)
        if right is False and record is not None:
            self.catalog.blame(record)
            self._feedback.judge(record, correct=False, question=question)

    def try_keep(
        self,
        request: Request,
        answer: object,
        *,
        provenance: Provenance | None = None,
        entry_id: str | None = None,
        sources: str | None = None,
        since: bytes | None = None,
    ) -> Entry | None:
        """Keep an answer; a fault is counted and gives ``None``, for nobody waits for it."""
        try:
            return self.keep(
                request,
                answer,
                provenance=provenance,
                entry_id=entry_id,
                sources=sources,
                since=since,
            )
        except StoreError as error:
            self.faults.report(self._name_of(request), "store", error)
        except Exception as error:
            self.faults.report(self._name_of(request), "internal", error)
        return None

    def verdict(self, entry_id: str, *, correct: bool, question: str | None) -> bool:
        """Take what a user said of an entry; return whether the entry is known."""
        record = self.catalog.record(entry_id)
        if record is None:
            return False
        self.stats.add(record.category, **{f"feedback_{'right' if correct else 'wrong'}": 1})
        if self.learner is not None:
            for key in self._feedback.meant(record, correct=correct, question=question):
                self.learner.told(key, entry_id, correct=correct)
        if not correct:
            self.catalog.blame(record)
        if self._feedback.judge(record, correct=correct, question=question):
            self.upkeep.forget([entry_id])
        return True

    def neighbours(self, lookup: Lookup) -> list[Candidate]:
        """Return the entries nearest to a question whatever their similarity, for explanations."""
        vector = self._vectors.of(lookup.request.question)
        if self.learner is not None or lookup.policy.probability_threshold is not None:
            return self._near.judged(lookup, vector, -1.0)
        return self._near.candidates(lookup, vector, -1.0)

    def coarse(self, lookup: Lookup) -> Coarse | None:
        """Return what the gate sees of a question, for explanations."""
        return None if self._gatekeeper is None else self._gatekeeper.look(lookup)

    def in_force(self, lookup: Lookup) -> Category:
        """Return a named lookup's policy with the thresholds that labels have given it."""
        if lookup.naming is None or self.force.teaching is None:
            return lookup.policy
        return self.force.taught(lookup.naming.strict, lookup.request, lookup.pressure)

    def statistics(
        self, others: Sequence[Mapping[str, Mapping[str, float]]] = ()
    ) -> dict[str, Any]:
        """Return the statistics since the start, ready for JSON.

        With the counters of ``others``, workers of the same gateway, added to its own.
        """
        return {
            "entries": len(self.catalog),
            "max_entries": self.max_entries,
            "bytes": sum(self.catalog.byte_counts().values()),
            "max_bytes": self.max_bytes,
            "store": self.store.url,
            "embedder": self.embedder.name,
            "index": {**self.catalog.sizes(), "to_embed_anew": self.filling.foreign},
            "load": self.load.report(),
            "categories": self._accounts.by_category(self.book.room, others),
        }

    def adopt(
        self,
        policies: Policies,
        *classifiers: tuple[str, Classifier],
        nearest: Nearest | None,
        coarse: Nearest | None,
        sure: float,
        sources: Versions,
        judging: Judging | None,
        load: LoadTerms,
        adapting: Adapting,
    ) -> None:
        """Put other policies, classifiers and a verifier in force, from the next request on.

        Raises:
            ConfigError: The verifier was fitted with another embedder; nothing has changed.
        """
        briefed = self.force.judging
        if judging is not briefed and self.learner is None:
            briefed = self._briefed(judging)
            if briefed is not None:
                briefed.learn(self.catalog.questions())
        self.book.adopt(policies, *classifiers, nearest=nearest, coarse=coarse, sure=sure)
        self.force.judging = briefed
        self.force.sources = sources
        self.force.adapting = adapting
        self.load.terms = load

    def revoke(self, category: str) -> int:
        """Let nothing be served that was stored of a category so far, by whoever uses the store.

        Its epoch moves on, so that what others store meanwhile under the old one is void as well.

        Returns:
            How many entries were deleted.

        Raises:
            StoreError: The store failed; what is in it may still be served.
        """
        self.book.override(category, None, revoke=True)
        return self.upkeep.clear(category=category)

    def tidy(self) -> None:
        """Delete what has expired, save statistics and labels, follow other processes' labels."""
        self.upkeep.tidy()
        self.filling.tidy()
        self._accounts.weigh(self.clock())
        self._save_changes()
        if self.learner is not None:
            self.learner.follow()

    def tidy_now_and_then(self) -> None:
        """Tidy when that is some time ago; called on the way of a write."""
        if self.upkeep.is_due:
            self.tidy()

    def close(self) -> None:
        """Save the counters and what was learned, and close the store."""
        self._reembedder.stop()
        self.following.stop()
        self._reembedder.join(_JOIN_S)
        self.filling.close()
        self.upkeep.flush()
        self._save_changes()
        if self.learner is not None:
            self.learner.close()
        self.store.close()
        self.following.join(_JOIN_S)
        if self.remote is not None:
            self.remote.close()

    @property
    def listener(self) -> Listener | None:
        """Who keeps a log of what is learned, if anybody."""
        return self._keeper.listener

    @listener.setter
    def listener(self, listener: Listener | None) -> None:
        self._keeper.listener = listener
        if self.force.teaching is not None:
            self.force.teaching.listener = listener

    @property
    def learner(self) -> Learner | None:
        """What learns in service, if anything does."""
        return None if self.force.teaching is None else self.force.teaching.learner

    def _save_changes(self) -> None:
        data = self.changes.take()
        if data is not None:
            try:
                self.store.put_memo(CHANGES_MEMO, data)
            except StoreError as error:
                self.faults.report(DEFAULT, "store", error)

    # -- inside -----------------------------------------------------------------------------------

    def _clearing(self) -> None:
        """Let no answer be kept that was asked for before a purge, by whomever."""
        name = secrets.token_bytes(_PURGE_BYTES)
        self.store.put_memo(CLEARED_MEMO, name)
        self.purge = name

    def _is_void(self, since: bytes | None) -> bool:
        """Return whether a purge has begun after ``since``, heard of or not."""
        if since is None:
            return False
        self.purge = self.store.memo(CLEARED_MEMO) or b""
        return since != self.purge

    def _forgotten(self, entry_ids: Sequence[str] | None) -> None:
        """Let go of what is remembered of entries, or of everything, that was deleted."""
        self.receipts.forget(entry_ids)
        self._purged(everything=entry_ids is None)
        try:
            self.store.scrub()
        except StoreError as error:
            self.faults.report(DEFAULT, "store", error)
        if self.store.shared:
            # Others may have it in a snapshot of their own.
            self.store.put_memo(PURGED_MEMO, b"")

    def _purged(self, *, everything: bool = True) -> None:
        """Leave nothing in files or in memory of what somebody had deleted."""
        self.filling.purged()
        if everything and self.learner is not None:
            self.learner.forget()

    def _filled(self) -> None:
        """Go on from an index that has all of the store."""
        if self.force.judging is not None:
            self.force.judging.learn(self.catalog.questions())
        self.upkeep.evict()
        if self.remote is not None:
            try:
                self.remote.reconcile(lambda name: self.catalog.record(name) is not None)
            except StoreError as error:
                self.faults.report(DEFAULT, "index", error)
        if self._follows:
            self.following.start()
        if self._reembeds and self.filling.foreign:
            self._reembedder.start()

    def _reached(self, index: RemoteIndex) -> Remote:
        try:
            index.prepare(
                store=self.store.mark().store,
                embedder=self.embedder.name,
                dimensions=self.embedder.dimensions,
            )
        except BaseException:
            index.close()
            raise
        return Remote(index, lambda error: self.faults.report(DEFAULT, "index", error))

    def _learned(self, questions: Sequence[tuple[str, str]]) -> None:
        """Let the verifier know of questions that others have stored."""
        if self.force.judging is not None:
            self.force.judging.learn(questions)

    def _labelled(self) -> None:
        """Take over the labels of others."""
        if self.learner is not None:
            self.learner.follow()

    def _noted(self, name: str) -> None:
        """Take over a memo that another has kept."""
        if name == CLEARED_MEMO:
            self.purge = self.store.memo(CLEARED_MEMO) or b""
        elif name == PURGED_MEMO:
            self._purged()
        elif name == POLICIES_MEMO:
            self.book.noted()

    def _briefed(self, judging: Judging | None) -> Judging | None:
        """Return a verifier, checked to be of this embedder; it is to be told what is stored."""
        if judging is not None and judging.embedder not in {None, self.embedder.name}:
            msg = (
                f"the verifier was fitted with the embedder {judging.embedder}, in use is "
                f"{self.embedder.name}; run likewise tune again, or take the other embedder"
            )
            raise ConfigError(msg)
        return judging

    def _grace_of(self, category: str) -> float:
        policy = self.force.policies.of(category)
        return max(policy.grace_s(on_error=True), longest_delay_s(policy, self.force.adapting))

    def _tells(self, request: Request) -> bool:
        """Return whether examples are to say what kind of question this is."""
        return (
            self.book.namer.nearest is not None
            and request.exact_only is None
            and not request.question.isspace()
            and bool(request.question)
        )

    def _under(self, lookup: Lookup, naming: Naming) -> Lookup:
        """Return a lookup whose category was named."""
        return msgspec.structs.replace(
            lookup,
            naming=naming,
            policy=self.force.policy(naming.strict, lookup.request, lookup.pressure),
            pair=exact_key(lookup.scope, naming.category, lookup.request.question),
        )

    def _as_stored(self, lookup: Lookup, record: Record) -> Lookup:
        """Return an unnamed lookup under the policy of the entry that equals its question."""
        if record.category == lookup.policy.name:
            return lookup
        policy = self.force.policy((record.category,), lookup.request, lookup.pressure)
        return msgspec.structs.replace(lookup, policy=policy)

    def _count_naming(self, lookup: Lookup) -> None:
        naming = lookup.naming
        if naming is not None and naming.by == "examples" and not lookup.dry:
            doubt = len(naming.strict) > 1
            self.stats.add(naming.category, by_examples=1, **({"in_doubt": 1} if doubt else {}))

    def _name_of(self, request: Request) -> str:
        naming = self.book.namer.at_once(request)
        return DEFAULT if naming is None else naming.category

    def _decide(self, lookup: Lookup, candidates: Sequence[Candidate]) -> Decision:
        now, blocked = self.clock(), self._near.blocked(lookup)
        decision = decide(
            candidates,
            request=lookup.request,
            policy=lookup.policy,
            now=now,
            blocked=blocked,
            on_error=lookup.on_error,
        )
        if not lookup.dry:
            by = "policy"
            if self.learner is not None and lookup.policy.probability_threshold is not None:
                by = self.learner.standing(self.force.policies.of(lookup.policy.name)).by
            lookup.meter.receipt = Receipt(
                lookup.id,
                lookup.request,
                lookup.policy,
                lookup.naming,
                by,
                candidates,
                blocked,
                now,
                lookup.pressure,
                decision,
                decision,
            )
        return decision

    def _vector_to_keep(self, lookup: Lookup) -> Vectors | None:
        request = lookup.request
        if exact_only_of(request, lookup.policy):
            return None
        try:
            fits = self.embedder.fits(request.question)
            return self._vectors.of(request.question) if fits else None
        except Exception as error:
            self.faults.report(lookup.policy.name, "embedder", error)
            return None
