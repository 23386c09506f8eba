from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from likewise.recent import Recent

MOST = 80


def test_the_oldest_goes_unless_it_was_asked_for() -> None:
    """It is spared once; asked for again, once more."""
    recent: Recent[str, str] = Recent(24)
    for name in "abcdefgh":
        recent.add(name, name, 3)
    assert recent.of("a") == "a"
    recent.add("i", "i", 3)
    assert (recent.of("a"), recent.of("b")) == ("a", None)
    for name in "jklmnop":
        recent.add(name, name, 3)
    assert recent.of("a") == "a"
    assert recent.nbytes == 24


def test_what_is_too_large_is_not_held() -> None:
    """One thing may not push out all the others."""
    recent: Recent[str, str] = Recent(80)
    recent.add("a", "a", 10)
    recent.add("b", "b", 11)
    assert (recent.of("a"), recent.of("b")) == ("a", None)


def test_what_was_dropped_while_it_was_read_is_not_held() -> None:
    """A reader that comes late cannot bring it back; one that begins afterwards can."""
    recent: Recent[str, str] = Recent(80)
    for keys in (["a"], None):
        since = recent.drops("a")
        recent.drop(keys)
        recent.add("a", "old", 1, since=since)
        assert recent.of("a") is None
    recent.add("a", "new", 1, since=recent.drops("a"))
    assert recent.of("a") == "new"


class Bounded(RuleBasedStateMachine):
    """Holds at most its bytes, and of each key nothing but the latest value that is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.recent: Recent[int, int] = Recent(MOST)
        self.truth: dict[int, int] = {}
        self.reads: list[tuple[int, int | None, int]] = []
        self.count = 0

    keys = st.integers(0, 6)

    @rule(key=keys, size=st.integers(1, 12))
    def put(self, key: int, size: int) -> None:
        """Write a new value where the truth is, then let the old one go, then hold the new."""
        self.count += 1
        self.truth[key] = self.count
        self.recent.drop([key])
        self.recent.add(key, self.count, size)

    @rule(key=keys)
    def begin(self, key: int) -> None:
        """Begin to read the truth."""
        self.reads.append((key, self.truth.get(key), self.recent.drops(key)))

    @rule(size=st.integers(1, 12))
    def end(self, size: int) -> None:
        """End a read, however much has happened since."""
        if self.reads:
            key, value, since = self.reads.pop(0)
            if value is not None:
                self.recent.add(key, value, size, since=since)

    @rule(key=keys)
    def delete(self, key: int) -> None:
        """Delete the truth, then what is held of it."""
        self.truth.pop(key, None)
        self.recent.drop([key])

    @rule()
    def clear(self) -> None:
        """Delete everything."""
        self.truth.clear()
        self.recent.drop(None)

    @invariant()
    def true_and_bounded(self) -> None:
        """What is held is the truth, and fits."""
        for key in range(7):
            assert self.recent.of(key) in (None, self.truth.get(key))
        assert self.recent.nbytes <= MOST


Bounded.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
test_it_is_bounded_and_never_behind = Bounded.TestCase
