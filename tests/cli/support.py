"""What the tests of the command line share: running it, and running its servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

COMMANDS = (
    "serve",
    "demo",
    "check",
    "explain",
    "stats",
    "purge",
    "export",
    "import",
    "reembed",
    "tune",
    "replay",
    "advise",
    "classify",
    "categories",
    "doctor",
    "mock-llm",
    "keys",
    "bench",
)
PATIENCE_S = 240
"""How long a process may take before the test gives up; nothing is measured with it."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which warnings show and no setting of this machine counts."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LIKEWISE", "OPENAI"))}
    return {**kept, "COLUMNS": "80", "PYTHONWARNINGS": "default", "NO_COLOR": "1", **(extra or {})}


@dataclass(frozen=True)
class Shell:
    """A folder in which commands run, with a configuration that needs no weights."""

    folder: Path

    @property
    def store(self) -> str:
        """The configured store's URL."""
        return f"sqlite:///{self.folder / 'cache.db'}"

    def configure(self, **settings: Any) -> None:
        """Write ``likewise.yaml``; JSON is YAML."""
        values = {"store": self.store, "embedding": {"model": "hashing"}, **settings}
        (self.folder / "likewise.yaml").write_text(json.dumps(values))

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``likewise ARGUMENTS`` and return what came of it."""
        return subprocess.run(
            [sys.executable, "-m", "likewise", *arguments],
            cwd=self.folder,
            env=environment(env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def json(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Any:
        """Run a command that must succeed with nothing to say but its JSON; return that."""
        done = self.run(*arguments, "--json", env=env, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), done
        return json.loads(done.stdout)

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[Server]:
        """Run a command that serves; it is ended by the test, or by force."""
        process = subprocess.Popen(
            [sys.executable, "-m", "likewise", *arguments, "--port", "0", "--json"],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield Server(process, json.loads(line))
        finally:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Server:
    """A server in a process of its own, and the line with which it announced itself."""

    process: subprocess.Popen[str]
    line: dict[str, Any]

    @property
    def url(self) -> str:
        """Its address."""
        return str(self.line["url"])

    def ask(self, text: str, *, key: str = "k", **fields: Any) -> urllib3.BaseHTTPResponse:
        """Ask a question of ``stand-in-1``."""
        body = {"model": "stand-in-1", "messages": [{"role": "user", "content": text}], **fields}
        return urllib3.request(
            "POST",
            f"{self.url}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {key}"},
            retries=False,
        )

    def hit(self, text: str, **options: Any) -> None:
        """Ask until the answer comes from the cache: then its entry is acknowledged."""
        deadline = time.monotonic() + PATIENCE_S
        while self.ask(text, **options).headers["x-cache"] != "HIT":
            assert time.monotonic() < deadline, "it never became a hit"

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit code and what was said on standard error."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said
