"""``likewise bench``: measurements of this installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from likewise.bench import crossover
from likewise.bench import quality as protocol
from likewise.bench.prompts import Embedded, read_prompts, sample
from likewise.cli.output import JsonOption, console, print_json, progress
from likewise.config import Config, EmbeddingSettings, Policies, load
from likewise.opening import embedder_of

app = typer.Typer(
    no_args_is_help=True, help="Measure quality and speed on this machine.", add_completion=False
)


@app.callback()
def _root() -> None:
    """Measure quality and speed on this machine."""


@app.command()
def quality(
    data: Annotated[Path, typer.Option(help="Folder with prompts_*.jsonl.gz and their answers.")],
    policy: Annotated[
        list[str] | None, typer.Option(help="Also judge this config's categories; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample and its order.")] = protocol.SEED,
    rows: Annotated[
        int, typer.Option(help="Rows per category.", min=1)
    ] = protocol.ROWS_PER_CATEGORY,
    budget: Annotated[
        float, typer.Option(help="Wrong per hit the fitted thresholds aim at.")
    ] = 0.02,
    json: JsonOption = False,
) -> None:
    """Protocol "once": how many hits are right and wrong, by policy and category."""
    configs = [load(path) for path in policy or ()]
    prompts = sample(read_prompts(data), seed=seed, rows_per_category=rows)
    settings = configs[0].settings.embedding if configs else EmbeddingSettings()
    with progress("embedding") as report:
        embedder = Embedded(embedder_of(settings), [p.text for p in prompts], report)
    plans: list[tuple[str, Policies | Config, protocol.Threshold]] = [
        (f"uniform-{t:.2f}", protocol.uniform(t), _own) for t in protocol.UNIFORM
    ]
    plans.append(("per-category", Policies.built_in(), _own))
    plans.append(("per-category-fitted", *protocol.fitted(prompts, embedder, budget=budget)))
    plans.extend((str(config.path), config, _own) for config in configs)
    outcomes = []
    for name, policies, threshold in plans:
        with progress(name) as report:
            outcomes.append(
                protocol.run(
                    name, policies, prompts, embedder, threshold=threshold, progress=report
                )
            )
    requests, reusable = len(prompts), protocol.reusable(prompts)
    if json:
        print_json(
            {
                "protocol": "once",
                "requests": requests,
                "reusable": reusable,
                "policies": [outcome.to_dict() for outcome in outcomes],
            }
        )
        return
    console.print(f'protocol "once": {requests} requests, of which {reusable} could be reused')
    console.print(_policies([outcome.to_dict() for outcome in outcomes]))
    console.print(_categories([outcome.to_dict() for outcome in outcomes]))


@app.command()
def index(json: JsonOption = False) -> None:
    """Where the graph begins to beat the scan, by the number of entries in a partition."""
    with progress("searching") as report:
        found = crossover.measure(report)
    if json:
        print_json(found)
        return
    table = Table("entries", "scan us", "graph us", "graph recall@1", box=None)
    for size, row in found["sizes"].items():
        table.add_row(
            str(size),
            f"{row['flat_us']:.0f}",
            f"{row['hnsw_us']:.0f}",
            f"{row['hnsw_recall_at_1']:.3f}",
        )
    console.print(table)
    console.print(f"the graph is the faster from {found['crossover']} entries on")


def _own(_: object) -> None:
    return None


def _policies(outcomes: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("policy")
    for name in ("hits", "right", "wrong", "wrong per hit", "wrong per request"):
        table.add_column(name, justify="right")
    for row in outcomes:
        table.add_row(
            row["name"],
            str(row["hits"]),
            str(row["right"]),
            str(row["wrong"]),
            f"{row['wrong_per_hit']:.1%}",
            f"{row['wrong_per_request']:.2%}",
        )
    return table


def _categories(outcomes: list[dict[str, Any]]) -> Table:
    """Return right and wrong of every policy by category."""
    table = Table(title="right / wrong by category", title_justify="left", box=None)
    table.add_column("category")
    table.add_column("reusable", justify="right")
    for row in outcomes:
        table.add_column(row["name"].replace("per-category", "per-cat."), justify="right")
    for name, first in outcomes[0]["by_category"].items():
        cells = [row["by_category"][name] for row in outcomes]
        table.add_row(
            name, str(first["reusable"]), *(f"{cell['right']} / {cell['wrong']}" for cell in cells)
        )
    return table
