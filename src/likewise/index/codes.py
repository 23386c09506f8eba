"""Products with int8 rows: a quarter of the bytes of float32, in the processor's own int8 products.

The kernels are those of NumKong, which usearch brings along.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Vectors

LEVELS = 127
"""Largest code; -128 is never used, so that a code and its negative are both there."""

Codes = NDArray[np.int8]


def coded(vectors: Vectors) -> tuple[Codes, NDArray[np.float32], NDArray[np.float32]]:
    """Return ``n`` rows as int8 with one scale each, and what is lost.

    Returns:
        Codes, int8 ``(n, dimensions)``; scales and lengths of the differences, float32 ``(n,)``:
        ``|row - scale * codes| <= lost``.
    """
    rows = vectors.astype(np.float32, copy=False)
    scales = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-30)) / np.float32(LEVELS)
    codes = np.rint(rows / scales[:, None]).astype(np.int8)
    lost = np.linalg.norm(rows - codes * scales[:, None], axis=1).astype(np.float32)
    return codes, scales, lost


def products(query: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the dot products of one vector with ``n`` rows of the same type, float64 ``(n,)``."""
    found: NDArray[np.float64] = np.asarray(_distances()(query[None], rows, "dot"))[0]
    return found


@cache
def _distances() -> Any:
    # A cache that holds nothing loads no kernels.
    from numkong import cdist  # noqa: PLC0415

    return cdist
