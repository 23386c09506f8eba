"""``likewise doctor``: is everything there, and does it work?"""

from __future__ import annotations

import asyncio
import platform
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.markup import escape

from likewise import __version__
from likewise.cli.output import ConfigOption, JsonOption, StoreOption, console, print_json
from likewise.cli.settings import config_of
from likewise.config import Config, LoadSettings, UpstreamSettings
from likewise.errors import ExitCode, LikewiseError
from likewise.opening import embedder_of
from likewise.stores import open_store

_ALIKE = ("How do I undo the last commit?", "How can I undo my last commit?")
_OTHER = "What is the capital of Peru?"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    ok: bool
    detail: str


def doctor(
    upstream: Annotated[str | None, typer.Option(help="Also try this model's server.")] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Check configuration, weights, embedder, store, upstream and port; say what to mend."""
    findings = list(_findings(config, store, upstream))
    failed = [finding for finding in findings if not finding.ok]
    if json:
        print_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = "[green]ok[/]  " if finding.ok else "[red]FAIL[/]"
            console.print(f"{mark} {finding.name:<10} {escape(finding.detail)}", soft_wrap=True)
    if failed:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _findings(path: str | None, store: str | None, upstream: str | None) -> Iterator[Finding]:
    yield Finding("likewise", True, f"{__version__} on Python {platform.python_version()}")
    config = Config()
    try:
        config = config_of(path, store=store)
        yield Finding("config", True, str(config.path or "built-in defaults"))
    except LikewiseError as error:
        yield Finding("config", False, str(error))
    yield _tried("embedder", lambda: _embedder(config))
    yield _tried("store", lambda: _store(config.settings.store))
    if upstream is not None:
        config.settings.upstream.base_url = upstream
    given = config.settings.upstream
    if given.base_url is None and not given.replicas:
        yield Finding("upstream", True, "none configured; serve needs --upstream URL")
    else:
        yield _tried("upstream", lambda: asyncio.run(_upstream(given)))
    yield _port(config.settings.gateway.host, config.settings.gateway.port)


def _tried(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except LikewiseError as error:
        return Finding(name, False, str(error))


def _embedder(config: Config) -> str:
    embedder = embedder_of(config.settings.embedding)
    first, second, other = embedder.embed([*_ALIKE, _OTHER])
    near, far = float(first @ second), float(first @ other)
    if near <= far:
        msg = f"{embedder.name} finds unrelated questions as similar as equal ones"
        raise LikewiseError(msg)
    return f"{embedder.name}: alike {near:.2f}, unrelated {far:.2f}"


def _store(url: str) -> str:
    with open_store(url) as store:
        store.add_counters({("default", "doctor"): 0.0})
        return f"{store.url}: {store.count()} entries, writable"


async def _upstream(given: UpstreamSettings) -> str:
    # Imported here because the other commands would pay for it at each start.
    from likewise.gateway.pool import Pool  # noqa: PLC0415 - see above

    pool = Pool(given, LoadSettings())
    await pool.open()
    try:
        found = [
            f"{replica.upstream.base_url}: GET /v1/models says {await replica.upstream.probe()}"
            for replica in pool.replicas
        ]
    finally:
        await pool.close()
    return "; ".join(found)


def _port(host: str, port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            detail = f"{host}:{port}: {error.strerror}; set gateway.port or give --port"
            return Finding("port", False, detail)
    return Finding("port", True, f"{host}:{port} is free")
