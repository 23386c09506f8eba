"""The examples run as they are, and do what they say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

from likewise.config import parse

from .conftest import StandIn

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGE = (ROOT / "docs" / "integrations.md").read_text("utf-8")


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


def test_the_page_names_every_example_and_extra() -> None:
    """What is there is documented."""
    assert all(f"(../examples/{path.name})" in PAGE for path in EXAMPLES)
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    for name in ("httpx", "httpx2", "langchain", "litellm", "llamaindex"):
        assert f"`likewise[{name}]`" in PAGE
        assert f"\n{name} = [" in pyproject


def test_the_rule_for_chores_is_valid() -> None:
    """The configuration of the page keeps out what it is meant to, and nothing else."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    config = parse(yaml.safe_load(text))
    assert not config.policies.of("chores").cacheable
    (rule,) = [rule for rule in config.rules if rule.category == "chores"]
    assert rule.pattern is not None
    assert re.search(rule.pattern, "### Task:\nGenerate a title")
    assert not re.search(rule.pattern, "What is a task?")
