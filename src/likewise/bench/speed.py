"""What requests cost, by step and as a whole, each figure beside its floor from the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from likewise.bench import lookups, misses, throughput
from likewise.bench.prompts import Embedded, Prompt, half_of, read_prompts, sample
from likewise.bench.quality import ROWS_PER_CATEGORY, SEED
from likewise.config import EmbeddingSettings
from likewise.demo.prompts import load_prompts
from likewise.opening import embedder_of
from likewise.page import div, table, write_page
from likewise.rebuild import Progress

Told = Callable[[str], Progress]
"""Given what is about to be measured: who is told of its progress."""


def measure(
    told: Told,
    *,
    data: Path | None = None,
    sizes: Sequence[int] = lookups.SIZES,
    rows: int = ROWS_PER_CATEGORY,
) -> dict[str, Any]:
    """Measure everything.

    Args:
        told: Makes a progress bar.
        data: Folder with prompts; without one those of the demo are asked.
        sizes: Entries at which to look up.
        rows: Most prompts of a category.

    Returns:
        ``exact_hit`` and ``first_byte_added_ms`` and ``semantic_hit_us``, see ``throughput``;
        ``miss_us``, see ``misses.cost``, and ``gate``, see ``misses.gate``; ``lookup_us``,
        ``scan_us``, ``recall_at_1``, ``recall_at_1_far`` and ``bytes_per_entry`` by the number of
        entries, and ``lookup_hit_us`` and ``lookup_miss_us``, see ``lookups.grow``; ``scopes``, see
        ``lookups.scopes``; and ``insert_per_s``, see ``lookups.inserts``.
    """
    prompts = None if data is None else half_of(read_prompts(data), None)
    whole = throughput.measure(told("asking gateways"))
    cost = misses.cost(prompts, told("missing"))
    asked = (
        [Prompt(p.category, p.text, p.key) for p in load_prompts()]
        if prompts is None
        else sample(prompts, seed=SEED, rows_per_category=rows)
    )
    embedder = Embedded(
        embedder_of(EmbeddingSettings()), [p.text for p in asked], told("embedding")
    )
    gate = misses.gate(asked, embedder, told("gating"), rows=len(asked))
    scopes = lookups.scopes()
    inserted = lookups.inserts(told("storing"))
    grown = lookups.grow(told("filling"), sizes=sizes)
    return {
        "exact_hit": whole["exact_hit"],
        "miss_us": cost,
        "gate": gate,
        **_by_size(grown),
        "scopes": scopes,
        "semantic_hit_us": whole["semantic_hit_us"],
        "insert_per_s": inserted,
        "first_byte_added_ms": whole["first_byte_added_ms"],
    }


def _by_size(grown: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    names = {
        "lookup_us": "lookup_us",
        "lookup_hit_us": "hit_us",
        "lookup_miss_us": "miss_us",
        "scan_us": "scan_us",
        "recall_at_1": "recall_at_1",
        "recall_at_1_far": "recall_at_1_far",
        "bytes_per_entry": "bytes_per_entry",
    }
    return {name: {size: row[key] for size, row in grown.items()} for name, key in names.items()}


def write_report(found: dict[str, Any], path: Path) -> None:
    """Draw how lookups grow with the entries, and write the page to ``path``."""
    import plotly.graph_objects as go  # noqa: PLC0415 - nobody else needs it

    sizes = [int(size) for size in found["scan_us"]]
    figure = go.Figure()
    for key, name, dash in (
        ("scan_us", "plain product of all rows (NumPy, float32)", "dot"),
        ("lookup_miss_us", "whole lookup, a miss that the gate has let through", "solid"),
        ("lookup_hit_us", "whole lookup, a hit", "solid"),
    ):
        figure.add_scatter(
            x=sizes,
            y=list(found[key].values()),
            name=name,
            line={"dash": dash},
            mode="lines+markers",
        )
    figure.update_layout(
        height=480,
        xaxis={"type": "log", "title": "entries in one scope and category"},
        yaxis={"type": "log", "title": "microseconds, median"},
        legend={"orientation": "h", "y": -0.2},
        margin={"t": 20},
    )
    cells = [
        [
            f"{int(size):,}",
            *(f"{found[key][size]:,.0f}" for key in ("lookup_hit_us", "lookup_miss_us", "scan_us")),
            f"{found['recall_at_1'][size]:.3f}",
            f"{found['bytes_per_entry'][size]:,.0f}" if found["bytes_per_entry"][size] else "",
        ]
        for size in found["scan_us"]
    ]
    columns = ["entries", "hit us", "miss us", "plain product us", "recall@1", "bytes an entry"]
    body = div(figure, library=True) + table(columns, cells)
    write_page(path, "Lookups without embedding", body)
