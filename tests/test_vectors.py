from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from likewise.embed import Vectors
from likewise.errors import EmbedderError
from likewise.testing import HashingEmbedder
from likewise.vectors import Batches, VectorMemo, _Asked

BAD = "bad"


class Held(HashingEmbedder):
    """Embeds when it is let go, and notes what came together and how many calls ran at once."""

    def __init__(self) -> None:
        super().__init__(32)
        self.go = threading.Event()
        self.calls: list[list[str]] = []
        self.running = self.most = 0
        self._count = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Wait, then embed; a bad text fails the whole call."""
        with self._count:
            self.calls.append(list(texts))
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(10)
        with self._count:
            self.running -= 1
        if any(text.startswith(BAD) for text in texts):
            msg = "a bad text"
            raise EmbedderError(msg)
        return super().embed(texts)


def until(batches: Batches, waiting: int) -> None:
    """Wait until so many texts wait."""
    while len(batches._waiting) < waiting:
        time.sleep(0.001)


def test_what_comes_while_the_embedder_is_busy_goes_together() -> None:
    """The first goes alone at once; the rest as one call when it is back, and none is mixed up."""
    embedder = Held()
    batches = Batches(embedder, places=1)
    texts = [f"question number {n}" for n in range(6)]
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batches.embed, "the first")
        while not embedder.calls:
            time.sleep(0.001)
        others = [pool.submit(batches.embed, text) for text in texts]
        until(batches, len(texts))
        embedder.go.set()
        vectors = [other.result() for other in others]
        np.testing.assert_array_equal(first.result(), HashingEmbedder(32).embed(["the first"])[0])
    assert [len(call) for call in embedder.calls] == [1, 6]
    np.testing.assert_array_equal(np.stack(vectors), HashingEmbedder(32).embed(texts))
    assert batches._free == 1


def test_one_that_fails_takes_no_other_along() -> None:
    """Its own caller is told, the others get their vectors, and the place is free again."""
    embedder = Held()
    batches = Batches(embedder, places=1)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batches.embed, f"{BAD} from the start")
        while not embedder.calls:
            time.sleep(0.001)
        good, bad = pool.submit(batches.embed, "good"), pool.submit(batches.embed, BAD)
        until(batches, 2)
        embedder.go.set()
        assert good.result().shape == (32,)
        for failed in (first, bad):
            with pytest.raises(EmbedderError, match="a bad text"):
                failed.result()
    assert batches._free == 1
    assert batches.embed("another").shape == (32,)


@pytest.mark.parametrize("places", [1, 3])
def test_many_threads_get_what_they_asked_for(places: int) -> None:
    """However they meet, each gets its own vector, and no more calls run than there are places."""
    embedder = Held()
    embedder.go.set()
    batches = Batches(embedder, places=places)
    texts = [f"text {n % 50} of {n}" for n in range(600)]
    with ThreadPoolExecutor(24) as pool:
        vectors = list(pool.map(batches.embed, texts))
    np.testing.assert_array_equal(np.stack(vectors), HashingEmbedder(32).embed(texts))
    assert embedder.most <= places
    assert sum(len(call) for call in embedder.calls) == len(texts)
    assert batches._free == places


def test_what_was_asked_lately_is_not_embedded_again() -> None:
    """In half precision, as the store gives it back; the oldest is forgotten first."""
    embedder = Held()
    embedder.go.set()
    memo = VectorMemo(embedder, size=2)
    vector = memo.of("one")
    assert np.array_equal(vector, vector.astype(np.float16).astype(np.float32))
    for text in ("two", "one", "three", "one", "two"):
        memo.of(text)
    assert [call[0] for call in embedder.calls] == ["one", "two", "three", "two"]


def test_a_server_that_is_down_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who came together is told together, not each after a call of its own."""
    monkeypatch.setattr("likewise.vectors._LATE_S", 0.0)
    embedder = Held()
    batches = Batches(embedder, places=1)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batches.embed, "the first")
        while not embedder.calls:
            time.sleep(0.001)
        others = [pool.submit(batches.embed, f"{BAD} {n}") for n in range(5)]
        until(batches, len(others))
        embedder.go.set()
        for other in others:
            with pytest.raises(EmbedderError):
                other.result()
        assert first.result().shape == (32,)
    assert [len(call) for call in embedder.calls] == [1, 5]
    assert batches._free == 1


class _Interrupted(threading.Event):
    """Ends its waiting as Ctrl-C does, before or after it is told to go on."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self.after = after

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for nothing, or for the turn, and break off."""
        if self.after:
            super().wait(timeout)
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [False, True])
def test_who_is_interrupted_while_waiting_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """Its turn goes to the next, or its place is free again."""
    embedder = Held()
    batches = Batches(embedder, places=1)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batches.embed, "the first")
        while not embedder.calls:
            time.sleep(0.001)
        with monkeypatch.context() as patched:
            patched.setattr(
                "likewise.vectors._Asked", lambda text: _Asked(text, _Interrupted(after=after))
            )
            broken = pool.submit(batches.embed, "interrupted")
            if after:
                until(batches, 1)
            else:
                with pytest.raises(KeyboardInterrupt):
                    broken.result(10)
        embedder.go.set()
        if after:
            with pytest.raises(KeyboardInterrupt):
                broken.result(10)
        assert first.result(10).shape == (32,)
        assert pool.submit(batches.embed, "the next").result(10).shape == (32,)
    assert batches._free == 1
