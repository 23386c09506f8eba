"""``likewise stats`` and ``likewise purge``: what the store holds."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from likewise.cli.output import (
    ConfigOption,
    JsonOption,
    StoreOption,
    WrongUsageError,
    console,
    print_json,
)
from likewise.cli.settings import config_of
from likewise.stats import nested, report
from likewise.stores import open_store

_COLUMNS = (
    "entries",
    "asked",
    "exact\nhits",
    "similar\nhits",
    "hit\nrate",
    "by-\npassed",
    "faults",
    "saved\ns",
    "saved\n$",
)
"""Two lines each, so that the table fits 80 columns; ``--json`` has every figure."""


def stats(config: ConfigOption = None, store: StoreOption = None, json: JsonOption = False) -> None:
    """Show what was asked, served and saved, by category, since the store was made.

    A running gateway adds to the figures every few seconds.
    """
    with open_store(config_of(config, store=store).settings.store, create=False) as opened:
        counts = opened.counts()
        categories = report(nested(opened.counters()), counts)
        url = opened.url
    if json:
        print_json({"store": url, "entries": sum(counts.values()), "categories": categories})
        return
    console.print(f"[bold]{sum(counts.values())}[/] entries in {url}")
    if categories:
        console.print(_table(categories))
    for name, row in categories.items():
        if row["labels"]:
            console.print(
                f"{name}: {row['labels']} labels, {row['audits']} hits audited, "
                f"{row['audited_wrong']} of them wrong, {row['drift_alarms']} drift alarms",
                soft_wrap=True,
            )


def purge(
    category: Annotated[str | None, typer.Option(help="Delete this category's entries.")] = None,
    entry: Annotated[str | None, typer.Option(help="Delete the entry with this id.")] = None,
    expired: Annotated[bool, typer.Option(help="Delete what is past its time to live.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Delete every entry.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Delete entries for good; a gateway that runs on the same store serves them no more."""
    if sum([category is not None, entry is not None, expired, everything]) != 1:
        msg = (
            "name what to delete: one of --category NAME, --entry ID, --expired, --all; "
            "see likewise purge --help"
        )
        raise WrongUsageError(msg)
    if not yes:
        what = category or entry or ("everything expired" if expired else "EVERYTHING")
        typer.confirm(f"Delete {what} for good?", abort=True, err=True)
    with open_store(config_of(config, store=store).settings.store, create=False) as opened:
        if entry is not None:
            dropped = opened.delete([entry])
        elif expired:
            now = time.time()
            old = [r.id for r in opened.scan() if r.expires_at is not None and r.expires_at <= now]
            dropped = opened.delete(old)
        else:
            dropped = len(opened.clear(category=category))
    if json:
        print_json({"dropped": dropped})
    else:
        console.print(f"{dropped} entries deleted")


def _table(categories: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("category", overflow="fold")
    for name in _COLUMNS:
        table.add_column(name, justify="right", vertical="bottom", no_wrap=True)
    for name, row in categories.items():
        table.add_row(
            name,
            str(row["entries"]),
            str(row["requests"]),
            str(row["exact_hits"]),
            str(row["semantic_hits"]),
            f"{row['hit_rate']:.0%}",
            str(row["bypasses"]),
            str(sum(row["faults"].values())),
            f"{row['saved_s']:.1f}",
            f"{usd:.4f}" if (usd := row["saved_usd"]) < 10 else f"{usd:.2f}",
        )
    return table
