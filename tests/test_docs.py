"""The documentation says what the code does."""

import html
import importlib.util
import json
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
    PrivacySettings,
    RuleSettings,
    Settings,
    TelemetrySettings,
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
        ("`privacy`", PrivacySettings),
        ("`telemetry`", TelemetrySettings),
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


def test_pages_made_of_the_code_are_what_it_says() -> None:
    """The pages of metrics and of the admin API are generated; ``make docs`` writes them anew."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for name, page in reference.PAGES.items():
        assert (ROOT / "docs" / "reference" / name).read_text("utf-8") == page(), "run: make docs"


def test_every_header_has_a_row() -> None:
    """The gateway's page names each header that the code speaks, and no other of ours."""
    page = (ROOT / "docs" / "gateway.md").read_text("utf-8").lower()
    sources = "\n".join(
        path.read_text("utf-8") for path in (ROOT / "src" / "likewise" / "gateway").rglob("*.py")
    ).lower()
    spoken = set(re.findall(r"x-likewise-[a-z-]+[a-z]", sources))
    named = set(re.findall(r"x-likewise-[a-z-]+[a-z]", page))
    assert spoken == named


def test_the_grafana_dashboard_asks_for_what_there_is() -> None:
    """Every metric of its expressions is on the page of metrics, with the labels it names."""
    panels = json.loads((ROOT / "deploy" / "grafana" / "likewise.json").read_text("utf-8"))[
        "panels"
    ]
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| \w+ \|([^|]*)\|", page, re.MULTILINE))
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) > 15
    for expression in expressions:
        for name in re.findall(r"likewise_\w+", expression):
            assert name.removesuffix("_bucket") in rows, name
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            for label in set(labels.split(", ")) - {"le"}:
                assert all(
                    f"`{label}`" in rows[name.removesuffix("_bucket")]
                    for name in re.findall(r"likewise_\w+", expression)
                ), (label, expression)


def test_the_site_is_whole() -> None:
    """Every page is in the site's navigation, and the site's links and names lead somewhere."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))

    def named(nav: object) -> list[str]:
        if isinstance(nav, str):
            return [nav]
        parts = nav.values() if isinstance(nav, dict) else nav
        assert isinstance(parts, list) or hasattr(parts, "__iter__")
        return [page for part in parts for page in named(part)]

    there = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")}
    assert set(named(site["nav"])) == there
