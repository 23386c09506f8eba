import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from likewise.learn.certify import (
    POINT_ESTIMATE,
    certify,
    labels_needed,
    pooled,
    tail,
    upper_bound,
)


@pytest.mark.parametrize(
    ("budget", "needed"), [(0.01, (299, 473, 628)), (0.02, (149, 236, 313)), (0.05, (59, 93, 124))]
)
def test_labels_needed_are_the_published_ones(budget: float, needed: tuple[int, ...]) -> None:
    """With 0, 1 and 2 errors a budget at 5 % risk takes the well-known numbers of labels."""
    assert labels_needed(budget, 0.05) == needed[0]
    for wrong, labels in enumerate(needed):
        assert tail(labels, wrong, budget) <= 0.05 < tail(labels - 1, wrong, budget)


@given(st.integers(1, 400), st.data(), st.sampled_from([0.01, 0.05, 0.5]))
def test_tail_and_bound_say_the_same(labels: int, data: st.DataObject, risk: float) -> None:
    """The binomial tail passes exactly when Clopper and Pearson's bound is within the budget."""
    wrong = data.draw(st.integers(0, labels - 1))
    bound = upper_bound(labels, wrong, risk)
    assert bound == pytest.approx(beta.ppf(1 - risk, wrong + 1, labels - wrong))
    assert tail(labels, wrong, bound) == pytest.approx(risk, rel=1e-6)
    assert tail(labels, wrong, 0.03) == pytest.approx(binom.cdf(wrong, labels, 0.03))


def stream(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and errors whose chance is 1 - score: a perfectly calibrated verifier."""
    rng = np.random.default_rng(seed)
    scores = 1 - rng.uniform(0, 0.3, count) ** 1.5
    return scores, rng.uniform(size=count) > scores


def true_error(threshold: float) -> float:
    """The error per hit above a threshold of ``stream``, by a large sample."""
    scores, wrong = stream(400_000, 99)
    return float(wrong[scores >= threshold].mean())


def test_a_bound_holds_as_often_as_promised() -> None:
    """Over 300 samples the certified threshold breaks its budget no more often than the risk."""
    broken = 0
    certified = 0
    for seed in range(300):
        found = certify(*stream(1500, seed), budget=0.02, risk=0.05)
        if found.threshold is not None:
            certified += 1
            broken += true_error(found.threshold) > 0.02
    assert certified > 100
    assert broken <= binom.ppf(0.999, 300, 0.05)


def test_a_point_estimate_fails_about_half_the_time() -> None:
    """At risk 0.5 the loosest threshold that passes is taken, and it often overshoots."""
    broken = [
        true_error(t) > 0.02
        for seed in range(60)
        if (t := certify(*stream(1500, seed), budget=0.02, risk=POINT_ESTIMATE).threshold)
    ]
    assert 0.2 < np.mean(broken) < 0.95


def test_too_few_labels_certify_nothing_and_say_how_many_are_missing() -> None:
    """Without enough evidence there is no threshold, but the number of labels it would take."""
    found = certify(np.ones(50), np.zeros(50, bool), budget=0.02, risk=0.05)
    assert found.threshold is None
    assert found.missing == labels_needed(0.02, 0.05) == 149
    nothing = certify(np.zeros(0), np.zeros(0, bool), budget=0.02, risk=0.05)
    assert (nothing.threshold, nothing.labels, nothing.bound) == (None, 0, 1.0)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.5]))
def test_what_is_reported_is_what_the_threshold_admits(seed: int, risk: float) -> None:
    """Labels and errors of a certificate are those with a score at or above its threshold."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 20, 800) / 20.0  # many ties
    wrong = rng.uniform(size=800) < np.where(scores > 0.6, 0.004, 0.5)
    found = certify(scores, wrong, budget=0.03, risk=risk)
    if found.threshold is not None:
        admitted = scores >= found.threshold
        assert (found.labels, found.wrong) == (admitted.sum(), wrong[admitted].sum())


def test_together_categories_keep_the_budget() -> None:
    """Over 100 samples the error of all hits exceeds the budget no more often than the risk."""
    broken = 0
    for seed in range(100):
        samples = {name: stream(400, 10 * seed + n) for n, name in enumerate("abc")}
        found = pooled(samples, budget=0.05, risk=0.1, most=1.0, weights=dict.fromkeys("abc", 1.0))
        thresholds = {c.threshold for c in found.values() if c.threshold is not None}
        if thresholds:
            broken += true_error(min(thresholds)) > 0.05
            assert all(c.together for c in found.values() if c.threshold is not None)
    assert broken <= binom.ppf(0.999, 100, 0.1)


def test_a_bad_category_does_not_hide_among_good_ones() -> None:
    """One whose labels err more than allowed gets a stricter threshold, or none."""
    good = (np.full(2_000, 0.99), np.zeros(2_000, np.bool_))
    bad = (np.full(200, 0.995), np.arange(200) % 5 == 0)
    found = pooled(
        {"good": good, "bad": bad}, budget=0.05, risk=0.1, most=0.06, weights={"good": 1, "bad": 1}
    )
    assert found["good"].threshold == 0.99
    assert found["bad"].threshold is None
    assert found["bad"].missing > 0


def test_a_few_labels_take_no_part() -> None:
    """Ten labels without an error are no reason to serve."""
    few = (np.full(10, 0.999), np.zeros(10, np.bool_))
    found = pooled({"few": few}, budget=0.5, risk=0.4, most=0.5, weights={"few": 1.0})
    assert found["few"].threshold is None
