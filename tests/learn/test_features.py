import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.learn.features import (
    CANDIDATES,
    NAMES,
    Near,
    Reading,
    Readings,
    Vocabulary,
    compare,
)


def word(text: str) -> int:
    """The hash of a single word."""
    return next(iter(Reading(text).unique))


def features(question: str, candidate: str, cosine: float = 0.9) -> dict[str, float]:
    """The features of one pair by name, after a few stored questions."""
    vocabulary = Vocabulary()
    for text in ("how do I undo a commit", "how do I undo a merge", "how do I rename a branch"):
        vocabulary.add(Reading(text))
    (row,), _ = compare(
        Reading(question),
        [Near(Reading(candidate), cosine, 1)],
        vocabulary=vocabulary,
        category=3.0,
        salt=0,
    )
    return dict(zip(NAMES, row.tolist(), strict=True))


def test_equal_texts_differ_in_nothing() -> None:
    """A pair of equal texts has full overlap and no missing word."""
    found = features("How do I undo a commit?", "how do i undo a commit")
    assert found["overlap_of_question"] == found["overlap_of_candidate"] == 1.0
    assert found["words_only_in_question"] == found["words_only_in_candidate"] == 0.0
    assert found["category"] == 3.0


def test_a_rare_word_weighs_more_than_a_frequent_one() -> None:
    """What is missing counts by how seldom it is stored."""
    rare = features("how do I undo a rebase", "how do I undo a")
    frequent = features("how do I undo", "how do I")
    assert rare["rarest_in_question"] > frequent["rarest_in_question"] > 0.0


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("numbers_differ", "add 3 rows", "add 4 rows"),
        ("units_differ", "in 3 days", "in 3 weeks"),
        ("negation_differs", "why does it start", "why does it not start"),
        ("direction_differs", "fly from Rome", "fly to Rome"),
        ("names_differ", "ask Anna now", "ask Berta now"),
        ("identifiers_differ", "what is my_var", "what is my_val"),
        ("small_words_differ", "how to undo", "when to undo"),
    ],
)
def test_each_difference_is_seen(name: str, a: str, b: str) -> None:
    """A difference of each kind moves its feature, in both directions of the pair."""
    assert features(a, b)[name] > 0
    assert features(b, a)[name] > 0
    assert features(a, a)[name] == 0


def test_context_of_the_candidates() -> None:
    """Rank, gap and margins tell how far a candidate stands out."""
    rows, _ = compare(
        Reading("undo"),
        [Near(Reading("undo it"), 0.9, 1), Near(Reading("redo"), 0.7, 2)],
        vocabulary=Vocabulary(),
        category=0.0,
        salt=0,
    )
    by_name = [dict(zip(NAMES, row.tolist(), strict=True)) for row in rows]
    assert [r["rank"] for r in by_name] == [0.0, 1.0]
    assert by_name[1]["gap_to_nearest"] == pytest.approx(0.2)
    assert [r["margin_to_next"] for r in by_name] == pytest.approx([0.2, 0.7])
    assert [r["margin_to_last"] for r in by_name] == pytest.approx([0.9, 0.7])


def test_entries_that_agree_on_the_answer_support_each_other() -> None:
    """Equal answers among all that are near are counted; the margin is to another answer."""
    near = [Near(Reading(f"undo {n}"), 0.9 - n / 10, n < 2) for n in range(CANDIDATES + 1)]
    rows, _ = compare(Reading("undo"), near, vocabulary=Vocabulary(), category=0.0, salt=0)
    by_name = [dict(zip(NAMES, row.tolist(), strict=True)) for row in rows]
    assert len(rows) == CANDIDATES
    assert [r["answers_agree"] for r in by_name] == [2, 2, 1, 1, 1]
    assert by_name[0]["margin_to_other_answer"] == pytest.approx(0.2)
    assert by_name[2]["margin_to_other_answer"] == pytest.approx(-0.2)


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_texts_give_finite_features(a: str, b: str) -> None:
    """Whatever the texts hold, every feature is a finite number."""
    assert all(math.isfinite(value) for value in features(a, b).values())


def test_readings_are_remembered_within_bounds() -> None:
    """A text is read once while it is remembered, and only so many are."""
    readings = Readings(size=2)
    first = readings.of("one")
    assert readings.of("one") is first
    readings.of("two")
    readings.of("three")
    assert readings.of("one") is not first


def test_rarity_falls_with_use() -> None:
    """A word in every question has rarity 0, one in none has 1."""
    vocabulary = Vocabulary()
    assert vocabulary.rarity(word("undo")) == 1.0
    for text in ("undo this", "undo that"):
        vocabulary.add(Reading(text))
    assert vocabulary.rarity(word("undo")) == 0.0
    assert 0.0 < vocabulary.rarity(word("that")) < vocabulary.rarity(word("nowhere")) == 1.0


def test_shape_is_that_of_the_names() -> None:
    """The matrix has a float32 column for each name."""
    rows, _ = compare(
        Reading("a"), [Near(Reading("b"), 0.1, 1)], vocabulary=Vocabulary(), category=0.0, salt=0
    )
    assert rows.shape == (1, len(NAMES))
    assert rows.dtype == np.float32
