"""The way to the embedder: a memory of what was asked lately, and company in a crowd."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np

from likewise.embed import Embedder, Vectors

_REMEMBERED = 2048
_MOST_TOGETHER = 16
_LATE_S = 0.5
"""Seconds after which a call that failed is not tried again, text by text."""


class VectorMemo:
    """A small least-recently-used memory in front of an embedder. Safe to use from many threads."""

    def __init__(self, embedder: Embedder, *, size: int = _REMEMBERED) -> None:
        self._batches = Batches(embedder)
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
        vector: Vectors = self._batches.embed(text).astype(np.float16).astype(np.float32)
        with self._lock:
            self._vectors[text] = vector
            if len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
        return vector

    def forget(self) -> None:
        """Forget every vector."""
        with self._lock:
            self._vectors.clear()


@dataclass(slots=True, eq=False)
class _Asked:
    """A text that waits for its vector, or for its turn to fetch those of all who wait."""

    text: str
    turn: threading.Event = field(default_factory=threading.Event)
    vector: Vectors | None = None
    error: Exception | None = None
    leads: bool = False

    @property
    def done(self) -> bool:
        return self.vector is not None or self.error is not None


class Batches:
    """Embeds together what is asked while the embedder is busy. Safe to use from many threads.

    Nobody waits for company: a text that comes while a place is free goes at once, alone. Those
    that come while all are taken go together as soon as one is free, each waiting for at most one
    call that is not its own.

    Args:
        embedder: What makes the vectors.
        places: Calls at once; the embedder's own ``parallel`` if it has one, else one for each
            processor.
    """

    def __init__(self, embedder: Embedder, places: int | None = None) -> None:
        self._embedder = embedder
        self._free = places or getattr(embedder, "parallel", None) or os.cpu_count() or 1
        self._lock = threading.Lock()
        self._waiting: deque[_Asked] = deque()

    def embed(self, text: str) -> Vectors:
        """Return the vector of one text, float32 of shape ``(dimensions,)``.

        Raises:
            EmbedderError: The embedder failed on this text.
        """
        asked = None
        with self._lock:
            if self._free > 0:
                self._free -= 1
            else:
                asked = _Asked(text)
                self._waiting.append(asked)
        if asked is None:
            try:
                vector: Vectors = self._embedder.embed([text])[0]
                return vector
            finally:
                self._hand_on()
        try:
            asked.turn.wait()
        except BaseException:
            self._leave(asked)
            raise
        if asked.leads:
            with self._lock:
                together = [asked, *self._next(_MOST_TOGETHER - 1)]
            self._lead(together)
        if asked.error is not None:
            raise asked.error
        assert asked.vector is not None  # noqa: S101 - one of the two is always there
        return asked.vector

    def _leave(self, asked: _Asked) -> None:
        """Wait no longer, as when a thread is interrupted: a place that was handed on goes on."""
        with self._lock:
            if asked in self._waiting:
                self._waiting.remove(asked)
        if asked.leads:
            self._hand_on()

    def _next(self, most: int) -> list[_Asked]:
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def _lead(self, together: list[_Asked]) -> None:
        """Embed some texts, and hand the place on."""
        try:
            self._embed(together)
        finally:
            self._hand_on()
            for asked in together:
                if not asked.done:
                    asked.error = RuntimeError("the embedder was interrupted")
                asked.turn.set()

    def _hand_on(self) -> None:
        """Give the place to the next who waits, or leave it free."""
        with self._lock:
            if self._waiting:
                heir = self._waiting.popleft()
                heir.leads = True
                heir.turn.set()
            else:
                self._free += 1

    def _embed(self, together: list[_Asked]) -> None:
        started = time.perf_counter()
        try:
            vectors = self._embedder.embed([asked.text for asked in together])
        except Exception as error:
            # What has failed late is a server that is down, of whom each would wait as long again.
            if len(together) == 1 or time.perf_counter() - started > _LATE_S:
                for asked in together:
                    asked.error = error
                return
            # One that cannot be embedded must not take the others along.
            for asked in together:
                self._embed([asked])
            return
        for asked, vector in zip(together, vectors, strict=True):
            asked.vector = vector
