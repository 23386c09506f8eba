"""The pair verifier: how probable is it that a candidate's answer is right for a question?"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from likewise.errors import ConfigError
from likewise.files import write_whole
from likewise.learn.evidence import Evidence, Tokens
from likewise.learn.features import NAMES, OWN, Matrix
from likewise.learn.trees import Trees

_FORMAT = 3
_CATEGORY = NAMES.index("category")
_MOST_CERTAIN = 1.0 - 1e-9
"""So that a threshold of 1 is reached by no one."""


@dataclass(frozen=True, slots=True, eq=False)
class Verifier:
    """Boosted trees over pair features, fitted on the labels of the categories it names.

    ``evidence`` is what their words have shown, category by category. ``codes`` gives each category
    a number for the feature ``category``; a category it does not name is not judged: a verifier of
    other categories is no better than the cosine. ``embedder`` is the name of the embedder whose
    cosines it has learned from: those of another mean something else.
    """

    trees: Trees
    evidence: Evidence
    codes: Mapping[str, float]
    embedder: str

    def judge(self, rows: Matrix, tokens: Tokens, *, category: str) -> list[float] | None:
        """Return the probability that each candidate is right, or ``None`` for other categories.

        Args:
            rows: Features of the pairs, see ``compare``; those of evidence are filled in.
            tokens: Of the same pairs.
            category: Of all of them.

        Returns:
            One for each pair, below 1.
        """
        code = self.codes.get(category)
        if code is None:
            return None
        rows[:, _CATEGORY] = code
        rows[:, OWN:] = self.evidence.features(tokens, category)
        # Of a handful of numbers plain Python takes less than NumPy.
        scores = self.trees.scores(rows).tolist()
        return [min(1.0 / (1.0 + math.exp(-score)), _MOST_CERTAIN) for score in scores]

    def checksum(self) -> str:
        """Return what tells this verifier's trees from others'."""
        return sha256(self.trees.model).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the verifier as bytes."""
        meta = {
            "format": _FORMAT,
            "features": NAMES,
            "codes": dict(self.codes),
            "embedder": self.embedder,
            "totals": {name: total.tolist() for name, total in self.evidence.totals.items()},
        }
        arrays: dict[str, Any] = dict(self.evidence.to_arrays())
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            meta=np.frombuffer(msgspec.json.encode(meta), np.uint8),
            trees=np.frombuffer(self.trees.model, np.uint8),
            **arrays,
        )
        return buffer.getvalue()

    def save(self, path: Path) -> str:
        """Write the verifier to ``path`` at once or not at all; return its checksum."""
        data = self.to_bytes()
        write_whole(path, data)
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
    found = verifier_of(data)
    if found is None:
        msg = f"the verifier {path} was written by another version of Likewise; {remedy}"
        raise ConfigError(msg)
    return found


def verifier_of(data: bytes) -> Verifier | None:
    """Return the verifier that ``to_bytes`` gave, or ``None`` when another version did."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        meta = msgspec.json.decode(arrays["meta"].tobytes())
        if meta["format"] != _FORMAT or tuple(meta["features"]) != NAMES:
            return None
        trees = Trees(arrays["trees"].tobytes())
        evidence = Evidence.from_arrays(arrays["slots"], arrays["counts"], meta["totals"])
    return Verifier(trees, evidence, meta["codes"], meta["embedder"])
