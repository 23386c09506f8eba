"""``likewise keys``: keys of the admin API, of which only a hash is kept, and of encryption."""

from __future__ import annotations

from typing import Annotated

import typer

from likewise.cli.output import JsonOption, print_line
from likewise.errors import ConfigError

app = typer.Typer(help="Make keys of the admin API, and of encryption.", no_args_is_help=True)
_ROLES = ("read", "write", "admin")


@app.command("encryption")
def encryption() -> None:
    """Make a key to encrypt texts with; it belongs in LIKEWISE_ENCRYPTION_KEYS."""
    from likewise.stores.sealed import new_encryption_key  # noqa: PLC0415 - an extra

    typer.echo(new_encryption_key())


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Whose it is; the audit log says this name.")],
    role: Annotated[str, typer.Option(help="What it allows: read, write or admin.")] = "read",
    json: JsonOption = False,
) -> None:
    """Make a key. It is shown once; the configuration keeps its hash."""
    from likewise.gateway.admin.access import new_key  # noqa: PLC0415 - loads the gateway

    if role not in _ROLES:
        msg = f"--role: {role!r} is none; there are {', '.join(_ROLES)}"
        raise ConfigError(msg)
    key, hashed = new_key()
    if json:
        print_line({"name": name, "role": role, "key": key, "hash": hashed})
        return
    typer.echo(f"key:  {key}")
    typer.echo("      (not shown again)")
    typer.echo("In likewise.yaml, from where a running gateway takes it over:")
    typer.echo(f'gateway:\n  keys:\n    - {{name: {name}, role: {role}, hash: "{hashed}"}}')
