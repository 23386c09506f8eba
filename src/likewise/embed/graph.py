"""The MiniLM encoder as an int8 ONNX graph: built once from the weights, then kept on disk.

How the numbers are made small, and why so:

- A matrix product's weights are int8 with one scale per output column, in 7 bits: processors
  without VNNI add pairs of u8 x s8 products in 16 bits, which 8 bits would overflow.
- Its activations are uint8 with one scale per *token*. One scale per tensor (what ONNX Runtime's
  own dynamic quantisation does) is 15 % faster, but makes a vector depend on what shares its batch,
  and costs accuracy (mean cosine to the fp32 model 0.991 against 0.995 over the reference texts).
- The word embeddings, a third of the model's numbers, are int8 with one scale per word: 24 MB
  instead of 59, at no measurable loss.
- Standard operators, not the fused ones of ``com.microsoft``: measured 5-15 % faster in int8.

All rows of one call have the same length, so there is no padding and no attention mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.embed.weights import MODEL, WEIGHTS_SHA256, read_weights
from likewise.kept import kept

# Name of the way the graph is built. It is part of the embedder's name: change it with anything
# below that changes a vector, and stored vectors are never compared with the new ones.
RECIPE = "int8-v1"
DIMENSIONS = 384
INPUT, OUTPUT = "input_ids", "vector"

_LAYERS, _HEADS = 6, 12
_HEAD_SIZE = DIMENSIONS // _HEADS
_EPSILON = 1e-12
_WEIGHT_LEVELS = 63  # 7 bits, signed and symmetric
_ACTIVATION_LEVELS = 127  # 8 bits, stored around 128
_OPSET, _IR_VERSION = 20, 9  # opset 20 brought Gelu

Array = NDArray[Any]


def load_graph(weights: Path) -> bytes:
    """The serialised ONNX model: from the cache folder, else built from the folder ``weights``.

    Its input ``input_ids`` is int64 of shape ``(texts, tokens)``, its output ``vector`` float32 of
    shape ``(texts, 384)``, each row of length 1. See ``kept`` for what a damaged file does.

    Raises:
        WeightsNotFoundError: The graph must be built and the weights cannot be read.
        WeightsCorruptError: The graph must be built and the weights are not the published ones.
    """
    return kept(
        f"{MODEL}.{RECIPE}.{WEIGHTS_SHA256[:12]}.graph",
        {"weights_sha256": WEIGHTS_SHA256, "recipe": RECIPE},
        lambda: build_graph(read_weights(weights)),
    )


def build_graph(weights: Mapping[str, Array]) -> bytes:
    """The serialised int8 ONNX model of the encoder with these weights (see ``load_graph``)."""
    # Only the first start ever builds: no later one pays for this import.
    from onnx import TensorProto, helper  # noqa: PLC0415

    builder = _Builder(weights)
    hidden = builder.embeddings()
    for layer in range(_LAYERS):
        hidden = builder.attention(hidden, f"encoder.layer.{layer}.attention")
        hidden = builder.feed_forward(hidden, f"encoder.layer.{layer}")
    mean = builder.add("ReduceMean", hidden, builder.constant([1]), keepdims=0)
    builder.add("LpNormalization", mean, output=OUTPUT, axis=-1, p=2)
    graph = helper.make_graph(
        builder.nodes,
        f"{MODEL}/{RECIPE}",
        [helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["texts", "tokens"])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["texts", DIMENSIONS])],
        builder.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    helper.set_model_props(model, {"weights_sha256": WEIGHTS_SHA256, "recipe": RECIPE})
    serialised: bytes = model.SerializeToString()
    return serialised


class _Builder:
    """Nodes and constants of a graph in the making; a tensor is known by its name."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._weights = weights

    def constant(self, value: Array | Sequence[int] | np.generic) -> str:
        from onnx import numpy_helper  # noqa: PLC0415 - see build_graph

        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", domain: str = "", **to: Any) -> str:
        from onnx import helper  # noqa: PLC0415 - see build_graph

        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **to))
        return name

    def embeddings(self) -> str:
        """Word plus position plus (constant) type embedding, normalised."""
        words = self._weights["embeddings.word_embeddings.weight"]
        scales = np.abs(words).max(axis=1, keepdims=True) / np.float32(127)
        small = self.constant(np.rint(words / scales).astype(np.int8))
        rows = self.add("Cast", self.add("Gather", small, INPUT), to=1)
        rows = self.add("Mul", rows, self.add("Gather", self.constant(scales), INPUT))
        places = self._weights["embeddings.position_embeddings.weight"]
        places = places + self._weights["embeddings.token_type_embeddings.weight"][0]
        tokens = self.add("Shape", INPUT, start=1, end=2)
        zero = self.constant([0])
        first = self.add("Slice", self.constant(places), zero, tokens, zero)
        return self._normalised(self.add("Add", rows, first), "embeddings.LayerNorm")

    def attention(self, hidden: str, prefix: str) -> str:
        """Self-attention of every head, projected, added to ``hidden`` and normalised."""
        parts = [f"{prefix}.self.{name}" for name in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([self._weights[f"{part}.bias"] for part in parts])
        # Attention divides by sqrt(head size); folding that into the queries saves a pass.
        weight[:, :DIMENSIONS] /= math.sqrt(_HEAD_SIZE)
        bias[:DIMENSIONS] /= math.sqrt(_HEAD_SIZE)
        joined = self._linear(hidden, weight, bias)
        split = self.constant([0, 0, 3 * _HEADS, _HEAD_SIZE])
        joined = self.add("Reshape", joined, split)
        query, key, value = (self._heads(joined, part) for part in range(3))
        key = self.add("Transpose", key, perm=[0, 1, 3, 2])
        shares = self.add("Softmax", self.add("MatMul", query, key), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, value), perm=[0, 2, 1, 3])
        mixed = self.add("Reshape", mixed, self.constant([0, 0, DIMENSIONS]))
        projected = self._dense(mixed, f"{prefix}.output.dense")
        return self._normalised(self.add("Add", projected, hidden), f"{prefix}.output.LayerNorm")

    def feed_forward(self, hidden: str, prefix: str) -> str:
        """The two dense layers with a Gelu between, added to ``hidden`` and normalised."""
        wide = self.add("Gelu", self._dense(hidden, f"{prefix}.intermediate.dense"))
        narrow = self._dense(wide, f"{prefix}.output.dense")
        return self._normalised(self.add("Add", narrow, hidden), f"{prefix}.output.LayerNorm")

    def _heads(self, joined: str, part: int) -> str:
        """Queries, keys or values (part 0, 1, 2) as (texts, heads, tokens, head size)."""
        start, end = self.constant([part * _HEADS]), self.constant([(part + 1) * _HEADS])
        cut = self.add("Slice", joined, start, end, self.constant([2]))
        return self.add("Transpose", cut, perm=[0, 2, 1, 3])

    def _dense(self, rows: str, prefix: str) -> str:
        weight, bias = self._weights[f"{prefix}.weight"].T, self._weights[f"{prefix}.bias"]
        return self._linear(rows, weight, bias)

    def _linear(self, rows: str, weight: Array, bias: Array) -> str:
        """``rows @ weight + bias`` in int8: a scale per token times a scale per column."""
        scales = np.abs(weight).max(axis=0) / np.float32(_WEIGHT_LEVELS)
        small = self.constant(np.rint(weight / scales).astype(np.int8))
        peaks = self.add("ReduceMax", self.add("Abs", rows), self.constant([-1]), keepdims=1)
        step, middle = np.float32(1 / _ACTIVATION_LEVELS), np.uint8(128)
        row_step, row_middle = self.constant(step), self.constant(middle)
        levels = self.add("QuantizeLinear", self.add("Div", rows, peaks), row_step, row_middle)
        # One operator for the product and its way back to float; nothing standard does both.
        inputs = (levels, small, row_step, self.constant(scales), row_middle)
        product = self.add("MatMulIntegerToFloat", *inputs, domain="com.microsoft")
        return self.add("Add", self.add("Mul", product, peaks), self.constant(bias))

    def _normalised(self, rows: str, prefix: str) -> str:
        gain = self.constant(self._weights[f"{prefix}.weight"])
        shift = self.constant(self._weights[f"{prefix}.bias"])
        return self.add("LayerNormalization", rows, gain, shift, axis=-1, epsilon=_EPSILON)
