"""``likewise bench stores``: the four stores beside each other."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from likewise.bench import stores as beside
from likewise.cli.output import JsonOption, console, one_thread_each, print_json, progress

_COLUMNS = (
    ("write", "write_us", ",.0f"),
    ("hit", "hit_us", ",.0f"),
    ("again", "hit_again_us", ",.0f"),
    ("miss", "miss_us", ",.0f"),
    ("built/s", "rebuild_per_s", ",.0f"),
    ("bytes", "bytes_per_entry", ",.0f"),
    ("per GB", "entries_per_gb", ",.0f"),
    ("heard", "heard_ms", ",.1f"),
)


def stores(
    entries: Annotated[int, typer.Option(help="Entries in each store.", min=100)] = beside.ENTRIES,
    redis: Annotated[
        str | None, typer.Option(help="An empty Redis to measure; else a private one is started.")
    ] = None,
    postgres: Annotated[
        str | None, typer.Option(help="A PostgreSQL to measure; else a private one is started.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """What the four stores cost: writing, hits, misses, starting, bytes; measured in one run."""
    one_thread_each()
    with progress("filling the stores") as report:
        found = beside.measure(report, entries=entries, redis_url=redis, postgres_url=postgres)
    if json:
        print_json(found)
        return
    table = Table("store", *(title for title, _, _ in _COLUMNS), box=None)
    for name, row in found.items():
        cells = (format(row[key], shape) if key in row else "" for _, key, shape in _COLUMNS)
        table.add_row(name, *cells)
    console.print(table)
    console.print("write, hit, the same hit again and miss in us; heard by another cache in ms")
