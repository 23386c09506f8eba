"""The examples run as they are, and do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from .conftest import StandIn

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Pydantic:UserWarning")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example(
    path: Path,
    model: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two questions that mean the same, one call of the model, under 40 lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    runpy.run_path(str(path), run_name="__main__")
    first, second, hits = capsys.readouterr().out.strip().splitlines()
    assert first.removeprefix("MISS ") == second.removeprefix("HIT ") != ""
    assert hits == "hits: 1"
    assert model.calls == 1
    assert len(path.read_text("utf-8").splitlines()) < 40


def test_every_integration_has_one() -> None:
    """Otherwise nothing above could fail."""
    assert {path.stem for path in EXAMPLES} == {
        "decorator", "langchain_cache", "litellm_cache", "llamaindex_llm", "openai_transport",
    }  # fmt: skip
