"""Virtual environments for other people's packages: made once, kept in the cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from likewise.errors import LikewiseError
from likewise.kept import cache_folder

STAMP = "installed.txt"
_PATIENCE_S = 1_800
_LONGEST = 200


class LeftOut(LikewiseError):  # noqa: N818 - not an error of ours: the message says why
    """A peer cannot be measured here."""


def environment(name: str, packages: Sequence[str], *, fresh: bool = False) -> Path:
    """Return the Python of a virtual environment that has these packages, and make it if needed.

    It is made anew when it was made with other packages, by another Python, or not to its end.

    Args:
        name: Of its folder.
        packages: Requirements, as pip takes them.
        fresh: Make it anew in any case, with the newest versions.

    Raises:
        LeftOut: It cannot be made, or the packages cannot be installed.
    """
    try:
        home = cache_folder() / "peers" / name
    except RuntimeError as error:
        msg = f"no folder to install it in ({error}); set LIKEWISE_CACHE_DIR"
        raise LeftOut(msg) from error
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = "\n".join((sys.version, *packages))
    try:
        if not fresh and (home / STAMP).read_text("utf-8") == stamp and python.exists():
            return python
    except OSError:
        pass  # never made to its end
    try:
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(home)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--retries", "1", "--timeout", "20", *packages])
        (home / STAMP).write_text(stamp, "utf-8")
    except OSError as error:
        msg = f"cannot be installed: {error.strerror or error}"
        raise LeftOut(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"cannot be installed within {_PATIENCE_S} s"
        raise LeftOut(msg) from error
    return python


def version_of(python: Path, package: str) -> str:
    """Return the version of a package that is installed there; empty when it is not."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run(  # noqa: S603 - no shell
        [str(python), "-c", code],
        env=surroundings(python),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def surroundings(python: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables for a process of that environment.

    Nothing of ours can be imported there, and what a package installs on its own while it runs goes
    to its environment.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = os.pathsep.join((str(python.parent), kept.get("PATH", "")))
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(python.parent.parent), **(extra or {})}


def last_line(text: str) -> str:
    """Return what a program said last, or the last error that it named so, on one short line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if line.lower().startswith("error")]
    said = (named or lines or ["no word of why"])[-1]
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."


def _run(command: Sequence[str]) -> None:
    """Run a step of an installation.

    Raises:
        LeftOut: It failed.
        OSError: It cannot be run.
        subprocess.TimeoutExpired: It took too long, and is ended.
    """
    done = subprocess.run(  # noqa: S603 - pip and venv, no shell
        command,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        msg = f"cannot be installed: {last_line(done.stderr or done.stdout)}"
        raise LeftOut(msg)
