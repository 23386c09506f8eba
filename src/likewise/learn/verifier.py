"""The pair verifier: how probable is it that a candidate's answer is right for a question?"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from likewise.errors import ConfigError
from likewise.learn.features import NAMES, Readings, Vocabulary, pair_features
from likewise.learn.trees import Trees

CANDIDATES = 5
"""How many of the nearest entries are judged."""

_FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Verifier:
    """Boosted trees over pair features, fitted on the labels of the categories it names.

    ``codes`` gives each category a number for the feature ``category``; a category it does not name
    is not judged: a verifier of other categories is no better than the cosine. ``embedder`` is the
    name of the embedder whose cosines it has learned from: those of another mean something else.
    """

    trees: Trees
    codes: Mapping[str, float]
    embedder: str

    def judge(
        self,
        question: str,
        candidates: Sequence[tuple[str, float]],
        *,
        category: str,
        vocabulary: Vocabulary,
        readings: Readings,
    ) -> NDArray[np.float64] | None:
        """Return the probability that each candidate is right, or ``None`` for other categories.

        Args:
            question: What is asked.
            candidates: Stored questions with their cosines, nearest first; of more than
                ``CANDIDATES`` the first are judged, and the next one tells how far they stand out.
            category: Of all of them.
            vocabulary: Of the category's stored questions.
            readings: Remembers how texts read.

        Returns:
            float64 of shape ``(min(n, CANDIDATES),)``.
        """
        code = self.codes.get(category)
        if code is None:
            return None
        judged = candidates[:CANDIDATES]
        rows = pair_features(
            readings.of(question),
            [readings.of(text) for text, _ in judged],
            [cosine for _, cosine in judged],
            next_cosine=candidates[len(judged)][1] if len(candidates) > len(judged) else 0.0,
            vocabulary=vocabulary,
            category=code,
        )
        return self.trees.probability(rows)

    def save(self, path: Path) -> str:
        """Write the verifier to ``path`` at once or not at all; return its checksum."""
        meta = {
            "format": _FORMAT,
            "features": NAMES,
            "codes": dict(self.codes),
            "embedder": self.embedder,
            "base": self.trees.base,
            "depth": self.trees.depth,
        }
        arrays: dict[str, Any] = {
            field.name: value
            for field in fields(Trees)
            if isinstance(value := getattr(self.trees, field.name), np.ndarray)
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, meta=np.frombuffer(msgspec.json.encode(meta), np.uint8), **arrays
        )
        data = buffer.getvalue()
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(data)
        temporary.replace(path)
        return sha256(data).hexdigest()


def load_verifier(path: Path, checksum: str) -> Verifier:
    """Read the verifier at ``path``.

    Raises:
        ConfigError: It cannot be read, is not the one with this checksum, or of another version.
    """
    remedy = "run likewise tune again, or copy the file that was written with the policy"
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"cannot read the verifier {path}: {error.strerror}; {remedy}"
        raise ConfigError(msg) from error
    if sha256(data).hexdigest() != checksum:
        msg = f"the verifier {path} is not the one its policy was tuned with (checksum); {remedy}"
        raise ConfigError(msg)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        meta = msgspec.json.decode(arrays["meta"].tobytes())
        if meta["format"] != _FORMAT or tuple(meta["features"]) != NAMES:
            msg = f"the verifier {path} was written by another version of Likewise; {remedy}"
            raise ConfigError(msg)
        trees = Trees(
            **{name: arrays[name] for name in arrays.files if name != "meta"},
            base=meta["base"],
            depth=meta["depth"],
        )
    return Verifier(trees, meta["codes"], meta["embedder"])
