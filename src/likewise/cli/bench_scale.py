"""``likewise bench scale``: very many entries in one process."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from likewise.bench import scale as scales
from likewise.cli.output import JsonOption, console, one_thread_each, print_json, progress


def scale(
    entries: Annotated[
        int, typer.Option(help="Entries in one scope and category.", min=1)
    ] = scales.ENTRIES,
    json: JsonOption = False,
) -> None:
    """Memory, cold and warm start, and lookups with very many entries in one process.

    With a million entries it takes about a quarter of an hour, 4 GB of memory and 4 GB of disk.
    """
    one_thread_each()
    with ExitStack() as bars:
        found = scales.measure(lambda name: bars.enter_context(progress(name)), entries=entries)
    if json:
        print_json(found)
        return
    console.print(
        f"{found['entries']:,.0f} entries: {found['bytes_per_entry']:,.0f} bytes an entry "
        f"({found['warm_bytes_per_entry']:,.0f} after a warm start); "
        f"a lookup {found['lookup_ms']:.2f} ms, recall@1 {found['recall_at_1']:.3f}"
    )
    console.print(
        f"cold start {found['cold_start_s']:,.1f} s, with {found['cold_lookups']:,.0f} lookups "
        f"meanwhile ({found['cold_lookup_ms']:.1f} ms, at most {found['cold_lookup_most_ms']:,.0f})"
    )
    console.print(
        f"warm start {found['warm_start_s']:.1f} s, and {found['settle_s']:.1f} s to load what was "
        f"mapped; snapshot of {found['snapshot_bytes'] / 1e6:,.0f} MB written in "
        f"{found['snapshot_s']:.1f} s (lookups at most {found['snapshot_lookup_most_ms']:,.0f} ms)"
    )
