"""Between the engine and its learner: what an answer teaches, and which hits are audited."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from likewise.answers import answer_digest
from likewise.category import DEFAULT, Category
from likewise.faults import Faults
from likewise.index import Match
from likewise.learn.judge import Judge
from likewise.learn.judging import Judging, Pairs
from likewise.learn.learner import Learner, Terms
from likewise.listener import Listener
from likewise.policy import Hit, Miss, Reason
from likewise.stats import Stats
from likewise.stores import Store

logger = logging.getLogger("likewise")


class Teaching:
    """Hands the learner its labels. Safe to use from many threads; no fault of learning gets out.

    Args:
        judging: Judges pairs; the learner exchanges its verifier.
        judge: Tells whether two answers serve the same question; without one only equal ones do.
        store: Has the answers, and keeps what was learned.
        embedder: Name of the embedder in use.
        stats: Counts labels, audits and alarms.
        faults: Is told of what goes wrong.
        policy_of: The policy of a category.
        claims: Number of error budgets over all categories, each with a share of the risk.
        terms: How to learn.
    """

    def __init__(
        self,
        *,
        judging: Judging,
        judge: Judge | None,
        store: Store,
        embedder: str,
        stats: Stats,
        faults: Faults,
        policy_of: Callable[[str], Category],
        claims: int,
        terms: Terms,
    ) -> None:
        self._judge = judge
        self._store = store
        self._stats = stats
        self._faults = faults
        self.listener: Listener | None = None
        """Who keeps a log of labels, if anybody."""
        self.learner = Learner(
            judging=judging,
            store=store,
            embedder=embedder,
            policy_of=policy_of,
            claims=claims,
            terms=terms,
            fault=lambda kind, error: faults.report(DEFAULT, kind, error),
            alarmed=self._alarmed,
        )

    def in_force(self, policy: Category) -> Category:
        """Return a category's policy with the thresholds that labels have given it."""
        return self.learner.policy(policy) if may_learn(policy) else policy

    def audit(self, key: bytes, request_id: str, hit: Hit, *, aside: bool) -> Hit | Miss:
        """Return a hit that is not drawn for an audit as it is.

        One that is drawn says so when it is audited ``aside``; else it becomes a miss, for which
        the caller brings the answer.
        """
        propensity = self.learner.served(key, hit.entry_id)
        if propensity is None:
            return hit
        self._stats.add(hit.category, audits=1)
        if aside:
            self.learner.set_aside(key, request_id)
            return replace(hit, audit=propensity)
        return Miss(
            hit.category,
            Reason.AUDIT,
            f"drawn with probability {propensity:.3f}",
            hit.similarity,
            hit.entry_id,
            hit.threshold,
            probability=hit.probability,
        )

    def learn(
        self,
        key: bytes,
        question: str,
        policy: Category,
        answer: object,
        near: Sequence[Match] = (),
        *,
        aside: str | None = None,
    ) -> bool | None:
        """Learn from a fresh answer; return whether the best candidate's would have served.

        ``near`` are the nearest entries from before the answer was stored, needed when the request
        was not considered; ``aside`` is the id of a request whose audit was set aside.
        """
        if not may_learn(policy):
            return None

        def same(pairs: Pairs, best: int) -> NDArray[np.float64]:
            return self._compare(question, pairs, best, answer)

        try:
            outcome = self.learner.answered(key, question, policy.name, near, same, aside=aside)
        except Exception as error:
            self._faults.report(policy.name, "learning", error)
            return None
        if outcome is None:
            return None
        wrong = not outcome.right
        self._stats.add(
            policy.name, labels=1, labels_wrong=wrong, audited_wrong=wrong and outcome.audited
        )
        if self.listener is not None:
            self.listener.label(
                policy.name,
                question,
                kind="probability",
                score=outcome.score,
                right=outcome.right,
                propensity=outcome.propensity,
                audited=outcome.audited,
            )
        return outcome.right

    def _compare(
        self, question: str, pairs: Pairs, best: int, answer: object
    ) -> NDArray[np.float64]:
        """Return of each pair whether its answer serves: 1, 0, or nan where it is not known."""
        if self._judge is None:
            equal = pairs.answers == answer_digest(answer)
            return np.where(pairs.answers == 0, np.nan, equal.astype(np.float64))
        known = np.full(len(pairs.answers), np.nan)
        stored = self._store.get(pairs.entry_ids[best])
        if stored is not None:
            verdict = self._judge.same(question, stored.answer, answer)
            known[best] = np.nan if verdict is None else float(verdict)
        return known

    def _alarmed(self, category: str) -> None:
        self._stats.add(category, drift_alarms=1)
        logger.warning(
            "category %s: its hits are wrong more often than its error budget allows; it is served "
            "by the exact tier only until labels certify a threshold anew",
            category,
        )


def may_learn(policy: Category) -> bool:
    """Whether anything is learned in a category."""
    return policy.cacheable and not policy.exact_only
