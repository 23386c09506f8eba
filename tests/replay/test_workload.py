from __future__ import annotations

from collections import Counter

import pytest

from likewise.errors import ConfigError
from likewise.replay import generate
from likewise.replay.trace import poisson
from likewise.replay.workload import Changes, Workload, demo_prompts

from .support import asked, prompts

ARRIVALS = poisson(5.0, 4_000, seed=1)


def keys(workload: Workload) -> list[str]:
    """The answers asked for, in order."""
    return [request.answer_key for request in workload]


def test_equal_seeds_give_equal_workloads() -> None:
    """And another seed another one."""
    one, same, other = (generate(prompts(), ARRIVALS, seed=seed) for seed in (1, 1, 2))
    assert list(one) == list(same)
    assert keys(one) != keys(other)


def test_requests_repeat_after_zipfs_law() -> None:
    """The most popular answer is asked for about twice as often as the second at exponent 1."""
    counts = [n for _, n in Counter(keys(generate(prompts(), ARRIVALS))).most_common()]
    assert counts[0] / counts[1] == pytest.approx(2.0, rel=0.2)
    even = Counter(keys(generate(prompts(), ARRIVALS, zipf=0.0)))
    assert max(even.values()) < 2 * min(even.values())
    assert len(even) == 30


def test_repeats_come_in_every_wording() -> None:
    """Both prompts of the most popular answer are asked."""
    workload = generate(prompts(), ARRIVALS)
    first, _ = Counter(keys(workload)).most_common(1)[0]
    assert len({r.text for r in workload if r.answer_key == first}) == 2


def test_an_exponent_and_a_share_of_its_own_for_a_category() -> None:
    """The mix is as asked, and the exponent without a name is that of the others."""
    both = [*prompts(), *prompts(category="sql")]
    workload = generate(
        both, ARRIVALS, zipf={"sql": 0.0, "": 1.5}, mix={"git": 1, "sql": 3}, seed=2
    )
    found = {name: [r for r in workload if r.category == name] for name in ("git", "sql")}
    assert len(found["sql"]) / len(workload) == pytest.approx(0.75, abs=0.03)
    shares = {
        name: Counter(r.answer_key for r in rows).most_common(1)[0][1] / len(rows)
        for name, rows in found.items()
    }
    assert shares["git"] > 5 * shares["sql"]


def test_without_a_mix_categories_come_as_they_have_prompts() -> None:
    """A category with twice the prompts is asked about twice as often."""
    workload = generate([*prompts(40), *prompts(20, "sql")], ARRIVALS)
    counts = Counter(r.category for r in workload)
    assert counts["git"] / counts["sql"] == pytest.approx(2.0, rel=0.2)


def test_tenants_ask_each_as_often() -> None:
    """And tokens and times are those of the arrivals."""
    workload = generate(prompts(), ARRIVALS, tenants=4)
    counts = Counter(r.tenant for r in workload)
    assert len(counts) == 4
    assert max(counts.values()) < 1.3 * min(counts.values())
    assert [r.t_s for r in workload] == ARRIVALS.times_s.tolist()
    assert [r.output_tokens for r in workload] == ARRIVALS.output_tokens.tolist()


def test_only_what_is_asked_must_be_embedded() -> None:
    """Texts that no request draws are not among them."""
    workload = generate(prompts(2_000), poisson(1.0, 10, seed=0))
    assert sorted(workload.texts) == sorted({r.text for r in workload})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mix": {"cooking": 1.0}}, "--mix: there are no prompts of category 'cooking'"),
        ({"mix": {"git": 0.0}}, "--mix: no category has a share"),
        ({"zipf": {"git": -1.0}}, "--zipf: git is -1"),
        ({"zipf": {"": float("nan")}}, "--zipf: all is nan"),
        ({"lifetimes_s": {"prices": 60.0}}, "--lifetime: there are no prompts"),
    ],
)
def test_wrong_wishes_are_refused(wrong: dict[str, dict[str, float]], told: str) -> None:
    """The message names the option and the category."""
    with pytest.raises(ConfigError, match=told):
        generate(prompts(), ARRIVALS, **wrong)  # type: ignore[arg-type]


def test_no_prompts_make_no_requests() -> None:
    """It is said, not divided by zero."""
    with pytest.raises(ConfigError, match="no prompts"):
        generate([], ARRIVALS)


def test_the_demo_has_prompts_with_truth() -> None:
    """Some answers have several wordings, and no two categories share an answer."""
    found = demo_prompts()
    categories: dict[str, set[str]] = {}
    for prompt in found:
        categories.setdefault(prompt.answer_key, set()).add(prompt.category)
    assert len(found) > len(categories) > 50
    assert all(len(names) == 1 for names in categories.values())


def test_answers_change_at_their_mean_lifetime() -> None:
    """Versions only grow, at the rate asked for; other categories' answers never change."""
    workload = asked((0.0, "price"), (1.0, "other"), lifetimes_s={"git": 10.0}, seed=4)
    changes = Changes(workload)
    versions = [changes.version(workload.questions[0], float(t)) for t in range(0, 20_000, 10)]
    assert versions == sorted(versions)
    assert versions[-1] == pytest.approx(2_000, rel=0.1)
    assert changes.version(workload.questions[0], 500.0) == versions[50]  # looking back
    assert [changes.version(workload.questions[1], float(t)) for t in range(0, 20_000, 10)] != (
        versions
    )
    calm = Changes(asked((0.0, "price"), category="math", lifetimes_s={"git": 10.0}))
    assert calm.version(asked((0.0, "price"), category="math").questions[0], 1e9) == 0
