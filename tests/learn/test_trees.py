import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from likewise.learn.trees import fit_trees


def sample(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which a noisy rule says whether they are right."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 6)).astype(np.float32)
    right = rows[:, 0] + rows[:, 1] * rows[:, 2] + rng.normal(size=count) * 0.3 > 0
    return rows, right


def test_scoring_gives_what_the_library_gives() -> None:
    """Our scores equal scikit-learn's own, for rows seen and unseen."""
    rows, right = sample(4000, 1)
    trees = fit_trees(rows, right, trees=40, leaves=8)
    model = HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.08,
        max_leaf_nodes=8,
        max_depth=7,
        min_samples_leaf=20,
        l2_regularization=20.0,
        early_stopping=False,
        random_state=0,
    ).fit(rows, right)
    unseen = np.concatenate([rows[:500], sample(2000, 2)[0]])
    expected = model.predict_proba(unseen)[:, 1]
    assert np.abs(trees.probability(unseen) - expected).max() < 1e-6


def test_trees_learn() -> None:
    """On unseen rows the trees are right far more often than chance."""
    trees = fit_trees(*sample(4000, 1))
    rows, right = sample(1000, 3)
    assert np.mean((trees.probability(rows) > 0.5) == right) > 0.85


def test_one_row_scores_as_among_many() -> None:
    """A row's probability does not depend on the rows beside it."""
    trees = fit_trees(*sample(2000, 1), trees=20)
    rows, _ = sample(50, 4)
    alone = [trees.probability(row[None])[0] for row in rows]
    assert np.array_equal(alone, trees.probability(rows))


def test_equal_seeds_give_equal_trees() -> None:
    """A fit can be repeated."""
    rows, right = sample(2000, 1)
    first, second = (fit_trees(rows, right, trees=10, seed=5) for _ in range(2))
    assert first.model == second.model
