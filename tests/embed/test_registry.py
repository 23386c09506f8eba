from pathlib import Path

import pytest

from likewise.embed.minilm import MiniLM
from likewise.embed.openai import OpenAIEmbedder
from likewise.embed.registry import EmbedderOptions, open_embedder
from likewise.errors import ConfigError, WeightsNotFoundError
from likewise.testing import HashingEmbedder

PLUGIN = """
from likewise.testing import HashingEmbedder

def open_acme(name, options):
    return HashingEmbedder(len(name) * (options.dimensions or 1))
"""


@pytest.fixture
def installed_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third party's package on the path, with one embedder that works and one that does not."""
    (tmp_path / "acme_embedder.py").write_text(PLUGIN)
    metadata = tmp_path / "acme_embedder-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-embedder\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[likewise.embedders]\nacme = acme_embedder:open_acme\nbroken = acme_embedder:absent\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_default_embedder_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model's name gives the in-process embedder."""
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path))
    assert isinstance(open_embedder("all-MiniLM-L6-v2", threads=1, dimensions=384), MiniLM)


def test_the_default_embedder_reads_the_path(tmp_path: Path) -> None:
    """A path without weights is reported, not passed over."""
    with pytest.raises(WeightsNotFoundError):
        open_embedder("all-MiniLM-L6-v2", path=tmp_path)


def test_the_default_embedder_has_its_own_dimensions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking it for another number of dimensions is refused."""
    monkeypatch.setenv("LIKEWISE_CACHE_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match=r"dimensions is 256.* has 384"):
        open_embedder("all-MiniLM-L6-v2", dimensions=256)


def test_a_server_opens_without_being_called() -> None:
    """Every option reaches the embedder, and nothing is connected."""
    embedder = open_embedder(
        "openai:org/model:large",
        base_url="http://127.0.0.1:1/v1",
        api_key="sk-secret",
        dimensions=64,
        timeout_s=0.5,
    )
    assert isinstance(embedder, OpenAIEmbedder)
    assert embedder.name == "openai:org/model:large@127.0.0.1:1/64"
    assert embedder.dimensions == 64
    assert "timeout_s=0.5" in repr(embedder)


def test_the_public_server_is_the_default() -> None:
    """Without a base_url the embedder is OpenAI's."""
    embedder = open_embedder("openai:text-embedding-3-small")
    assert embedder.name == "openai:text-embedding-3-small@api.openai.com"


def test_the_hashing_embedder_opens() -> None:
    """Its number of dimensions may be set or left."""
    assert isinstance(open_embedder("hashing"), HashingEmbedder)
    assert open_embedder("hashing", dimensions=32).dimensions == 32


@pytest.mark.usefixtures("installed_plugin")
def test_a_third_party_opens_by_its_prefix() -> None:
    """An entry point's factory gets the name after the prefix, and the options."""
    assert open_embedder("acme:four", dimensions=10).dimensions == 40
    assert open_embedder("acme:a:b").dimensions == 3


@pytest.mark.usefixtures("installed_plugin")
def test_a_broken_third_party_is_named() -> None:
    """A factory that cannot be imported is an error of the configuration."""
    with pytest.raises(ConfigError, match=r"'broken' \(acme_embedder:absent\)"):
        open_embedder("broken:any")


@pytest.mark.parametrize(
    ("model", "nearest"),
    [
        ("all-MiniLM-L6", "all-MiniLM-L6-v2"),
        ("all-minilm-l6-v2", "all-MiniLM-L6-v2"),
        ("openai:", "openai:NAME"),
        ("hashin", "hashing"),
    ],
)
def test_an_unknown_name_gets_the_nearest(model: str, nearest: str) -> None:
    """The value, what is allowed and the nearest name are in one line."""
    with pytest.raises(ConfigError) as caught:
        open_embedder(model)
    message = str(caught.value)
    assert repr(model) in message
    assert f"did you mean {nearest}?" in message
    assert "one of all-MiniLM-L6-v2, openai:NAME, hashing" in message
    assert "\n" not in message


@pytest.mark.usefixtures("installed_plugin")
def test_installed_names_are_offered() -> None:
    """Third parties' prefixes are among what is allowed; far-off names get no guess."""
    with pytest.raises(ConfigError) as caught:
        open_embedder("42")
    assert "acme:NAME, broken:NAME" in str(caught.value)
    assert "did you mean" not in str(caught.value)


def test_options_hide_the_key() -> None:
    """What a third party might log does not hold the key."""
    assert "sk-secret" not in repr(EmbedderOptions(api_key="sk-secret"))
