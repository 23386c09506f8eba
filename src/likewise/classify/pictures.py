"""The report of ``likewise categories suggest``: the clusters as a map and as bars."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from likewise.classify.discover import Cluster
from likewise.embed import Vectors
from likewise.page import div, require_charts, table, write_page

_MOST_POINTS = 6_000


def write_report(clusters: Sequence[Cluster], vectors: Vectors, block: str, path: Path) -> None:
    """Write a page with the clusters of a log; ``block`` is the configuration proposed.

    Raises:
        ConfigError: plotly is not installed.
    """
    require_charts()
    columns = ["category", "terms", "prompts", "density", "repeated", "threshold", "hits"]
    rows = [
        [
            escape(found.name),
            escape(", ".join(found.terms)),
            f"{found.size:,}",
            f"{found.density:.2f}",
            f"{found.repeated:.0%}",
            f"{found.threshold:.2f}",
            f"{found.hit_rate:.0%}",
        ]
        for found in clusters
    ]
    parts = [
        f"<p>{len(clusters)} clusters in {len(vectors):,} prompts.</p>",
        table(columns, rows),
        "<h2>The prompts on a plane</h2>",
        "<p>Each dot is a prompt, in the two directions in which they differ most. Grey ones "
        "belong to no cluster.</p>",
        div(_map(clusters, vectors), library=True),
        "<h2>Size and reuse</h2>",
        div(_bars(clusters)),
        "<h2>Proposed configuration</h2>",
        f"<pre>{escape(block)}</pre>",
    ]
    write_page(path, "Categories found", "\n".join(parts))


def _map(clusters: Sequence[Cluster], vectors: Vectors) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra
    from sklearn.decomposition import PCA  # noqa: PLC0415 - an extra

    plane = PCA(2, random_state=0).fit_transform(vectors.astype(np.float64))
    step = max(1, len(plane) // _MOST_POINTS)
    inside = np.zeros(len(plane), np.bool_)
    figure = go.Figure()
    for found in clusters:
        inside[found.places] = True
    groups = [("none", np.flatnonzero(~inside)), *((c.name, c.places) for c in clusters)]
    for name, places in groups:
        shown = plane[places[::step]]
        marker = {"size": 4, "opacity": 0.6} | ({"color": "#bbbbbb"} if name == "none" else {})
        figure.add_trace(
            go.Scattergl(x=shown[:, 0], y=shown[:, 1], mode="markers", name=name, marker=marker)
        )
    figure.update_layout(
        template="plotly_white",
        height=560,
        margin={"l": 30, "r": 20, "t": 20, "b": 30},
        xaxis={"showticklabels": False},
        yaxis={"showticklabels": False},
    )
    return figure


def _bars(clusters: Sequence[Cluster]) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra

    names = [found.name for found in clusters]
    hits = [found.size * found.hit_rate for found in clusters]
    rest = [found.size - hit for found, hit in zip(clusters, hits, strict=True)]
    figure = go.Figure(
        [
            go.Bar(y=names, x=hits, name="expected hits", orientation="h"),
            go.Bar(y=names, x=rest, name="other prompts", orientation="h"),
        ]
    )
    figure.update_layout(
        barmode="stack",
        template="plotly_white",
        height=140 + 26 * len(names),
        margin={"l": 170, "r": 20, "t": 20, "b": 40},
        yaxis={"autorange": "reversed"},
    )
    return figure
