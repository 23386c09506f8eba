"""``likewise serve`` and ``likewise mock-llm``: the two servers.

What serves is imported when it is needed: the other commands would pay for it at each start.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from likewise.aio import AsyncCache
from likewise.cli.logs import JsonLines
from likewise.cli.output import (
    ConfigOption,
    JsonOption,
    StoreOption,
    errors,
    exits_in_one_line,
    one_thread_each,
    print_line,
    rebuilding,
)
from likewise.cli.settings import config_of
from likewise.cli.workers import end_with_parent, run_workers
from likewise.config import Config, share_limits
from likewise.durations import seconds
from likewise.errors import AddressInUseError, ConfigError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from starlette.types import ASGIApp

    from likewise.gateway.siblings import Siblings

_BACKLOG = 2048
_GRACE_S = 10
_HEAD_S, _BODY_S = 2.0, 8.0
"""How long the model may take to begin an answer, and to end it, when a server is to end."""

SERVER: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False}
"""How uvicorn runs; ``likewise bench speed`` measures a bare application on it with the same."""

HostOption = Annotated[str, typer.Option(help="Address to listen on.")]


def serve(
    upstream: Annotated[
        str | None, typer.Option(help="Base URL of the model's server, OpenAI-compatible.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    log: Annotated[
        str | None, typer.Option(help="File to log decisions to, for replay and advise.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the port and the store.")
    ] = 1,
    json: JsonOption = False,
) -> None:
    """Run the gateway: point an OpenAI client's base_url at it."""
    from likewise.gateway.pool import replicas_of  # noqa: PLC0415 - see the top
    from likewise.gateway.upstream import base_url_of, without_userinfo  # noqa: PLC0415 - see the top

    one_thread_each()
    settings = config_of(config, store=store)
    _log(settings.settings.telemetry.logs)
    if upstream is not None:
        settings.settings.upstream.base_url = upstream
    gateway = settings.settings.gateway
    gateway.log = log or gateway.log
    base_url = ", ".join(
        without_userinfo(base_url_of(replica.base_url))
        for replica in replicas_of(settings.settings.upstream)
    )
    if workers > 1 and settings.settings.store == "memory://":
        msg = (
            "--workers: processes cannot share memory://; name a store that they can, such as "
            "--store sqlite:///likewise.db"
        )
        raise ConfigError(msg)
    with _listen(host or gateway.host, gateway.port if port is None else port) as listener:
        url = _url(listener)

        def announce(entries: int, name: str) -> None:
            if json:
                said = {"event": "listening", "url": url, "upstream": base_url, "entries": entries}
                print_line(said | ({"workers": workers} if workers > 1 else {}))
                return
            several = f", {workers} workers" if workers > 1 else ""
            errors.print(
                f"[bold]likewise[/] listens on [bold]{url}/v1[/] for {escape(base_url)}, "
                f"{entries} entries in {escape(name)}{several}",
                soft_wrap=True,
            )

        if workers == 1:
            _serve(settings, listener, announce)
            return
        where = listener.getsockname()[:2]
    with _shared(*where):  # held so that nobody else takes the port
        work = partial(_work, settings, workers, where)
        run_workers(workers, work, lambda said: announce(*said[0]))


def _work(
    config: Config,
    count: int,
    where: tuple[str, int],
    folder: Path,
    number: int,
    ready: Connection,
) -> None:
    """Serve as one of several workers."""
    from likewise.gateway.siblings import Siblings  # noqa: PLC0415 - see the top

    _log(config.settings.telemetry.logs)
    one_thread_each()
    end_with_parent()
    with exits_in_one_line():
        share_limits(config, count)
        siblings = Siblings(folder, number=number, count=count)
        with _shared(*where) as listener:
            # It listens when the server starts: who is not ready yet gets no connections.
            _serve(config, listener, lambda *said: ready.send(said), siblings=siblings)


def _serve(
    config: Config,
    listener: socket.socket,
    announce: Callable[[int, str], None],
    *,
    siblings: Siblings | None = None,
) -> None:
    from likewise.gateway.app import create_app  # noqa: PLC0415 - see the top

    with rebuilding() as report:
        cache = AsyncCache.open(config, progress=report, aside=True)
        app = create_app(config, cache, siblings)
        _run(
            app,
            listener,
            lambda: announce(len(cache.engine.catalog), cache.engine.store.url),
            end=app.state.end,
        )


def mock_llm(
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8701,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "stand-in-1",
    latency: Annotated[str, typer.Option(help="Time to the first token.")] = "100ms",
    piece_latency: Annotated[str, typer.Option(help="Time between pieces of a stream.")] = "0",
    error_rate: Annotated[float, typer.Option(help="Share of calls that fail, 0 to 1.")] = 0.0,
    error_status: Annotated[int, typer.Option(help="Status of the failing calls.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the failures.")] = 0,
    capacity: Annotated[
        int | None, typer.Option(help="Requests served at once; the others wait.")
    ] = None,
    token_latency: Annotated[str, typer.Option(help="Time for each token of an answer.")] = "0",  # noqa: S107 - a time, no password
    slowdown: Annotated[
        float, typer.Option(help="How much longer a full model takes than an idle one.")
    ] = 0.0,
    most_waiting: Annotated[
        int | None, typer.Option(help="Requests that may wait; more get 429.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a stand-in model: OpenAI's and Anthropic's protocols, for trials, tests and load."""
    from likewise.mock_llm import MockSettings, create_app  # noqa: PLC0415 - see the top

    _log()
    if not 0 <= error_rate <= 1:
        msg = f"--error-rate: {error_rate} is not between 0 and 1"
        raise ConfigError(msg)
    settings = MockSettings(
        model=model,
        latency_s=_wait(latency, "--latency"),
        token_s=_wait(piece_latency, "--piece-latency"),
        error_rate=error_rate,
        status_of_errors=error_status,
        seed=seed,
        capacity=capacity,
        answer_token_s=_wait(token_latency, "--token-latency"),
        slowdown=slowdown,
        most_waiting=most_waiting,
    )
    application = create_app(settings)
    with _listen(host, port) as listener:
        url = _url(listener)

        def announce() -> None:
            if json:
                print_line({"event": "listening", "url": url, "model": model})
                return
            errors.print(
                f"[bold]mock-llm[/] plays {escape(model)} on [bold]{url}/v1[/]", soft_wrap=True
            )

        _run(application, listener, announce)


def _wait(text: str, what: str) -> float:
    return 0.0 if text.strip() in ("0", "0s", "0ms") else seconds(text, what=what)


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that a taken port is known before anything is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OverflowError as error:
        listener.close()
        msg = f"--port: {port} is not a port; it is between 0 and 65535"
        raise ConfigError(msg) from error
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            msg = f"port {port} of {host} is taken; give another one with --port, or 0 for any"
            raise AddressInUseError(msg) from error
        msg = (
            f"cannot listen on {host} port {port}: {error.strerror or error}; check --host, --port"
        )
        raise ConfigError(msg) from error
    return listener


def _shared(host: str, port: int) -> socket.socket:
    """Return a socket on a port that several processes listen on; the kernel spreads connections.

    One socket that all inherit would leave most of them to whichever process is awake first.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _run(
    app: ASGIApp,
    listener: socket.socket,
    announce: Callable[[], None],
    *,
    end: Callable[[float, float], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, which are the ordinary way to end: the exit code is 0.

    ``end`` is told as soon as no new requests are taken, and how long the old ones may take.
    """
    import uvicorn  # noqa: PLC0415 - see the top

    from likewise.gateway.server import GatheringProtocol  # noqa: PLC0415 - see the top

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            ending = None if end is None else asyncio.create_task(end(_HEAD_S, _BODY_S))
            await super().shutdown(sockets)
            if ending is not None:
                ending.cancel()

    server = Server(
        uvicorn.Config(app, http=GatheringProtocol, timeout_graceful_shutdown=_GRACE_S, **SERVER)
    )

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn raises a signal once more when it has shut down; ours then takes it quietly.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run(sockets=[listener])


def _log(form: str = "text") -> None:
    """Send log lines to standard error; the servers underneath speak only of trouble."""
    line = "%(asctime)s %(levelname)s %(message)s"
    formatter = JsonLines() if form == "json" else logging.Formatter(line, datefmt="%H:%M:%S")
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("likewise").setLevel(logging.INFO)
