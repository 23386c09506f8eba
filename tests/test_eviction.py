"""Eviction policies, quotas and pools."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.bench.eviction import measure, stream_of
from likewise.bench.prompts import Prompt
from likewise.category import Category
from likewise.config import Policies
from likewise.errors import ConfigError
from likewise.eviction import DEFAULT_EVICTION, POLICIES, Named, eviction_of
from likewise.eviction.queues import Ghosts
from likewise.index import Record
from likewise.index.records import Records
from likewise.pools import Pools, Room, room_of
from likewise.quotas import borrower, fair_shares

NAMES = [*POLICIES, f"{DEFAULT_EVICTION}+returns"]
STEPS = st.lists(
    st.tuples(st.sampled_from("attrebe"), st.sampled_from("abcdefgh"), st.integers(1, 9))
)


@pytest.mark.parametrize("name", NAMES)
@given(steps=STEPS)
def test_every_policy_holds_what_it_was_given(name: str, steps: list[tuple[str, str, int]]) -> None:
    """After any calls it knows exactly what is left, in entries and bytes, and can empty itself."""
    policy, model = Named(eviction_of(name)), dict[str, int]()
    for act, entry, size in steps:
        match act:
            case "a" if entry not in model:
                policy.add(entry, size, 1.0 + size)
                model[entry] = size
            case "t":
                policy.touch(entry)
            case "b":
                policy.blame(entry)
            case "r":
                policy.remove(entry)
                model.pop(entry, None)
            case "e" if model:
                del model[str(policy.evict())]
        assert policy.places.keys() == model.keys()
        assert policy.bytes == sum(model.values())
    assert {policy.evict() for _ in range(len(model))} == set(model)
    with pytest.raises(LookupError):
        policy.evict()


def gone(policy: Named, count: int) -> list[str]:
    """The next entries to go."""
    return [str(policy.evict()) for _ in range(count)]


def filled(name: str, *entries: str) -> Named:
    """A policy with some entries of one size, added in this order."""
    policy = Named(eviction_of(name))
    for entry in entries:
        policy.add(entry)
    return policy


def test_lru_lets_go_what_was_asked_for_least_recently() -> None:
    """Asking moves an entry to the end."""
    policy = filled("lru", *"abc")
    policy.touch("a")
    assert gone(policy, 3) == ["b", "c", "a"]


def test_lfu_lets_go_what_was_asked_for_least_often() -> None:
    """Of two asked for equally often, the one that waited longer."""
    policy = filled("lfu", *"abc")
    for entry in "aab":
        policy.touch(entry)
    assert gone(policy, 3) == ["c", "b", "a"]


def test_sieve_keeps_what_was_asked_for_since_the_hand_came_by() -> None:
    """The hand goes on where it was and comes round to the oldest."""
    policy = filled("sieve", *"abcd")
    policy.touch("a")
    policy.touch("c")
    assert policy.evict() == "b"
    policy.add("e")
    assert gone(policy, 4) == ["d", "e", "a", "c"]


@pytest.mark.parametrize("name", ["s3-fifo", "s3-gdsf"])
def test_what_was_asked_for_once_leaves_by_the_small_queue(name: str) -> None:
    """A scan of new entries does not drive out what is asked for; what comes back is let in."""
    policy = filled(name, *"abcde")
    for entry in "abcde":
        policy.touch(entry)
    gone_by = []
    for number in range(50):
        policy.add(f"scan{number}")
        gone_by.append(policy.evict())
    assert not set(gone_by) & set("abcde")
    last = gone_by[-1]
    policy.add(last)
    policy.add("new1")
    assert policy.evict() != last


def test_gdsf_lets_go_what_saves_least_for_its_bytes() -> None:
    """Large and cheap goes before small and dear; being asked for often makes up for size."""
    policy = Named(eviction_of("gdsf"))
    policy.add("large", 1000, 1.0)
    policy.add("small", 10, 1.0)
    policy.add("dear", 1000, 50.0)
    policy.add("asked", 1000, 1.0)
    for _ in range(30):
        policy.touch("asked")
    assert gone(policy, 4) == ["large", "asked", "dear", "small"]


def test_gdsf_forgets_what_was_long_ago() -> None:
    """The level rises with what goes, so that old fame fades."""
    policy = filled("gdsf", "old")
    for _ in range(5):
        policy.touch("old")
    gone_by = []
    for number in range(40):
        policy.add(str(number))
        policy.touch(str(number))
        policy.add(f"once{number}")
        gone_by += gone(policy, 2)
    assert "old" in gone_by
    assert gone_by[:2] == ["once0", "0"]


def test_w_tinylfu_lets_in_only_what_is_asked_for_more_often() -> None:
    """New entries that nobody asks for again give way to those in the main part."""
    policy = filled("w-tinylfu", *"abcdefghij")
    for entry in "abcdefghij":
        policy.touch(entry)
    scanned = []
    for number in range(30):
        policy.add(f"scan{number}")
        scanned.append(str(policy.evict()))
    # The last of the ten was in the window still, and no better known than the first.
    assert [name for name in scanned if not name.startswith("scan")] == ["j"]


@pytest.mark.parametrize("name", [n for n in POLICIES if n not in {"lru", "w-tinylfu"}])
def test_what_was_found_wrong_loses_its_fame(name: str) -> None:
    """Two entries asked for alike: the one found wrong goes first."""
    policy = filled(name, *"ab")
    for _ in range(3):
        policy.touch("a")
        policy.touch("b")
    policy.blame("b")
    assert policy.evict() == "b"


def test_an_entry_expected_back_is_spared_and_something_goes_all_the_same() -> None:
    """Regular visitors stay before one that has been silent for long; if all are, one goes."""
    policy = Named(eviction_of("lru+returns"))
    for entry in ("regular", "silent"):
        policy.add(entry)
    for turn in range(6):
        policy.touch("regular")
        if turn < 3:
            policy.touch("silent")
    for number in range(8):
        policy.add(str(number))
    policy.touch("silent")
    assert policy.evict() in {"0", "silent", "regular"}
    everyone = Named(eviction_of("lru+returns"))
    for entry in "ab":
        everyone.add(entry)
    for _ in range(5):
        everyone.touch("a")
        everyone.touch("b")
    assert len({everyone.evict(), everyone.evict()}) == 2


def record(name: str, category: str, tenant: str = "", size: int = 1) -> Record:
    """A record of a category and a tenant."""
    return Record.of(
        name, name.encode(), b"s", category, "", 0.0, None, 0, tenant=tenant, size=size, cost=1.0
    )


class Held:
    """Pools of records, each in a slot of its own as the catalog has them."""

    def __init__(self, name: str) -> None:
        self.pools = Pools(lambda _: eviction_of(name))
        self.entries, self.bytes = self.pools.entries, self.pools.bytes
        self._records = Records()

    def add(self, new: Record) -> None:
        """Add a record, or put it in the place of another."""
        slot = self._records.slot(new.key)
        if slot < 0:
            slot = self._records.add(new)
        self.pools.add(slot, new)

    def touch(self, known: Record) -> None:
        """Count a record as asked for."""
        self.pools.touch(self._records.slot(known.key))

    def remove(self, known: Record) -> None:
        """Forget a record."""
        slot = self._records.slot(known.key)
        self.pools.remove(slot)
        self._records.remove(slot)

    def victims(self, room: Room) -> list[str]:
        """The names of the entries that go."""
        slots = self.pools.victims(room)
        names = [self._records[slot].entry_id for slot in slots]
        for slot in slots:
            self._records.remove(slot)
        return names


def pools(name: str = DEFAULT_EVICTION) -> Held:
    """Pools under one policy."""
    return Held(name)


def victims(held: Held, room: Room) -> list[str]:
    """The names of the entries that go."""
    return held.victims(room)


CATEGORIES = ("a", "b", "c", "d")
SHARES = st.dictionaries(st.sampled_from(CATEGORIES), st.floats(0.01, 0.25), max_size=4)


@settings(max_examples=200)
@given(
    shares=SHARES,
    stored=st.lists(
        st.tuples(st.sampled_from(CATEGORIES), st.sampled_from("xyz"), st.integers(1, 50)),
        max_size=200,
    ),
    name=st.sampled_from(NAMES),
)
def test_no_guaranteed_share_is_ever_taken(
    shares: dict[str, float], stored: list[tuple[str, str, int]], name: str
) -> None:
    """Whatever is stored, nobody loses an entry while within its share; all stays within bounds."""
    most, most_bytes = 40, 600
    room = Room(
        most,
        most_bytes,
        {category: share * most for category, share in shares.items()},
        {category: share * most_bytes for category, share in shares.items()},
    )
    held = pools(name)
    owner: dict[str, tuple[str, int]] = {}
    for number, (category, tenant, size) in enumerate(stored):
        held.add(record(str(number), category, tenant, size))
        owner[str(number)] = (category, size)
        before, before_bytes = dict(held.entries), dict(held.bytes)
        for victim in victims(held, room):
            loser, lost = owner.pop(victim)
            free = {
                name
                for name in before
                if before[name] > room.guaranteed_entries.get(name, 0)
                and before_bytes[name] > room.guaranteed_bytes.get(name, 0)
            }
            assert loser in free or not free
            before[loser] -= 1
            before_bytes[loser] -= lost
        assert sum(held.entries.values()) <= most
        assert sum(held.bytes.values()) <= most_bytes
        assert held.entries == {
            c: n for c in CATEGORIES if (n := sum(o[0] == c for o in owner.values()))
        }


def hit_rates(*, flood: int) -> dict[str, float]:
    """Hit rates of two steady categories while a third floods the cache with new questions."""
    held = pools()
    room = Room(300, None, {"steady": 100.0, "other": 100.0}, {})
    rng = random.Random(4)  # noqa: S311 - traffic, not a secret
    hits, asked = dict.fromkeys(("steady", "other"), 0), dict.fromkeys(("steady", "other"), 0)
    known: dict[str, Record] = {}
    number = 0
    for _ in range(6_000):
        for category in ("steady", "other"):
            name = f"{category}{min(int(rng.paretovariate(0.9)), 400)}"
            asked[category] += 1
            if name in known:
                hits[category] += 1
                held.touch(known[name])
                continue
            known[name] = record(name, category)
            held.add(known[name])
            for victim in victims(held, room):
                known.pop(victim, None)
        for _ in range(flood):
            number += 1
            held.add(record(f"flood{number}", "flood"))
            for victim in victims(held, room):
                known.pop(victim, None)
    return {category: hits[category] / asked[category] for category in hits}


def test_a_flood_leaves_the_others_hit_rates() -> None:
    """Ten times the capacity and more in one category costs the others less than a point.

    Against a trickle, so that what nobody has a claim to is lent out both times.
    """
    calm, flooded = hit_rates(flood=1), hit_rates(flood=3)
    assert all(abs(calm[name] - flooded[name]) < 0.01 for name in calm)
    assert min(flooded.values()) > 0.5


def test_unused_room_is_lent_and_comes_back() -> None:
    """A category alone fills all; when the owner stores, the borrower gives way."""
    held, room = pools(), Room(10, None, {"owner": 6.0}, {})
    for number in range(10):
        held.add(record(f"b{number}", "borrower"))
    assert victims(held, room) == []
    for number in range(6):
        held.add(record(f"o{number}", "owner"))
        assert all(victim.startswith("b") for victim in victims(held, room))
    assert held.entries == {"borrower": 4, "owner": 6}


def test_tenants_have_equal_parts_of_a_category() -> None:
    """One tenant's flood takes from itself before it takes from another."""
    held, room = pools(), Room(20)
    for number in range(5):
        held.add(record(f"quiet{number}", "a", "quiet"))
    for number in range(200):
        held.add(record(f"loud{number}", "a", "loud"))
        assert all(victim.startswith("loud") for victim in victims(held, room))


def test_shares_are_guarantees_or_equal_parts() -> None:
    """Who has no guarantee shares equally what no guarantee takes."""
    shares = fair_shares({"a": 9, "b": 1, "c": 0}, {"b": 4}, 10)
    assert (shares["a"], shares["b"]) == (6.0, 4)
    assert borrower({"a": 9, "b": 2}, {"b": 4}, 10) == "a"


def test_guarantees_beyond_what_there_is_are_refused() -> None:
    """Named with their sum, in entries and in bytes."""
    many = {name: Category(name, quota=0.4) for name in CATEGORIES}
    with pytest.raises(ConfigError, match=r"160 entries of 100: a 40, b 40"):
        room_of(Policies(Category("default"), many), max_entries=100, max_bytes=None)
    large = {"a": Category("a", quota="2KB")}
    with pytest.raises(ConfigError, match=r"2,000 bytes of 1,000"):
        room_of(Policies(Category("default"), large), max_entries=100, max_bytes=1000)
    room = room_of(Policies(Category("default"), large), max_entries=100, max_bytes=4000)
    assert room.guaranteed_bytes == {"a": 2000.0}


def test_a_guarantee_in_entries_holds_when_bytes_run_out() -> None:
    """And the other way round: who is within its guarantee in either unit is left alone."""
    held = pools()
    for number in range(10):
        held.add(record(f"a{number}", "a", size=80))
    for number in range(20):
        held.add(record(f"b{number}", "b", size=20))
    gone_by = victims(held, Room(1000, 900, {"a": 10.0}))
    assert gone_by
    assert all(name.startswith("b") for name in gone_by)
    assert held.entries["a"] == 10


def test_bytes_need_a_bound_in_bytes() -> None:
    """A quota in bytes without max_bytes would guarantee nothing."""
    large = {"a": Category("a", quota="2KB")}
    with pytest.raises(ConfigError, match="needs max_bytes"):
        room_of(Policies(Category("default"), large), max_entries=100, max_bytes=None)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_made_anew_keeps_the_fame_of_its_question(name: str) -> None:
    """It takes the place of the older one, with its own size, and is not the next to go."""
    held, room = pools(name), Room(30)
    for number in range(30):
        held.add(record(str(number), "a"))
    famous = record("7", "a")
    for _ in range(100):
        held.touch(famous)
    held.add(record("7", "a", size=5))
    assert (held.entries["a"], held.bytes["a"]) == (30, 34)
    gone_by = []
    for number in range(25):
        held.add(record(f"new{number}", "a"))
        gone_by += victims(held, room)
    assert "7" not in gone_by


def test_what_comes_back_is_remembered() -> None:
    """A question that went by the small queue enters the main part when it is stored again."""
    held, room = pools("s3-fifo"), Room(10)
    for number in range(11):
        held.add(record(str(number), "a"))
    (first,) = victims(held, room)
    held.add(record(first, "a"))
    gone_by = victims(held, room)
    for number in range(8):
        held.add(record(f"new{number}", "a"))
        gone_by += victims(held, room)
    assert first not in gone_by


def test_many_tenants_share_what_watches_them() -> None:
    """Beyond a few hundred of a category they have no policy of their own; nothing is lost."""
    held, room = pools(), Room(1_000)
    for number in range(3_000):
        held.add(record(f"r{number}", "a", f"tenant{number}"))
        victims(held, room)
    assert held.entries == {"a": 1_000}
    assert len(held.pools._tenants["a"]) <= 256 + 64
    last = record("r2999", "a", "tenant2999")
    held.touch(last)
    held.remove(last)
    assert held.entries == {"a": 999}


def test_an_unknown_eviction_is_named_with_those_there_are() -> None:
    """A category says which names it takes."""
    with pytest.raises(ConfigError, match=r"no eviction is called 'mru'; there are: s3-gdsf"):
        Category("a", eviction="mru")
    assert Category("a", eviction="lru+returns").eviction == "lru+returns"


PROMPTS = [Prompt(name, f"{name} {n}", f"{name}{n}") for name in ("x", "y") for n in range(200)]


def test_the_benchmark_compares_all_policies_with_the_future() -> None:
    """Every policy at every capacity; none beats the future; more room is better."""
    found = measure(PROMPTS, requests=4_000, seed=1, progress=lambda _, __: None)
    assert set(found) == {"0.05", "0.10", "0.25"}
    for rows in found.values():
        assert set(rows) == {"default", "default+returns", "belady", *POLICIES} - {DEFAULT_EVICTION}
        for row in rows.values():
            assert 0 < row["hit_rate"] <= rows["belady"]["hit_rate"]
    for name in found["0.05"]:
        assert found["0.05"][name]["hit_rate"] < found["0.25"][name]["hit_rate"]


def test_streams_repeat_and_can_be_repeated() -> None:
    """One seed gives one stream; popular questions come often."""
    stream = stream_of(PROMPTS, requests=3_000, seed=2)
    assert stream == stream_of(PROMPTS, requests=3_000, seed=2)
    assert len(stream) == 3_000
    assert len({asked.key for asked in stream}) < 401


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=400))
def test_ghosts_are_the_last_that_went(steps: list[tuple[bool, int]]) -> None:
    """At most so many, the oldest forgotten first; one that came back is a ghost no more."""
    ghosts, model = Ghosts(), list[int]()
    for add, mark in steps:
        if add:
            ghosts.add(mark, most=10)
            if mark not in model:
                model = [*model, mark][-10:]
        else:
            assert ghosts.take(mark) == (mark in model)
            model = [known for known in model if known != mark]
    assert len(ghosts._marks) <= 2 * 10 + 65
