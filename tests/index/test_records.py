from __future__ import annotations

import gc
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.index import Record
from likewise.index.records import Records

TEXT = st.text(st.characters(categories=("L", "N", "Cs", "Zs", "S")), max_size=30)
INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.floats(allow_nan=False, allow_infinity=False)


@given(
    words=st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT),
    keys=st.tuples(st.binary(max_size=32), st.binary(max_size=32)),
    times=st.tuples(TIMES, st.none() | TIMES, TIMES),
    numbers=st.tuples(INT64, INT64, INT64),
)
def test_a_record_is_read_as_it_was_made(
    words: tuple[str, str, str, str, str],
    keys: tuple[bytes, bytes],
    times: tuple[float, float | None, float],
    numbers: tuple[int, int, int],
) -> None:
    """Every part of it, one by one and at once, whatever is in it."""
    entry_id, category, question, tenant, sources = words
    (key, scope), (created, expires, cost), (epoch, answer, size) = keys, times, numbers
    record = Record.of(
        entry_id,
        key,
        scope,
        category,
        question,
        created,
        expires,
        epoch,
        answer,
        tenant=tenant,
        size=size,
        cost=cost,
        sources=sources,
    )
    assert record.facts == (entry_id, key, question, created, expires, epoch)
    assert (record.entry_id, record.key, record.question) == (entry_id, key, question)
    assert (record.created_at, record.expires_at, record.epoch) == (created, expires, epoch)
    assert (record.scope, record.category, record.tenant) == (scope, category, tenant)
    assert (record.sources, record.answer, record.size) == (sources, answer, size)
    assert (record.cost, record.label) == (cost, -1)


def test_a_record_shows_no_question() -> None:
    """Neither in a log nor in a traceback; and the collector of garbage does not look at it."""
    record = Record.of("a", b"k", b"s", "code", "CANARY", 0.0, None, 0)
    assert "CANARY" not in repr(record)
    assert not gc.is_tracked(record)


def made(key: int, version: int, scope: bytes = b"s") -> Record:
    """A record of a key."""
    return Record.of(f"{key}.{version}", b"k%d" % key, scope, "code", "", 0.0, None, 0)


@given(steps=st.lists(st.tuples(st.sampled_from("arR"), st.integers(0, 20))))
def test_it_holds_what_a_dictionary_would(steps: list[tuple[str, int]]) -> None:
    """By key and by identifier, after any additions, replacements and removals."""
    records, model, version = Records(), dict[int, Record](), 0
    seen = []
    for act, key in steps:
        record = made(key, version := version + 1)
        seen.append(record)
        slot = records.slot(record.key)
        assert (slot >= 0) == (key in model)
        if act == "a" and slot < 0:
            assert records[records.add(record)] is record
            model[key] = record
        elif act == "R" and slot >= 0:
            records.replace(slot, record)
            model[key] = record
        elif act == "r" and slot >= 0:
            records.remove(slot)
            del model[key]
    assert len(records) == len(model)
    assert {r.entry_id for r in records.all()} == {r.entry_id for r in model.values()}
    for record in seen:
        there = any(record is known for known in model.values())
        assert (records.named(record.entry_id) is record) == there
        assert (records.exact(record.key) is record) == there


def test_what_entries_share_is_one_object_and_goes_with_the_last() -> None:
    """Else memory would grow with every scope there ever was."""
    records = Records()
    a, b = made(1, 0, b"x" * 40), made(2, 0, bytes(b"x" * 40))
    slots = [records.add(a), records.add(b)]
    assert a.shared is b.shared
    for slot in slots:
        records.remove(slot)
    assert not records._shared


@pytest.mark.parametrize("churned", [300, 5_000])
def test_readers_find_what_stays_while_a_writer_works(churned: int) -> None:
    """Through growth, removals and slots used again: what is there all the time is always found."""
    records, stop = Records(), threading.Event()
    steady = [made(key, 0) for key in range(50)]
    for record in steady:
        records.add(record)
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            wrong.extend(
                r
                for r in steady
                if records.exact(r.key) is not r or records.named(r.entry_id) is not r
            )

    reader = threading.Thread(target=read)
    reader.start()
    for key in range(100, 100 + churned):
        records.add(made(key, 0))
        if key >= 110:
            records.remove(records.slot(b"k%d" % (key - 10)))
    stop.set()
    reader.join()
    assert wrong == []
