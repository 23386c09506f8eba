"""The documentation says what the code does."""

import html
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from likewise import Cache, Hit
from likewise.category import TAXONOMY, Category
from likewise.config import (
    ClassificationSettings,
    EmbeddingSettings,
    GatewaySettings,
    IndexSettings,
    JudgeModelSettings,
    LearningSettings,
    LedgerSettings,
    LoadSettings,
    PolicySettings,
    PriceSettings,
    RuleSettings,
    Settings,
    UpstreamSettings,
    parse,
)
from likewise.durations import humanize
from likewise.guards import GUARDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        ("Top level", Settings),
        ("A policy", PolicySettings),
        ("`rules`", RuleSettings),
        ("`classification`", ClassificationSettings),
        ("`embedding`", EmbeddingSettings),
        ("`index`", IndexSettings),
        ("`upstream`", UpstreamSettings),
        ("`load`", LoadSettings),
        ("`ledger`", LedgerSettings),
        ("`learning`", LearningSettings),
        ("`gateway`", GatewaySettings),
    ],
)
def test_every_key_has_a_row(heading: str, struct: type[msgspec.Struct]) -> None:
    """Each section's table has a row for every key the code reads, and for no other."""
    section = CONFIGURATION.split(f"\n## {heading}")[1].split("\n## ")[0].split("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert set(rows) == set(struct.__struct_fields__)


def test_prices_are_documented() -> None:
    """The keys of a price are named in the row of ``prices``, those of a judge model in its."""
    for name in (*PriceSettings.__struct_fields__, *JudgeModelSettings.__struct_fields__):
        assert f"{name}: " in CONFIGURATION


def test_defaults_of_a_policy_are_those_of_the_code() -> None:
    """The stated default threshold, ttl, turns, temperature and guards are in force."""
    default = Category("default")
    assert f"| `similarity_threshold` | {default.similarity_threshold} |" in CONFIGURATION
    assert f"| `ttl` | `{humanize(default.ttl_s)}` |" in CONFIGURATION
    assert f"| `max_turns` | {default.max_turns} |" in CONFIGURATION
    assert f"| `max_temperature` | {default.max_temperature} |" in CONFIGURATION
    assert default.guards == tuple(GUARDS)
    assert all(f"`{name}`" in CONFIGURATION for name in GUARDS)


def test_built_in_categories_are_documented() -> None:
    """The table of the taxonomy has each category with its threshold and ttl."""
    section = CONFIGURATION.split("### Built in")[1].split("\n## ")[0]
    rows = {
        name: (threshold.strip(), ttl.strip())
        for name, threshold, ttl in re.findall(
            r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|", section, re.MULTILINE
        )
    }
    for category in TAXONOMY.values():
        threshold = (
            ""
            if not category.cacheable or category.exact_only
            else str(category.similarity_threshold)
        )
        ttl = humanize(category.ttl_s) if category.cacheable else ""
        assert rows.pop(category.name) == (threshold, ttl)
    assert not rows


def test_readme_config_is_valid() -> None:
    """The config of the README is accepted and means what it says."""
    (text,) = blocks(README, "yaml")
    config = parse(yaml.safe_load(text))
    assert config.policies.of("code").ttl_s == 30 * 86400
    assert not config.policies.of("personal").cacheable


def test_readme_library_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's library example works as written, with the default embedder."""
    monkeypatch.chdir(tmp_path)
    example = blocks(README, "python")[0]
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own README
    assert "git reset --soft HEAD~1 semantic" in capsys.readouterr().out
    with Cache(store="sqlite:///likewise.db") as cache:
        assert isinstance(cache.check("How do I undo the last commit?", category="code"), Hit)


def test_the_command_line_page_is_what_the_code_says() -> None:
    """``docs/cli.md`` is generated; ``make docs`` writes it anew."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "typer", "likewise.cli", "utils", "docs"),
            *("--name", "likewise", "--title", "Command line"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert page.strip() == html.unescape(done.stdout).strip(), "run: make docs"


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file, and no placeholder was left behind."""
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    assert not re.search(r"TODO|FIXME|QUALITY_|PERFORMANCE_|_TABLE", text)
