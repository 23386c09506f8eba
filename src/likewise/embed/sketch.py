"""Sketches: coarse vectors of texts from the words alone, a hundredth of the transformer's cost.

A sketch is the weighted sum of the embedder's own input word embeddings, turned into the space of
its vectors by a linear map and cut to the directions that matter most there. It knows neither the
order of the words nor what they mean in their place, but two texts whose vectors are near nearly
always have sketches that are near: so a question whose sketch is far from all others need not be
embedded to know that nothing stored resembles it.

Rare words weigh more: by the logarithm of their rank (G. K. Zipf's law makes it that of their
rarity), as in S. Arora et al., "A simple but tough-to-beat baseline for sentence embeddings" (ICLR
2017), with ranks in place of counts. The vocabulary is in the order of frequency.

The map (``sketch.npy``) is a ridge regression from such sums to vectors, fitted on prompts written
for this project: ``python -m likewise.bench.sketching`` fits it anew.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Vectors
from likewise.embed.weights import WEIGHTS_SHA256, read_weights
from likewise.kept import kept

RECIPE = "sketch-v1"
SKETCH_DIMENSIONS = 128
MAP_FILE = "sketch.npy"

_WORDS = "embeddings.word_embeddings.weight"
_COMMON = 1_000
"""Places at the head of the vocabulary that are no words: unused ones, marks and characters."""

_ANCHOR, _AT_ANCHOR, _SLOPE = 0.95, 0.895, 0.78
"""Of paraphrases among our own prompts whose vectors have a cosine of 0.95 and more, 99 % have
sketches with 0.895 and more; with every hundredth less of the one 0.0078 less of the other
(printed by ``python -m likewise.bench.sketching``)."""

_CAUTION, _MORE_CAUTION = 0.13, 1.0
"""How much less is taken for possible, for other people's texts are not ours: so much, and more the
looser the threshold, for what is less alike has more ways to be in other words."""


_SHORT, _PER_DOUBLING = 16, 0.04
"""Tokens of a text that is short, and how much nearer sketches are for each time as many: sums of
more words have less chance in them. Of our own prompts, several side by side, it is about 0.05
(printed as above)."""


def surplus_of(tokens: int) -> float:
    """Return how much nearer sketches of texts so long are than those of short ones."""
    return _PER_DOUBLING * math.log2(max(tokens, _SHORT) / _SHORT)


def expected_floor(cosine: float) -> float:
    """Return the coarse cosine below which texts with at least ``cosine`` are not to be expected.

    See docs/performance.md for how often it is wrong. Service corrects it, see ``gate``.
    """
    below = _ANCHOR - cosine
    return _AT_ANCHOR - _CAUTION - (_SLOPE + _MORE_CAUTION) * below


def importance(vocabulary: int) -> NDArray[np.float32]:
    """Return what each word of the vocabulary counts, float32 ``(vocabulary,)``."""
    ranks = np.maximum(np.arange(vocabulary) - _COMMON, 1)
    return np.log1p(ranks).astype(np.float32)


def load_table(weights: Path) -> NDArray[np.float32]:
    """Return what each word adds to a sketch, float32 ``(vocabulary, SKETCH_DIMENSIONS)``.

    From the cache folder, else made of the weights in the folder ``weights``.

    Raises:
        WeightsNotFoundError: It must be made and the weights cannot be read.
        WeightsCorruptError: It must be made and the weights are not the published ones.
    """
    fitted = load_map()

    def make() -> bytes:
        words = read_weights(weights)[_WORDS]
        table = (importance(len(words))[:, None] * words) @ fitted
        # Only directions count: scaled so that no sum leaves the range of half precision.
        table /= np.abs(table).max()
        return _saved(table.astype(np.float16))

    content = kept(
        f"{RECIPE}.{WEIGHTS_SHA256[:12]}.npy",
        {
            "weights_sha256": WEIGHTS_SHA256,
            "recipe": RECIPE,
            "map_sha256": _digest(fitted),
        },
        make,
    )
    table: NDArray[np.float16] = np.load(io.BytesIO(content), allow_pickle=False)
    # Twice the memory, 16 MB, for a tenth of the time of a sum.
    return table.astype(np.float32)


@cache
def sketch_name() -> str:
    """Return what identifies sketches: the way they are made, and the map."""
    return f"{RECIPE}.{_digest(load_map())[:12]}"


def _digest(fitted: NDArray[np.float32]) -> str:
    return sha256(fitted.tobytes()).hexdigest()


def load_map() -> NDArray[np.float32]:
    """Return the map from sums of word embeddings to sketches, float32 ``(384, 128)``."""
    content = files("likewise.embed").joinpath(MAP_FILE).read_bytes()
    fitted: NDArray[np.float16] = np.load(io.BytesIO(content), allow_pickle=False)
    return fitted.astype(np.float32)


def summed(table: NDArray[np.float32], rows: Sequence[Sequence[int]]) -> Vectors:
    """Return the sketches of ``n`` texts given as tokens, see ``Sketcher.sketch``."""
    sketches = np.zeros((len(rows), table.shape[1]), np.float32)
    for place, tokens in enumerate(rows):
        if tokens:
            np.add.reduce(table[tokens], axis=0, out=sketches[place])
    lengths = np.sqrt(np.einsum("ij,ij->i", sketches, sketches))[:, None]
    unit: Vectors = sketches / np.maximum(lengths, np.float32(1e-12))
    return unit


def _saved(array: NDArray[np.float16]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
