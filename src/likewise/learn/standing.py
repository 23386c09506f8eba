"""Where each category stands: its evidence, its alarm, and the threshold in force for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from likewise.learn.sequential import Alarm, Wealth

NEVER = 1.0
"""The threshold of a category that has none yet; no probability reaches it."""

_PRIOR_LABELS = 20.0
"""Labels that the error of all categories together weighs in the judgement of a single one."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The threshold in force for a category and why.

    Attributes:
        threshold: Least probability of being right of a hit; ``NEVER`` when there is none.
        by: ``own`` evidence, that ``shared`` by all categories, the ``policy``, an ``alarm``, or
            ``none``.
        labels: Labels at or above the threshold.
        wrong: How many of them were wrong.
        alarm: Level of the drift alarm, which is raised at ``sequential.ALARM``.
    """

    threshold: float
    by: str
    labels: float
    wrong: float
    alarm: float


Claim = tuple[str, float]
"""A category and an error per hit: what is certified of it. A category may have a second one, of
the error that is tolerated under load."""


class Standings:
    """The standings of all categories, moved by labels. Not safe to write from several threads.

    Args:
        risk: Chance that a certificate is false: shared out over ``shares`` categories, and the
            same once more for the one they have in common.
        share: Whether a category without a certificate of its own may use the common one.
        shares: Number of claims.
    """

    def __init__(self, *, risk: float, share: bool, shares: int) -> None:
        self._risk, self._share, self._shares = risk, share, max(1, shares)
        self._own: dict[Claim, Wealth] = {}
        self._common: dict[float, Wealth] = {}
        self._alarms: dict[Claim, Alarm] = {}
        self._known: dict[tuple[str, float, float | None], Standing] = {}
        self._alarmed: set[Claim] = set()

    def of(self, category: str, budget: float, *, given: float | None = None) -> Standing:
        """Return the standing of a category.

        Args:
            category: Its name.
            budget: Error per hit that its policy allows.
            given: The threshold of its policy, as ``likewise tune`` found it.
        """
        # A writer exchanges the whole of what is known, and what a reader adds too late is lost.
        known = self._known
        key = (category, budget, given)
        standing = known.get(key)
        if standing is None:
            standing = known[key] = self._standing(category, budget, given)
        return standing

    def label(
        self,
        category: str,
        budget: float,
        score: float,
        *,
        wrong: bool,
        propensity: float,
        drawn: bool = True,
    ) -> None:
        """Take what became of a request, see ``Wealth.add``."""
        for wealth in self._bets(category, budget):
            wealth.add(score, wrong=wrong, propensity=propensity, drawn=drawn)
        self._known = {}

    def audited(self, category: str, budget: float, *, wrong: bool, propensity: float) -> bool:
        """Take a hit, audited or not, see ``Alarm.add``; return whether it is an alarm."""
        claim = (category, budget)
        alarm = self._alarms.get(claim)
        if alarm is None:
            alarm = self._alarms[claim] = Alarm(budget)
        alarm.add(wrong=wrong, propensity=propensity)
        raised = alarm.raised
        if raised:
            # What was certified holds no more: the category earns its threshold anew, alone.
            alarm.reset()
            self._own[claim] = Wealth(budget)
            self._alarmed.add(claim)
        self._known = {}
        return raised

    def _bets(self, category: str, budget: float) -> tuple[Wealth, Wealth]:
        own = self._own.get((category, budget))
        if own is None:
            own = self._own[category, budget] = Wealth(budget)
        common = self._common.get(budget)
        if common is None:
            common = self._common[budget] = Wealth(budget)
        return own, common

    def _standing(self, category: str, budget: float, given: float | None) -> Standing:
        claim = (category, budget)
        own = self._own.get(claim) or Wealth(budget)
        common = self._common.get(budget) or Wealth(budget)
        alarmed = claim in self._alarmed
        alarm = self._alarms.get(claim)
        mine = own.certified(self._risk / max(self._shares, len(self._own)))
        theirs = common.certified(self._risk) if self._share and not alarmed else None
        if theirs is not None and not _may_borrow(own, common, theirs, budget):
            theirs = None
        threshold, by = NEVER, "alarm" if alarmed else "none"
        if given is not None and not alarmed:
            threshold, by = given, "policy"
        if mine is not None:
            threshold, by = mine, "own"
        if theirs is not None and (mine is None or theirs < mine):
            threshold, by = theirs, "shared"
        labels, wrong = own.error(threshold) if threshold < NEVER else (0.0, 0.0)
        level = 1.0 if alarm is None else alarm.level
        return Standing(threshold, by, labels, wrong, level)

    def to_dict(self) -> dict[str, Any]:
        """Return the state ready for JSON."""
        return {
            "own": [(name, wealth.to_dict()) for (name, _), wealth in self._own.items()],
            "common": [wealth.to_dict() for wealth in self._common.values()],
            "alarms": [(name, alarm.to_dict()) for (name, _), alarm in self._alarms.items()],
            "alarmed": sorted(self._alarmed),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state that ``to_dict`` gave, here or in the version before."""
        state = _by_claim(state)
        self._own = {(name, own["budget"]): Wealth.from_dict(own) for name, own in state["own"]}
        self._common = {common["budget"]: Wealth.from_dict(common) for common in state["common"]}
        self._alarms = {
            (name, one["budget"]): Alarm.from_dict(one) for name, one in state["alarms"]
        }
        self._alarmed = {(name, budget) for name, budget in state["alarmed"]}
        self._known = {}


def _by_claim(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state by claims: until 2026-11 a category had but one."""
    if not isinstance(state["own"], dict):
        return state
    own, alarms = state["own"], state["alarms"]
    budgets = {name: found["budget"] for name, found in {**alarms, **own}.items()}
    return {
        **state,
        "own": list(own.items()),
        "alarms": list(alarms.items()),
        "alarmed": [(name, budgets[name]) for name in state["alarmed"] if name in budgets],
    }


def _may_borrow(own: Wealth, common: Wealth, threshold: float, budget: float) -> bool:
    """Return whether a category's own labels do not speak against the common threshold.

    Its error is shrunk towards the common one, which counts as ``_PRIOR_LABELS`` labels.
    """
    labels, wrong = own.error(threshold)
    all_labels, all_wrong = common.error(threshold)
    prior = all_wrong / all_labels if all_labels else budget
    return (wrong + _PRIOR_LABELS * prior) / (labels + _PRIOR_LABELS) <= budget
