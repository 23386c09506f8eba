"""Likewise beside other caches: what needs no network, on few entries."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from likewise.bench import contenders, environments, peers
from likewise.bench.environments import LeftOut, environment, last_line, surroundings
from likewise.errors import ConfigError
from likewise.rebuild import Progress

NOWHERE = ("likewise-bench-no-such-package",)


def told(_: str) -> Progress:
    """Tell nobody."""
    return lambda _done, _of: None


@pytest.fixture
def no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a pip that finds no package."""
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    return tmp_path


def test_likewise_and_pgvector_look_up_the_same() -> None:
    """Every question is a hit in both, or there would be no figure."""
    if find_spec("pgserver") is None or find_spec("psycopg") is None:
        assert not os.environ.get("CI"), "CI has a PostgreSQL with pgvector: likewise[bench]"
        pytest.skip("likewise[bench] is not installed")
    left_out: dict[str, str] = {}
    found = peers.lookups(
        told=told, entries=150, only=["pgvector"], fresh=False, left_out=left_out, rounds=1
    )
    assert left_out == {}
    assert set(found) == {"pgvector", "likewise"}
    assert all(row["lookup_us"] > 0.0 for row in found.values())
    assert "PostgreSQL" in found["pgvector"]["version"]


@pytest.mark.usefixtures("no_registry")
@pytest.mark.slow
def test_what_cannot_be_installed_is_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason on one line; Likewise is measured all the same."""
    monkeypatch.setattr(contenders, "GPTCACHE", NOWHERE)
    monkeypatch.setattr(contenders, "LITELLM", NOWHERE)
    monkeypatch.setattr(peers, "ROUNDS", 1)
    monkeypatch.setattr(peers, "WINDOW_S", 0.2)
    found = peers.measure(told=told, entries=150, only=["gptcache", "litellm"])
    assert set(found) == {"likewise", "left_out"}
    assert set(found["likewise"]) == {"lookup_us", "rps"}
    assert all(value > 0.0 for value in found["likewise"].values())
    assert found["left_out"]["pgvector"] == "not asked for"
    for name in ("gptcache", "litellm"):
        reason = found["left_out"][name]
        assert reason.startswith("cannot be installed: ERROR: No matching distribution")
        assert "\n" not in reason


@pytest.mark.slow
def test_an_environment_is_made_once(no_registry: Path) -> None:
    """It is kept when it is whole, and made anew when it was made with other packages."""
    python = environment("empty", ("pip",))
    kept = python.parent.parent / "kept"
    kept.touch()
    assert environment("empty", ("pip",)) == python
    assert kept.exists()
    with pytest.raises(LeftOut, match="No matching distribution"):
        environment("empty", NOWHERE)
    assert not kept.exists()
    assert not (no_registry / "peers" / "empty" / environments.STAMP).exists()


def test_a_peer_sees_its_own_packages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ours, nor a folder to install in that is not its own."""
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    found = surroundings(Path("/home/peer/bin/python"), {"MORE": "1"})
    assert "PYTHONPATH" not in found
    assert found["PATH"].startswith(f"/home/peer/bin{os.pathsep}")
    assert (found["VIRTUAL_ENV"], found["MORE"]) == ("/home/peer", "1")


def test_too_few_hits_are_no_figure() -> None:
    """A lookup that finds nothing may be fast."""
    with pytest.raises(LeftOut, match="only 94 of 100 questions were hits"):
        peers.round_of(lambda first, last: ([1.0] * (last - first), 94), 0)
    assert peers.round_of(lambda first, last: ([1.0] * (last - first), 95), 0) == [1.0] * 100


def test_a_server_that_ends_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it said last."""
    program = tmp_path / "litellm"
    program.write_text(f"#!{sys.executable}\nraise SystemExit('Error: no such model')\n")
    program.chmod(0o755)
    monkeypatch.setattr(contenders, "environment", lambda *_, **__: tmp_path / "python")
    with (
        pytest.raises(LeftOut, match="did not start: Error: no such model"),
        contenders.litellm(1, "m", fresh=False),
    ):
        pass


def test_only_peers_can_be_asked_for() -> None:
    """A name that is none is refused before anything is installed."""
    with pytest.raises(ConfigError, match="--only: 'redis' is no peer; those are gptcache"):
        peers.measure(told=told, only=["redis"])


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("", "no word of why"),
        ("a\n  b  \n\n", "b"),
        ("x\nERROR: first\nerror: second\n[notice] update", "error: second"),
        ("y" * 500, "y" * 200 + "..."),
    ],
)
def test_reasons_are_one_short_line(said: str, line: str) -> None:
    """The last error that was named so, else what came last."""
    assert last_line(said) == line
