"""What the cache tells of what it learns, to whoever keeps a log of it."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Is told of events on the way of a write; must neither wait nor raise."""

    def label(
        self,
        category: str,
        question: str,
        *,
        kind: str,
        score: float | None,
        right: bool,
        propensity: float,
        audited: bool,
    ) -> None:
        """Hear what a fresh answer said of the nearest entry.

        Args:
            category: Of the question.
            question: What was asked.
            kind: What the score is: ``similarity``, or ``probability`` of a verifier.
            score: Of the nearest entry that might have served; ``None`` where nothing might.
            right: Whether that entry's answer would have served.
            propensity: With which probability this label was to be had.
            audited: Whether the entry was served, and the answer fetched to audit it.
        """

    def renewed(self, category: str, age_s: float, *, changed: bool) -> None:
        """Hear that a fresh answer took the place of one that was ``age_s`` old."""
