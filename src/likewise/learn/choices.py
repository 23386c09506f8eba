"""What else follows from the hits that a certified threshold would have made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Embedder, sketcher_of
from likewise.gate import bound_of
from likewise.guards import GUARDS
from likewise.learn.certify import Certificate


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The best candidate of each request of a category, by a verifier that has not seen it.

    Attributes:
        scores: Probability of being right, shape ``(n,)``.
        wrong: Whether it would have been wrong, shape ``(n,)``.
        cosines: Its cosine, shape ``(n,)``.
        texts: The two questions of each pair.
    """

    scores: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    cosines: NDArray[np.float64]
    texts: Sequence[tuple[str, str]]


def guards_of(judged: Judged, certificate: Certificate, budget: float) -> list[str]:
    """Return the guards that are right more often than the budget when they veto a hit."""
    if certificate.threshold is None:
        return list(GUARDS)
    hits = np.flatnonzero(judged.scores >= certificate.threshold).tolist()
    chosen = []
    for name, guard in GUARDS.items():
        vetoed = [i for i in hits if guard(*judged.texts[i]) is not None]
        if vetoed and judged.wrong[vetoed].mean() > budget:
            chosen.append(name)
    return chosen


def floor_of(judged: Judged, certificate: Certificate, pressed: Certificate | None) -> float:
    """Return a cosine just below that of every hit the threshold would have made, or its floor."""
    hits = _hits(judged, certificate, pressed)
    if hits is None:
        return 1.0
    return max(0.0, float(np.quantile(judged.cosines[hits], 0.002)) - 0.01)


def gate_of(
    judged: Judged, certificate: Certificate, pressed: Certificate | None, embedder: Embedder
) -> float | None:
    """Return the gate that lets nearly all of these hits through."""
    hits, sketcher = _hits(judged, certificate, pressed), sketcher_of(embedder)
    if hits is None or sketcher is None:
        return None
    pairs = [judged.texts[place] for place in np.flatnonzero(hits).tolist()]
    one, other = (sketcher.sketch([pair[side] for pair in pairs]) for side in (0, 1))
    cosines = (one * other).sum(axis=1).tolist()
    return bound_of([c - sketcher.surplus(pair[0]) for c, pair in zip(cosines, pairs, strict=True)])


def _hits(
    judged: Judged, certificate: Certificate, pressed: Certificate | None
) -> NDArray[np.bool_] | None:
    """Return which requests would be hits, at the least threshold that may be in force."""
    if certificate.threshold is None:
        return None
    least = certificate.threshold
    if pressed is not None and pressed.threshold is not None:
        least = min(least, pressed.threshold)
    return judged.scores >= least
