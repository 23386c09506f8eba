from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from likewise.slots import Slots


@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 60))),
    hashes=st.lists(st.integers(0, 5) | st.integers(0, 2**64), min_size=61, max_size=61),
)
def test_it_finds_what_is_there_and_nothing_else(
    steps: list[tuple[bool, int]], hashes: list[int]
) -> None:
    """After any additions and removals, also of numbers that share a hash."""
    slots, there = Slots(hashes.__getitem__), set[int]()
    for add, number in steps:
        if add and number not in there:
            slots.add(hashes[number], number)
            there.add(number)
        elif not add and number in there:
            slots.remove(hashes[number], number)
            there.remove(number)
        assert slots.live == len(there)
    for number, hashed in enumerate(hashes):
        found = slots.find(hashed, number.__eq__)
        assert found == (number if number in there else -1)


def test_what_is_gone_leaves_no_cells() -> None:
    """However many come and go, the table stays as small as what is in it at once."""
    slots = Slots(lambda number: number * 7919)
    for number in range(5_000):
        slots.add(number * 7919, number)
        if number >= 10:
            slots.remove((number - 10) * 7919, number - 10)
    assert len(slots.cells) <= 64
