"""The coarse vectors of a partition's entries, for the gate before the embedder."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from likewise.embed import Vectors
from likewise.index.codes import Codes, products

_GROWTH = 1.25
_STEP = 1.0 / 127.0
"""Between two codes: it makes a coarse cosine a few thousandths uncertain, less than a bound is."""


class _View(NamedTuple):
    codes: Codes
    used: int
    missing: int


class Sketches:
    """Rows of sketches in int8, in the order of the partition's own rows.

    Readers take no lock, as in ``Flat``; writers must be serialised by the caller.
    """

    def __init__(self, dimensions: int, capacity: int = 1) -> None:
        self._view = _View(np.zeros((max(capacity, 1), dimensions), np.int8), 0, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return self._view.codes.nbytes

    def add(self, sketches: Vectors | None, count: int) -> None:
        """Append ``count`` rows, float32 ``(count, dimensions)``; ``None`` when they are not known.

        While any row is not known, nothing can be told.
        """
        codes, first, missing = self._view
        end = first + count
        if end > len(codes):
            grown = np.zeros((max(end, int(_GROWTH * len(codes)) + 1), codes.shape[1]), np.int8)
            grown[:first] = codes[:first]
            codes = grown
        if sketches is None:
            missing += count
        else:
            codes[first:end] = code(sketches)
        self._view = _View(codes, end, missing)

    def remove(self, label: int) -> None:
        """Make a row similar to nothing."""
        self._view.codes[label] = 0

    def kept(self, labels: list[int]) -> Sketches:
        """Return new sketches with the rows of ``labels``, in this order."""
        codes, _, missing = self._view
        new = Sketches(codes.shape[1])
        new._view = _View(codes[labels], len(labels), missing)
        return new

    @property
    def rows(self) -> Codes:
        """The codes of every row."""
        view = self._view
        return view.codes[: view.used]

    @property
    def missing(self) -> int:
        """How many rows are not known."""
        return self._view.missing

    @classmethod
    def of(cls, codes: Codes, missing: int) -> Sketches:
        """Return sketches made of their codes."""
        new = cls(codes.shape[1])
        new._view = _View(codes, len(codes), missing)
        return new

    def nearest(self, sketch: Codes) -> float:
        """Return the greatest cosine of a coded sketch, int8 ``(dimensions,)``, with any row.

        1 when it cannot be told.
        """
        codes, used, missing = self._view
        if missing or not used:
            return 1.0 if missing else -1.0
        best = float(products(sketch, codes[:used]).max())
        return best * _STEP * _STEP


def code(sketch: Vectors) -> Codes:
    """Return sketches as int8 of the same shape."""
    codes: Codes = np.rint(sketch / _STEP).astype(np.int8)
    return codes
