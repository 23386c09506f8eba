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


class Sketcher(Protocol):
    """Makes coarse vectors, for a hundredth of the cost. Safe to use from many threads."""

    @property
    def name(self) -> str:
        """Identity of the sketches: two sketchers with one name make the same ones."""

    @property
    def dimensions(self) -> int:
        """Length of a sketch."""

    def sketch(self, texts: Sequence[str]) -> Vectors:
        """Sketch ``n`` texts as float32 of shape ``(n, dimensions)``.

        Each row has length 1, or is all zeros for a text without a known word.

        Raises:
            EmbedderError: A text is not valid Unicode.
        """

    def floor(self, cosine: float) -> float:
        """Return the coarse cosine below which one of at least ``cosine`` is not to be expected.

        It is that of short texts, see ``surplus``.
        """

    def surplus(self, text: str) -> float:
        """Return how much more coarse cosine a text has than a short one, for being long."""


def sketcher_of(embedder: Embedder) -> Sketcher | None:
    """Return what sketches the texts of an embedder: its ``sketcher``, where it has one."""
    return getattr(embedder, "sketcher", None)


class Sketched:
    """An embedder whose vectors are the sketches of another one."""

    def __init__(self, embedder: Embedder, sketcher: Sketcher) -> None:
        self._embedder = embedder
        self._sketcher = sketcher

    @property
    def name(self) -> str:
        """See ``Embedder.name``."""
        return f"{self._embedder.name}/{self._sketcher.name}"

    @property
    def dimensions(self) -> int:
        """See ``Embedder.dimensions``."""
        return self._sketcher.dimensions

    def fits(self, text: str) -> bool:
        """See ``Embedder.fits``."""
        return self._embedder.fits(text)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder.embed``."""
        return self._sketcher.sketch(texts)


__all__ = ["Embedder", "Sketched", "Sketcher", "Vectors", "sketcher_of"]
