"""``likewise classify`` and ``likewise categories``: what kind of question something is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml
from msgspec import UNSET
from rich.markup import escape
from rich.table import Table

from likewise.answers import answer_digest
from likewise.classify.discover import Cluster
from likewise.classify.lint import Lint
from likewise.classify.lint import lint as look_at
from likewise.classify.rules import Rules
from likewise.cli.output import (
    ConfigOption,
    JsonOption,
    console,
    print_json,
    progress,
    require_folder,
)
from likewise.cli.settings import config_of
from likewise.durations import humanize
from likewise.errors import ConfigError, ExitCode
from likewise.faults import Faults
from likewise.naming import Namer
from likewise.opening import embedder_of, nearest_of
from likewise.page import require_charts
from likewise.request import Request
from likewise.scope import Scope
from likewise.stats import Stats

app = typer.Typer(
    no_args_is_help=True, help="Examine categories and find new ones.", add_completion=False
)


@app.callback()
def _root() -> None:
    """Examine categories and find new ones."""


def classify(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The question; - reads stdin.")],
    model: Annotated[str, typer.Option("--model", help="The model requested, for rules.")] = "",
    system: Annotated[str, typer.Option("--system", help="The system prompt, for rules.")] = "",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show which category a question belongs to, what names it, and how sure that is."""
    question = sys.stdin.read() if text == "-" else text
    settings = config_of(config)
    embedder = embedder_of(settings.settings.embedding)
    namer = Namer(
        settings.policies,
        [("rule", Rules(settings.rules))],
        nearest_of(settings.examples, embedder),
        sure=settings.settings.classification.confidence,
        faults=Faults(Stats()),
    )
    request = Request(question, Scope(model=model), system=system)
    naming = namer.at_once(request)
    if naming is None:
        fits = namer.nearest is not None and question.strip() and embedder.fits(question)
        vector = embedder.embed([question])[0] if fits else None
        naming = namer.otherwise if vector is None else namer.by_examples(question, vector)
    guess = naming.guess
    likely = {} if guess is None else dict(zip(guess.likely, guess.probabilities, strict=True))
    if json:
        print_json(
            {
                "category": naming.category,
                "by": naming.by,
                "confidence": None if guess is None else guess.confidence,
                "likely": likely,
                "strictest_of": list(naming.strict),
            }
        )
        return
    sure = "" if guess is None else f", confidence {guess.confidence:.2f}"
    console.print(f"[bold]{naming.category}[/] (named by {naming.by}{sure})")
    for name, probability in likely.items():
        console.print(f"  {probability:.2f}  {name}")
    if len(naming.strict) > 1:
        console.print(f"in doubt: the strictest policy of {', '.join(naming.strict)} holds")


@app.command()
def lint(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Look for examples that contradict each other, and for categories that overlap.

    Exit code 8 says that something should be mended: a contradiction, too few examples, or one that
    is longer than the embedder reads. Overlaps and doubtful examples are for judgement.
    """
    settings = config_of(config)
    if len(settings.examples) < 2:
        msg = "there is nothing to compare: two categories with examples are needed"
        raise ConfigError(msg)
    found = look_at(settings.examples, embedder_of(settings.settings.embedding))
    if json:
        print_json(found)
    else:
        _show(found)
    if not found.clean:
        raise typer.Exit(ExitCode.CHECK_FAILED)


@app.command()
def suggest(
    log: Annotated[
        Path,
        typer.Option(help="JSON lines with question; answer, category and t (seconds) if known."),
    ],
    only: Annotated[
        str | None, typer.Option("--only", help="Only the lines of this category.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write the proposed categories: block to.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Page with pictures to write, an HTML file.")
    ] = None,
    most: Annotated[int, typer.Option(help="Most lines to look at, the latest.", min=30)] = 20_000,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Cluster logged prompts, and propose categories with thresholds and times to live."""
    # Imported here: other commands need none of this.
    from likewise.bench.prompts import Embedded, read_lines  # noqa: PLC0415
    from likewise.classify import discover  # noqa: PLC0415
    from likewise.classify.pictures import write_report  # noqa: PLC0415

    discover.require_clustering()
    if report is not None:
        require_charts()
    for option, path in (("--out", out), ("--report", report)):
        if path is not None:
            require_folder(path, option)
    lines = [line for line in read_lines(log) if only in (None, line.category)]
    embedder = embedder_of(config_of(config).settings.embedding)
    lines = [line for line in lines if line.question.strip() and embedder.fits(line.question)]
    dropped, lines = max(0, len(lines) - most), lines[-most:]
    with progress("embedding") as embedded:
        known = Embedded(embedder, [line.question for line in lines], embedded)
    logged = [
        discover.Logged(
            line.question, 0 if line.answer is UNSET else answer_digest(line.answer), line.t
        )
        for line in lines
    ]
    if not logged:
        msg = f"--log: {log} holds no question to look at"
        raise ConfigError(msg)
    vectors = known.embed([line.question for line in lines])
    clusters = discover.discover(logged, vectors)
    block = {"categories": {cluster.name: cluster.proposal() for cluster in clusters}}
    text = yaml.safe_dump(block, sort_keys=False, allow_unicode=True, width=100)
    if out is not None:
        out.write_text(text, "utf-8")
    if report is not None:
        write_report(clusters, vectors, text, report)
    if json:
        print_json({"prompts": len(lines), "categories": [c.to_dict() for c in clusters]})
        return
    if dropped:
        console.print(f"looked at the latest {len(lines):,} lines; {dropped:,} before are left out")
    console.print(_clusters(clusters))
    rest = len(lines) - sum(cluster.size for cluster in clusters)
    console.print(f"{rest:,} of {len(lines):,} prompts belong to no cluster")
    if out is not None:
        console.print(f"the proposed categories are in {out}: read them before you use them")


def _show(found: Lint) -> None:
    table = Table("category", "examples", "named rightly when left out", box=None)
    for name, row in found.categories.items():
        table.add_row(name, str(row.examples), f"{row.accuracy:.0%}")
    console.print(table)
    console.print(f"{found.accuracy:.0%} of all examples are named rightly when they are left out")
    lines = [
        f"[bold]too few[/] {name}: ten examples are the least that tell anything"
        for name in found.few
    ]
    lines += [
        f"[bold]contradiction[/] ({both.similarity:.2f}) {both.categories[0]}: "
        f"{escape(repr(both.texts[0]))}, {both.categories[1]}: {escape(repr(both.texts[1]))}"
        for both in found.contradictions
    ]
    lines += [
        f"[bold]too long[/] {long.category}: {escape(repr(long.text[:80]))}"
        for long in found.unread
    ]
    lines += [
        f"overlap: {one.share:.0%} of the examples of {one.category} look like {one.claimed_by}"
        for one in found.overlaps
    ]
    lines += [
        f"doubtful {one.category}: {escape(repr(one.text))} looks like {one.like}"
        for one in found.doubtful
    ]
    for line in lines:
        console.print(line, soft_wrap=True)


def _clusters(clusters: Sequence[Cluster]) -> Table:
    table = Table(box=None)
    for name in ("category", "prompts", "density", "repeated", "power law", "threshold", "hits"):
        table.add_column(name, justify="left" if name == "category" else "right")
    table.add_column("ttl", justify="right")
    for found in clusters:
        table.add_row(
            found.name,
            f"{found.size:,}",
            f"{found.density:.2f}",
            f"{found.repeated:.0%}",
            "-" if found.exponent is None else f"{found.exponent:.1f}",
            f"{found.threshold:.2f}",
            f"{found.hit_rate:.0%}",
            "-" if found.ttl_s is None else humanize(found.ttl_s),
        )
    return table
