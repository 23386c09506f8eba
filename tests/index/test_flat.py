import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise.index.flat import Flat

D = 8


def unit(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Random unit vectors."""
    vectors = rng.standard_normal((count, D)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def test_nothing_is_found_in_nothing() -> None:
    """An empty index gives no match."""
    assert Flat(D).search(np.ones(D, np.float32), 5, -1.0) == []


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(st.integers(1, 5) | st.just(-1), min_size=1, max_size=20),
    k=st.integers(1, 8),
    floor=st.floats(-1, 1, width=32),
)
def test_it_finds_what_comparing_with_all_finds(
    seed: int, steps: list[int], k: int, floor: float
) -> None:
    """After any additions and removals: the nearest, and the others from the floor up, in order."""
    rng = np.random.default_rng(seed)
    index = Flat(D, capacity=1)
    kept: dict[int, NDArray[np.float32]] = {}
    for step in steps:
        if step > 0:
            vectors = unit(rng, step)
            first = index.add(vectors)
            kept |= {first + i: vector for i, vector in enumerate(vectors)}
        elif kept:
            gone = int(rng.choice(sorted(kept)))
            index.remove(gone)
            kept[gone] = np.zeros(D, np.float32)
    asked = unit(rng, 1)[0]
    truth = sorted(
        ((float(v @ asked), label) for label, v in kept.items()), key=lambda pair: -pair[0]
    )
    found = index.search(asked, k, floor)
    if not truth:
        assert found == []
        return
    above = [pair for pair in truth if pair[0] >= floor]
    expected = above[:k] or truth[:1]
    assert [s for _, s in found] == pytest.approx([s for s, _ in expected], abs=1e-5)
    for label, similarity in found:
        assert similarity == pytest.approx(float(kept[label] @ asked), abs=1e-5)


def test_vectors_come_back_as_they_went_in() -> None:
    """Through any growth, and none when none are asked for."""
    rng = np.random.default_rng(1)
    vectors = unit(rng, 100)
    index = Flat(D)
    for vector in vectors:
        index.add(vector[None])
    np.testing.assert_array_equal(index.vectors([3, 99, 0]), vectors[[3, 99, 0]])
    assert index.vectors([]).shape == (0, D)
    assert index.nbytes >= vectors.nbytes


def test_a_reader_is_not_disturbed_by_growth() -> None:
    """What was published stays as it is when the index grows under a reader."""
    rng = np.random.default_rng(2)
    index = Flat(D, capacity=2)
    index.add(unit(rng, 2))
    seen = index._view
    before = seen.vectors[: seen.used].copy()
    index.add(unit(rng, 50))
    np.testing.assert_array_equal(seen.vectors[: seen.used], before)
