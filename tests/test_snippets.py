"""Every snippet of the documentation runs, or is what the code would take."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from likewise import AsyncCache
from likewise.cli import app
from likewise.config import Settings, parse
from likewise.gateway.app import create_app
from likewise.mock_llm import MockSettings
from likewise.mock_llm import create_app as create_model
from likewise.testing import running

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
GATEWAY = "http://127.0.0.1:8700"
FOREIGN = {"scrape_configs", "services", "static_resources"}
"""Keys at the top of files of other programs."""


def fenced(page: Path, *languages: str) -> list[str]:
    """The fenced code blocks of some languages, indented ones too."""
    found = re.findall(
        r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [textwrap.dedent(text) for _, language, text in found if language in languages]


def pages(*languages: str) -> list[Any]:
    """The pages that have blocks of some languages."""
    return [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in PAGES
        if fenced(page, *languages)
    ]


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """A gateway before a stand-in model, as the pages have one."""
    config = parse({"load": {"max_wait": None}})
    with running(create_model(MockSettings(latency_s=0.0))) as model:
        config.settings.upstream.base_url = model
        cache = AsyncCache(store="memory://", categories=config.policies, rules=config.rules)
        with running(create_app(config, cache)) as url:
            yield url


@pytest.mark.parametrize("page", pages("python"))
def test_python_runs(
    page: Path, gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a page run one after the other, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in fenced(page, "python"):
        exec(compile(block.replace(GATEWAY, gateway), str(page), "exec"), names)  # noqa: S102
    if "cache" in names and hasattr(names["cache"], "close"):
        names["cache"].close()


def test_the_quick_start_ends_in_a_semantic_hit(
    gateway: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page promises a miss, and then a hit by meaning."""
    (block,) = fenced(ROOT / "docs" / "index.md", "python")
    # A key of its own, for whom nothing is stored yet.
    block = block.replace(GATEWAY, gateway).replace('api_key="any"', 'api_key="new"')
    exec(compile(block, "index.md", "exec"), {})  # noqa: S102 - our own page
    miss, hit = capsys.readouterr().out.splitlines()
    assert miss.startswith("('MISS'")
    assert hit == "('HIT', 'similar')"


@pytest.mark.parametrize("page", pages("yaml"))
def test_yaml_is_a_configuration(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block is taken as a configuration file, or belongs to another program by its keys."""
    for name in re.findall(r"\$\{(\w+)\}", page.read_text("utf-8")):
        monkeypatch.setenv(name, "value")
    for block in fenced(page, "yaml"):
        found = yaml.safe_load(block)
        if not isinstance(found, dict) or set(found) & FOREIGN or "apiVersion" in found:
            continue
        assert set(found) <= set(Settings.__struct_fields__), block
        parse(found)


@pytest.mark.parametrize("page", pages("json"))
def test_json_is_json(page: Path) -> None:
    """A block can be read."""
    for block in fenced(page, "json"):
        json.loads(block)


def commands() -> list[Any]:
    """Every line of the documentation that runs ``likewise``, with its page."""
    found = []
    for page in PAGES:
        if page.name == "cli.md":  # which is made of the code
            continue
        text = page.read_text("utf-8").replace("\\\n", " ")
        lines = re.findall(r"^(?: {4,}|)likewise ([a-z].*)$", text, re.MULTILINE)
        found += [pytest.param(line, id=f"{page.name}: {line[:40]}") for line in lines]
    return found


@pytest.mark.parametrize("line", commands())
def test_commands_are_what_the_command_line_takes(line: str) -> None:
    """The command exists, and so does every option named."""
    words = [word.strip("[]") for word in shlex.split(line, comments=True)]
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words:
        known = command.commands.get(words[0])
        assert known is not None, f"there is no likewise {line}"
        command, words = known, words[1:]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    for word in words:
        if word.startswith("--") and "=" not in word:
            assert word in options, f"likewise {line}: {word}"
