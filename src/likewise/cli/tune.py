"""``likewise tune``: a policy fitted to labels, with thresholds that are certified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from likewise.cli.output import JsonOption, console, print_json, progress, require_folder
from likewise.errors import ConfigError

if TYPE_CHECKING:
    from likewise.learn.tune import Tuned

_STREAMS = 7
_ROWS_PER_CATEGORY = 3_000


def tune(
    out: Annotated[Path, typer.Option(help="Policy file to write; the verifier goes beside it.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder with prompts_*.jsonl.gz and their answers.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="JSON lines with question, answer and category, in order.")
    ] = None,
    error_budget: Annotated[
        float, typer.Option(help="Wrong per hit allowed in a category.")
    ] = 0.02,
    risk: Annotated[
        float, typer.Option(help="Chance that a bound fails, over all; 0.5: a point estimate.")
    ] = 0.05,
    pressure_budget: Annotated[
        float | None,
        typer.Option(help="Wrong per hit allowed while the model is under full load."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Page with pictures to write, an HTML file.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Configuration whose other keys the policy keeps.")
    ] = None,
    streams: Annotated[
        int, typer.Option(help="Most streams to deal --data into.", min=1)
    ] = _STREAMS,
    half: Annotated[
        int | None,
        typer.Option(help="Only answers of this half, 0 or 1, of --data.", min=0, max=1),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave out a group of features, to see what it contributes; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample taken of --data.")] = 7,
    json: JsonOption = False,
) -> None:
    """Fit a verifier and a threshold per category to labels, certify them, write the policy."""
    # Imported here: other commands need none of this.
    import yaml  # noqa: PLC0415

    from likewise.bench.prompts import (  # noqa: PLC0415
        Embedded,
        Pair,
        deal,
        half_of,
        pairs_of_half,
        read_log,
        read_pairs,
        read_prompts,
    )
    from likewise.config import Config, load  # noqa: PLC0415
    from likewise.learn.report import write_report  # noqa: PLC0415
    from likewise.learn.trees import require_fitting  # noqa: PLC0415
    from likewise.learn.tune import tune as fit  # noqa: PLC0415
    from likewise.learn.write import write_policy  # noqa: PLC0415
    from likewise.opening import embedder_of  # noqa: PLC0415
    from likewise.page import require_charts  # noqa: PLC0415

    if (data is None) == (log is None):
        msg = "name the labels: one of --data DIR, --log FILE"
        raise ConfigError(msg)
    for option, path in (("--out", out), ("--report", report)):
        if path is not None:
            require_folder(path, option)
    # Said before the work, not after it.
    require_fitting()
    if report is not None:
        require_charts()
    config = Config() if base is None else load(base)
    kept: dict[str, Any] = {} if base is None else yaml.safe_load(base.read_text("utf-8")) or {}
    pairs: list[Pair] = []
    if data is not None:
        prompts = read_prompts(data)
        pairs = pairs_of_half(read_pairs(data), prompts, half)
        dealt = deal(
            half_of(prompts, half),
            seed=seed,
            rows_per_category=_ROWS_PER_CATEGORY,
            streams=streams,
        )
    else:
        dealt = [read_log(log)] if log is not None else []
    with progress("embedding") as embedded:
        texts = [prompt.text for stream in dealt for prompt in stream]
        texts += [text for pair in pairs for text in (pair.a, pair.b)]
        embedder = Embedded(embedder_of(config.settings.embedding), texts, embedded)
    with progress("tuning") as fitted:
        tuned = fit(
            dealt,
            embedder,
            budget=error_budget,
            risk=risk,
            pressure_budget=pressure_budget,
            pairs=pairs,
            without=without or (),
            progress=fitted,
        )
    write_policy(tuned, out, base=kept)
    if report is not None:
        write_report(tuned, report)
    rows = _rows(tuned)
    if json:
        print_json({"policy": str(out), "budget": error_budget, "risk": risk, "categories": rows})
        return
    console.print(_table(rows))
    console.print(f"the policy is in {out}: likewise serve --config {out}")


def _rows(tuned: Tuned) -> dict[str, dict[str, Any]]:
    from likewise.learn.report import verdict as verdict_of  # noqa: PLC0415 - as above

    return {
        name: {
            "requests": tuned.requests[name],
            "threshold": certificate.threshold,
            "labels": certificate.labels,
            "wrong": certificate.wrong,
            "bound": certificate.bound,
            "missing": certificate.missing,
            "together": certificate.together,
            "floor_under_load": _floor_under_load(tuned, name),
            "verdict": verdict_of(certificate),
            "guards": list(tuned.guards[name]) if certificate.threshold is not None else [],
        }
        for name, certificate in tuned.certificates.items()
    }


def _floor_under_load(tuned: Tuned, name: str) -> float | None:
    """Return the threshold that is certified for the budget under load, if one is."""
    pressed = tuned.pressed.get(name)
    return None if pressed is None else pressed.threshold


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("category", no_wrap=True)
    for name in ("asked", "hits", "wrong", "bound"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for name, row in rows.items():
        if row["threshold"] is None:
            table.add_row(name, str(row["requests"]), "-", "-", "-", row["verdict"])
            continue
        verdict = row["verdict"]
        if row["guards"]:
            verdict += f", guards {', '.join(row['guards'])}"
        table.add_row(
            name,
            str(row["requests"]),
            str(row["labels"]),
            str(row["wrong"]),
            f"{row['bound']:.2%}",
            verdict,
        )
    return table
