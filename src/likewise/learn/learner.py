"""Learns in service: labels come in, the verifier is fitted anew, thresholds move.

A request that finds something near is remembered until its outcome is known. A miss whose answer is
stored labels its nearest entries for free; a hit is audited with a logged probability. From the
labels the learner counts what words show, fits the verifier anew each time they have grown by a
third, and moves each category's threshold as far as its evidence goes (see ``standing``). It is the
only one who writes what it has learned, under one lock; who asks takes none.

Labels are kept in the store, from where other processes take them over, and what was learned in a
memo beside them, so that a restart begins where it ended.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from likewise.category import Category
from likewise.errors import StoreError
from likewise.index import Match
from likewise.learn.audit import Auditor
from likewise.learn.evidence import Evidence
from likewise.learn.features import OWN
from likewise.learn.judging import Judging, Pairs
from likewise.learn.lessons import Lesson, Lessons, pack, training, unpack, weight_of
from likewise.learn.sequential import THRESHOLDS
from likewise.learn.standing import Standing, Standings
from likewise.learn.trees import Trees, fit_trees
from likewise.learn.verifier import Verifier, verifier_of
from likewise.stores import Store

LEAST_SIMILARITY = 0.5
"""Cosine below which nothing is served, however probable it seems."""

_MEMO = "learner"
_FIRST_FIT = 300
_FIRST_REFIT = 20_000
_LEAST_RIGHT = 30
_GROWTH = 1.3
_MOST_PAIRS = 100_000
_TREES = 100
_LEAVES = 20
_MOST_PENDING = 4_096
_MOST_ASIDE = 1_024
_TRIES = 3
_FLUSH_LABELS = 500


@dataclass(slots=True, eq=False)
class Considered:
    """A request that found something near, until its outcome is known."""

    category: str
    question: str
    pairs: Pairs
    probabilities: Sequence[float] = ()
    score: float | None = None
    best: int = 0
    propensity: float = 1.0
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer said of the best candidate.

    Attributes:
        right: Whether its answer would have served.
        audited: Whether it was served, and this is its audit.
        score: Its probability of being right; ``None`` where it could not have been served.
        propensity: With which probability this was to be learned.
    """

    right: bool
    audited: bool
    score: float | None
    propensity: float


@dataclass(frozen=True, slots=True)
class Terms:
    """How to learn in service.

    Attributes:
        risk: Chance that a certified threshold breaks its budget, over all categories.
        share: Whether a category may start under the certificate that all have in common.
        audit_rate: Share of semantic hits that are audited, on average.
    """

    risk: float = 0.05
    share: bool = True
    audit_rate: float = 0.02


class Learner:
    """Turns labels into verifier and thresholds; see the module.

    Args:
        judging: Judges pairs; its verifier is exchanged when a new one is fitted.
        store: Keeps labels and memo.
        embedder: Name of the embedder in use.
        policy_of: The policy of a category as it is configured.
        claims: Number of error budgets over all categories, which share the risk.
        terms: How to learn.
        fault: Told of what went wrong on the way, by kind.
        alarmed: Told of the category of each drift alarm.
        seed: Of the audit draws; without one they cannot be foreseen.
    """

    def __init__(
        self,
        *,
        judging: Judging,
        store: Store,
        embedder: str,
        policy_of: Callable[[str], Category],
        claims: int,
        terms: Terms,
        fault: Callable[[str, BaseException], None],
        alarmed: Callable[[str], None],
        seed: int | None = None,
    ) -> None:
        self.judging = judging
        self.terms = terms
        self.background = False
        """Whether to fit on a thread of its own; else who brings a label waits for the fit."""
        self._store = store
        self._embedder = embedder
        self._policy_of = policy_of
        self._fault = fault
        self._alarmed = alarmed
        self._lock = threading.Lock()
        self._fitting = threading.Lock()
        self._following = threading.Lock()
        self._standings = Standings(risk=terms.risk, share=terms.share, shares=claims)
        chance = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311
        self._auditor = Auditor(terms.audit_rate, chance)
        self._evidence = Evidence() if judging.verifier is None else judging.verifier.evidence
        self._lessons = Lessons(_MOST_PAIRS)
        self._next_fit = _FIRST_FIT
        self._pending: OrderedDict[bytes, Considered] = OrderedDict()
        self._aside: OrderedDict[str, Considered] = OrderedDict()
        self._taught: dict[str, tuple[Category, float, float | None, Category]] = {}
        """By category: a policy, the threshold and the floor for it, and what these make of it."""
        self._origin = "" if judging.verifier is None else judging.verifier.checksum()
        self._worker = secrets.token_bytes(8)
        self._unsaved: list[bytes] = []
        self._seen = 0
        self.labels = 0
        """Requests with a label so far, other processes' among them."""
        self.fits = 0
        """Verifiers fitted by this process."""
        self._restore()

    # -- a request --------------------------------------------------------------------------------

    def policy(self, policy: Category) -> Category:
        """Return a category's policy with the threshold in force for it, and its floor."""
        standing = self.standing(policy)
        floor: float | None = None
        if policy.pressure_budget is not None and standing.by != "alarm":
            given = policy.probability_floor
            under = self._standings.of(policy.name, policy.pressure_budget, given=given)
            floor = min(under.threshold, standing.threshold)
        known = self._taught.get(policy.name)
        if known is not None and known[0] is policy and known[1:3] == (standing.threshold, floor):
            return known[3]
        taught = replace(
            policy,
            probability_threshold=standing.threshold,
            probability_floor=floor,
            similarity_threshold=min(policy.similarity_threshold, LEAST_SIMILARITY),
            similarity_floor=None,
        )
        self._taught[policy.name] = policy, standing.threshold, floor, taught
        return taught

    def standing(self, policy: Category) -> Standing:
        """Return where a category stands."""
        given = policy.probability_threshold
        return self._standings.of(policy.name, policy.error_budget, given=given)

    def consider(
        self,
        key: bytes,
        question: str,
        category: str,
        near: Sequence[Match],
        *,
        usable: Callable[[int], bool],
    ) -> list[float]:
        """Remember a request and return how probably right each of its nearest entries is.

        ``usable`` says of a place in ``near`` whether nothing else stands against serving it.
        """
        considered = Considered(category, question, self.judging.read(question, category, near))
        # What the verifier sees is what is learned from, later.
        probabilities = self.judging.judge(category, considered.pairs)
        if not probabilities:
            self._weigh(considered)
        else:
            considered.probabilities = probabilities
            considered.best = int(np.argmax(probabilities))
            considered.score = 0.0
            for place in np.argsort(probabilities)[::-1].tolist():
                if probabilities[place] < THRESHOLDS[0]:
                    break
                if usable(place):
                    considered.best, considered.score = place, probabilities[place]
                    break
        held = self._pending.get(key)
        if held is None or not held.drawn:  # an audit that waits for its answer is not given up
            self._pending[key] = considered
            self._pending.move_to_end(key)
        while len(self._pending) > _MOST_PENDING:
            self._pending.popitem(last=False)
        return probabilities

    def served(self, key: bytes, entry_id: str) -> float | None:
        """Take note of a semantic hit; return its audit's probability when it is to be audited."""
        considered = self._pending.get(key)
        if considered is None or considered.score is None or considered.drawn:
            return None
        if entry_id in considered.pairs.entry_ids:
            considered.best = considered.pairs.entry_ids.index(entry_id)
            considered.score = considered.probabilities[considered.best]
        propensity, drawn = self._auditor.draw(considered.score)
        if drawn:
            considered.propensity, considered.drawn = propensity, True
            return propensity
        # An audit that is not drawn is evidence, too: the less, the less likely it was.
        category, score = considered.category, considered.score
        with self._lock:
            for budget in self._policy_of(category).budgets:
                self._standings.label(
                    category, budget, score, wrong=False, propensity=propensity, drawn=False
                )
        self._audit(category, score, wrong=False, propensity=propensity)
        # That is all this request certifies, whatever answer may come for it yet.
        considered.score = None
        return None

    def set_aside(self, key: bytes, request_id: str) -> None:
        """Keep a drawn request for its audit, apart from others that ask the same meanwhile."""
        considered = self._pending.pop(key, None)
        if considered is not None:
            self._aside[request_id] = considered
            while len(self._aside) > _MOST_ASIDE:
                self._aside.popitem(last=False)

    def awaits(self, key: bytes) -> bool:
        """Whether the answer to a request has been waited for since it was considered."""
        return key in self._pending

    # -- an outcome -------------------------------------------------------------------------------

    def answered(
        self,
        key: bytes,
        question: str,
        category: str,
        near: Sequence[Match],
        same: Callable[[Pairs, int], NDArray[np.float64]],
        *,
        aside: str | None = None,
    ) -> Outcome | None:
        """Learn from the answer to a question that was a miss, or an audited hit.

        Args:
            key: Exact key of the request.
            question: What was asked.
            category: Of the request.
            near: The nearest entries, needed when the request has not been considered.
            same: Given pairs and the place of the best, tells of each whether its answer serves the
                question: 1, 0, or nan where it is not known; float64 of shape ``(n,)``.
            aside: The request's id, when it was set aside for its audit.

        Returns:
            Whether the best candidate's answer would have served; ``None`` when not known.
        """
        if aside is not None:
            considered = self._aside.pop(aside, None)
        else:
            considered = self._pending.pop(key, None)
        if considered is None or considered.question != question:
            if not near:
                return None
            considered = Considered(category, question, self.judging.read(question, category, near))
            self._weigh(considered)
        outcome = same(considered.pairs, considered.best)
        known = np.flatnonzero(~np.isnan(outcome))
        if not len(known):
            return None
        best = outcome[considered.best]
        lesson = Lesson(
            category,
            considered.pairs.rows[known],
            considered.pairs.tokens.take(known),
            outcome[known] > 0,
            considered.score,
            None if np.isnan(best) else not best,
            considered.propensity,
            considered.drawn,
        )
        self._take(lesson)
        return (
            None
            if np.isnan(best)
            else Outcome(bool(best), considered.drawn, considered.score, considered.propensity)
        )

    def told(self, key: bytes, entry_id: str, *, correct: bool) -> None:
        """Learn what a user said of a hit; it certifies nothing, for not everyone speaks up."""
        considered = self._pending.get(key)
        if considered is None or considered.drawn or entry_id not in considered.pairs.entry_ids:
            return
        self._pending.pop(key, None)  # one verdict, however often it is repeated
        place = considered.pairs.entry_ids.index(entry_id)
        chosen = np.array([place])
        self._take(
            Lesson(
                considered.category,
                considered.pairs.rows[chosen],
                considered.pairs.tokens.take(chosen),
                np.array([correct]),
            )
        )

    # -- upkeep -----------------------------------------------------------------------------------

    def follow(self) -> None:
        """Hand labels to the store and take over those of other processes."""
        self._save_labels()
        with self._following:
            try:
                for seq, data in self._store.labels(after=self._seen):
                    self._seen = seq
                    found = self._unpacked(data)
                    if found is not None and found[0] != self._worker:
                        self._learn(found[1])
            except StoreError as error:
                self._fault("store", error)

    def forget(self) -> None:
        """Let go of the texts of requests whose outcome is not known: something was purged."""
        self._pending.clear()
        self._aside.clear()

    def close(self) -> None:
        """Save what was learned."""
        self._save_labels()
        self._save_memo()

    def report(self, policy: Category) -> dict[str, Any]:
        """Return where a category stands, ready for JSON."""
        standing = self.standing(policy)
        return {
            "threshold": standing.threshold if standing.by not in {"none", "alarm"} else None,
            "certified_by": standing.by,
            "labels": round(standing.labels),
            "wrong": round(standing.wrong, 1),
            "alarm_level": round(standing.alarm, 3),
            "error_budget": policy.error_budget,
        }

    def pairs(self, category: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the cosines of a category's labelled pairs and whether each is right."""
        return self._lessons.of(category)

    # -- inside -----------------------------------------------------------------------------------

    def _unpacked(self, data: bytes) -> tuple[bytes, Lesson] | None:
        """Return a label's process and lesson; ``None`` if damaged or of another embedder."""
        try:
            worker, embedder, lesson = unpack(data)
        except StoreError as error:
            self._fault("store", error)
            return None
        return (worker, lesson) if embedder == self._embedder else None

    def _weigh(self, considered: Considered) -> None:
        pairs = considered.pairs
        pairs.rows[:, OWN:] = self._evidence.features(pairs.tokens, considered.category)

    def _take(self, lesson: Lesson) -> None:
        """Learn from a label of this process, and see to it that it is kept."""
        with self._lock:
            self._unsaved.append(pack(lesson, self._worker, self._embedder))
        self._learn(lesson)
        if len(self._unsaved) >= _FLUSH_LABELS:
            self._save_labels()
        if self._lessons.pairs >= self._next_fit:
            self._fit_soon()

    def _learn(self, lesson: Lesson) -> None:
        with self._lock:
            self.labels += 1
            self._evidence.add(lesson.tokens, lesson.right, lesson.category)
            self._lessons.add(lesson)
            if lesson.score is not None and lesson.wrong is not None:
                for budget in self._policy_of(lesson.category).budgets:
                    self._standings.label(
                        lesson.category,
                        budget,
                        lesson.score,
                        wrong=lesson.wrong,
                        propensity=lesson.propensity,
                    )
        if lesson.served and lesson.wrong is not None:
            score = 1.0 if lesson.score is None else lesson.score
            self._audit(lesson.category, score, wrong=lesson.wrong, propensity=lesson.propensity)

    def _audit(self, category: str, score: float, *, wrong: bool, propensity: float) -> None:
        """Tell the alarm of a hit: one that only load allowed concerns the budget under load."""
        with self._lock:
            policy = self._policy_of(category)
            budget, *under = policy.budgets
            base = self._standings.of(category, budget, given=policy.probability_threshold)
            if under and score < base.threshold and base.by != "alarm":
                budget = under[0]
            raised = self._standings.audited(category, budget, wrong=wrong, propensity=propensity)
        if raised:
            self._alarmed(category)

    def _fit_soon(self) -> None:
        if not self._fitting.acquire(blocking=False):
            return
        if self.background:
            threading.Thread(target=self._fit, name="likewise-fit", daemon=True).start()
        else:
            self._fit()

    def _fit(self) -> None:
        """Fit a verifier to the labels so far; ``_fitting`` is held."""
        try:
            with self._lock:
                self._next_fit = int(self._lessons.pairs * _GROWTH)
                if self._lessons.right < _LEAST_RIGHT:
                    return
                held = self._lessons.snapshot()
            rows, right, codes = training(*held)
            if right.all() or not right.any():
                return
            trees = fit_trees(
                rows, right, weight=weight_of(rows), trees=_TREES, leaves=_LEAVES, threads=1
            )
            self._put_in_force(trees, codes)
            self._save_memo()
        except Exception as error:
            self._fault("fit", error)
        finally:
            self._fitting.release()

    def _put_in_force(self, trees: Trees, codes: dict[str, float]) -> None:
        self.judging.verifier = Verifier(trees, self._evidence, codes, self._embedder)
        self.fits += 1

    def _save_labels(self) -> None:
        with self._lock:
            unsaved, self._unsaved = self._unsaved, []
        if not unsaved:
            return
        try:
            self._store.add_labels(unsaved)
        except StoreError as error:
            with self._lock:
                self._unsaved = unsaved + self._unsaved
            self._fault("store", error)

    def _save_memo(self) -> None:
        # What the memo knows and what the log of labels adds to it must not overlap.
        for _ in range(_TRIES):
            self.follow()
            if not self._unsaved:
                break
        with self._lock:
            verifier = self.judging.verifier
            if verifier is None or verifier.evidence is not self._evidence:
                return
            state = {
                "origin": self._origin,
                "seen": self._seen,
                "labels": self.labels,
                "standings": self._standings.to_dict(),
            }
            held = replace(verifier, evidence=self._evidence.plus(Evidence()))
        # Packed outside the lock: hits wait for it.
        state["verifier"] = held.to_bytes()
        try:
            self._store.put_memo(_MEMO, msgspec.msgpack.encode(state))
        except StoreError as error:
            self._fault("store", error)

    def _restore(self) -> None:
        """Take over what an earlier process has learned, unless with another embedder."""
        try:
            memo = self._store.memo(_MEMO)
            kept = list(self._store.labels())
        except StoreError as error:
            self._fault("store", error)
            return
        known = self._recall(memo)
        for seq, data in kept:
            self._seen = seq
            found = self._unpacked(data)
            if found is None:
                continue
            if seq > known:
                self._learn(found[1])
            else:  # the memo knows it: it is for the next fit only
                self._lessons.add(found[1])
        # A verifier that came with the policy has seen more than the first labels of service.
        first = _FIRST_REFIT if self._origin and not known else _FIRST_FIT
        self._next_fit = max(first, int(self._lessons.pairs * _GROWTH))

    def _recall(self, memo: bytes | None) -> int:
        """Take over a memo; return the number of the last label it knows, 0 without one."""
        if memo is None:
            return 0
        try:
            state = msgspec.msgpack.decode(memo)
            verifier = verifier_of(state["verifier"])
            fits = verifier is not None and verifier.embedder == self._embedder
            if verifier is None or not fits or state["origin"] != self._origin:
                return 0
            self._standings.restore(state["standings"])
            self.labels, seen = state["labels"], int(state["seen"])
        except Exception as error:  # a damaged memo costs what it knew, not the start
            self._fault("memo", error)
            return 0
        self.judging.verifier = verifier
        self._evidence = verifier.evidence
        return seen
