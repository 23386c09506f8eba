import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.embed import Embedder
from likewise.errors import ConfigError
from likewise.testing import FakeClock, HashingEmbedder


@given(st.lists(st.text(st.characters(), max_size=60), max_size=5), st.integers(1, 300))
def test_every_text_has_a_unit_vector(texts: list[str], dimensions: int) -> None:
    """No text, not even half a surrogate pair, and no number of dimensions gives a zero vector."""
    vectors = HashingEmbedder(dimensions).embed(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), dimensions)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max(initial=0) < 1e-5


def test_equal_texts_are_equal_and_paraphrases_near() -> None:
    """Texts that share words are nearer than texts that share none."""
    commit, paraphrase, other, again = HashingEmbedder().embed(
        [
            "How do I undo a commit?",
            "how can I undo a commit in git",
            "Best soup in Lisbon",
            "How do I undo a commit?",
        ]
    )
    assert np.array_equal(commit, again)
    assert commit @ paraphrase > 0.6
    assert abs(commit @ other) < 0.3


def test_vectors_are_the_same_in_every_process() -> None:
    """Nothing depends on Python's own hash, which differs from process to process."""
    code = (
        "from likewise.testing import HashingEmbedder;"
        "print(HashingEmbedder(16).embed(['undo a commit']).tobytes().hex())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == HashingEmbedder(16).embed(["undo a commit"]).tobytes().hex()


def test_it_is_an_embedder() -> None:
    """It has the protocol's members, and its name tells its size."""
    embedder: Embedder = HashingEmbedder(64)
    assert embedder.name == "hashing/64"
    assert embedder.dimensions == 64
    assert embedder.fits("long " * 100_000)
    assert "64" in repr(embedder)


def test_no_dimensions_are_refused() -> None:
    """A vector needs at least one component."""
    with pytest.raises(ConfigError, match="dimensions is 0"):
        HashingEmbedder(0)


def test_the_clock_stands_still_until_advanced() -> None:
    """Time passes only when told to."""
    clock = FakeClock(5)
    assert clock() == clock() == 5
    clock.advance(2.5)
    assert clock() == 7.5
