"""Stand-ins for tests: an embedder that needs no model, a clock that stands still, a server."""

from __future__ import annotations

import re
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from likewise.embed import Vectors
from likewise.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# A word weighs as much as its character 3-grams together do for a word of four letters.
_WORD_WEIGHT = 2.0
_GRAM_WEIGHT = 1.0
_GRAM = 3


class HashingEmbedder:
    """Vectors from hashed words and character 3-grams: the same on every machine, without a model.

    Texts that share words are near, equal texts are equal, and no text gives a zero vector. It
    knows no meaning: a synonym is as far as any other word. Safe to call from many threads.

    Raises:
        ConfigError: ``dimensions`` is below 1.
    """

    def __init__(self, dimensions: int = 256) -> None:
        if dimensions < 1:
            raise ConfigError(f"dimensions is {dimensions}: give at least 1")
        self._dimensions = dimensions

    def __repr__(self) -> str:
        return f"HashingEmbedder(dimensions={self._dimensions})"

    @property
    def name(self) -> str:
        """``hashing/DIMENSIONS``."""
        return f"hashing/{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._dimensions

    def fits(self, text: str) -> bool:
        """True: a text of any length is read whole."""
        return True

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed ``n`` texts as float32 of shape ``(n, dimensions)``, each row of length 1."""
        vectors = np.zeros((len(texts), self._dimensions))
        for vector, text in zip(vectors, texts, strict=True):
            for feature, weight in _features(text):
                place, sign = self._slot(feature)
                vector[place] += sign * weight
            if not vector.any():  # no words, or features that cancelled each other
                place, sign = self._slot(text)
                vector[place] = sign
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Vectors = (vectors / norms).astype(np.float32)
        return unit

    def _slot(self, feature: str) -> tuple[int, int]:
        """The component a feature adds to, and with which sign."""
        code = zlib.crc32(feature.encode(errors="surrogatepass"))
        return (code >> 1) % self._dimensions, 1 if code & 1 else -1


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Every word of ``text`` and its character 3-grams, with their weights."""
    for word in re.findall(r"\w+", text.casefold()):
        yield f"={word}", _WORD_WEIGHT
        framed = f"<{word}>"
        for start in range(len(framed) - _GRAM + 1):
            yield framed[start : start + _GRAM], _GRAM_WEIGHT


class FakeClock:
    """A clock for tests: call it for seconds, ``advance`` it by hand.

    >>> clock = FakeClock()
    >>> clock.advance(1.5)
    >>> clock()
    1.5
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def __call__(self) -> float:
        """Seconds now."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass; a negative number turns the clock back."""
        self._now_s += seconds


@contextmanager
def running(app: ASGIApp) -> Iterator[str]:
    """Serve an ASGI application from a thread, on a free port of this machine.

    Yields its address, ``http://127.0.0.1:PORT``. On leaving, requests under way get five seconds.

    Raises:
        RuntimeError: The application did not start.
    """
    import uvicorn  # noqa: PLC0415 - whoever wants the embedder only need not load a server

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while thread.is_alive() and not server.started:
        time.sleep(0.005)
    if not server.started:
        listener.close()
        raise RuntimeError("the application did not start; its own log says why")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
