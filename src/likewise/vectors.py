"""The vectors of questions asked lately, so that storing after a miss embeds nothing again."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from likewise.embed import Embedder, Vectors

_REMEMBERED = 2048


class VectorMemo:
    """A small least-recently-used memory in front of an embedder."""

    def __init__(self, embedder: Embedder, *, size: int = _REMEMBERED) -> None:
        self._embedder = embedder
        self._size = size
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    def of(self, text: str) -> Vectors:
        """Return the vector of ``text``, float32 of shape ``(dimensions,)``.

        It is rounded to half precision, so that it is the same before and after a restart.

        Raises:
            EmbedderError: The embedder failed.
        """
        with self._lock:
            known = self._vectors.get(text)
            if known is not None:
                self._vectors.move_to_end(text)
                return known
        vector: Vectors = self._embedder.embed([text])[0].astype(np.float16).astype(np.float32)
        with self._lock:
            self._vectors[text] = vector
            if len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
        return vector
