from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from likewise.advise import advise, inputs, inputs_of, read_events
from likewise.advise.capacity import Inputs, plan
from likewise.advise.events import Event, History, Logged
from likewise.advise.lifetimes import advise_life
from likewise.advise.quotas import advise_quotas
from likewise.advise.thresholds import advise_threshold
from likewise.config import parse
from likewise.errors import ConfigError


def history(
    error_above: float, *, current: float = 0.95, count: int = 3_000, audited: float = 0.3
) -> History:
    """Requests of a category whose candidates are wrong below a score and hardly ever above it."""
    rng = random.Random(5)  # noqa: S311 - a sample
    found = History()
    for number in range(count):
        score = rng.random()
        right = rng.random() < (0.999 if score >= error_above else 0.4)
        hit = score >= current
        found.requests.append(
            Event(
                "request", float(number), f"r{number}", category="faq", question_hash=f"{number}",
                decision="hit" if hit else "miss", tier="semantic" if hit else None,
                similarity=score, similarity_threshold=current, ttl_s=1e9,
            )
        )  # fmt: skip
        if not hit or rng.random() < audited:
            found.labels.append(
                Event(
                    "label", float(number), category="faq", kind="similarity", score=score,
                    right=right, propensity=audited if hit else 1.0, audited=hit,
                )
            )  # fmt: skip
    return found


def test_a_threshold_is_loosened_as_far_as_labels_allow() -> None:
    """Near where errors begin, not beyond, and the gain is what it truly brings."""
    advice = advise_threshold(history(0.8), budget=0.05)
    assert advice is not None
    assert advice.best is not None
    assert advice.key == "similarity_threshold"
    assert 0.77 < advice.best.threshold < 0.86
    assert advice.best.error.high <= 0.05
    gain = advice.best.right.value - advice.now.right.value
    assert gain == pytest.approx(0.95 - advice.best.threshold, abs=0.02)


def test_a_threshold_that_is_too_loose_is_tightened() -> None:
    """When the labels show that its error is above the budget."""
    advice = advise_threshold(history(0.8, current=0.6), budget=0.05)
    assert advice is not None
    assert advice.now.error.low > 0.05
    assert advice.best is not None
    assert 0.77 < advice.best.threshold < 0.88


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (history(0.8, count=25), "too few"),
        (history(2.0), "no threshold shows an error"),
    ],
)
def test_what_labels_do_not_tell_is_not_proposed(found: History, said: str) -> None:
    """With the reason."""
    advice = advise_threshold(found, budget=0.05)
    assert advice is not None
    assert advice.best is None
    assert said in advice.why


def test_a_category_without_scores_has_no_threshold_to_weigh() -> None:
    """One that is served to the letter, say."""
    only = History([Event("request", 1.0, question_hash="a", decision="miss")])
    assert advise_threshold(only, budget=0.05) is None


def asked_again(every_s: float, ttl_s: float, changes_per_s: float) -> History:
    """One hundred questions asked every so often for long, whose answers change at a rate."""
    rng = random.Random(3)  # noqa: S311 - a sample
    found = History()
    for number in range(100):
        for turn in range(40):
            at = number * 0.01 + turn * every_s
            found.requests.append(
                Event(
                    "request",
                    at,
                    question_hash=f"{number}",
                    scope="s",
                    decision="miss",
                    ttl_s=ttl_s,
                )
            )
        for _ in range(2):
            changed = rng.random() < -math.expm1(-changes_per_s * every_s)
            found.renewed.append(
                Event("renewed", 1.0, category="faq", age_s=every_s, changed=changed)
            )
    found.requests.sort(key=lambda event: event.t)
    return found


def test_a_longer_life_is_proposed_where_answers_hardly_change() -> None:
    """And counted by when questions were asked again."""
    advice = advise_life(asked_again(100.0, 90.0, 1e-7))
    assert advice is not None
    assert advice.now.hits.value == 0.0
    assert advice.best is not None
    assert advice.best.ttl_s > 1_000.0
    assert advice.best.hits.value > 0.9
    assert advice.best.outdated is not None
    assert advice.best.outdated <= 0.05


def test_a_shorter_life_is_proposed_where_they_change_fast() -> None:
    """Even though it costs hits."""
    advice = advise_life(asked_again(10.0, 1_000.0, 0.002))
    assert advice is not None
    assert advice.now.outdated is not None
    assert advice.now.outdated > 0.2
    assert advice.best is not None
    assert 10.0 < advice.best.ttl_s < 100.0
    assert advice.best.outdated is not None
    assert advice.best.outdated <= 0.05


def test_nothing_is_said_of_answers_never_asked_again() -> None:
    """Their rate of change is not known."""
    found = asked_again(100.0, 90.0, 1e-7)
    found.renewed = found.renewed[:5]
    advice = advise_life(found)
    assert advice is not None
    assert advice.best is None
    assert "too few" in advice.why


def stream(questions: Sequence[int]) -> History:
    """Questions by number, one a second."""
    return History(
        [
            Event("request", float(at), question_hash=str(number), scope="s", decision="miss")
            for at, number in enumerate(questions)
        ]
    )


def lru_hits(questions: Sequence[int], entries: int) -> int:
    """Hits of a cache that keeps the last used ones, written out."""
    held: list[int] = []
    hits = 0
    for number in questions:
        if number in held:
            hits += 1
            held.remove(number)
        held.append(number)
        del held[: max(0, len(held) - entries)]
    return hits


@pytest.mark.parametrize("entries", [1, 5, 20, 60])
def test_hits_by_room_are_those_of_a_cache_of_that_size(entries: int) -> None:
    """The curve is read off one pass, and is the same as running every size."""
    rng = random.Random(1)  # noqa: S311 - a sample
    questions = [int(rng.paretovariate(0.6)) % 100 for _ in range(1_000)]
    found = advise_quotas({"a": stream(questions)}, entries=1, now={"a": entries})
    assert found["a"].hits_now == lru_hits(questions, entries) / 1_000


def test_room_goes_where_it_brings_most() -> None:
    """A category that asks for the same again gets it, one that never does gets what is left."""
    again = stream([number % 50 for number in range(2_000)])
    never = stream(list(range(2_000)))
    found = advise_quotas({"again": again, "never": never}, entries=100, now={"again": 10.0})
    assert found["again"].entries >= 50
    assert found["again"].hits > 0.95 > found["again"].hits_now
    assert found["again"].entries + found["never"].entries <= 100


def test_a_plan_follows_its_formula() -> None:
    """A billion requests a day, by hand."""
    found = plan(Inputs(1e9, hit_rate=0.5, keep_s=86_400.0, kept=1.0, bytes_per_entry=1_300.0))
    assert found.entries == pytest.approx(5e8)
    assert found.memory_gib == pytest.approx(5e8 * 1_300 / 2**30)
    assert found.peak_per_s == pytest.approx(1e9 / 86_400 * 3)
    assert found.replicas == max(found.replicas_by_cpu, found.replicas_by_memory)
    assert plan(Inputs(10.0)).replicas == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hit_rate": 1.5}, "--hit-rate"),
        ({"memory_gib": 0.0}, "--memory-gib"),
        ({"cores": -1}, "--cores"),
        ({"requests_per_day": float("nan")}, "--requests-per-day"),
    ],
)
def test_impossible_inputs_are_named(changes: dict[str, Any], named: str) -> None:
    """By the option that sets them."""
    with pytest.raises(ConfigError, match=named):
        plan(Inputs(**{"requests_per_day": 1e6, **changes}))


def test_a_log_tells_what_a_plan_needs() -> None:
    """What it does not tell is a default; an option goes first."""
    requests = [
        Event("request", float(at), decision="hit" if at % 4 == 0 else "miss", ttl_s=600.0,
              lookup_s=0.002, question_hash=str(at))
        for at in range(601)
    ]  # fmt: skip
    kept = Event("answer", 1.0, status=200, completion_tokens=100, latency_s=1.0, entry_id="e")
    answers = [kept] * 9
    answers.append(Event("answer", 1.0, status=500))
    told = inputs_of(Logged({"faq": History(requests)}, answers, 600.0))
    assert told["requests_per_day"] == pytest.approx(601 * 144)
    assert told["hit_rate"] == pytest.approx(151 / 601)
    assert told["lookups_per_core_s"] == pytest.approx(500.0)
    assert told["kept"] == 0.9
    chosen, source = inputs({"hit_rate": 0.9}, told)
    assert (chosen.hit_rate, source["hit_rate"]) == (0.9, "option")
    assert (source["keep_s"], source["cores"]) == ("log", "default")


def test_advice_names_what_to_change(tmp_path: Path) -> None:
    """From the file to the proposal."""
    path = tmp_path / "log.jsonl"
    found = history(0.8)
    lines = [
        {k: getattr(e, k) for k in e.__struct_fields__ if getattr(e, k) is not None}
        for e in [*found.requests, *found.labels]
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    advice = advise(read_events(path), parse({"defaults": {"error_budget": 0.05}}))
    proposed = advice.categories["faq"].proposed()
    assert 0.77 < proposed["similarity_threshold"] < 0.86
    told = json.loads(json.dumps(advice.to_dict()))
    assert told["categories"]["faq"]["proposed"] == proposed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no request"),
        ("not json\n", "line 1"),
        ('{"event": "request"}\n', "line 1: .*`t`"),
        ('{"event": "label", "t": 1, "right": true, "propensity": 0}\n', "propensity"),
        ('{"event": "label", "t": 1, "propensity": 0.5}\n', "right"),
    ],
)
def test_bad_logs_are_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    """With the place."""
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_events(path)
