"""The command line: ``likewise COMMAND``.

Each command lives in a module of its own and is imported when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys

import click
import typer
from rich.markup import escape

from likewise import __version__
from likewise.cli import bench, demo, doctor, entries, lookup, serve
from likewise.cli.output import errors
from likewise.errors import ExitCode, LikewiseError

_CODES = "  ".join(f"{code.value} {code.name.lower().replace('_', '-')}" for code in ExitCode)

app = typer.Typer(
    name="likewise",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "A semantic cache for LLM traffic that knows what kind of question it is looking at.\n\n"
        f"Exit codes: {_CODES}"
    ),
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(f"likewise {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("check")(lookup.check)
app.command("explain")(lookup.explain)
app.command("stats")(entries.stats)
app.command("purge")(entries.purge)
app.command("doctor")(doctor.doctor)
app.command("mock-llm")(serve.mock_llm)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line; an error of ours is one line on standard error and an exit code."""
    try:
        code = app(standalone_mode=False)
    except LikewiseError as error:
        errors.print(f"[bold red]likewise:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        errors.print("likewise: stopped", highlight=False)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)
