from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.index.hnsw import Hnsw

D = 64


def clustered(rng: np.random.Generator, count: int, spread: float) -> NDArray[np.float32]:
    """Unit vectors in clusters, as paraphrases of questions are, rounded to half precision."""
    centres = rng.standard_normal((max(1, count // 20), D))
    vectors = centres[rng.integers(0, len(centres), count)]
    vectors = vectors + spread * rng.standard_normal((count, D))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rounded: NDArray[np.float32] = vectors.astype(np.float16).astype(np.float32)
    return rounded


@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_the_nearest_is_nearly_always_found(spread: float) -> None:
    """Recall of the nearest is 98 % and more, in dense clusters and in loose ones."""
    rng = np.random.default_rng(7)
    vectors = clustered(rng, 4000, spread)
    index = Hnsw(D)
    for part in np.array_split(vectors, 40):
        index.add(part)
    asked = vectors[rng.integers(0, len(vectors), 500)] + 0.05 * rng.standard_normal((500, D))
    asked = (asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float32)
    best = (asked @ vectors.T).max(axis=1)
    found = np.array([index.search(v, 8, 0.0)[0][1] for v in asked])
    assert np.mean(found >= best - 0.002) >= 0.98


def test_recall_survives_replacing_everything() -> None:
    """Slots of removed vectors are used again without making the graph worse."""
    rng = np.random.default_rng(8)
    vectors = clustered(rng, 3000, 0.3)
    index = Hnsw(D)
    index.add(vectors[:1500])
    for old in range(1500):
        index.add(vectors[1500 + old][None])
        index.remove(old)
    live = vectors[1500:]
    asked = live[::5]
    found = [index.search(v, 8, 0.0)[0] for v in asked]
    assert all(label >= 1500 for label, _ in found)
    assert np.mean([s >= 0.998 for _, s in found]) >= 0.98


def test_similarities_are_cosines() -> None:
    """What comes with a label is the cosine of the two vectors, nearest first."""
    rng = np.random.default_rng(9)
    vectors = clustered(rng, 300, 0.5)
    index = Hnsw(D)
    index.add(vectors)
    found = index.search(vectors[5], 10, -1.0)
    assert len(found) == 10
    assert found[0][0] == 5
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    for label, similarity in found:
        assert similarity == pytest.approx(float(vectors[label] @ vectors[5]), abs=0.005)


def test_below_the_floor_only_the_nearest_is_shown() -> None:
    """The nearest says how near a miss was; the others would only cost time."""
    index = Hnsw(D)
    index.add(np.eye(D, dtype=np.float32)[:20])
    assert len(index.search(np.eye(D, dtype=np.float32)[0], 8, 0.5)) == 1
    assert len(index.search(np.eye(D, dtype=np.float32)[40], 8, 0.5)) == 1


def test_removed_vectors_are_never_found() -> None:
    """Not even when asked for to the letter."""
    rng = np.random.default_rng(10)
    vectors = clustered(rng, 200, 0.5)
    index = Hnsw(D)
    index.add(vectors)
    for label in range(0, 200, 2):
        index.remove(label)
    for label in range(0, 200, 2):
        assert all(found % 2 for found, _ in index.search(vectors[label], 8, -1.0))


def test_vectors_come_back_nearly_as_they_went_in() -> None:
    """To half precision, in the order asked for."""
    rng = np.random.default_rng(11)
    vectors = clustered(rng, 100, 0.5)
    index = Hnsw(D)
    for vector in vectors:
        index.add(vector[None])
    np.testing.assert_allclose(index.vectors([7, 3]), vectors[[7, 3]], atol=1e-3)
    assert index.vectors([7]).dtype == np.float32
    assert index.nbytes > 0


def test_a_full_graph_is_copied_only_to_grow() -> None:
    """Replacing entries one by one in a graph that is full must not copy it every time."""
    rng = np.random.default_rng(12)
    vectors = clustered(rng, 600, 0.5)
    index = Hnsw(D)
    index.add(vectors[:250])
    graphs = set()
    for old in range(300):
        index.remove(old)
        index.add(vectors[250 + old][None])
        graphs.add(id(index._graph))
    assert len(graphs) == 1


def test_the_graph_that_readers_use_does_not_grow_under_them() -> None:
    """Growth happens on a copy: what a reader holds keeps its capacity and its vectors."""
    rng = np.random.default_rng(13)
    vectors = clustered(rng, 400, 0.5)
    index = Hnsw(D)
    index.add(vectors[:10])
    held = index._graph
    capacity = held.capacity
    for vector in vectors[10:]:
        index.add(vector[None])
    assert held.capacity == capacity
    assert len(held) == capacity
    assert index._graph is not held
    assert index.search(vectors[399], 1, 0.0)[0][0] == 399


def test_a_vector_removed_during_a_search_is_left_out() -> None:
    """It shows as the largest label there is; the real race is too rare to wait for."""

    class Raced:
        """A graph from which the second match is removed while the search has it in hand."""

        def search(self, _vector: object, _count: int) -> SimpleNamespace:
            keys = np.array([3, 2**64 - 1, 5], np.uint64)
            return SimpleNamespace(keys=keys, distances=np.array([0.0, 0.1, 0.2], np.float32))

    index = Hnsw(D)
    index._graph = Raced()
    found = index.search(np.ones(D, np.float32), 3, 0.0)
    assert [label for label, _ in found] == [3, 5]
