from __future__ import annotations

import numpy as np
import pytest

from likewise import Entry
from likewise.entry import exact_key
from likewise.feedback import Feedback
from likewise.index import Record
from likewise.stores import Store


def kept(store: Store, name: str, question: str) -> Record:
    """Put an entry in the store; return its record."""
    entry = Entry(name, b"s", "code", question, "answer", 0.0, None, np.zeros(2, np.float16))
    store.put(entry)
    return Record.of(name, entry.key, b"s", "code", question, 0.0, None, 0)


def key(question: str) -> bytes:
    """The exact key of a question."""
    return exact_key(b"s", "code", question)


def test_a_wrong_pair_is_blocked_and_only_that_pair(store: Store) -> None:
    """The entry still serves other questions, and others still serve this one."""
    feedback = Feedback(store)
    a = kept(store, "a", "question a")
    assert not feedback.judge(a, correct=False, question="other")
    assert feedback.blocked(key("other")) == {key("question a")}
    assert feedback.blocked(key("question a")) == frozenset()
    assert feedback.blocked(key("another")) == frozenset()


def test_without_a_question_every_one_served_lately_is_blamed(store: Store) -> None:
    """Which of them was meant is not known, and none may be wrong again; praise is for the last."""
    feedback = Feedback(store)
    a = kept(store, "a", "question a")
    feedback.served("a", key("first"))
    feedback.served("a", key("second"))
    assert not feedback.judge(a, correct=False, question=None)
    assert feedback.blocked(key("second")) == {key("question a")}
    assert feedback.blocked(key("first")) == {key("question a")}
    feedback.judge(a, correct=True, question=None)
    assert feedback.blocked(key("second")) == frozenset()
    assert feedback.blocked(key("first")) == {key("question a")}


@pytest.mark.parametrize("question", ["question a", " question a ", None])
def test_an_answer_wrong_for_its_own_question_must_go(store: Store, question: str | None) -> None:
    """There is no pair to block then: the answer itself is wrong."""
    feedback = Feedback(store)
    a = kept(store, "a", "question a")
    assert feedback.judge(a, correct=False, question=question)
    assert not feedback.judge(a, correct=True, question=question)
    assert list(store.verdicts()) == []


def test_the_latest_verdict_wins_and_survives(store: Store) -> None:
    """A pair found right after all is served again, also after a restart."""
    first = Feedback(store)
    a, b = kept(store, "a", "question a"), kept(store, "b", "question b")
    first.judge(a, correct=False, question="other")
    first.judge(b, correct=False, question="other")
    assert Feedback(store).blocked(key("other")) == {key("question a"), key("question b")}
    first.judge(a, correct=True, question="other")
    assert first.blocked(key("other")) == {key("question b")}
    assert Feedback(store).blocked(key("other")) == {key("question b")}


def test_strikes_count_the_questions_an_entry_was_wrong_for(store: Store) -> None:
    """Each question counts once, praise takes its strike back, and a restart keeps them."""
    feedback = Feedback(store)
    record = kept(store, "a", "question a")
    for question in ("one", "one", "two"):
        feedback.judge(record, correct=False, question=question)
    assert feedback.strikes(record.key) == 2
    feedback.judge(record, correct=True, question="two")
    assert feedback.strikes(record.key) == 1
    assert Feedback(store).strikes(record.key) == 1
