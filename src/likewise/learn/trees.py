"""Boosted trees: fitted by scikit-learn, scored by ONNX Runtime.

scikit-learn's own scoring takes milliseconds for a few rows, most of them for checks; a decision
has microseconds. ONNX Runtime walks the same trees in a tenth of what array look-ups in NumPy take.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.errors import ConfigError
from likewise.learn.features import Matrix

_MOST_DEPTH = 7
_MANY_ROWS = 20_000
_INPUT, _OUTPUT = "features", "score"
_OPSET, _ML_OPSET, _IR_VERSION = 20, 3, 9


class Trees:
    """A sum of regression trees, whose logistic is a probability. Safe to use from many threads.

    ``model`` is an ONNX graph of one ``TreeEnsembleRegressor``: its input ``features`` is float32
    of shape ``(n, features)``, its output ``score`` float32 of shape ``(n, 1)``.
    """

    def __init__(self, model: bytes) -> None:
        import onnxruntime  # noqa: PLC0415 - slow to import

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        self.model = model
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def scores(self, rows: Matrix) -> NDArray[np.float32]:
        """Return the sum of the trees for each row of features; float32 of shape ``(n,)``."""
        (score,) = self._session.run([_OUTPUT], {_INPUT: rows})
        scores: NDArray[np.float32] = score[:, 0]
        return scores

    def probability(self, rows: Matrix) -> NDArray[np.float64]:
        """Return the probability of each row of features; float64 of shape ``(n,)``."""
        probability: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-self.scores(rows).astype(float)))
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
    return Trees(_as_onnx(model, width=rows.shape[1]))


def _as_onnx(model: Any, *, width: int) -> bytes:
    """Return scikit-learn's trees as the graph that ``Trees`` describes."""
    from onnx import TensorProto, helper  # noqa: PLC0415 - slow to import

    trees = [predictor.nodes for (predictor,) in model._predictors]
    nodes = np.concatenate(trees)
    tree = np.repeat(np.arange(len(trees)), [len(nodes) for nodes in trees])
    place = np.concatenate([np.arange(len(nodes)) for nodes in trees])
    leaf = nodes["is_leaf"].astype(np.bool_)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        [_INPUT],
        [_OUTPUT],
        domain="ai.onnx.ml",
        n_targets=1,
        base_values=[float(np.ravel(model._baseline_prediction)[0])],
        nodes_treeids=tree.tolist(),
        nodes_nodeids=place.tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_featureids=np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        nodes_values=np.where(leaf, 0.0, _below(nodes["num_threshold"])).tolist(),
        nodes_truenodeids=np.where(leaf, 0, nodes["left"]).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, nodes["right"]).tolist(),
        target_treeids=tree[leaf].tolist(),
        target_nodeids=place[leaf].tolist(),
        target_ids=[0] * int(leaf.sum()),
        target_weights=nodes["value"][leaf].tolist(),
    )
    graph = helper.make_graph(
        [ensemble],
        "trees",
        [helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", _ML_OPSET), helper.make_opsetid("", _OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    return bytes(made.SerializeToString())


def _below(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the greatest float32 at or below each threshold: they part the same float32 rows."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
