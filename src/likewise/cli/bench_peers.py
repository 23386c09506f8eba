"""``likewise bench peers``: Likewise beside other caches."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from likewise.bench import peers as beside
from likewise.cli.output import JsonOption, console, one_thread_each, print_json, progress


def peers(
    entries: Annotated[int, typer.Option(help="Entries stored.", min=100)] = beside.ENTRIES,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Peer to measure: {', '.join(beside.PEERS)}; repeatable."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Install the peers anew, in their newest versions.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Lookups without embedding, and exact hits a second, beside GPTCache, pgvector and LiteLLM.

    GPTCache and LiteLLM are installed once, about a gigabyte, in environments of their own.
    """
    one_thread_each()
    with ExitStack() as bars:
        found = beside.measure(
            told=lambda name: bars.enter_context(progress(name)),
            entries=entries,
            only=only or beside.PEERS,
            fresh=fresh,
        )
    if json:
        print_json(found)
        return
    left_out = found.pop("left_out")
    ours = found["likewise"]
    table = Table("", "lookup us", "of ours", "hits/s", "of ours", box=None)
    for name, row in found.items():
        cells = []
        for key in ("lookup_us", "rps"):
            value = row.get(key)
            cells += ["", ""] if value is None else [f"{value:,.0f}", f"{value / ours[key]:.3g}x"]
        table.add_row(f"{name} {row.get('version', '')}".strip(), *cells)
    console.print(table)
    for name, reason in left_out.items():
        console.print(f"{name} left out: {escape(reason)}", soft_wrap=True)
