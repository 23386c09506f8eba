"""The command line: ``likewise COMMAND``.

Each command lives in a module of its own; models and stores are loaded when a command needs them.
"""

from __future__ import annotations

import sys
from typing import Any

import typer
from rich.markup import escape

from likewise import __version__
from likewise.cli import (
    advise,
    bench,
    categories,
    demo,
    doctor,
    entries,
    keys,
    lookup,
    replay,
    serve,
    transfer,
    tune,
)
from likewise.cli.output import errors, exits_in_one_line, one_line
from likewise.errors import ExitCode

_CODES = "  ".join(f"{code.value} {code.name.lower().replace('_', '-')}" for code in ExitCode)

app = typer.Typer(
    name="likewise",
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
app.command("export")(transfer.export)
app.command("import")(transfer.import_)
app.command("reembed")(transfer.reembed)
app.command("tune")(tune.tune)
app.command("replay")(replay.replay)
app.command("advise")(advise.advise)
app.command("classify")(categories.classify)
app.command("doctor")(doctor.doctor)
app.command("mock-llm")(serve.mock_llm)
app.add_typer(categories.app, name="categories")
app.add_typer(keys.app, name="keys")
app.add_typer(bench.app, name="bench")


def _is_wrong_usage(error: Exception) -> bool:
    # typer brings a click of its own, or uses the installed one: only this base tells its errors.
    return isinstance(error, typer.BadParameter.__bases__)


def _say_wrong_usage(error: Any) -> ExitCode:
    """Say what was wrong and where help is; a group without a command shows its help instead."""
    path = error.ctx.command_path if error.ctx else "likewise"
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        text = f"{one_line(error.format_message()).rstrip('.')}; see {path} --help"
        errors.print(f"[bold red]likewise:[/] {escape(text)}", soft_wrap=True)
    return ExitCode.USAGE


def main() -> None:
    """Run the command line; an error of ours is one line on standard error and an exit code."""
    try:
        with exits_in_one_line():
            code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        errors.print("likewise: stopped", highlight=False)
        sys.exit(130)
    except Exception as error:
        if not _is_wrong_usage(error):
            raise
        sys.exit(_say_wrong_usage(error))
    sys.exit(code if isinstance(code, int) else ExitCode.OK)
