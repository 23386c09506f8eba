"""``likewise bench``: measurements of this installation."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True, help="Measure quality and speed on this machine.", add_completion=False
)
