"""Puts entries that come from elsewhere into a store, a batch at a time.

What a batch holds is in the store when the next begins: an import that was interrupted goes on
where it stopped when it is run again, because what is there already is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from likewise.config import Policies
from likewise.embed import Embedder, Vectors
from likewise.entry import UNNAMED, Entry, exact_key
from likewise.errors import ConfigError, EmbedderError
from likewise.naming import Namer, Naming
from likewise.policy import bypass_of, exact_only_of
from likewise.reembedding import BATCH, is_unit
from likewise.request import Request
from likewise.scope import digest_of
from likewise.stores import Store, Verdict
from likewise.transfer.frame import Frame
from likewise.transfer.lines import (
    CounterLine,
    End,
    EntryLine,
    Header,
    LabelLine,
    Line,
    MemoLine,
    VerdictLine,
    entry_of,
)
from likewise.transfer.records import Foreign, Refused

PENDING = "pending"
"""Stands for the embedder of an entry that is still to be embedded; see ``reembed``."""

MOST_SHOWN = 20
"""Errors that are told one by one; the rest are counted."""

_DAY_S = 86_400.0

_SAME = 0.99
"""Cosine from which on two vectors of a text are taken for the same embedder's."""


@dataclass(slots=True)
class Outcome:
    """What came of an import.

    ``reasons`` says why entries were skipped; ``errors`` are the first that failed, each with where
    it is and why; ``complete`` is whether the source was read to its end.
    """

    imported: int = 0
    skipped: int = 0
    failed: int = 0
    embedded: int = 0
    verdicts: int = 0
    labels: int = 0
    complete: bool = True
    reasons: Counter[str] = field(default_factory=Counter)
    errors: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Draft:
    """An entry on its way into the store."""

    where: str
    entry: Entry
    vector: Vectors | None
    embed: bool
    request: Request | None = None
    naming: Naming | None = None


class Importer:
    """Takes records one by one; ``finish`` puts what is left into the store.

    Args:
        store: Where entries go; ``None`` only counts what would.
        embedder: Makes vectors that are missing; ``None`` leaves them out.
        policies: The policy of every category.
        namer: Names categories as the cache does.
        frame: What is said of answers of another cache.
        source: The kind of that cache, for the identifiers of its entries.
        now: Seconds since the epoch.
        strict: Stop at the first record that is damaged.
        trust: Whether the other cache's vectors are this embedder's.
        category: Take only this category of an exported file.
    """

    def __init__(
        self,
        store: Store | None,
        *,
        embedder: Embedder | None,
        policies: Policies,
        namer: Namer,
        frame: Frame,
        source: str,
        now: float,
        strict: bool = False,
        trust: bool = False,
        category: str | None = None,
    ) -> None:
        self.outcome = Outcome()
        self._store = store
        self._embedder = embedder
        self._policies = policies
        self._namer = namer
        self._frame = frame
        self._source = source
        self._now = now
        self._strict = strict
        self._trust = trust
        self._category = category
        self._batch: list[_Draft] = []
        self._known: dict[bytes, tuple[float, str]] = {}
        """When the entry of an exact key was made, and its identifier."""
        self._labels: Counter[bytes] = Counter()
        self._new_labels: list[bytes] = []
        self._counters: dict[tuple[str, str], float] = {}
        self._fresh_counters = True

    def learn_what_is_there(
        self, store: Store, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Read what a store holds, so that it is neither repeated nor overwritten."""
        total = store.count()
        for done, row in enumerate(store.scan(), start=1):
            if progress is not None:
                progress(done, max(done, total))
            key = exact_key(row.scope, row.category if row.named else UNNAMED, row.question)
            self._known[key] = (row.created_at, row.id)
        self._labels.update(digest_of(data) for _, data in store.labels())
        self._fresh_counters = not store.counters()

    def take(self, where: str, record: Line | Foreign | Refused) -> None:
        """Take one record.

        Raises:
            ConfigError: It is damaged and that is to stop the import.
            StoreError: The store refused a batch.
            EmbedderError: The embedder failed on every text of a batch.
        """
        match record:
            case Refused():
                self._refuse(where, record)
            case Foreign():
                self._take_foreign(where, record)
            case EntryLine():
                self._take_entry(where, record)
            case LabelLine(data):
                self._take_label(data)
            case CounterLine() if self._fresh_counters:
                self._counters[record.category, record.name] = record.value
            case VerdictLine() if self._store is not None:
                self._store.add_verdict(Verdict(record.entry_key, record.key, record.correct))
                self.outcome.verdicts += 1
            case MemoLine() if self._store is not None and self._store.memo(record.name) is None:
                self._store.put_memo(record.name, record.data)
            case Header():
                self.outcome.complete = False
            case End():
                self.outcome.complete = True
            case _:
                pass

    def finish(self) -> None:
        """Put what is left into the store."""
        self._flush()
        if self._store is not None:
            if self._new_labels:
                self._store.add_labels(self._new_labels)
            if self._counters:
                self._store.add_counters(self._counters)

    # -- one record -------------------------------------------------------------------------------

    def _take_entry(self, where: str, line: EntryLine) -> None:
        try:
            entry = entry_of(line)
        except (ValueError, RecursionError) as error:
            self._refuse(where, Refused(str(error)))
            return
        if self._category not in (None, entry.category):
            self._skip("another category")
            return
        if not self._is_new(entry.key, entry):
            return
        vector, embed = entry.vector, False
        if self._embedder is not None and entry.embedder:
            usable = entry.embedder == self._embedder.name and is_unit(vector, self._embedder)
            vector, embed = (vector, False) if usable else (None, True)
        kept = None if vector is None else vector.astype(np.float32)
        self._add(_Draft(where, entry, kept, embed))

    def _take_foreign(self, where: str, found: Foreign) -> None:
        text = found.answer if isinstance(found.answer, str) else repr(found.answer)
        made = f"{found.created_at:.6f}"
        try:
            place = digest_of(
                "import", self._source, self._frame.request("").scope.digest(),
                found.question, text, made,
            )  # fmt: skip
            entry = self._frame.entry(found, "lw-" + place.hex()[:24], now=self._now)
        except UnicodeEncodeError:
            entry = Refused("a text that is not valid Unicode")
        if isinstance(entry, Refused):
            self._refuse(where, entry)
            return
        if not entry.question.strip():
            self._skip("an empty prompt")
            return
        request = self._frame.request(found.question)
        naming = self._namer.at_once(request)
        entry = replace(entry, named=naming is not None, category=naming.category if naming else "")
        if not self._is_new(entry.key, entry):
            return
        vector = found.vector if self._trust else None
        if vector is not None and self._embedder is not None:
            norm = float(np.linalg.norm(vector))
            fits = vector.shape == (self._embedder.dimensions,) and norm > 0
            vector = vector / norm if fits and np.isfinite(norm) else None
        embed = vector is None and self._embedder is not None
        self._add(_Draft(where, entry, vector, embed, request, naming))

    def _is_new(self, key: bytes, entry: Entry) -> bool:
        """Return whether an entry is to be taken; count it if not."""
        if entry.expires_at is not None and entry.expires_at <= self._now:
            self._skip("expired")
            return False
        known = self._known.get(key)
        if known is not None and known[1] == entry.id:
            self._skip("there already")
            return False
        if known is not None and known[0] >= entry.created_at:
            self._skip("a newer one is there")
            return False
        return True

    def _take_label(self, data: bytes) -> None:
        digest = digest_of(data)
        if self._labels[digest]:
            self._labels[digest] -= 1
            return
        self.outcome.labels += 1
        self._new_labels.append(data)

    def _refuse(self, where: str, refused: Refused) -> None:
        if not refused.damaged:
            self._skip(refused.why, refused.count)
            return
        self.outcome.failed += refused.count
        if len(self.outcome.errors) < MOST_SHOWN:
            self.outcome.errors.append((where, refused.why))
        if self._strict:
            self._flush()
            msg = f"import: {where}: {refused.why}; what came before it was imported"
            raise ConfigError(msg)

    def _skip(self, reason: str, count: int = 1) -> None:
        self.outcome.skipped += count
        self.outcome.reasons[reason] += count

    # -- a batch ----------------------------------------------------------------------------------

    def _add(self, draft: _Draft) -> None:
        self._known[draft.entry.key] = (draft.entry.created_at, draft.entry.id)
        self._batch.append(draft)
        if len(self._batch) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        self._check_trust(batch)
        self._embed([draft for draft in batch if draft.embed])
        for draft in batch:
            entry: Entry | None = draft.entry
            if draft.request is not None:
                entry = self._settled(draft, draft.request)
            elif draft.embed:
                entry = _with_vector(draft.entry, draft.vector, self._embedder)
            if entry is None:
                continue
            if self._store is not None:
                self._store.put(entry, keep_s=_keep_s(entry, self._now))
            self.outcome.imported += 1

    def _check_trust(self, batch: list[_Draft]) -> None:
        """Compare one vector of the other cache with the embedder's own.

        Raises:
            ConfigError: They are not the same embedder's.
        """
        given = next((d for d in batch if d.request is not None and d.vector is not None), None)
        if not self._trust or given is None or given.vector is None or self._embedder is None:
            return
        own = self._embedder.embed([given.entry.question])[0]
        cosine = float(own @ given.vector)
        if cosine < _SAME:
            msg = (
                f"import: --trust-vectors, but {given.where} has a vector that is not of "
                f"{self._embedder.name} (cosine {cosine:.3f} with its own); import without it, and "
                "they are made anew"
            )
            raise ConfigError(msg)

    def _embed(self, drafts: list[_Draft]) -> None:
        """Make the vectors of those whose texts the embedder reads whole."""
        embedder = self._embedder
        if embedder is None:
            return
        fitting = [draft for draft in drafts if embedder.fits(draft.entry.question)]
        self.outcome.embedded += len(fitting)
        if self._store is None or not fitting:
            return  # only counted
        try:
            vectors = embedder.embed([draft.entry.question for draft in fitting])
        except EmbedderError:
            if len(fitting) == 1:
                raise
            self._embed_singly(embedder, fitting)
            return
        for draft, vector in zip(fitting, vectors, strict=True):
            draft.vector = vector

    def _embed_singly(self, embedder: Embedder, drafts: list[_Draft]) -> None:
        """Find the texts that cannot be embedded: equal questions are answered from them."""
        failed: EmbedderError | None = None
        for draft in drafts:
            try:
                draft.vector = embedder.embed([draft.entry.question])[0]
            except EmbedderError as error:
                failed = error
                self.outcome.embedded -= 1
        if failed is not None and all(draft.vector is None for draft in drafts):
            raise failed

    def _settled(self, draft: _Draft, request: Request) -> Entry | None:
        """Return an entry of another cache with its category and what that decides."""
        naming = draft.naming
        if naming is None:
            naming = self._namer.otherwise
            if draft.vector is not None and request.exact_only is None:
                naming = self._namer.by_examples(request.question, draft.vector)
        policy = self._policies.of(naming.category)
        if (bypass := bypass_of(request, policy)) is not None:
            self._skip(f"category {policy.name}: {bypass.reason.value}")
            return None
        entry = draft.entry
        lives = [t for t in (policy.ttl_s, self._frame.ttl_s) if t is not None]
        ends = [entry.created_at + t for t in lives]
        ends += [] if entry.expires_at is None else [entry.expires_at]
        expires_at = min(ends, default=None)
        if expires_at is not None and expires_at <= self._now:
            self._skip("expired")
            return None
        entry = replace(entry, category=policy.name, epoch=policy.epoch, expires_at=expires_at)
        if exact_only_of(request, policy):
            return entry
        if self._embedder is None:
            return replace(entry, embedder=PENDING)
        return _with_vector(entry, draft.vector, self._embedder)


def _with_vector(entry: Entry, vector: Vectors | None, embedder: Embedder | None) -> Entry:
    if vector is None or embedder is None:
        return replace(entry, vector=None, embedder="")
    return replace(entry, vector=vector.astype(np.float16), embedder=embedder.name)


def _keep_s(entry: Entry, now: float) -> float | None:
    """Return for how long the store keeps an entry: its time, and a day in which it may be stale.

    Whoever serves from the store deletes it by its policy.
    """
    return None if entry.expires_at is None else entry.expires_at - now + _DAY_S
