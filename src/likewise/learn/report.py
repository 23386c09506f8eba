"""The report of a tuning run: one page with a table and, by category, pictures."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.learn.certify import Certificate, upper_bound
from likewise.learn.choices import Judged
from likewise.learn.tune import Tuned
from likewise.page import div, require_charts, table, write_page

_BINS = 40
_CURVE_POINTS = 80
_RIGHT, _WRONG, _LINE = "#2f7ed8", "#d8572f", "#555555"


def write_report(tuned: Tuned, path: Path) -> None:
    """Write the report of a tuning run to ``path``, at once or not at all.

    Raises:
        ConfigError: plotly is not installed.
    """
    require_charts()
    names = [name for name in tuned.judged if len(tuned.judged[name].scores)]
    columns = ["category", "asked", "hits", "wrong", "bound", "verdict"]
    parts = [
        f"<p>{_summary(tuned)}</p>",
        table(columns, [_row(tuned, name) for name in tuned.certificates]),
        "<h2>Predicted and seen</h2>",
        "<p>Mean predicted error of the hits against the share that was wrong, by category. On the "
        "diagonal the probabilities are honest.</p>",
        div(_calibration(tuned), library=True),
    ]
    for name in names:
        parts += [
            f"<h2>{escape(name)}</h2>",
            f"<p>{verdict(tuned.certificates[name])}</p>",
            div(_pictures(tuned, name)),
        ]
    write_page(path, "Tuning report", "\n".join(parts))


def verdict(certificate: Certificate) -> str:
    """Return what a certificate means, in a few words."""
    if certificate.threshold is None:
        return f"exact only: at least {certificate.missing} labels without error are missing"
    together = ", together with others" if certificate.together else ""
    return f"probability of {certificate.threshold:.3f} or more{together}"


def _summary(tuned: Tuned) -> str:
    labels = sum(len(found.scores) for found in tuned.judged.values())
    return (
        f"{labels:,} labelled requests; at most {tuned.budget:.2%} of the hits may be wrong, at a "
        f"risk of {tuned.risk:g}. All figures are of requests whose answers the verifier that "
        "scored them had not seen, in a cache that stores what it does not serve."
    )


def _row(tuned: Tuned, name: str) -> list[str]:
    found = tuned.certificates[name]
    figures = ["-", "-", "-"]
    if found.threshold is not None:
        figures = [f"{found.labels:,}", f"{found.wrong:,}", f"{found.bound:.2%}"]
    return [escape(name), f"{tuned.requests[name]:,}", *figures, verdict(found)]


def _pictures(tuned: Tuned, name: str) -> Any:
    """Return the three pictures of a category side by side."""
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra
    from plotly.subplots import make_subplots  # noqa: PLC0415 - an extra

    judged, certificate = tuned.judged[name], tuned.certificates[name]
    figure = make_subplots(
        cols=3,
        subplot_titles=("similarity of the pairs", "probability", "error against reuse"),
    )
    for column, values in ((1, judged.cosines), (2, judged.scores)):
        low = float(np.floor(values.min() * 10) / 10)
        for wrong, label, colour in ((False, "right", _RIGHT), (True, "wrong", _WRONG)):
            counts, edges = np.histogram(values[judged.wrong == wrong], _BINS, (low, 1.0))
            figure.add_trace(
                go.Bar(
                    x=(edges[:-1] + edges[1:]) / 2,
                    y=counts,
                    name=label,
                    marker_color=colour,
                    opacity=0.75,
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
    reuse, error, bound = _curve(judged, tuned.risk)
    for values, label, dash in ((error, "error per hit", "solid"), (bound, "its bound", "dot")):
        figure.add_trace(
            go.Scatter(
                x=reuse, y=values, name=label, line={"color": _WRONG, "dash": dash}, mode="lines"
            ),
            row=1,
            col=3,
        )
    figure.add_hline(y=tuned.budget, row=1, col=3, line={"color": _LINE, "dash": "dash"})
    if certificate.threshold is not None:
        hits = certificate.labels / len(judged.scores)
        figure.add_vline(x=certificate.threshold, row=1, col=2, line={"color": _LINE})
        figure.add_vline(x=tuned.floor[name], row=1, col=1, line={"color": _LINE})
        figure.add_vline(x=hits, row=1, col=3, line={"color": _LINE})
    figure.update_yaxes(type="log", title="pairs", row=1, col=1)
    figure.update_yaxes(type="log", row=1, col=2)
    figure.update_yaxes(tickformat=".0%", range=[0, 0.2], row=1, col=3)
    figure.update_xaxes(tickformat=".0%", title="share served", row=1, col=3)
    figure.update_layout(
        barmode="overlay",
        template="plotly_white",
        height=330,
        margin={"l": 50, "r": 20, "t": 50, "b": 45},
        legend={"orientation": "h", "y": -0.25},
    )
    return figure


def _curve(
    judged: Judged, risk: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return share served, error and its bound as the threshold falls."""
    order = np.argsort(-judged.scores, kind="stable")
    errors = np.cumsum(judged.wrong[order])
    total = len(order)
    places = np.unique(np.geomspace(1, total, min(_CURVE_POINTS, total)).astype(np.int_))
    bounds = [upper_bound(int(n), int(errors[n - 1]), risk) for n in places]
    return places / total, errors[places - 1] / places, np.array(bounds)


def _calibration(tuned: Tuned) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra

    figure = go.Figure()
    highest = tuned.budget
    for name, found in tuned.certificates.items():
        if found.threshold is None:
            continue
        judged = tuned.judged[name]
        hits = judged.scores >= found.threshold
        predicted, seen = float(1 - judged.scores[hits].mean()), float(judged.wrong[hits].mean())
        highest = max(highest, predicted, seen)
        figure.add_trace(
            go.Scatter(
                x=[predicted],
                y=[seen],
                text=[name],
                mode="markers+text",
                textposition="top center",
                marker={"size": 8 + 2 * float(np.log10(hits.sum())), "color": _RIGHT},
                showlegend=False,
            )
        )
    line = {"color": _LINE, "dash": "dash"}
    figure.add_trace(
        go.Scatter(x=[0, highest], y=[0, highest], mode="lines", line=line, showlegend=False)
    )
    figure.update_layout(
        template="plotly_white",
        height=380,
        width=520,
        xaxis={"title": "predicted error per hit", "tickformat": ".1%"},
        yaxis={"title": "seen error per hit", "tickformat": ".1%"},
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
    )
    return figure
