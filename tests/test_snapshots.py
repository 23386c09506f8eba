from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from likewise.catalog import Catalog
from likewise.eviction import POLICIES, Eviction, eviction_of
from likewise.index import Record
from likewise.index.flat import Flat
from likewise.index.sketches import code
from likewise.pools import Room
from likewise.snapshots import Snapshots

D, SKETCHED, CROSSOVER = 16, 4, 40
Floats = NDArray[np.float32]
PLACES = (("code", b"s", ""), ("sql", b"s", "t"), ("code", b"other", ""))


def unit(count: int, dimensions: int, seed: int) -> Floats:
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions))
    found: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


VECTORS, COARSE = unit(300, D, 1), unit(300, SKETCHED, 2)


def record(number: int, *, tenant: str = "") -> Record:
    """A record that can be told from all others."""
    category, scope, _ = PLACES[2 if number % 8 == 0 else number % 2]
    return Record.of(
        f"entry-{number}",
        b"key%013d" % number,
        scope,
        category,
        f"question {number}",
        float(number),
        None if number % 2 else 1e9 + number,
        number % 4,
        number * 7,
        tenant=tenant,
        size=100 + number,
        cost=1.0 + number,
        sources="doc@1" if number % 5 == 0 else "",
    )


def empty(eviction: str = "s3-gdsf", *, sketched: int | None = SKETCHED) -> Catalog:
    """A catalog that makes graphs early."""
    make: Callable[[str], Eviction] = lambda _: eviction_of(eviction)  # noqa: E731 - one line
    return Catalog(D, crossover=CROSSOVER, sketched=sketched, eviction=make)


def filled(eviction: str = "s3-gdsf", *, sketched: bool = True) -> Catalog:
    """A catalog with scans, graphs, entries without vectors, and some that have gone again."""
    catalog = empty(eviction, sketched=SKETCHED if sketched else None)
    for number in range(150):
        has_vector = number % 11 != 3
        catalog.add(
            record(number, tenant="t" if number % 4 == 0 else ""),
            VECTORS[number] if has_vector else None,
            COARSE[number] if has_vector and sketched else None,
        )
    for number in range(0, 150, 3):
        known = catalog.record(f"entry-{number}")
        assert known is not None
        catalog.touch(known)
    catalog.remove([f"entry-{number}" for number in range(0, 150, 13)])
    catalog.remove(catalog.victims(Room(130)))
    return catalog


def snapshots(path: Path, **changes: str) -> Snapshots:
    """Those in a folder."""
    options = {"embedder": "e", "sketcher": "k"} | changes
    return Snapshots(path / "index", **options)


def written(path: Path, catalog: Catalog) -> Path:
    """Write a snapshot of a catalog; return its folder."""
    assert snapshots(path).write(catalog, store="store", seq=7)
    (found,) = (path / "index").iterdir()
    return found


def known(catalog: Catalog) -> dict[str, tuple[object, ...]]:
    """Everything a catalog says of its entries."""
    return {
        r.entry_id: (r.packed, r.shared, r.label)
        for number in range(300)
        if (r := catalog.exact(b"key%013d" % number)) is not None
        and catalog.record(r.entry_id) is r
    }


def found(catalog: Catalog, number: int) -> list[tuple[str, float]]:
    """What is near to a vector, in every partition."""
    return [
        (r.entry_id, round(cosine, 5))
        for category, scope, _ in PLACES
        for r, cosine in catalog.nearest(
            scope, category, VECTORS[number], floor=0.3, usable=lambda _, __: True
        )
    ]


def alike(one: Catalog, other: Catalog) -> None:
    """Check that two catalogs know and find the same."""
    assert known(one) == known(other)
    assert len(one) == len(other)
    assert (one.counts(), one.byte_counts()) == (other.counts(), other.byte_counts())
    for number in range(0, 300, 17):
        assert found(one, number) == found(other, number)
        for category, scope, _ in PLACES:
            sketch = code(COARSE[number])
            assert one.coarsely(scope, category, sketch) == other.coarsely(scope, category, sketch)


@pytest.mark.parametrize("eviction", [*POLICIES, "s3-gdsf+returns", "w-tinylfu+returns"])
def test_what_is_read_is_what_was_written(tmp_path: Path, eviction: str) -> None:
    """Entries, vectors, coarse vectors, and who is to go next; and it lives on as the first."""
    catalog, read = filled(eviction), empty(eviction)
    written(tmp_path, catalog)
    assert snapshots(tmp_path).read(read, store="store", seq=9) == 7
    for each in (catalog, read):
        sizes = each.sizes()
        assert (sizes["hnsw_partitions"], sizes["flat_partitions"]) == (2, 1)
    alike(catalog, read)
    for each in (catalog, read):
        for number in range(150, 300):
            each.add(record(number), VECTORS[number], COARSE[number])
        for number in range(20, 300, 2):
            if (old := each.record(f"entry-{number}")) is not None:
                each.touch(old)
        each.remove([f"entry-{number}" for number in range(1, 90, 4)])
    assert catalog.victims(Room(100)) == read.victims(Room(100))
    alike(catalog, read)


def test_a_graph_is_mapped_until_it_is_written_to(tmp_path: Path) -> None:
    """By the first writer, or before by ``settle``; the files may be gone by then."""
    catalog = filled()
    written(tmp_path, catalog)
    for settle in (False, True):
        read = empty()
        snapshots(tmp_path).read(read, store="store", seq=7)
        graphs = [p._state[0] for p in read._partitions.values() if p.kind == "hnsw"]
        assert [graph._data is not None for graph in graphs] == [True, True]  # type: ignore[union-attr]
        if settle:
            snapshots(tmp_path).discard()
            read.settle()
            assert [graph._data is None for graph in graphs] == [True, True]  # type: ignore[union-attr]
        alike(catalog, read)


def test_an_empty_catalog_is_a_snapshot_too(tmp_path: Path) -> None:
    """Nothing is read as nothing, and entries can be added."""
    written(tmp_path, empty())
    read = empty()
    assert snapshots(tmp_path).read(read, store="store", seq=7) == 7
    assert len(read) == 0
    read.add(record(1), VECTORS[1], COARSE[1])
    assert len(read) == 1


def test_without_coarse_vectors_there_are_none(tmp_path: Path) -> None:
    """An embedder need not have any."""
    catalog, read = filled(sketched=False), empty(sketched=None)
    assert snapshots(tmp_path, sketcher="").write(catalog, store="store", seq=7)
    assert snapshots(tmp_path, sketcher="").read(read, store="store", seq=7) == 7
    assert found(catalog, 5) == found(read, 5)


def flip(path: Path, share: float) -> None:
    """Change a bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def truncate(path: Path, share: float) -> None:
    """Leave out the end of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data)) - (share == 1.0)])


def lose(path: Path, _share: float) -> None:
    """Remove a file."""
    path.unlink()


@pytest.mark.parametrize("harm", [flip, truncate, lose])
def test_any_damage_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path, float], None]
) -> None:
    """To any file, anywhere: one line, the snapshot is set aside, and nothing is taken from it."""
    catalog = filled()
    names = sorted(path.name for path in written(tmp_path, catalog).iterdir())
    assert len(names) >= 12
    for name in names:
        for share in (0.0, 0.5, 1.0):
            folder = tmp_path / "index" / "snapshot-1"
            if not folder.exists():
                written(tmp_path, catalog)
            (folder,) = (tmp_path / "index").iterdir()
            if not (folder / name).stat().st_size:
                continue
            harm(folder / name, share)
            caplog.clear()
            read = empty()
            with caplog.at_level(logging.WARNING, "likewise"):
                assert snapshots(tmp_path).read(read, store="store", seq=7) is None
            assert len(read) == 0, name
            (line,) = caplog.messages
            assert "set aside" in line
            assert "question" not in line
            assert [p.name for p in (tmp_path / "index").iterdir()] == ["set-aside"]
            assert snapshots(tmp_path).read(read, store="store", seq=7) is None


@pytest.mark.parametrize(
    ("changes", "store", "seq", "reason"),
    [
        ({"embedder": "other"}, "store", 7, "other embedder"),
        ({"sketcher": "other"}, "store", 7, "other sketches"),
        ({}, "elsewhere", 7, "other store"),
        ({}, "store", 6, "newer than the store"),
    ],
)
def test_what_is_of_something_else_is_set_aside(  # noqa: PLR0917 - what the cases need
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, str],
    store: str,
    seq: int,
    reason: str,
) -> None:
    """Another embedder's vectors mean nothing here, nor does another store's state."""
    written(tmp_path, filled())
    read = empty()
    with caplog.at_level(logging.WARNING, "likewise"):
        assert snapshots(tmp_path, **changes).read(read, store=store, seq=seq) is None
    assert reason in caplog.text
    assert len(read) == 0


def test_another_version_s_snapshot_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The format is looked at before anything else is understood."""
    monkeypatch.setattr("likewise.index.snapshot.FORMAT", 99)
    written(tmp_path, filled())
    monkeypatch.undo()
    with caplog.at_level(logging.WARNING, "likewise"):
        assert snapshots(tmp_path).read(empty(), store="store", seq=7) is None
    assert "format 99" in caplog.text


def contents(folder: Path) -> bytes:
    """Every byte below a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def stored(catalog: Catalog, of: Record) -> bytes:
    """An entry's vector as its partition keeps it."""
    index = catalog._partitions[of.scope, of.category]._state[0]
    if isinstance(index, Flat):
        return bytes(index.rows[of.label].tobytes())
    return bytes(index._graph.get(np.array([of.label], np.uint64))[0].tobytes())


@pytest.mark.parametrize("scope", [b"s", b"other"])
def test_what_is_gone_is_not_in_the_next_snapshot(tmp_path: Path, scope: bytes) -> None:
    """Neither its question nor its vector, of a graph and of a scan."""
    catalog = filled()
    written(tmp_path, catalog)
    gone = next(r for r in catalog._records.all() if r.label >= 0 and r.scope == scope)
    vector = stored(catalog, gone)
    assert vector in contents(tmp_path)
    assert gone.packed in contents(tmp_path)
    catalog.remove([gone.entry_id])
    written(tmp_path, catalog)
    assert vector not in contents(tmp_path)
    assert gone.packed not in contents(tmp_path)
    snapshots(tmp_path).discard()
    assert contents(tmp_path) == b""
    assert snapshots(tmp_path).read(empty(), store="store", seq=7) is None


def test_a_snapshot_is_for_its_owner_only(tmp_path: Path) -> None:
    """Folders and files: the questions are in it."""
    written(tmp_path, filled())
    for path in (tmp_path / "index", *(tmp_path / "index").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_only_the_last_one_is_kept(tmp_path: Path) -> None:
    """And nothing of one that was begun by a process that died, or was set aside."""
    catalog = filled()
    old = written(tmp_path, catalog)
    (old / "records").unlink()
    assert snapshots(tmp_path).read(empty(), store="store", seq=7) is None
    (tmp_path / "index" / "partial-999999999").mkdir()
    (tmp_path / "index" / f"partial-{os.getpid()}").mkdir()
    for _ in range(3):
        written(tmp_path, catalog)


def test_one_that_is_discarded_while_it_is_written_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge is not undone by a snapshot that began before it."""
    kept = snapshots(tmp_path)
    dump = Catalog.dump

    def purged(self: Catalog, writer: Any) -> int:
        count = dump(self, writer)
        kept.discard()
        return count

    monkeypatch.setattr(Catalog, "dump", purged)
    assert not kept.write(filled(), store="store", seq=7)
    assert contents(tmp_path) == b""


def test_a_disk_that_fails_leaves_the_snapshot_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line in the log; nothing is raised."""
    written(tmp_path, filled())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "likewise"):
        patch.setattr("likewise.index.snapshot.os.fsync", full)
        assert not snapshots(tmp_path).write(filled(), store="store", seq=8)
    assert len(caplog.messages) == 1
    assert snapshots(tmp_path).read(empty(), store="store", seq=8) == 7


def test_another_eviction_is_told_of_the_entries(tmp_path: Path) -> None:
    """A category whose policy was changed keeps its entries."""
    catalog, read = filled("s3-gdsf"), empty("lru")
    written(tmp_path, catalog)
    assert snapshots(tmp_path).read(read, store="store", seq=7) == 7
    alike(catalog, read)
    read.remove(read.victims(Room(10)))
    assert len(read) == 10


def test_readers_and_writers_go_on_while_it_is_written(tmp_path: Path) -> None:
    """What is read afterwards is whole: every entry that stayed, and none with another's vector."""
    catalog, stop = filled(), threading.Event()

    def churn() -> None:
        number = 150
        while not stop.is_set():
            catalog.add(record(number), VECTORS[number], COARSE[number])
            catalog.remove([f"entry-{number - 20}"] if number >= 170 else [])
            assert found(catalog, number)
            number = 150 if number == 299 else number + 1

    stays = {name for name in known(catalog) if int(name.split("-")[1]) < 150}
    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(4):
            assert snapshots(tmp_path).write(catalog, store="store", seq=7)
            read = empty()
            assert snapshots(tmp_path).read(read, store="store", seq=7) == 7
            assert stays <= set(known(read))
            for number in range(0, 300, 7):
                for name, cosine in found(read, number):
                    other = VECTORS[int(name.split("-")[1])]
                    assert cosine == pytest.approx(float(VECTORS[number] @ other), abs=0.01)
    finally:
        stop.set()
        writer.join()
