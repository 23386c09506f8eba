"""The gate before the embedder: a question that resembles nothing stored is a miss without it.

A sketch costs a hundredth of a vector (see ``embed.sketch``). When the sketch of a question is
farther from every stored one than the sketches of questions as near as a hit must be are ever seen
to be, the transformer cannot find a hit and does not run. How far that is, the *bound*, comes from,
in this order:

- the category's ``gate``, which ``likewise tune`` writes for 99 % of the hits that its policy
  would serve; 0 keeps the gate open;
- what the embedder's sketches are expected to do at the threshold in force, cautiously;
- service: the sketches of hits that were served, and of those that the gate has cost. These are
  known for nothing, because what was missed is embedded and compared when its answer is stored.
  From ``_FEW`` of them on a bound that costs too much is lowered, from ``_MANY`` on it is where
  they say, as long as nearly all that is turned away comes back to be stored: where answers are not
  kept, nobody sees what the gate costs, and it is not raised.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from likewise.catalog import Catalog
from likewise.category import Category
from likewise.embed import Sketcher, Vectors
from likewise.index.sketches import code
from likewise.policy import Candidate, Tier

_LOST = 0.01
"""Share of hits that a bound may cost."""

_MARGIN = 0.01
_FEW, _MANY = 50, 200
_REMEMBERED = 1_000
_EVERY = 10
"""Observations between two looks at them."""

_SEEN = 0.9
"""Share of what is turned away that must come back for a bound to be raised."""

_STEEPNESS = 2.0
"""How much lower a bound is for each hundredth that load takes off the threshold."""

_ROWS_PER_CHARACTER = 1_000
"""Entries whose sketches are worth comparing for each character that need not be embedded."""

_SAME = 0.98
"""Coarse cosine of the same words, less what codes and order may take: it always goes through,
however much a long question owes to its length and however strict the threshold is."""

OPEN = -1.0
"""A bound that nothing is below."""


class Coarse(NamedTuple):
    """What the sketches say of a question.

    Attributes:
        cosine: The greatest coarse cosine with any entry that might be served, less what it owes
            to the length of the question (see ``Sketcher.surplus``).
        bound: What it would have to be.
    """

    cosine: float
    bound: float

    @property
    def closed(self) -> bool:
        """Whether nothing stored can be near enough."""
        return self.cosine < self.bound

    def candidate(self) -> Candidate:
        """Return what the decision and its receipt are made of."""
        return Candidate("", self.cosine, "", 0.0, None, 0, Tier.COARSE, gate=self.bound)


@dataclass(slots=True)
class _Seen:
    """Coarse cosines of the hits of one category, and what follows from them."""

    cosines: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    bound: float | None = None
    count: int = 0


def bound_of(cosines: Collection[float]) -> float | None:
    """Return the bound that these coarse cosines of hits ask for; ``None`` when they are too few.

    One in a hundred of them may be below it, none of the first hundred.
    """
    if len(cosines) < _FEW:
        return None
    return float(sorted(cosines)[int(_LOST * len(cosines))]) - _MARGIN


class Gate:
    """Decides before the embedder. Safe to use from many threads; asking takes no lock.

    Args:
        sketcher: Makes the sketches.
        catalog: Holds those of the entries.
    """

    def __init__(self, sketcher: Sketcher, catalog: Catalog) -> None:
        self._sketcher = sketcher
        self._catalog = catalog
        self._seen: dict[str, _Seen] = {}
        self._turned_away = self._came_back = 0
        self._lock = threading.Lock()

    def look(
        self, question: str, scope: bytes, policies: Iterable[Category], threshold: float
    ) -> Coarse | None:
        """Compare a question's sketch with those of some categories' entries.

        Args:
            question: What was asked.
            scope: Digest of its scope.
            policies: Those of the categories it may be of, as in force.
            threshold: The least similarity that the caller asks for.

        Returns:
            The first place that lets it through, else the last one; ``None`` when the gate has
            nothing to say, or would cost more than it can save.
        """
        most = _ROWS_PER_CHARACTER * len(question)
        bounds: list[tuple[str, float]] = []
        for policy in policies:
            entries = self._catalog.size(scope, policy.name)
            if entries is None:
                continue
            # Said before anything is compared, which in a large scope takes the longest.
            most -= entries
            bound = self.bound(policy, threshold)
            if most < 0 or bound <= OPEN:
                return None
            bounds.append((policy.name, bound))
        sketch = self.sketch(question) if bounds else None
        if sketch is None:
            return None
        coded = code(sketch)
        surplus = self._sketcher.surplus(question)
        found: Coarse | None = None
        for name, bound in bounds:
            cosine = self._catalog.coarsely(scope, name, coded)
            found = Coarse(cosine - surplus, min(bound, _SAME - surplus))
            if not found.closed:
                break
        return found

    def sketch(self, question: str) -> Vectors | None:
        """Return a question's sketch, float32 ``(dimensions,)``; ``None`` without a known word."""
        sketch: Vectors = self.sketches([question])[0]
        return sketch if sketch.any() else None

    def sketches(self, questions: Sequence[str]) -> Vectors:
        """Return the sketches of ``n`` questions, float32 ``(n, dimensions)``."""
        return self._sketcher.sketch(questions)

    def bound(self, policy: Category, threshold: float = 0.0) -> float:
        """Return the coarse cosine below which nothing of a category is near enough.

        ``threshold`` is the caller's own, which counts where it is the stricter one.
        """
        calm = policy.calm or policy
        if calm.gate is not None and calm.gate <= 0.0:
            return OPEN
        lowered = _STEEPNESS * max(0.0, calm.similarity_threshold - policy.similarity_threshold)
        seen = self._seen.get(policy.name)
        learned = None if seen is None else seen.bound
        if calm.gate is None:
            base = self._sketcher.floor(max(calm.similarity_threshold, threshold))
            if learned is not None and seen is not None:
                certain = seen.count >= _MANY and self._came_back >= _SEEN * self._turned_away
                base = learned if certain else min(base, learned)
        else:
            base = calm.gate if learned is None else min(calm.gate, learned)
        return base - lowered

    def turned_away(self) -> None:
        """Count a question that was not embedded."""
        self._turned_away += 1  # a count lost to another thread matters to nobody

    def came_back(self) -> None:
        """Count one whose answer is stored, so that it is known what the gate has cost."""
        # What is stored without having been asked for says nothing.
        self._came_back = min(self._came_back + 1, self._turned_away)

    def saw(self, category: str, cosine: float) -> None:
        """Learn the coarse cosine of a question that was a hit, or would have been one."""
        with self._lock:
            seen = self._seen.setdefault(category, _Seen())
            seen.cosines.append(cosine)
            seen.count += 1
            if seen.count % _EVERY == 0:
                seen.bound = bound_of(seen.cosines)

    def forget(self) -> None:
        """Forget what was seen: other policies have other hits."""
        with self._lock:
            self._seen.clear()
