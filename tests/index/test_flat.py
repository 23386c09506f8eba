import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise.index.flat import _CODED_FROM, Flat

D = 8


def unit(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Random unit vectors, in half precision as the cache's are."""
    vectors = rng.standard_normal((count, D)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16).astype(np.float32)


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


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(
        st.integers(1, 40), st.sampled_from([0.0, 1e-3, 0.05, 0.5, 3.0]), st.sampled_from([3, 100])
    ),
    k=st.integers(1, 9),
    floor=st.sampled_from([-1.0, 0.0, 0.8, 0.95, 0.999]),
)
def test_codes_change_no_result(
    seed: int, shape: tuple[int, float, int], k: int, floor: float
) -> None:
    """A large partition answers what a product with every row answers, near-ties and all.

    ``shape`` is the number of clusters, their spread and the number of dimensions.
    """
    clusters, spread, dimensions = shape
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dimensions))
    exact = centres[rng.integers(0, clusters, _CODED_FROM + 300)]
    exact = exact + spread * rng.standard_normal(exact.shape)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    rows = exact.astype(np.float16).astype(np.float32)
    index = Flat(dimensions)
    for part in np.array_split(rows, 3):
        index.add(part)
    for label in rng.choice(len(rows), 50, replace=False).tolist():
        index.remove(label)
        rows[label] = 0.0
    assert index._view.codes is not None
    asked = rows[0] + 0.01 * rng.standard_normal(dimensions)
    asked = (asked / max(float(np.linalg.norm(asked)), 1e-9)).astype(np.float32)
    every = np.sort(rows @ asked)[::-1]
    expected = [float(every[0]), *(float(s) for s in every[1:k] if s >= floor + 1e-5)]
    found = [similarity for _, similarity in index.search(asked, k, floor)]
    assert found[: len(expected)] == pytest.approx(expected, abs=1e-5)
    assert all(similarity >= floor - 1e-5 for similarity in found[1:])


def test_vectors_come_back_as_they_went_in() -> None:
    """Through any growth, and none when none are asked for."""
    rng = np.random.default_rng(1)
    vectors = unit(rng, 100)
    index = Flat(D)
    for vector in vectors:
        index.add(vector[None])
    np.testing.assert_array_equal(index.vectors([3, 99, 0]), vectors[[3, 99, 0]])
    assert index.vectors([]).shape == (0, D)
    assert index.nbytes >= vectors.nbytes // 2


def test_a_reader_is_not_disturbed_by_growth() -> None:
    """What was published stays as it is when the index grows under a reader."""
    rng = np.random.default_rng(2)
    index = Flat(D, capacity=2)
    index.add(unit(rng, 2))
    seen = index._view
    before = seen.vectors[: seen.used].copy()
    index.add(unit(rng, 50))
    np.testing.assert_array_equal(seen.vectors[: seen.used], before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("count", [3, _CODED_FROM + 1])
def test_what_is_not_a_number_is_near_to_nothing(count: int, value: float) -> None:
    """With and without codes it is an answer, and no similarity passes for one."""
    index = Flat(D)
    index.add(unit(np.random.default_rng(1), count))
    [(_, similarity)] = index.search(np.full(D, value, np.float32), 5, 0.9)
    assert not similarity >= -1.0
