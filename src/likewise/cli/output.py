"""How commands speak: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from likewise.errors import ConfigError, ExitCode, LikewiseError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_LONG = 5_000
"""Entries from which on a rebuilt index is worth a progress bar (about a second)."""

ConfigOption = Annotated[
    str | None,
    typer.Option("--config", "-c", help="Configuration file (YAML).", envvar="LIKEWISE_CONFIG"),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", help="Store to use instead of the config's: sqlite:///FILE, memory://."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class WrongUsageError(LikewiseError):
    """Options that make no sense together."""

    exit_code = ExitCode.USAGE


Report = Callable[[int, int], None]


def one_thread_each() -> None:
    """Let every linear algebra call of this process run on the thread it is made on.

    Vectors are small: threads that wait for each other cost more than they bring, on a machine that
    is busy ten times as much.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - only those who serve need it

    threadpool_limits(1, user_api="blas")


def require_folder(path: Path, option: str) -> None:
    """Check that a file may be written where an option says, before the work and not after it.

    Raises:
        ConfigError: Its folder does not exist.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        msg = f"{option}: the folder {folder} does not exist; make it first"
        raise ConfigError(msg)


def one_line(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


@contextmanager
def exits_in_one_line() -> Iterator[None]:
    """Run a block; an error of ours is one line on standard error and ends the process."""
    try:
        yield
    except LikewiseError as error:
        errors.print(f"[bold red]likewise:[/] {escape(one_line(str(error)))}", soft_wrap=True)
        sys.exit(error.exit_code)


def print_json(value: object) -> None:
    """Print a value as one indented JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def print_line(value: object) -> None:
    """Print a value as JSON on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


@contextmanager
def progress(text: str, *, least: int = 0) -> Iterator[Report]:
    """Show a progress bar on standard error while the block runs.

    Yields a function that takes how many are done and how many there are; below ``least`` of them,
    or where nobody looks because standard error is not a terminal, nothing is shown.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )
    task = bar.add_task(text, total=None)
    started = False

    def report(done: int, total: int) -> None:
        nonlocal started
        if total < least or not errors.is_terminal:
            return
        if not started:
            started = True
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        if started:
            bar.stop()


@contextmanager
def rebuilding() -> Iterator[Report]:
    """Show how far the index is rebuilt from the store, when that takes a while."""
    with progress("reading the store", least=_LONG) as report:
        yield report
