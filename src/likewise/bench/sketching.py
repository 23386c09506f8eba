"""Fits the map of the sketches to our own prompts: ``python -m likewise.bench.sketching``.

It is what ``embed/sketch.npy`` is made with, and what the numbers in ``embed/sketch.py`` are read
from.
"""

from __future__ import annotations

import io
import random
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likewise.classify.examples import builtin_examples
from likewise.demo.prompts import load_prompts
from likewise.embed import Vectors
from likewise.embed.minilm import MiniLM
from likewise.embed.sketch import MAP_FILE, SKETCH_DIMENSIONS, importance
from likewise.embed.weights import find_weights, read_weights

_RIDGE = 1e-4
_COSINES = (0.8, 0.85, 0.9, 0.95)
_LONG_COSINE, _SIDE_BY_SIDE, _DRAWN = 0.85, (1, 2, 4, 8, 12), 600


def fit() -> tuple[NDArray[np.float32], Vectors, Vectors]:
    """Return the map, and the sketches and vectors of the prompts it was fitted to."""
    examples = builtin_examples()
    texts = [text for name in sorted(examples) for text in examples[name]]
    texts += [prompt.text for prompt in load_prompts()]
    model = MiniLM()
    texts = [text for text in dict.fromkeys(texts) if model.fits(text)]
    vectors = model.embed(texts).astype(np.float64)
    words = read_weights(find_weights())["embeddings.word_embeddings.weight"]
    weights = importance(len(words))
    sums = np.stack(
        [(weights[ids, None] * words[ids]).sum(axis=0) for ids in map(model.tokens, texts)]
    ).astype(np.float64)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True)
    gram = sums.T @ sums + _RIDGE * len(sums) * np.eye(sums.shape[1])
    whole = np.linalg.solve(gram, sums.T @ vectors)
    main = np.linalg.svd(sums @ whole, full_matrices=False)[2][:SKETCH_DIMENSIONS]
    # The sign of a direction is arbitrary: the largest number of each is made positive.
    main *= np.sign(main[np.arange(len(main)), np.abs(main).argmax(axis=1)])[:, None]
    found = (whole @ main.T).astype(np.float16)
    sketches = sums @ found.astype(np.float64)
    sketches /= np.linalg.norm(sketches, axis=1, keepdims=True)
    return found.astype(np.float32), sketches.astype(np.float32), vectors.astype(np.float32)


def floors(sketches: Vectors, vectors: Vectors) -> dict[float, tuple[int, float]]:
    """Return for some cosines how many pairs reach them, and what 99 % of these reach coarsely."""
    pairs = np.triu_indices(len(vectors), 1)
    fine, coarse = (vectors @ vectors.T)[pairs], (sketches @ sketches.T)[pairs]
    near = {cosine: coarse[fine >= cosine] for cosine in _COSINES}
    return {cosine: (len(found), float(np.quantile(found, 0.01))) for cosine, found in near.items()}


def lengths(model: MiniLM) -> dict[int, tuple[int, float]]:
    """Return for growing texts how many tokens they have and what 99 % reach coarsely.

    The texts are paraphrases of our own, several of them side by side; only those whose vectors
    have a cosine of ``_LONG_COSINE`` count.
    """
    rng = random.Random(0)  # noqa: S311 - a sample, not a secret
    groups: dict[tuple[str, str], list[str]] = {}
    for prompt in load_prompts():
        asks = groups.setdefault((prompt.category, prompt.key), [])
        if prompt.text not in asks:
            asks.append(prompt.text)
    many = [asks for asks in groups.values() if len(asks) > 1]
    found = {}
    for side in _SIDE_BY_SIDE:
        pairs = [
            tuple(
                map(" ".join, zip(*(rng.sample(a, 2) for a in rng.sample(many, side)), strict=True))
            )
            for _ in range(_DRAWN)
        ]
        pairs = [pair for pair in pairs if all(model.fits(text) for text in pair)]
        ours, theirs = ([pair[place] for pair in pairs] for place in (0, 1))
        fine = (model.embed(ours) * model.embed(theirs)).sum(axis=1)
        coarse = (model.sketch(ours) * model.sketch(theirs)).sum(axis=1)
        tokens = round(float(np.mean([len(model.tokens(text)) for text in ours])))
        found[tokens] = (len(pairs), float(np.quantile(coarse[fine >= _LONG_COSINE], 0.01)))
    return found


def main() -> None:
    """Fit the map, put it in its place and print what the pairs say."""
    found, sketches, vectors = fit()
    buffer = io.BytesIO()
    np.save(buffer, found.astype(np.float16))
    Path(str(files("likewise.embed").joinpath(MAP_FILE))).write_bytes(buffer.getvalue())
    for cosine, (count, floor) in floors(sketches, vectors).items():
        print(f"{count} pairs with {cosine:.2f}: 99 % have {floor:.3f} coarsely")  # noqa: T201
    for tokens, (count, floor) in lengths(MiniLM()).items():
        print(f"{count} pairs of {tokens} tokens: 99 % have {floor:.3f} coarsely")  # noqa: T201


if __name__ == "__main__":
    main()
