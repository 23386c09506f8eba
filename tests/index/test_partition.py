from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from likewise.index import Match, Partition, Record
from likewise.index.hnsw import Hnsw

D = 16
Floats = NDArray[np.float32]


def record(name: str) -> Record:
    """A record of which only the name matters."""
    return Record.of(name, name.encode(), b"scope", "code", name, 0.0, None, 0)


def unit(rng: np.random.Generator, count: int, dimensions: int = D) -> Floats:
    """Random unit vectors, rounded to half precision as stored ones are."""
    vectors = rng.standard_normal((count, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rounded: Floats = vectors.astype(np.float16).astype(np.float32)
    return rounded


def always(_: Record, __: float) -> bool:
    """Every record is usable."""
    return True


class PartitionMachine(RuleBasedStateMachine):
    """Any series of additions and removals, across both kinds of index, against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)
        self.partition = Partition(D, crossover=40)
        self.model: dict[str, tuple[Record, Floats]] = {}
        self.gone: list[Record] = []
        self.count = 0

    @rule(count=st.integers(1, 30))
    def add(self, count: int) -> None:
        """Add some records."""
        vectors = unit(self.rng, count)
        records = [record(f"r{self.count + i}") for i in range(count)]
        self.count += count
        self.partition.add(records, vectors)
        self.model |= {r.entry_id: (r, v) for r, v in zip(records, vectors, strict=True)}

    @precondition(lambda self: self.model)
    @rule(share=st.floats(0, 1))
    def remove(self, share: float) -> None:
        """Remove a share of the records."""
        for name in list(self.model)[: 1 + int(share * len(self.model))]:
            gone = self.model.pop(name)[0]
            self.partition.remove(gone)
            self.gone.append(gone)

    @precondition(lambda self: self.gone)
    @rule()
    def remove_again(self) -> None:
        """Removing what is gone changes nothing."""
        self.partition.remove(self.gone[-1])

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        """Size and kind fit, and every match is of a live record with its true similarity.

        A scan finds each record by its own vector; a graph may, rarely, miss one.
        """
        assert len(self.partition) == len(self.model)
        if len(self.model) > 40:
            assert self.partition.kind == "hnsw"
        for name in list(self.model)[:: max(1, len(self.model) // 5)]:
            found = self.partition.search(self.model[name][1], floor=0.0, usable=always)
            if self.partition.kind == "flat":
                assert found[0][0] is self.model[name][0]
            for match, similarity in found:
                assert match is self.model[match.entry_id][0]
                true = float(self.model[match.entry_id][1] @ self.model[name][1])
                assert similarity == pytest.approx(true, abs=0.005)
        for lost in self.gone[-3:]:
            assert lost.label == -1


PartitionMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None
)
TestPartitionMachine = PartitionMachine.TestCase


def test_it_changes_its_kind_at_the_crossover() -> None:
    """A scan up to it, a graph above, and a scan again when most is gone."""
    rng = np.random.default_rng(1)
    partition = Partition(D, crossover=200)
    records = [record(str(i)) for i in range(201)]
    vectors = unit(rng, 201)
    partition.add(records[:200], vectors[:200])
    assert partition.kind == "flat"
    partition.add(records[200:], vectors[200:])
    assert partition.kind == "hnsw"
    assert partition.search(vectors[0], floor=0.5, usable=always)[0][0] is records[0]
    for old in records[:100]:
        partition.remove(old)
    assert partition.kind == "flat"
    assert len(partition) == 101
    assert partition.search(vectors[150], floor=0.5, usable=always)[0][0] is records[150]


def test_removed_rows_do_not_pile_up() -> None:
    """However many entries come and go, memory is that of those that are there."""
    rng = np.random.default_rng(2)
    partition = Partition(D, crossover=10_000)
    live: list[Record] = []
    for i in range(3000):
        fresh = record(str(i))
        partition.add([fresh], unit(rng, 1))
        live.append(fresh)
        if len(live) > 100:
            partition.remove(live.pop(0))
    assert len(partition) == 100
    assert partition.nbytes <= 100 * D * 4 * 8


def test_a_graph_whose_entries_are_replaced_is_not_built_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its nodes are used again; rows and labels do not pile up, and what is found is true."""
    rng = np.random.default_rng(6)
    vectors = unit(rng, 3_000)
    records = [record(str(i)) for i in range(3_000)]
    partition = Partition(D, crossover=100)
    partition.add(records[:600], vectors[:600])
    added: list[int] = []
    add = Hnsw.add

    def counted(self: Hnsw, rows: Floats) -> int:
        added.append(len(rows))
        return add(self, rows)

    monkeypatch.setattr(Hnsw, "add", counted)
    for new in range(600, 3_000):
        partition.remove(records[new - 600])
        partition.add([records[new]], vectors[new : new + 1])
    assert set(added) == {1}
    assert len(partition) == 600
    assert max(r.label for r in records[2_400:]) < 900
    right = [
        partition.search(vectors[i], floor=0.5, usable=always)[0][0] is records[i]
        for i in range(2_400, 3_000)
    ]
    assert np.mean(right) >= 0.98
    # When most has gone for good, it is: removed nodes would slow down every search.
    for old in records[2_400:2_750]:
        partition.remove(old)
    assert max(added) > 200
    assert partition.search(vectors[2_900], floor=0.5, usable=always)[0][0] is records[2_900]


@pytest.mark.parametrize("crossover", [10_000, 50])
def test_the_search_widens_when_the_near_ones_are_stale(crossover: int) -> None:
    """A fresh entry behind dozens of nearer stale ones is found, in both kinds of index."""
    rng = np.random.default_rng(3)
    partition = Partition(D, crossover)
    asked = unit(rng, 1)[0]
    near = asked + 0.01 * rng.standard_normal((60, D))
    good = asked + 0.1 * rng.standard_normal((1, D))
    far = rng.standard_normal((60, D))
    rows = np.concatenate([near, good, far])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    records = [record(f"stale{i}") for i in range(60)] + [record("good")]
    records += [record(f"far{i}") for i in range(60)]
    partition.add(records, rows.astype(np.float32))

    def fresh(r: Record, _: float) -> bool:
        return not r.entry_id.startswith("stale")

    names = [r.entry_id for r, _ in partition.search(asked, floor=0.8, usable=fresh)]
    assert "good" in names
    assert "good" not in [r.entry_id for r, _ in partition.search(asked, floor=0.8, usable=always)]


def hammer(
    partition: Partition,
    vectors: Floats,
    *,
    write: Callable[[Callable[[int], None]], None],
    readers: int = 3,
) -> int:
    """Search from threads while ``write`` runs; return how many searches there were.

    ``write`` gets a function to call with the number of records added so far. Every match must be
    of a record that was added, with its true similarity.
    """
    added, stop, wrong = [0], threading.Event(), list[object]()
    searches = [0] * readers

    def read(who: int) -> None:
        rng = np.random.default_rng(who)
        while not stop.is_set():
            if not added[0]:
                continue
            recent = max(0, added[0] - int(rng.integers(1, 200)))
            asked = vectors[recent if searches[who] % 2 else int(rng.integers(0, added[0]))]
            try:
                found: list[Match] = partition.search(asked, floor=0.2, usable=always)
            except Exception as error:
                wrong.append(error)
                return
            for match, similarity in found:
                true = float(vectors[int(match.entry_id)] @ asked)
                if abs(true - similarity) > 0.01:
                    wrong.append((match.entry_id, similarity, true))
            searches[who] += 1

    threads = [threading.Thread(target=read, args=(i,)) for i in range(readers)]
    for thread in threads:
        thread.start()
    try:
        write(lambda count: added.__setitem__(0, count))
        while min(searches) < 20 and not wrong:
            stop.wait(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    return sum(searches)


@pytest.mark.parametrize("remove_every", [0, 1, 3])
def test_readers_see_only_what_is_true_while_a_writer_works(remove_every: int) -> None:
    """Through growth, crossover, removals, reused slots and compaction nothing false is seen."""
    rng = np.random.default_rng(4)
    total = 4000
    vectors = unit(rng, total, 32)
    partition = Partition(32, crossover=500)
    records = [record(str(i)) for i in range(total)]

    def write(report: Callable[[int], None]) -> None:
        oldest = 0
        for i, row in enumerate(records):
            partition.add([row], vectors[i : i + 1])
            report(i + 1)
            if remove_every and i > 700 and i % remove_every == 0:
                partition.remove(records[oldest])
                oldest += 1

    assert hammer(partition, vectors, write=write) > 0
    assert partition.kind == "hnsw"


def test_a_search_that_meets_a_removal_is_no_fault() -> None:
    """Removing a whole graph under its readers gives them fewer matches, never an error."""
    rng = np.random.default_rng(5)
    vectors = unit(rng, 3000, 32)
    records = [record(str(i)) for i in range(3000)]
    partition = Partition(32, crossover=100)
    partition.add(records, vectors)

    def write(report: Callable[[int], None]) -> None:
        report(3000)
        for row in records:
            partition.remove(row)

    hammer(partition, vectors, write=write)
    assert len(partition) == 0
