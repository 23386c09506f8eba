"""Export and import of our own files: nothing is lost, nothing comes twice."""

from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from likewise import Cache, Scope
from likewise.config import load
from likewise.stores import SQLiteStore, Verdict
from likewise.testing import HashingEmbedder

from .support import Shell

FORMATS = ("a.jsonl", "a.jsonl.gz", "a.parquet")


def fill(shell: Shell) -> None:
    """Store entries of every kind, and what belongs to them."""
    with Cache.open(load(shell.folder / "likewise.yaml")) as cache:
        cache.store("How do I undo a commit?", "git revert", category="code", sources=["manual"])
        cache.store("Who wrote Faust?", {"said": ["Goethe", 1.5, None]}, scope=Scope(tenant="t"))
        cache.store("Über naïve Fragen 🙂?", "ja", category="code", ttl="1h")
    store = SQLiteStore(shell.folder / "cache.db")
    store.add_verdict(Verdict(b"a" * 16, b"b" * 16, correct=False))
    store.add_labels([b"one", b"two", b"one"])
    store.put_memo("changes", b"memo")
    store.close()


def content(file: Path) -> dict[str, Any]:
    """Return all that a store holds."""
    with SQLiteStore(file) as store:
        entries = [store.get(row.id) for row in store.scan()]
        return {
            "entries": sorted(
                (
                    e.id, e.key, e.category, e.question, repr(e.answer), e.created_at,
                    e.expires_at, e.embedder, e.epoch, e.tenant, e.namespace, e.named, e.sources,
                    e.provenance.model, None if e.vector is None else e.vector.tobytes(),
                )
                for e in entries if e is not None
            ),
            "verdicts": sorted((v.entry_key, v.key, v.correct) for v in store.verdicts()),
            "labels": [data for _, data in store.labels()],
            "counters": store.counters(),
            "memo": store.memo("changes"),
        }  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_everything_comes_back(shell: Shell, name: str) -> None:
    """A store that was exported and imported holds the same, also after a second import."""
    fill(shell)
    before = content(shell.folder / "cache.db")
    assert len(before["entries"]) == 3
    done = shell.json("export", name)
    assert (done["entries"], done["verdicts"], done["labels"], done["failed"]) == (3, 1, 3, 0)
    assert stat.S_IMODE((shell.folder / name).stat().st_mode) == 0o600
    other = f"sqlite:///{shell.folder / 'b.db'}"
    first = shell.json("import", name, "--store", other)
    assert (first["imported"], first["embedded"], first["labels"]) == (3, 0, 3)
    assert first["complete"]
    assert content(shell.folder / "b.db") == before
    again = shell.json("import", name, "--store", other)
    assert (again["imported"], again["skipped"], again["labels"]) == (0, 3, 0)
    assert content(shell.folder / "b.db") == before


@pytest.mark.parametrize("name", FORMATS)
def test_what_has_no_vector_is_embedded(shell: Shell, name: str) -> None:
    """Vectors that were left out, or are of another embedder, are made by the configured one."""
    fill(shell)
    shell.json("export", name, "--no-vectors")
    shell.configure(
        store=f"sqlite:///{shell.folder / 'b.db'}",
        embedding={"model": "hashing", "dimensions": 64},
    )
    assert shell.json("import", name)["embedded"] == 3
    with SQLiteStore(shell.folder / "b.db") as store:
        rows = list(store.scan())
    own = HashingEmbedder(64)
    for row in rows:
        assert row.embedder == own.name
        assert row.vector is not None
        assert float(own.embed([row.question])[0] @ row.vector) > 0.999


def test_without_embedding_vectors_are_made_later(shell: Shell) -> None:
    """``--no-embed`` leaves them out, ``reembed`` makes them, and a second time has none to do."""
    fill(shell)
    shell.json("export", "a.jsonl", "--no-vectors")
    shell.configure(store=f"sqlite:///{shell.folder / 'b.db'}")
    assert shell.json("import", "a.jsonl", "--no-embed")["embedded"] == 0
    assert shell.json("reembed") == {
        "embedder": "hashing/256", "embedded": 3, "gone": 0, "failed": 0,
    }  # fmt: skip
    assert shell.json("reembed")["embedded"] == 0
    assert (
        content(shell.folder / "b.db")["entries"] == content(shell.folder / "cache.db")["entries"]
    )


def test_an_older_answer_does_not_take_a_newer_ones_place(shell: Shell) -> None:
    """What was stored after the export stays; what is older than the export gives way."""
    fill(shell)
    shell.json("export", "a.jsonl")
    with Cache.open(load(shell.folder / "likewise.yaml")) as cache:
        cache.store("Who wrote Faust?", "Johann Wolfgang", scope=Scope(tenant="t"))
    done = shell.json("import", "a.jsonl")
    assert (done["imported"], done["reasons"]) == (
        0,
        {"there already": 2, "a newer one is there": 1},
    )
    with Cache.open(load(shell.folder / "likewise.yaml")) as cache:
        hit = cache.check("Who wrote Faust?", scope=Scope(tenant="t"))
    assert getattr(hit, "answer", None) == "Johann Wolfgang"


def test_bad_lines_are_told_by_number(shell: Shell) -> None:
    """They are counted and passed over; ``--strict`` stops at the first."""
    fill(shell)
    shell.json("export", "a.jsonl")
    lines = (shell.folder / "a.jsonl").read_text().splitlines()
    damaged = [lines[0], "{not json", '{"kind":"entry","id":"x"}', *lines[1:-1]]
    (shell.folder / "b.jsonl").write_text("\n".join(damaged))
    other = ["--store", f"sqlite:///{shell.folder / 'b.db'}"]
    done = shell.json("import", "b.jsonl", *other)
    assert (done["imported"], done["failed"], done["complete"]) == (3, 2, False)
    assert [e["where"] for e in done["errors"]] == ["line 2", "line 3"]
    strict = shell.run("import", "b.jsonl", "--strict", *other)
    assert strict.returncode == 3
    assert "line 2" in strict.stderr


def test_a_later_format_is_refused(shell: Shell) -> None:
    """So is a file that is not ours, each in a line that says what to do."""
    (shell.folder / "a.jsonl").write_text('{"kind":"header","version":99}\n')
    done = shell.run("import", "a.jsonl")
    assert done.returncode == 3
    assert "format 99" in done.stderr
    (shell.folder / "b.jsonl").write_text('{"question":"?"}\n')
    assert "likewise export" in shell.run("import", "b.jsonl").stderr
    (shell.folder / "c.parquet").write_bytes(b"PAR1nonsense")
    assert "no Parquet file" in shell.run("import", "c.parquet").stderr


def test_a_file_that_was_cut_off(shell: Shell) -> None:
    """What came before the cut is imported, and the result says that it is not all."""
    fill(shell)
    shell.json("export", "a.jsonl.gz")
    whole = (shell.folder / "a.jsonl.gz").read_bytes()
    assert gzip.decompress(whole).count(b"\n") > 4
    (shell.folder / "b.jsonl.gz").write_bytes(whole[:-200])
    done = shell.json("import", "b.jsonl.gz", "--store", f"sqlite:///{shell.folder / 'b.db'}")
    assert not done["complete"]
    assert done["failed"] == 1


def test_standard_output_and_one_category(shell: Shell) -> None:
    """``-`` writes lines to standard output; a category alone can be exported."""
    fill(shell)
    lines = [json.loads(line) for line in shell.run("export", "-").stdout.splitlines()]
    assert (lines[0]["kind"], lines[-1]) == ("header", {"kind": "end", "entries": 3})
    assert shell.json("export", "a.jsonl", "--category", "code")["entries"] == 2


def test_a_failed_export_leaves_what_was_there(shell: Shell) -> None:
    """No half file, and no temporary one."""
    (shell.folder / "a.jsonl").write_text("before")
    assert shell.run("export", "a.jsonl").returncode == 4  # there is no store
    assert (shell.folder / "a.jsonl").read_text() == "before"
    assert "make it first" in shell.run("export", "none/a.jsonl").stderr
    assert "no format" in shell.run("export", "a.csv").stderr
    assert not list(shell.folder.glob("*.tmp"))


def test_a_dry_run_makes_nothing(shell: Shell) -> None:
    """It says what would be imported, and there is no store after it."""
    fill(shell)
    shell.json("export", "a.jsonl", "--no-vectors")
    done = shell.json("import", "a.jsonl", "--dry-run", "--store", f"sqlite:///{shell.folder}/b.db")
    assert (done["imported"], done["embedded"], done["dry_run"]) == (3, 3, True)
    assert not (shell.folder / "b.db").exists()
