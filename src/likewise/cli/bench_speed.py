"""``likewise bench speed``: what requests cost, by step and as a whole."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from likewise.bench import lookups
from likewise.bench import speed as speeds
from likewise.cli.output import (
    JsonOption,
    console,
    one_thread_each,
    print_json,
    progress,
    require_folder,
)
from likewise.page import require_charts


def speed(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with prompts_*.jsonl.gz to miss and to gate; else our own."),
    ] = None,
    entries: Annotated[
        int, typer.Option(help="Most entries in one scope; a million take some minutes.", min=1_000)
    ] = lookups.SIZES[-1],
    report: Annotated[
        Path | None, typer.Option(help="Page with a picture of the growth to write, an HTML file.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """What hits, misses, lookups and stores cost, each beside its floor from the same run.

    With a million entries it takes about ten minutes and 8 GB of memory.
    """
    if report is not None:
        require_charts()
        require_folder(report, "--report")
    one_thread_each()
    sizes = [size for size in lookups.SIZES if size < entries] + [entries]
    with ExitStack() as bars:
        found = speeds.measure(
            lambda name: bars.enter_context(progress(name)), data=data, sizes=sizes
        )
    if report is not None:
        speeds.write_report(found, report)
    if json:
        print_json(found)
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    exact = found["exact_hit"]
    console.print(
        f"exact hit through the gateway: {exact['gateway_rps']:,.0f}/s, "
        f"{exact['gateway_rps'] / exact['floor_rps']:.0%} of a bare server's; "
        f"{exact['p50_us']:,.0f} us (p99 {exact['p99_us']:,.0f})"
    )
    for tokens, row in found["miss_us"].items():
        console.print(
            f"miss of {tokens} tokens: {row['gated']:,.0f} us with the gate, {row['ungated']:,.0f} "
            f"without (means {row['gated_mean']:,.0f}, {row['ungated_mean']:,.0f}); "
            f"{row['skipped']:.0%} not embedded"
        )
    gate = found["gate"]
    console.print(
        f"gate: {gate['transformer_skipped']:.0%} of the misses not embedded, "
        f"{gate['recall_lost']:.1%} of the right answers lost"
    )
    table = Table("entries", "hit us", "miss us", "scan us", "recall@1", "bytes", box=None)
    for size, scan_us in found["scan_us"].items():
        table.add_row(
            f"{int(size):,}",
            f"{found['lookup_hit_us'][size]:,.0f}",
            f"{found['lookup_miss_us'][size]:,.0f}",
            f"{scan_us:,.0f}",
            f"{found['recall_at_1'][size]:.3f}",
            f"{found['bytes_per_entry'][size]:,.0f}",
        )
    console.print(table)
    scopes = found["scopes"]
    console.print(
        f"many scopes take {scopes['many_bytes'] / scopes['one_bytes']:.2f}x the memory of one; "
        f"{found['insert_per_s']:,.0f} entries stored a second"
    )
    console.print(
        f"semantic hit beyond embedding {found['semantic_hit_us']:,.0f} us; first byte of a "
        f"streamed miss {found['first_byte_added_ms']:.1f} ms later"
    )
