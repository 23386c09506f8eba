import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import Entry
from likewise.entry import Provenance, decode_answer, encode_answer, exact_key, new_entry_id
from likewise.errors import StoreError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_value_comes_back_equal(answer: Any) -> None:
    """Encoding and decoding changes neither value nor type."""
    back = decode_answer(encode_answer(answer))
    assert back == answer
    assert type(back) is type(answer)


@pytest.mark.parametrize("answer", [object(), {"a": object()}, "\ud800", lambda: None])
def test_what_is_no_json_value_is_refused(answer: object) -> None:
    """The error says what was expected and shows nothing of the answer."""
    with pytest.raises(StoreError, match="must be a JSON value") as caught:
        encode_answer({"CANARY": answer})
    assert "CANARY" not in str(caught.value)


def test_an_answer_nested_too_deeply_is_refused() -> None:
    """A structure that recursion cannot follow is an error of the store, not a crash."""
    answer: list[Any] = []
    for _ in range(100_000):
        answer = [answer]
    with pytest.raises(StoreError):
        encode_answer(answer)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_json_does_not_have_become_null(number: float) -> None:
    """JSON has neither NaN nor infinity; what comes back is what JSON can say."""
    assert decode_answer(encode_answer([number])) == [None]


def test_white_space_around_a_question_is_not_part_of_its_key() -> None:
    """Inside it is, because in code it means something."""
    assert exact_key(b"s", "code", " a b\n") == exact_key(b"s", "code", "a b")
    assert exact_key(b"s", "code", "a  b") != exact_key(b"s", "code", "a b")


def test_scope_category_and_question_make_the_key() -> None:
    """A difference in any of the three is another key."""
    keys = {
        exact_key(b"s", "c", "q"),
        exact_key(b"t", "c", "q"),
        exact_key(b"s", "d", "q"),
        exact_key(b"s", "c", "r"),
        exact_key(b"s", "cq", ""),
    }
    assert len(keys) == 5


def test_an_entry_shows_none_of_its_texts() -> None:
    """Question, answer and vector stay out of ``repr``."""
    entry = Entry(
        id="lw-1",
        scope=b"s",
        category="code",
        question="CANARY",
        answer={"text": "CANARY"},
        created_at=0,
        expires_at=None,
        vector=np.zeros(2, np.float16),
    )
    assert "CANARY" not in repr(entry)
    assert "vector" not in repr(entry)


def test_identifiers_are_fresh() -> None:
    """A thousand identifiers are a thousand different ones, all recognisable."""
    ids = {new_entry_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(i.startswith("lw-") for i in ids)


def test_tokens_add_up_as_far_as_reported() -> None:
    """A count that is not reported counts as none."""
    assert Provenance().total_tokens == 0
    assert Provenance(prompt_tokens=3).total_tokens == 3
    assert Provenance(prompt_tokens=3, completion_tokens=4).total_tokens == 7
