"""The report of a replay: one page with the figures and pictures of every policy."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from likewise.page import div, require_charts, table, write_page

_COLOURS = ("#2f7ed8", "#d8572f", "#3a9a5b", "#8a56b3", "#b8860b", "#4d4d4d")
_GREY = "#bbbbbb"
_MARGINS = 130
"""Pixels above and below a picture, its legend among them."""

_RATES = (
    ("hit_rate", "hits per request"),
    ("wrong_per_hit", "wrong per hit"),
    ("outdated_per_hit", "outdated per hit"),
    ("stale_per_hit", "stale per hit"),
)
_ROWS = (
    ("exact hits", "exact_hits", "{:,.0f}", "equal to the letter"),
    ("semantic hits", "semantic_hits", "{:,.0f}", "near in meaning"),
    ("hits per request", "hit_rate", "{:.1%}", "stale answers in place of a refusal among them"),
    ("shared a call", "joined", "{:,.0f}", "misses that waited for the same question's call"),
    ("wrong per hit", "wrong_per_hit", "{:.2%}", "the answer is another question's"),
    ("wrong per request", "wrong_per_request", "{:.2%}", "of all requests"),
    ("outdated per hit", "outdated_per_hit", "{:.2%}", "right once, and changed since"),
    ("stale per hit", "stale_per_hit", "{:.2%}", "past its time to live, as the policy allows"),
    (
        "calls wanted",
        "wanted",
        "{:,.0f}",
        "misses and bypasses, whether or not the model took them",
    ),
    ("requests to the model", "upstream", "{:,.0f}", "each try, audits and refreshes among them"),
    ("of these refused", "refused", "{:,.0f}", "429"),
    ("failed", "failed_share", "{:.2%}", "requests that got no answer"),
    ("p50 latency, s", "p50_s", "{:.3f}", "of answered requests"),
    ("p90 latency, s", "p90_s", "{:.2f}", ""),
    ("p99 latency, s", "p99_s", "{:.2f}", ""),
    ("within the SLO", "within_slo", "{:.1%}", "of all requests"),
    ("mean pressure", "pressure_mean", "{:.2f}", "0 idle, 1 overloaded"),
    ("saved, $", "saved_usd", "{:.2f}", "at the configured price"),
    ("spent, $", "spent_usd", "{:.2f}", ""),
)

Found = dict[str, Any]


def write_report(found: Found, path: Path) -> None:
    """Write the report of a replay, given as ``likewise replay --json`` prints it, to ``path``.

    Raises:
        ConfigError: plotly is not installed.
    """
    require_charts()
    parts = [
        f"<p>{_setting(found)}</p>",
        _figures(found),
        _differences(found),
        "<h2>What was served</h2>",
        div(_rates(found), library=True),
        "<h2>Requests to the model</h2>",
        "<p>A second, over the time of the run; grey is what came in.</p>",
        div(_over_time(found, "requests a second", _calls, arrivals=True)),
        "<h2>Latency</h2>",
        "<p>Of answered requests, cached ones among them. Left over all, right the 99th percentile "
        "over time.</p>",
        div(_latencies(found)),
    ]
    if any(policy["pressure_max"] > 0 for policy in found["policies"]):
        parts += [
            "<h2>Pressure</h2>",
            "<p>Load of the model as the policies saw it, 0 idle to 1 overloaded.</p>",
            div(_over_time(found, "pressure", lambda bucket, _: float(bucket["pressure"]))),
        ]
    parts += ["<h2>By category</h2>", div(_categories(found))]
    write_page(path, "Replay report", "\n".join(part for part in parts if part))


def _setting(found: Found) -> str:
    workload, model = found["workload"], found["model"]
    line = model["most_waiting"]
    told = (
        f"{workload['requests']:,} requests in {workload['seconds']:,.0f} s "
        f"({escape(workload['name'])}). The model serves {model['capacity']} at once, "
        f"{'any number' if line is None else line} may wait; alone an answer takes "
        f"{model['first_token_s']:.3g} s and {1000 * model['token_s']:.3g} ms a token, in a full "
        f"model {1 + model['slowdown']:.3g} times as long at most. SLO: {found['slo_s']:g} s."
    )
    if model["fit"] is not None:
        told += f" Fitted to {model['fit']['lines']:,} logged answers, median error "
        told += f"{model['fit']['median_error']:.0%}."
    if workload["hashed"]:
        told += " The log holds hashes in the place of texts: only equal questions can be told."
    seeds = found["seeds"]["seeds"]
    if len(seeds) > 1:
        told += f" Means over {len(seeds)} seeds with 95 % t-intervals; pictures are of the first."
    return told


def _figures(found: Found) -> str:
    estimates = found["seeds"]["policies"]
    several = len(found["seeds"]["seeds"]) > 1
    rows = [
        [title, *(_cell(row[key], shape, several) for row in estimates.values()), meaning]
        for title, key, shape, meaning in _ROWS
    ]
    return table(["", *(escape(name) for name in estimates), ""], rows)


def _cell(found: dict[str, float], shape: str, several: bool) -> str:
    mean = shape.format(found["mean"])
    return f"{mean} ± {shape.format(found['high'] - found['mean'])}" if several else mean


def _differences(found: Found) -> str:
    lines = []
    for name, row in found["seeds"]["differences"].items():
        lines.append(
            f"<p><b>{escape(name)}</b> wants {_less(row['wanted_reduction'])} fewer calls and "
            f"sends {_less(row['traffic_reduction'])} fewer requests to the model than the first "
            "policy.</p>"
        )
    return "\n".join(lines)


def _less(found: dict[str, float]) -> str:
    bounds = "" if found["low"] is None else f" ({found['low']:.1%} to {found['high']:.1%})"
    return f"{found['mean']:.1%}{bounds}"


def _rates(found: Found) -> Any:
    from plotly.subplots import make_subplots  # noqa: PLC0415 - an extra

    figure = make_subplots(cols=len(_RATES), subplot_titles=[title for _, title in _RATES])
    estimates = found["seeds"]["policies"]
    for column, (key, _) in enumerate(_RATES, start=1):
        for place, (name, row) in enumerate(estimates.items()):
            value = row[key]
            half = None if value["high"] is None else [value["high"] - value["mean"]]
            figure.add_trace(
                _bar(name, place, [""], [value["mean"]], half, legend=column == 1),
                row=1,
                col=column,
            )
        figure.update_yaxes(tickformat=".1%", rangemode="tozero", row=1, col=column)
        if not any(row[key]["mean"] for row in estimates.values()):
            figure.update_yaxes(range=[0.0, 0.01], row=1, col=column)
    return _laid(figure, height=340)


def _latencies(found: Found) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra
    from plotly.subplots import make_subplots  # noqa: PLC0415 - an extra

    figure = make_subplots(
        cols=2, column_widths=[0.4, 0.6], subplot_titles=("percentiles", "99th over time")
    )
    for place, policy in enumerate(found["policies"]):
        values = [policy[key] for key in ("p50_s", "p90_s", "p99_s")]
        figure.add_trace(_bar(policy["name"], place, ["p50", "p90", "p99"], values), row=1, col=1)
        buckets = policy["over_time"]
        figure.add_trace(
            go.Scatter(
                x=[bucket["t_s"] for bucket in buckets],
                y=[bucket["p99_s"] if bucket["requests"] else None for bucket in buckets],
                mode="lines",
                line={"color": _colour(place)},
                showlegend=False,
            ),
            row=1,
            col=2,
        )
    figure.add_hline(y=found["slo_s"], line={"color": "#555555", "dash": "dash"}, row=1, col=2)
    figure.update_yaxes(title="seconds", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    figure.update_xaxes(title="seconds of the run", row=1, col=2)
    return _laid(figure, height=380)


def _over_time(
    found: Found,
    title: str,
    value: Callable[[dict[str, float], float], float],
    *,
    arrivals: bool = False,
) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra

    figure = go.Figure()
    for place, policy in enumerate(found["policies"]):
        buckets = policy["over_time"]
        width_s = buckets[1]["t_s"] - buckets[0]["t_s"] or 1.0
        times = [bucket["t_s"] for bucket in buckets]
        if arrivals and not place:
            came = [bucket["requests"] / width_s for bucket in buckets]
            figure.add_trace(_line("requests that came", times, came, _GREY))
        values = [value(bucket, width_s) for bucket in buckets]
        figure.add_trace(_line(policy["name"], times, values, _colour(place)))
    figure.update_yaxes(title=title, rangemode="tozero")
    figure.update_xaxes(title="seconds of the run")
    return _laid(figure, height=380)


def _calls(bucket: dict[str, float], width_s: float) -> float:
    return bucket["upstream"] / width_s


def _categories(found: Found) -> Any:
    from plotly.subplots import make_subplots  # noqa: PLC0415 - an extra

    shown = (("hit_rate", "hits per request"), ("wrong_per_hit", "wrong per hit"))
    names = sorted({name for policy in found["policies"] for name in policy["by_category"]})
    figure = make_subplots(
        cols=3,
        shared_yaxes=True,
        horizontal_spacing=0.06,
        subplot_titles=[*(title for _, title in shown), "share of the requests to the model"],
    )
    for place, policy in enumerate(found["policies"]):
        rows = [policy["by_category"].get(name, {}) for name in names]
        total = sum(row.get("upstream", 0.0) for row in rows) or 1.0
        columns = [[row.get(key, 0.0) for row in rows] for key, _ in shown]
        columns.append([row.get("upstream", 0.0) / total for row in rows])
        for column, values in enumerate(columns, start=1):
            bar = _bar(policy["name"], place, values, names, legend=column == 1)
            bar.orientation = "h"
            figure.add_trace(bar, row=1, col=column)
    for column in (1, 2, 3):
        figure.update_xaxes(tickformat=".0%", rangemode="tozero", row=1, col=column)
    figure.update_xaxes(tickformat=".1%", row=1, col=2)
    figure.update_yaxes(autorange="reversed", ticksuffix=" ")
    height = _MARGINS + 30 + len(names) * (14 + 12 * len(found["policies"]))
    return _laid(figure, height=height)


def _bar(
    name: str,
    place: int,
    x: list[Any],
    y: list[Any],
    half: list[float] | None = None,
    *,
    legend: bool = True,
) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra

    return go.Bar(
        x=x,
        y=y,
        name=name,
        legendgroup=name,
        showlegend=legend,
        marker_color=_colour(place),
        error_y=None if half is None else {"type": "data", "array": half},
    )


def _line(name: str, x: list[float], y: list[float], colour: str) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra

    return go.Scatter(x=x, y=y, name=name, mode="lines", line={"color": colour})


def _laid(figure: Any, *, height: int) -> Any:
    below = -60 / (height - _MARGINS)
    figure.update_layout(
        barmode="group",
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 40, "b": _MARGINS - 40},
        legend={"orientation": "h", "yanchor": "top", "y": below, "traceorder": "normal"},
    )
    return figure


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]
