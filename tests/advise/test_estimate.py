from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.advise.estimate import (
    Estimate,
    at,
    doubly_robust,
    effective,
    ips,
    monotone,
    snips,
)

REQUESTS = 4_000
THRESHOLD = 0.8


def logged(seed: int) -> tuple[np.ndarray, ...]:
    """Requests whose best candidate is right with a chance equal to its score.

    What would have been a hit, above 0.9, is labelled with a chance of 0.2, all else for free.
    """
    rng = np.random.default_rng(seed)
    scores = rng.random(REQUESTS)
    right = (rng.random(REQUESTS) < scores).astype(float)
    propensity = np.where(scores >= 0.9, 0.2, 1.0)
    seen = rng.random(REQUESTS) < propensity
    return scores, right, propensity, seen


TRUE_RIGHT = (1.0 - THRESHOLD**2) / 2.0
TRUE_WRONG_PER_HIT = 1.0 - TRUE_RIGHT / (1.0 - THRESHOLD)


def estimates(seed: int) -> tuple[Estimate, Estimate, Estimate]:
    """What each estimator makes of one log for the threshold above."""
    scores, right, propensity, seen = logged(seed)
    chosen = seen & (scores >= THRESHOLD)
    weights = 1.0 / propensity[chosen]
    fitted = monotone(scores[seen], right[seen], 1.0 / propensity[seen])
    acts = scores[scores >= THRESHOLD]
    return (
        ips(right[chosen], weights, REQUESTS),
        snips(1.0 - right[chosen], weights),
        doubly_robust(
            at(fitted, acts), right[chosen], at(fitted, scores[chosen]), weights, REQUESTS
        ),
    )


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 200 logs, each estimator's interval of 95 % has the truth in at least 90 %."""
    truths = (TRUE_RIGHT, TRUE_WRONG_PER_HIT, TRUE_RIGHT)
    held = np.zeros(3)
    for seed in range(200):
        for place, (found, truth) in enumerate(zip(estimates(seed), truths, strict=True)):
            held[place] += found.low <= truth <= found.high
    assert held.min() >= 180, held


def test_no_estimator_leans_to_one_side() -> None:
    """Over many logs the mean is the truth; labels alone, unweighed, would be wrong."""
    found = np.array([[e.value for e in estimates(seed)] for seed in range(200)])
    assert found.mean(axis=0) == pytest.approx(
        [TRUE_RIGHT, TRUE_WRONG_PER_HIT, TRUE_RIGHT], rel=0.02
    )
    naive = []
    for seed in range(50):
        scores, right, _, seen = logged(seed)
        naive.append(1.0 - right[seen & (scores >= THRESHOLD)].mean())
    assert np.mean(naive) > 1.2 * TRUE_WRONG_PER_HIT


def test_a_model_makes_the_estimate_sharper() -> None:
    """The doubly robust one varies less than inverse propensities alone."""
    found = np.array([[e.value for e in estimates(seed)] for seed in range(200)])
    assert found[:, 2].std() < 0.8 * found[:, 0].std()


def test_no_error_seen_is_not_no_error() -> None:
    """The interval has an upper end above nothing, and more labels bring it down."""
    few, many = (snips(np.zeros(n), np.ones(n)) for n in (50, 1_000))
    assert few.value == many.value == 0.0
    assert few.high > many.high > 0.0


def test_nothing_seen_says_nothing() -> None:
    """The interval is everything."""
    none = np.zeros(0)
    assert snips(none, none) == Estimate(0.0, 0.0, 1.0, 0.0)
    assert ips(none, none, 0).labels == 0.0
    assert at(monotone(none, none, none), np.array([0.5])).tolist() == [0.0]


def test_labels_of_unequal_weight_count_less() -> None:
    """One that weighs as much as all others is worth about two."""
    assert effective(np.ones(100)) == pytest.approx(100.0)
    assert effective(np.array([100.0] + [1.0] * 100)) < 5.0


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 1), st.floats(0.5, 4)), min_size=1, max_size=40
    )
)
def test_the_fit_never_falls(points: list[tuple[float, int, float]]) -> None:
    """And stays within what was seen; its weighted mean is that of the rewards."""
    scores, rewards, weights = (np.array(column, float) for column in zip(*points, strict=True))
    fitted = monotone(scores, rewards, weights)
    values = fitted[1]
    assert (np.diff(values) >= -1e-12).all()
    assert values.min() >= rewards.min() - 1e-12
    assert values.max() <= rewards.max() + 1e-12
    order = np.argsort(scores, kind="stable")
    if len(np.unique(scores)) == len(scores):
        mean = (at(fitted, scores[order]) * weights[order]).sum() / weights.sum()
        assert mean == pytest.approx((rewards * weights).sum() / weights.sum())
