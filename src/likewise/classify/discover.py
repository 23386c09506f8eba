"""Finds categories in logged prompts: clusters of like questions, and what policies must know.

Clusters are found by HDBSCAN (L. McInnes, J. Healy and S. Astels, JOSS 2017), scikit-learn's: it
needs no number of clusters, and leaves out what belongs to none. They are named by the terms that
tell them from the rest (class-based tf-idf).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Vectors
from likewise.errors import ConfigError
from likewise.freshness import STALE, Volatility, volatility

_COMPONENTS = 24
_LEAST_SIZE = 15
_LEAST_SHARE = 0.005
_NEIGHBOURS = 5
_TERMS = 6
_EXAMPLES = 30
_WORD = re.compile(r"[a-z][a-z']+")
_STOP = frozenset(
    "a an the is are was were be been being do does did of in on at to for and or it its this that "  # noqa: SIM905 - reads better than a hundred quoted words
    "these those i you he she we they my your his her our their me him us them what which who how "
    "when where why can could will would should shall may might must have has had with as by from "
    "if so just please there not no any all some get give make show tell use want need let about "
    "into than then too very also only own same such more most other between after before".split()
)
_BLOCK = 2_000
_LEAST_LABELS = 20
_THRESHOLDS = tuple(round(0.86 + 0.01 * step, 2) for step in range(14))
_AGREEING = 0.98
_DEFAULT_THRESHOLD = 0.95
_LONGEST_TTL_S = 30 * 86400.0
_SHORTEST_TTL_S = 60.0


@dataclass(frozen=True, slots=True)
class Logged:
    """A logged prompt; ``answer`` is its digest or 0 when unknown, ``time`` in seconds."""

    text: str
    answer: int = 0
    time: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """Like questions.

    Attributes:
        name: Made of its two most telling terms; can name a category.
        terms: Its telling terms.
        size: Prompts.
        share: Of all prompts.
        density: Median cosine of a prompt to the nearest other one.
        repeated: Share of the prompts that ask what was asked before: cosine at or above
            ``threshold``.
        exponent: Of the power law that the numbers of askings follow, by maximum likelihood;
            ``None`` where nothing is repeated. Below about 2 a few questions make most of the
            traffic.
        volatility: How fast its answers change.
        threshold: The loosest at which 98 of 100 repeated questions got the answer of before, the
            default where answers are not known.
        hit_rate: Expected at that threshold.
        ttl_s: At which 5 % of the hits are expected to be stale, ``None`` when not known.
        examples: Prompts that are typical of it.
        places: Of its prompts in the log.
    """

    name: str
    terms: list[str]
    size: int
    share: float
    density: float
    repeated: float
    exponent: float | None
    volatility: Volatility
    threshold: float
    hit_rate: float
    ttl_s: float | None
    examples: list[str]
    places: NDArray[np.int_]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the places, ready for JSON."""
        return {
            "name": self.name,
            "terms": self.terms,
            "size": self.size,
            "share": self.share,
            "density": self.density,
            "repeated": self.repeated,
            "power_law_exponent": self.exponent,
            "reasked": self.volatility.reasked,
            "answers_changed": self.volatility.changed,
            "changes_per_day": None
            if self.volatility.rate is None
            else self.volatility.rate * 86400.0,
            "similarity_threshold": self.threshold,
            "hit_rate": self.hit_rate,
            "ttl_s": self.ttl_s,
        }

    def proposal(self) -> dict[str, Any]:
        """Return the category as a configuration has it."""
        found: dict[str, Any] = {
            "description": "Found in a log: " + ", ".join(self.terms),
            "similarity_threshold": self.threshold,
        }
        if self.ttl_s is not None:
            found["ttl"] = round(self.ttl_s)
        return found | {"examples": self.examples}


def require_clustering() -> None:
    """Check that clusters can be found here.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        msg = "finding categories needs scikit-learn: pip install 'likewise[tune]'"
        raise ConfigError(msg)


def discover(log: Sequence[Logged], vectors: Vectors) -> list[Cluster]:
    """Return the clusters of a log, largest first.

    Args:
        log: Prompts in the order in which they were asked.
        vectors: Theirs, float32 of shape ``(n, dimensions)``, each row of length 1.

    Raises:
        ConfigError: scikit-learn is not installed, or there are too few prompts.
    """
    require_clustering()
    if len(log) < 2 * _LEAST_SIZE:
        msg = f"the log holds {len(log)} prompts; clusters need at least {2 * _LEAST_SIZE}"
        raise ConfigError(msg)
    labels = _clustered(vectors)
    counts = [Counter(_words(log[place].text)) for place in range(len(log))]
    every: Counter[str] = Counter()
    for words in counts:
        every.update(words)
    found: list[Cluster] = []
    taken: set[str] = set()
    for label in sorted(set(labels.tolist()) - {-1}, key=lambda x: -np.count_nonzero(labels == x)):
        places = np.flatnonzero(labels == label)
        terms = _terms([counts[place] for place in places], every)
        name = _free_name(terms, taken)
        found.append(_cluster(name, terms, places, log, vectors))
    return found


def _clustered(vectors: Vectors) -> NDArray[np.int_]:
    """Return the cluster of each prompt, -1 for none."""
    from sklearn.cluster import HDBSCAN  # noqa: PLC0415 - an extra
    from sklearn.decomposition import PCA  # noqa: PLC0415 - an extra

    count = len(vectors)
    width = min(_COMPONENTS, *vectors.shape)
    # Distances mean more in a few directions, and are had in a fraction of the time.
    flat = PCA(width, random_state=0).fit_transform(vectors.astype(np.float64))
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    found: NDArray[np.int_] = HDBSCAN(
        min_cluster_size=max(_LEAST_SIZE, round(_LEAST_SHARE * count)),
        min_samples=_NEIGHBOURS,
        copy=True,
    ).fit_predict(flat)
    return found


def _cluster(
    name: str,
    terms: list[str],
    places: NDArray[np.int_],
    log: Sequence[Logged],
    vectors: Vectors,
) -> Cluster:
    mine = vectors[places]
    nearest, cosine = _earlier(mine)
    answers = np.array([log[place].answer for place in places])
    known = (nearest >= 0) & (answers != 0)
    known[known] &= answers[nearest[known]] != 0
    same = np.zeros(len(places), np.bool_)
    same[known] = answers[known] == answers[nearest[known]]
    threshold = _threshold(cosine[known], same[known])
    again = cosine >= threshold
    centre = mine.mean(axis=0)
    order = np.argsort(-(mine @ centre))
    return Cluster(
        name=name,
        terms=terms,
        size=len(places),
        share=len(places) / len(log),
        density=float(np.median(_nearest_any(mine))),
        repeated=float(np.mean(again)),
        exponent=_exponent(_askings(nearest, again)),
        volatility=_volatility(places, nearest, again & known, same, log),
        threshold=threshold,
        hit_rate=float(np.mean(again)),
        ttl_s=_ttl(_volatility(places, nearest, again & known, same, log)),
        examples=_typical(order, places, log),
        places=places,
    )


def _earlier(vectors: Vectors) -> tuple[NDArray[np.int_], NDArray[np.float32]]:
    """Return for each prompt the nearest before it and their cosine; -1 and -1 for the first."""
    count = len(vectors)
    nearest = np.full(count, -1, np.int_)
    cosine = np.full(count, -1.0, np.float32)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        cosines = vectors[start:stop] @ vectors[:stop].T
        cosines[np.arange(stop) >= np.arange(start, stop)[:, None]] = -1.0
        nearest[start:stop] = cosines.argmax(axis=1)
        cosine[start:stop] = cosines.max(axis=1)
    nearest[0] = -1
    return nearest, cosine


def _nearest_any(vectors: Vectors) -> NDArray[np.float32]:
    """Return the cosine of each prompt to the nearest other one."""
    found = np.zeros(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -1.0
        found[start : start + _BLOCK] = cosines.max(axis=1)
    return found


def _threshold(cosines: NDArray[np.float32], same: NDArray[np.bool_]) -> float:
    """Return the loosest threshold at which nearly all answers agree."""
    best = _DEFAULT_THRESHOLD
    for threshold in sorted(_THRESHOLDS, reverse=True):
        hits = same[cosines >= threshold]
        if len(hits) < _LEAST_LABELS:
            continue
        if hits.mean() < _AGREEING:
            return max(best, min(threshold + 0.01, 0.99))
        best = threshold
    return best


def _askings(nearest: NDArray[np.int_], again: NDArray[np.bool_]) -> list[int]:
    """Return how often each question was asked, following each to the one it repeats."""
    first = np.arange(len(nearest))
    for place in range(len(nearest)):
        if again[place]:
            first[place] = first[nearest[place]]
    return list(Counter(first.tolist()).values())


def _exponent(askings: Sequence[int]) -> float | None:
    """Return the exponent of a discrete power law from 1 on.

    The approximation of A. Clauset, C. Shalizi and M. Newman, SIAM Review 2009, equation 3.7.
    """
    if max(askings) < 2:
        return None
    return 1.0 + len(askings) / sum(math.log(count / 0.5) for count in askings)


def _volatility(
    places: NDArray[np.int_],
    nearest: NDArray[np.int_],
    asked_again: NDArray[np.bool_],
    same: NDArray[np.bool_],
    log: Sequence[Logged],
) -> Volatility:
    gaps: list[float] = []
    changed: list[bool] = []
    for place in np.flatnonzero(asked_again).tolist():
        now, before = log[places[place]].time, log[places[nearest[place]]].time
        if now is not None and before is not None and now > before:
            gaps.append(now - before)
            changed.append(not same[place])
    return volatility(gaps, changed)


def _ttl(found: Volatility) -> float | None:
    if found.rate is None:
        return None
    ttl_s = found.ttl_s(STALE)
    return _LONGEST_TTL_S if ttl_s is None else min(max(ttl_s, _SHORTEST_TTL_S), _LONGEST_TTL_S)


def _typical(order: NDArray[np.int_], places: NDArray[np.int_], log: Sequence[Logged]) -> list[str]:
    """Return different prompts from the middle outwards, as evenly as they come."""
    texts = list(dict.fromkeys(log[places[place]].text for place in order))
    step = max(1, len(texts) // _EXAMPLES)
    return texts[::step][:_EXAMPLES]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP and len(word) > 2]


def _terms(mine: Sequence[Mapping[str, int]], every: Counter[str]) -> list[str]:
    """Return the terms that tell some prompts from all."""
    own: Counter[str] = Counter()
    for words in mine:
        own.update(dict.fromkeys(words, 1))
    total, whole = sum(own.values()) or 1, sum(every.values()) or 1
    weight = {
        word: count / total * math.log(1 + whole / (1 + every[word]))
        for word, count in own.items()
        if count > 1
    }
    found: list[str] = []
    for word in sorted(weight, key=lambda word: (-weight[word], word)):
        # "flight" tells nothing that "flights" has not told.
        if not any(word.startswith(known) or known.startswith(word) for known in found):
            found.append(word)
    return found[:_TERMS]


def _free_name(terms: Sequence[str], taken: set[str]) -> str:
    """Return a category's name that is not taken yet, made of the first terms."""
    words = [re.sub(r"[^a-z0-9]", "", term) for term in terms]
    base = "_".join(word for word in words[:2] if word)[:48] or "cluster"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name
