"""``likewise serve --workers``: several processes that listen on one port, and who minds them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from likewise.cli.output import errors
from likewise.errors import ConfigError, ExitCode

_LIVED_S = 5.0
"""How long a worker must have lived for its end to be a mishap and not the rule."""

_END_S = 30.0

Work = Callable[[Path, int, Connection], None]
"""What a worker does: given the folder of the workers' own sockets, its number, and where to say
that it is ready."""


def run_workers(count: int, work: Work, announce: Callable[[list[Any]], None]) -> None:
    """Run workers until SIGINT or SIGTERM; one that dies gets a successor.

    ``announce`` is called once all are ready, with what each has said.

    Raises:
        ConfigError: A worker ended before it was ready; it has said why.
    """
    context = multiprocessing.get_context("spawn")
    stopped = threading.Event()
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, lambda *_: stopped.set())
    with tempfile.TemporaryDirectory(prefix="likewise-workers-") as name:
        folder = Path(name)
        workers: dict[int, tuple[BaseProcess, Connection, float]] = {}

        def start(number: int) -> None:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=work, args=(folder, number, theirs), name=f"worker-{number}"
            )
            process.start()
            theirs.close()
            workers[number] = (process, ours, time.monotonic())

        try:
            said: list[Any] = []
            # The first makes what is not there yet, such as the store.
            for some in (range(1), range(1, count)):
                for number in some:
                    start(number)
                for number in some:
                    if (word := _ready(workers[number], stopped)) is None:
                        return
                    said += word
            announce(said)
            while not stopped.is_set():
                wait([process.sentinel for process, _, _ in workers.values()], timeout=0.2)
                for number, (process, _, since) in list(workers.items()):
                    if process.is_alive() or stopped.is_set():
                        continue
                    code = process.exitcode
                    errors.print(f"worker {number} ended with code {code}; another starts")
                    if time.monotonic() - since < _LIVED_S:
                        stopped.wait(_LIVED_S)
                    start(number)
        finally:
            _end([process for process, _, _ in workers.values()])


def end_with_parent() -> None:
    """End this worker as soon as who minds it has died, by whatever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="likewise-parent", daemon=True).start()


def _ready(
    worker: tuple[BaseProcess, Connection, float], stopped: threading.Event
) -> list[Any] | None:
    """Return what a worker says when it is ready; ``None`` when all are to stop."""
    process, ours, _ = worker
    while not stopped.is_set():
        if ours.poll(0.1):
            try:
                return [ours.recv()]
            except EOFError:
                process.join(_END_S)
        if not process.is_alive():
            if process.exitcode in list(ExitCode):
                sys.exit(process.exitcode)
            msg = f"a worker ended with code {process.exitcode} before it was ready; see above"
            raise ConfigError(msg)
    return None


def _end(workers: list[BaseProcess]) -> None:
    for process in workers:
        if process.is_alive():
            process.terminate()
    deadline = time.monotonic() + _END_S
    for process in workers:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
