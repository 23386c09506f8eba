"""Prints a demo's report for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from likewise.demo.runner import CategoryRow, DemoReport, Pair

_MAX_WIDTH = 100  # columns; a wider terminal is not filled
_MAX_TEXT = 240  # characters of a prompt: about four lines
_EXAMPLES = 2
_WRONG_EXAMPLES = 5
_NUMBERS = (
    "asked",
    "exact\nhits",
    "similar\nhits",
    "wrong\nhits",
    "by-\npassed",
    "hit\nrate",
    "hit\nms",
    "miss\nms",
    "saved\ns",
    "saved\n$",
)


def show(report: DemoReport, console: Console) -> None:
    """Print a table, what went wrong, and a few examples, at most 100 columns wide."""
    width = min(console.width, _MAX_WIDTH)
    for part in _compose(report):
        console.print(part, width=width)


def _compose(report: DemoReport) -> Iterator[RenderableType]:
    yield _build_table(report)
    yield from _explain(report.total)
    yield from _list_pairs("Wrong hits", "was served the answer of", report.wrong[:_WRONG_EXAMPLES])
    if len(report.wrong) > _WRONG_EXAMPLES:
        yield Text(f"  and {len(report.wrong) - _WRONG_EXAMPLES} more; --json lists them all")
    # Of the reused ones the least similar show most, of those turned away the most similar.
    reused = sorted(report.reused, key=_similarity)
    yield from _list_pairs(
        "Answers reused for other words", "served the answer of", reused[:_EXAMPLES]
    )
    turned_away = sorted(report.turned_away, key=_similarity, reverse=True)
    yield from _list_pairs(
        "Look-alikes turned away", "not given the answer of", turned_away[:_EXAMPLES]
    )


def _build_table(report: DemoReport) -> Table:
    table = Table(
        box=None, padding=(0, 0, 0, 1), pad_edge=False, header_style="bold", show_footer=True
    )
    table.add_column("category", footer="total", footer_style="bold", overflow="fold")
    for name, total in zip(_NUMBERS, _format_row(report.total), strict=True):
        table.add_column(name, footer=total, footer_style="bold", justify="right", no_wrap=True)
    for row in report.rows:
        style = "red" if row.wrong_hits else None
        table.add_row(row.category, *_format_row(row), style=style)
    return table


def _format_row(row: CategoryRow) -> tuple[str, ...]:
    return (
        str(row.asked),
        str(row.exact_hits),
        str(row.semantic_hits),
        str(row.wrong_hits),
        str(row.bypassed),
        f"{row.hits / row.asked:.0%}" if row.asked else "-",
        _format_ms(row.hit_s),
        _format_ms(row.miss_s),
        f"{round(row.saved_s, 2) + 0.0:.2f}",  # adding 0.0 turns -0.0 into 0.0
        f"{row.saved_money:.4f}",
    )


def _format_ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def _explain(total: CategoryRow) -> Iterator[Text]:
    yield Text()
    if total.wrong_hits:
        yield Text(
            f"{total.wrong_hits} of {total.hits} hits were wrong: the answer served had been"
            " stored for a question that only looks alike. Raise similarity_threshold or add guards"
            " for the categories in red.",
            style="red",
        )
    elif total.hits > total.unjudged_hits:
        yield Text("No hit was wrong: every answer served had been stored for the same question.")
    if total.unjudged_hits:
        yield Text(
            f"{total.unjudged_hits} hits came from entries stored before this run, so nothing is"
            " known about them. Start with an empty cache to have every hit judged.",
            style="yellow",
        )


def _list_pairs(title: str, verb: str, pairs: Sequence[Pair]) -> Iterator[RenderableType]:
    if not pairs:
        return
    yield Text(f"\n{title}", style="bold")
    # A grid wraps a long prompt under itself: look-alikes often differ only near the end.
    grid = Table.grid(padding=(0, 2, 0, 1))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    for pair in pairs:
        near = "" if pair.similarity is None else f", similarity {pair.similarity:.3f}"
        grid.add_row("asked", _shorten(pair.asked))
        grid.add_row(verb, _shorten(pair.stored))
        grid.add_row("in", f"{pair.category}{near}")
    yield grid


def _shorten(text: str) -> Text:
    # Text, not str: rich would read square brackets in a str as markup.
    return Text(textwrap.shorten(text, width=_MAX_TEXT, placeholder=" ..."))


def _similarity(pair: Pair) -> float:
    return -1.0 if pair.similarity is None else pair.similarity
