"""Boosted trees: fitted by scikit-learn, scored by a few array look-ups.

scikit-learn's own scoring takes milliseconds for one row, most of them for checks; a decision has
microseconds. The trees are small enough to walk all at once, level by level.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.errors import ConfigError
from likewise.learn.features import Matrix

_MOST_DEPTH = 7
"""Each level costs a decision some 10 us."""


_MANY_ROWS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A sum of regression trees, whose logistic is a probability.

    All nodes of all trees stand in one row. ``feature`` is int64, ``threshold`` float64, ``value``
    float32, each of shape ``(nodes,)``. ``child`` is int64 of shape ``(2 * nodes,)``: for each node
    the place of its child on the left, at or below the threshold, and on the right; a leaf points
    to itself.
    ``roots`` are the places of the trees' first nodes, ``depth`` is that of the deepest tree.
    """

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    child: NDArray[np.int64]
    value: NDArray[np.float32]
    roots: NDArray[np.int64]
    base: float
    depth: int

    def probability(self, rows: Matrix) -> NDArray[np.float64]:
        """Return the probability of each row of features; float64 of shape ``(n,)``."""
        count, width = rows.shape
        flat = rows.ravel()
        # Every tree walks every row at once; only gathers by one index, which are the fastest.
        place = np.tile(self.roots, count)
        row = np.repeat(np.arange(0, count * width, width), len(self.roots))
        for _ in range(self.depth):
            above = flat.take(row + self.feature.take(place)) > self.threshold.take(place)
            place = self.child.take(2 * place + above)
        values = self.value.take(place).reshape(count, -1)
        score = self.base + values.sum(axis=1, dtype=np.float64)
        probability: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-score))
        return probability


def require_fitting() -> None:
    """Check that verifiers can be fitted here.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        msg = "fitting a verifier needs scikit-learn: pip install 'likewise[tune]'"
        raise ConfigError(msg)


def fit_trees(
    rows: Matrix,
    right: NDArray[np.bool_],
    *,
    weight: NDArray[np.float32] | None = None,
    trees: int = 200,
    leaves: int = 31,
    learning_rate: float = 0.08,
    least_in_leaf: int = 20,
    threads: int | None = None,
    seed: int = 0,
) -> Trees:
    """Fit trees that tell right pairs from wrong ones.

    Args:
        rows: Features, float32 of shape ``(n, features)``.
        right: Whether each pair shares its answer, shape ``(n,)``; both kinds must occur.
        weight: How much each pair counts, shape ``(n,)``; without it all alike.
        trees: How many.
        leaves: Most leaves of each.
        learning_rate: Shrinkage of each.
        least_in_leaf: Fewest pairs in a leaf.
        threads: Processor threads to use; without it all there are.
        seed: Of the fit; equal input and seed give equal trees.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    require_fitting()
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - slow to import
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn

    model = HistGradientBoostingClassifier(
        max_iter=trees,
        learning_rate=learning_rate,
        max_leaf_nodes=leaves,
        max_depth=_MOST_DEPTH,
        min_samples_leaf=least_in_leaf,
        l2_regularization=20.0,
        early_stopping=False,
        random_state=seed,
    )
    # More than one only get in each other's way while there is little to do.
    with threadpool_limits(1 if len(rows) < _MANY_ROWS else threads):
        model.fit(rows, right, sample_weight=weight)
    return _flattened(model)


def _flattened(model: Any) -> Trees:
    nodes = [predictor.nodes for (predictor,) in model._predictors]
    sizes = np.array([len(n) for n in nodes])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    joined = np.concatenate(nodes)
    shift = np.repeat(roots, sizes)
    here = np.arange(len(joined), dtype=np.int64)
    leaf = joined["is_leaf"].astype(bool)
    children = [np.where(leaf, here, joined[side] + shift) for side in ("left", "right")]
    return Trees(
        feature=np.where(leaf, 0, joined["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf, np.inf, joined["num_threshold"]).astype(np.float64),
        child=np.stack(children, axis=1).ravel().astype(np.int64),
        value=np.where(leaf, joined["value"], 0.0).astype(np.float32),
        roots=roots,
        base=float(np.ravel(model._baseline_prediction)[0]),
        depth=int(joined["depth"].max()),
    )
