import logging
import subprocess
import sys
from pathlib import Path

import pytest

from likewise.embed.graph import RECIPE, build_graph, load_graph
from likewise.embed.weights import WEIGHTS_SHA256, find_weights, read_weights
from likewise.kept import cache_folder

LOAD = (
    "from likewise.embed.graph import load_graph; from likewise.embed.weights import find_weights;"
    "import hashlib; print(hashlib.sha256(load_graph(find_weights())).hexdigest())"
)


@pytest.fixture(scope="module")
def graph() -> bytes:
    """The graph, built without the cache folder."""
    return build_graph(read_weights(find_weights()))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder that does not exist yet."""
    folder = tmp_path / "deep" / "cache"
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(folder))
    return folder


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the package has logged during the test."""
    return [record.getMessage() for record in caplog.records if record.name == "likewise"]


def test_building_twice_gives_the_same_bytes(graph: bytes) -> None:
    """The graph is a function of the weights alone."""
    assert build_graph(read_weights(find_weights())) == graph


def test_the_graph_is_small(graph: bytes) -> None:
    """Word embeddings and matrices are int8: a quarter of the 90 MB of the weights."""
    assert len(graph) < 25_000_000


def test_the_cache_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own variable wins over XDG's, which wins over the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("LIKEWISE_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "likewise"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "likewise"
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_a_built_graph_is_kept(
    graph: bytes, cache: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The second load needs no weights, and nothing but the graph is left in the folder."""
    assert load_graph(find_weights()) == graph
    [kept] = cache.iterdir()
    assert RECIPE in kept.name
    assert WEIGHTS_SHA256[:12] in kept.name
    assert load_graph(tmp_path / "no weights here") == graph
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "other weights"])
def test_a_damaged_file_is_built_again(
    graph: bytes, cache: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """Any damage to the kept file costs one warning and one build, and is repaired."""
    load_graph(find_weights())
    [kept] = cache.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(
        {
            "flipped": content[:-1] + bytes([content[-1] ^ 1]),
            "cut": content[: len(content) // 2],
            "empty": b"",
            "other weights": content.replace(WEIGHTS_SHA256.encode(), b"0" * 64, 1),
        }[damage]
    )
    assert load_graph(find_weights()) == graph
    [warning] = warnings_in(caplog)
    assert "damaged" in warning
    assert kept.read_bytes() == content


def test_an_unwritable_folder_costs_one_warning(
    graph: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a place to keep it the graph is built in memory."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path / "file" / "below"))
    with caplog.at_level(logging.WARNING, logger="likewise"):
        assert load_graph(find_weights()) == graph
    [warning] = warnings_in(caplog)
    assert "cannot keep" in warning


def test_two_processes_may_build_at_once(cache: Path) -> None:
    """Both get a whole graph, one file is left, and neither prints anything else."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert outputs[0] == outputs[1]
    assert [error for _, error in outputs] == ["", ""]
    assert len(list(cache.iterdir())) == 1
