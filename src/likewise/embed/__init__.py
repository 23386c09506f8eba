"""Embedders: from texts to unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """What the cache needs of an embedder. Implementations are safe to call from many threads.

    ``name`` identifies the vectors: two embedders with one name give interchangeable vectors, and
    vectors stored under another name are never compared with this one's.
    """

    @property
    def name(self) -> str:
        """Identity of the vectors this embedder makes."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def fits(self, text: str) -> bool:
        """Whether the whole text is read: a cut text would look equal to every text it begins."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed ``n`` texts as float32 of shape ``(n, dimensions)``, each row of length 1.

        Raises:
            EmbedderError: The embedder failed or did not answer in time.
        """


__all__ = ["Embedder", "Vectors"]
