"""Promise 4: a bad snapshot never crashes a start or changes an answer.

Mutation tried: ``index.snapshot`` that compares no digests (other entries are found, or the start
crashes). ``tests/test_snapshots.py`` has the cases one by one.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from likewise import Cache, Category, Hit, Miss
from likewise.catalog import Catalog
from likewise.testing import HashingEmbedder

from .conftest import Report
from .support import scaled

PAGE = 4_096
_SAID = "how undo merge push pull clone fetch branch tag commit rebase stash file line test"
WORDS = _SAID.split()
LOOSE = Category("loose", similarity_threshold=0.8, guards=(), gate=0.0)


def questions(count: int, seed: int) -> list[str]:
    """Random questions, many of them near to others."""
    dice = random.Random(seed)  # noqa: S311 - a workload
    return [" ".join(dice.sample(WORDS, 6)) for _ in range(count)]


def opened(url: str, folder: Path | None) -> Cache:
    """A cache that starts from a snapshot, or from the store alone."""
    return Cache(
        store=url,
        embedder=HashingEmbedder(64),
        categories=[LOOSE],
        rules=(),
        examples={},
        snapshots=folder,
    )


def by_hand(stored: list[str], asked: list[str]) -> list[set[str]]:
    """The entries that are nearest to each question, by comparing all; none below the threshold."""
    embedder = HashingEmbedder(64)
    kept = list(dict.fromkeys(stored))
    vectors = embedder.embed(kept).astype(np.float16).astype(np.float32)
    found = []
    for vector in embedder.embed(asked):
        cosines = vectors @ vector
        best = cosines.max()
        near = best >= LOOSE.similarity_threshold
        found.append({kept[i] for i in np.flatnonzero(cosines >= best - 0.002)} if near else set())
    return found


def check(cache: Cache, asked: list[str], right: list[set[str]]) -> None:
    """Ask a cache and compare with what was found by hand."""
    for question, answers in zip(asked, right, strict=True):
        decision = cache.check(question, category="loose")
        if answers:
            assert isinstance(decision, Hit), question
            assert decision.answer in answers
        else:
            assert isinstance(decision, Miss)


def harms(folder: Path, dice: random.Random) -> Iterator[tuple[str, Path, bytes]]:
    """Every page of every file with a bit flipped, and the file cut off within it."""
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        whole = path.read_bytes()
        step = PAGE if path.suffix != ".json" else scaled(200, 3)
        for start in range(0, len(whole), step):
            place = min(len(whole) - 1, start + dice.randrange(step))
            flipped = bytearray(whole)
            flipped[place] ^= 1 << dice.randrange(8)
            yield "flipped", path, bytes(flipped)
            yield "cut", path, whole[:place]


def test_every_damage_is_survived(
    tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever page is damaged, a start succeeds, and finds what comparing all finds."""
    monkeypatch.setattr("likewise.filling._LEAST", 10)
    # So that there are graphs among the files.
    defaults = Catalog.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "crossover", 100)
    url, folder = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "index"
    stored, asked = questions(scaled(150, 400), 1), questions(scaled(20, 60), 2)
    asked += ["zebras play violins", "what do whales drink"]
    with opened(url, folder) as cache:
        for question in dict.fromkeys(stored):
            cache.store(question, question, category="loose")
    right = by_hand(stored, asked)
    assert any(right)
    assert not all(right)
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    (snapshot,) = (p for p in kept.iterdir() if p.is_dir())
    dice = random.Random(4)  # noqa: S311 - chooses where to harm
    all_harms = list(harms(snapshot, dice))
    chosen = dice.sample(all_harms, min(len(all_harms), scaled(30, 100_000)))
    rebuilt = 0
    for _, path, data in [("whole", snapshot / "manifest.json", b""), *chosen]:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        if data:
            (folder / snapshot.name / path.name).write_bytes(data)
        with opened(url, folder) as cache:
            check(cache, asked, right)
            # Set aside is what was damaged, all of it and nothing else.
            assert (folder / "set-aside").exists() == bool(data), path.name
            rebuilt += bool(data)
            monkeypatch.setattr("likewise.filling._LEAST", 1_000_000)  # leave no other at the end
        monkeypatch.setattr("likewise.filling._LEAST", 10)
    report(4, files=len(list(snapshot.iterdir())), pages=len(all_harms) // 2, damaged=rebuilt,
           crashes=0, other_answers=0)  # fmt: skip
