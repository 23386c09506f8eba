import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.eviction import Recency, fullest


def test_the_least_recently_asked_goes_first() -> None:
    """Adding and touching both count as asked for now."""
    recency = Recency()
    for name in "abcd":
        recency.add(name)
    recency.touch("a")
    assert recency.first(2) == ["b", "c"]
    recency.remove("b")
    assert recency.first(9) == ["c", "d", "a"]
    assert len(recency) == 3


def test_what_is_gone_stays_gone() -> None:
    """Touching or removing an entry that was evicted meanwhile changes nothing."""
    recency = Recency()
    recency.touch("x")
    recency.remove("x")
    assert len(recency) == 0
    assert recency.first(1) == []


@given(st.lists(st.tuples(st.sampled_from("atr"), st.sampled_from("abcde"))))
def test_it_behaves_as_a_list_would(steps: list[tuple[str, str]]) -> None:
    """Any series of additions, touches and removals gives the order of a plain list."""
    recency, model = Recency(), list[str]()
    for act, name in steps:
        if act == "a" and name not in model:
            recency.add(name)
            model.append(name)
        elif act == "t":
            recency.touch(name)
            if name in model:
                model.remove(name)
                model.append(name)
        elif act == "r":
            recency.remove(name)
            model = [n for n in model if n != name]
    assert recency.first(len(model) + 1) == model


@pytest.mark.parametrize(
    ("counts", "quotas", "loser"),
    [
        ({"a": 50, "b": 9}, {"a": 100, "b": 10}, "b"),
        ({"a": 50, "b": 1}, {"a": 100, "b": 10}, "a"),
        ({"a": 0, "b": 1}, {"a": 1, "b": 1000}, "b"),
    ],
)
def test_the_category_nearest_its_quota_gives_way(
    counts: dict[str, int], quotas: dict[str, int], loser: str
) -> None:
    """Shares of the quota count, not entries; an empty category has nothing to give."""
    assert fullest(counts, quotas) == loser
