import numpy as np
import pytest

from likewise.learn.evidence import (
    KINDS,
    NAMES,
    Evidence,
    category_salt,
    joined,
)
from likewise.learn.features import Near, Reading, Vocabulary, compare

SALT = category_salt("code")


def tokens(question: str, *candidates: str, salt: int = SALT):  # type: ignore[no-untyped-def]
    """The tokens of a question with candidates."""
    near = [Near(Reading(text), 0.9, 1) for text in candidates]
    found = compare(Reading(question), near, vocabulary=Vocabulary(), category=0.0, salt=salt)
    return found[1]


def says(evidence: Evidence, question: str, candidate: str) -> dict[str, float]:
    """The features of one pair by name."""
    (row,) = evidence.features(tokens(question, candidate), "code")
    return dict(zip(NAMES, row.tolist(), strict=True))


def test_a_word_that_made_pairs_wrong_speaks_against_the_next_pair() -> None:
    """Lone words of wrong pairs weigh negative, those of right pairs positive."""
    evidence = Evidence()
    for n in range(20):
        evidence.add(tokens(f"undo commit {n}", f"undo branch {n}"), np.array([False]), "code")
        evidence.add(
            tokens(f"please undo commit {n}", f"undo commit {n}"), np.array([True]), "code"
        )
    assert says(evidence, "list commit", "list branch")["lone_words"] < -1
    assert says(evidence, "list commit", "list branch")["worst_exchange"] < -1
    assert says(evidence, "please list it", "list it")["lone_words"] > 0.5


def test_what_is_unknown_says_nothing() -> None:
    """Without labels of a category all evidence is zero."""
    assert set(says(Evidence(), "a b", "b c").values()) == {0.0}


def test_categories_do_not_mix() -> None:
    """The same words of another category have no say."""
    evidence = Evidence()
    for _ in range(20):
        evidence.add(tokens("undo commit", "undo branch"), np.array([False]), "code")
    evidence.totals["sql"] = np.array([10.0, 10.0])
    (row,) = evidence.features(
        tokens("undo commit", "undo branch", salt=category_salt("sql")), "sql"
    )
    assert not row.any()


def test_evidence_can_be_taken_out_again() -> None:
    """Without what a fold has counted, the rest is as if it had never been there."""
    one, other = Evidence(), Evidence()
    one.add(tokens("undo commit", "undo branch"), np.array([False]), "code")
    other.add(tokens("please undo", "undo"), np.array([True]), "code")
    left = one.plus(other).minus(other)
    assert np.array_equal(left.counts, one.counts)
    assert left.totals["code"].tolist() == [1.0, 0.0]


def test_evidence_survives_as_arrays() -> None:
    """What is saved is read back."""
    evidence = Evidence()
    evidence.add(tokens("undo commit", "undo branch"), np.array([False]), "code")
    arrays = evidence.to_arrays()
    again = Evidence.from_arrays(
        arrays["slots"],  # type: ignore[arg-type]
        arrays["counts"],  # type: ignore[arg-type]
        {name: total.tolist() for name, total in evidence.totals.items()},
    )
    assert np.array_equal(again.counts, evidence.counts)
    assert says(again, "a commit", "a branch") == says(evidence, "a commit", "a branch")


def test_tokens_of_some_pairs_are_those_of_these_pairs() -> None:
    """Taking pairs out of many, and joining lots, keeps each pair's tokens."""
    texts = ["undo the branch", "redo it", "undo commit", ""]
    every = tokens("undo the commit", *texts)
    assert len(every) == len(texts)
    for places in ([0], [1, 3], [0, 1, 2, 3]):
        expected = joined([tokens("undo the commit", texts[i]) for i in places])
        taken = every.take(np.array(places))
        assert np.array_equal(taken.slots, expected.slots)
        assert np.array_equal(taken.starts, expected.starts)


@pytest.mark.parametrize("text", ["", "word", "many words of one text " * 50])
def test_every_pair_has_every_kind(text: str) -> None:
    """Texts without words, and long ones, still give a row of finite features."""
    evidence = Evidence()
    evidence.add(tokens("a b c", "c d"), np.array([True]), "code")
    found = tokens(text, text, "other")
    assert len(found.starts) == 2 * KINDS
    assert np.isfinite(evidence.features(found, "code")).all()
