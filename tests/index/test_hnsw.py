import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.bench.crossover import clustered as sentences
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
    """To eight bits, in the order asked for."""
    rng = np.random.default_rng(11)
    vectors = clustered(rng, 100, 0.5)
    index = Hnsw(D)
    for vector in vectors:
        index.add(vector[None])
    np.testing.assert_allclose(index.vectors([7, 3]), vectors[[7, 3]], atol=3e-3)
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
    """It has the largest label there is, or no vector; the real race is too rare to wait for."""

    class Raced:
        """A graph from which the second match is removed while the search has it in hand."""

        def search(self, _vector: object, _count: int) -> SimpleNamespace:
            keys = np.array([3, 2**64 - 1, 5, 7], np.uint64)
            return SimpleNamespace(keys=keys, distances=np.array([0.0, 0.1, 0.2, 0.2], np.float32))

        def get(self, labels: NDArray[np.uint64]) -> list[NDArray[np.int8] | None]:
            return [None if label == 7 else np.ones(D, np.int8) for label in labels.tolist()]

    index = Hnsw(D)
    index._graph = Raced()
    found = index.search(np.ones(D, np.float32), 3, 0.0)
    assert [label for label, _ in found] == [3, 5]


REFERENCE = Path(__file__).parent.parent / "data" / "minilm_reference.json"


def minilm() -> NDArray[np.float32]:
    """Vectors that a real embedder made of sentences."""
    rows = json.loads(REFERENCE.read_text("utf-8"))["rows"]
    vectors = np.array([row["vector"] for row in rows], np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize(
    ("vectors", "usual", "most"),
    [(minilm(), 0.0005, 0.0025), (sentences(1_000, seed=14), 0.001, 0.006)],
    ids=["MiniLM", "clustered"],
)
def test_a_cosine_is_off_by_one_rounding_at_most(
    vectors: NDArray[np.float32], usual: float, most: float
) -> None:
    """That of the vector held; the one asked for is compared as it is."""
    index = Hnsw(384)
    index.add(vectors)
    off = [
        similarity - float(vectors[label] @ query)
        for query in vectors[:100]
        for label, similarity in index.search(query, 8, -1.0)
    ]
    assert np.std(off) < usual
    assert np.abs(off).max() < most


def test_compacting_again_and_again_changes_nothing() -> None:
    """What is taken out and put in again is rounded to the same codes."""
    vectors = sentences(500, seed=16)
    labels = list(range(500))
    once = Hnsw(384)
    once.add(vectors)
    held = once.vectors(labels)
    for _ in range(3):
        again = Hnsw(384)
        again.add(held)
        np.testing.assert_array_equal(
            again._graph.get(np.arange(500, dtype=np.uint64)),
            once._graph.get(np.arange(500, dtype=np.uint64)),
        )
        np.testing.assert_allclose(np.linalg.norm(held, axis=1), 1.0, atol=1e-5)
        held = again.vectors(labels)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_hides_nothing(value: float) -> None:
    """Neither in what is held nor in what is asked."""
    rng = np.random.default_rng(17)
    vectors = clustered(rng, 200, 0.5)
    broken = vectors.copy()
    broken[50] = value
    index = Hnsw(D)
    index.add(broken)
    assert index.search(vectors[7], 8, 0.9)[0][0] == 7
    [(_, similarity)] = index.search(np.full(D, value, np.float32), 5, 0.9)
    assert not similarity >= -1.0
