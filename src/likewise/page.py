"""Pages with pictures: one HTML file that holds all it needs and loads nothing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from likewise.errors import ConfigError
from likewise.files import write_whole

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Likewise: {title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #222; background: #fff; }}
table {{ border-collapse: collapse; }} th, td {{ padding: .25rem .75rem; text-align: right;
       border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child, th:last-child, td:last-child {{ text-align: left; }}
h2 {{ margin-top: 2.5rem; }}
pre {{ background: #f5f5f5; padding: .75rem; overflow-x: auto; }}
</style></head><body>
<h1>{heading}</h1>
{body}
</body></html>
"""


def require_charts() -> None:
    """Check that pages can be drawn here.

    Raises:
        ConfigError: plotly is not installed.
    """
    if find_spec("plotly") is None:
        msg = "a report needs plotly: pip install 'likewise[tune]'"
        raise ConfigError(msg)


def write_page(path: Path, heading: str, body: str) -> None:
    """Write a page to ``path``, at once or not at all; ``body`` is HTML."""
    page = _PAGE.format(title=heading.lower(), heading=heading, body=body)
    write_whole(path, page.encode())


def div(figure: Any, *, library: bool = False) -> str:
    """Return a plotly figure as HTML; one on the page must bring the ``library``."""
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=library, config={"displayModeBar": False}
    )
    return html


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table as HTML; the cells are HTML already."""
    head = "".join(f"<th>{column}</th>" for column in columns)
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"
    )
