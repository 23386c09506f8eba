"""``likewise advise``: what a log says of other policies, and the room that traffic needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from likewise.cli.output import ConfigOption, JsonOption, console, print_json
from likewise.cli.settings import config_of
from likewise.durations import humanize, seconds
from likewise.errors import ConfigError


def advise(
    log: Annotated[
        Path | None, typer.Option(help="Log that serve --log has written.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    error_budget: Annotated[
        float | None, typer.Option(help="Wrong per hit allowed; else each category's own.")
    ] = None,
    requests_per_day: Annotated[
        float | None, typer.Option(help="Plan the capacity for so many; else as the log goes.")
    ] = None,
    hit_rate: Annotated[float | None, typer.Option(help="Of the plan; else the log's.")] = None,
    keep: Annotated[
        str | None, typer.Option(help="Of the plan: how long answers are kept; else the log's.")
    ] = None,
    memory_gib: Annotated[
        float | None, typer.Option(help="Of the plan: memory of a replica for entries.")
    ] = None,
    cores: Annotated[int | None, typer.Option(help="Of the plan: cores of a replica.")] = None,
    bytes_per_entry: Annotated[
        float | None, typer.Option(help="Of the plan: memory of an entry.")
    ] = None,
    lookups_per_core_s: Annotated[
        float | None, typer.Option(help="Of the plan: lookups a core decides in a second.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Estimate other thresholds, times to live and quotas from a log, and plan the capacity."""
    # Imported here: other commands need none of this.
    from likewise import advise as advisor  # noqa: PLC0415
    from likewise.advise.capacity import FORMULAS, plan  # noqa: PLC0415

    if log is None and requests_per_day is None:
        msg = "name a log with --log FILE, or --requests-per-day N for a capacity plan alone"
        raise ConfigError(msg)
    settings = config_of(config)
    logged = None if log is None else advisor.read_events(log)
    told = {} if logged is None else advisor.inputs_of(logged)
    given: dict[str, Any] = {
        "requests_per_day": requests_per_day,
        "hit_rate": hit_rate,
        "keep_s": None if keep is None else seconds(keep, what="--keep"),
        "memory_gib": memory_gib,
        "cores": cores,
        "bytes_per_entry": bytes_per_entry,
        "lookups_per_core_s": lookups_per_core_s,
    }
    chosen, source = advisor.inputs({k: v for k, v in given.items() if v is not None}, told)
    capacity = plan(chosen) if chosen.requests_per_day else None
    found = None if logged is None else advisor.advise(logged, settings, budget=error_budget)
    if json:
        print_json(
            {
                **({} if found is None else found.to_dict()),
                "capacity": None
                if capacity is None
                else {**capacity.to_dict(), "source": source, "formulas": list(FORMULAS)},
            }
        )
        return
    if found is not None:
        _show(found)
    if capacity is None:
        console.print("\nthe log is shorter than a minute: give --requests-per-day for a plan")
        return
    _show_plan(capacity.to_dict(), source, FORMULAS)


def _show(found: Any) -> None:
    console.print(
        f"{found.requests} requests in {humanize(max(found.seconds, 1.0))}; intervals are of 95 %"
    )
    table = Table("category", "asked", "wrong per hit now", "more right per request", box=None)
    for name, advice in found.categories.items():
        now, more = "-", "-"
        if advice.threshold is not None:
            error = advice.threshold.now.error
            now = f"{error.value:.1%} ({error.low:.1%} to {error.high:.1%})"
            if advice.threshold.best is not None:
                gain = advice.threshold.best.right.value - advice.threshold.now.right.value
                more = f"{gain:+.1%}"
        table.add_row(name, str(advice.requests), now, more)
    console.print(table)
    for name, advice in found.categories.items():
        for part in (advice.threshold, advice.life):
            if part is not None and part.why:
                console.print(f"{name}: {escape(part.why)}", soft_wrap=True)
    proposed = {name: c for name, advice in found.categories.items() if (c := advice.proposed())}
    if not proposed:
        console.print("nothing to change")
        return
    console.print("\n[bold]proposed[/]\ncategories:")
    for name, changes in proposed.items():
        values = ", ".join(f"{key}: {value}" for key, value in changes.items())
        console.print(f"  {name}: {{{escape(values)}}}", soft_wrap=True)


def _show_plan(capacity: dict[str, Any], source: dict[str, str], formulas: tuple[str, ...]) -> None:
    console.print("\n[bold]capacity[/]")
    for name, value in capacity["inputs"].items():
        console.print(f"  {name} = {value:,.6g} ({source[name]})", soft_wrap=True)
    for formula in formulas:
        console.print(f"  {escape(formula)}", soft_wrap=True)
    console.print(
        f"{capacity['entries']:,.0f} entries: {capacity['memory_gib']:,.2f} GiB of memory, "
        f"{capacity['store_gib']:,.2f} GiB of store, {capacity['writes_per_s']:,.1f} writes a "
        f"second; {capacity['peak_per_s']:,.1f} requests a second at the peak, of which "
        f"{capacity['model_calls_per_s']:,.1f} reach the model; {capacity['replicas']} replicas "
        f"({capacity['replicas_by_cpu']} by processor, {capacity['replicas_by_memory']} by memory)",
        soft_wrap=True,
    )
