from __future__ import annotations

import pytest

from likewise.replay import Plan, Setting, generate, over_seeds
from likewise.replay.seeds import estimate, t_quantile
from likewise.replay.trace import poisson
from likewise.service_time import ServiceTime

from .support import embedded, policy, prompts


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (9, 2.26216), (19, 2.09302), (100, 1.98397)],
)
def test_quantiles_of_student(freedom: int, expected: float) -> None:
    """Those of the tables, for odd and even degrees of freedom."""
    assert t_quantile(0.95, freedom) == pytest.approx(expected, rel=1e-5)


def test_an_interval_needs_two_values() -> None:
    """One value has none; equal values have one of width 0."""
    assert estimate([3.0]).to_dict() == {"mean": 3.0, "low": None, "high": None}
    assert estimate([3.0, 3.0, 3.0]).to_dict() == {"mean": 3.0, "low": 3.0, "high": 3.0}


def test_policies_meet_the_same_requests_and_differences_are_paired() -> None:
    """The interval is that of the differences seed by seed."""
    texts = [prompt.text for prompt in prompts(60)]
    plans = [
        Plan("strict", policy(defaults={"exact_only": True})),
        Plan("loose", policy(defaults={"similarity_threshold": 0.6, "guards": []})),
    ]
    known = embedded(texts)
    told: list[tuple[int, int]] = []
    compared = over_seeds(
        lambda seed: generate(prompts(60), poisson(2.0, 200 + 100 * seed, seed=seed), seed=seed),
        plans,
        Setting(law=ServiceTime(first_token_s=0.2)),
        embedder_of=lambda _: known,
        seeds=[1, 2, 3],
        progress=lambda done, of: told.append((done, of)),
    )
    figures, differences = compared.figures(), compared.differences()
    assert list(differences) == ["loose"]
    less = differences["loose"]["traffic_reduction"]
    assert less.mean > less.half > 0
    calls = differences["loose"]["upstream"]
    assert calls.mean == figures["loose"]["upstream"].mean - figures["strict"]["upstream"].mean
    rows = [[o.figures()["upstream"] for o in compared.outcomes[p.name]] for p in plans]
    pairs = [loose - strict for strict, loose in zip(*rows, strict=True)]
    assert calls.to_dict() == estimate(pairs).to_dict()
    assert figures["strict"]["requests"].mean == 400
    assert [outcome.figures()["requests"] for outcome in compared.outcomes["loose"]] == [
        300,
        400,
        500,
    ]
    assert told[-1][0] == told[-1][1]
    assert set(compared.to_dict()) == {"seeds", "confidence", "policies", "differences"}
