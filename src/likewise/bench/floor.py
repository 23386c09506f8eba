"""The least that a server costs: ``python -m likewise.bench.floor`` answers the same to everything.

A bare ASGI application, without a framework, on the server that ``likewise serve`` uses and with
its settings: what a request costs here, no gateway on it can save.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from likewise.bench.clients import HOST
from likewise.errors import UpstreamError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_BACKLOG = 2048
_LINGER_S = 10.0


@contextmanager
def floor(body: bytes) -> Iterator[int]:
    """Run the server until the block ends; yields the port of one that answers with ``body``.

    Raises:
        UpstreamError: It did not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "likewise.bench.floor"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None  # noqa: S101 - for the type checker
        assert process.stdout is not None  # noqa: S101 - as above
        process.stdin.write(body)
        process.stdin.close()
        line = process.stdout.readline()
        if not line:
            msg = f"the bare server of the bench did not start: exit code {process.wait()}"
            raise UpstreamError(msg)
        yield int(line)
    finally:
        process.terminate()
        try:
            process.wait(_LINGER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _main() -> None:
    # Whoever only starts the process needs neither.
    import uvicorn  # noqa: PLC0415

    from likewise.cli.serve import SERVER  # noqa: PLC0415

    body = sys.stdin.buffer.read()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    whole = {"type": "http.response.body", "body": body}

    async def answer(_: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send(start)
        await send(whole)

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((HOST, 0))
        listener.listen(_BACKLOG)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        options = uvicorn.Config(answer, lifespan="off", **SERVER)
        uvicorn.Server(options).run(sockets=[listener])


if __name__ == "__main__":
    _main()
