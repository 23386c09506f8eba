"""Runs our own servers in processes of their own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from likewise.errors import LikewiseError, UpstreamError

logger = logging.getLogger("likewise")


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """Run ``likewise`` with ``arguments`` until the block ends; yields the URL it listens on.

    Raises:
        UpstreamError: It did not start; the error has its exit code and what it said.
    """
    process = subprocess.Popen(  # noqa: S603 - our own command, no shell
        [sys.executable, "-m", "likewise", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            process.wait()
            message = (process.stderr.read() if process.stderr else "").strip()
            raise _failed(arguments[0], process.returncode, message)
        yield str(json.loads(line)["url"])
    finally:
        process.terminate()
        try:
            _, said = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
        # A server that works says nothing; what it does say, a fault of the cache perhaps, counts.
        if said.strip():
            logger.warning("likewise %s said: %s", arguments[0], said.strip())


def _failed(command: str, code: int, message: str) -> LikewiseError:
    error = UpstreamError(f"likewise {command} did not start: {message or f'exit code {code}'}")
    error.exit_code = type(error.exit_code)(code) if code else error.exit_code
    return error
