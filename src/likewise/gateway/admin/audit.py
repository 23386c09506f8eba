"""The audit log: who changed what by the admin API, without any text of a question or an answer."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from likewise.errors import ConfigError

logger = logging.getLogger("likewise.audit")

_MOST_HELD = 1_000
_SAFE = ("category", "all", "entry_id", "correct", "similarity", "dry_run", "tenant")
"""Fields of a body that are names and numbers, and so may be written."""


class Audit:
    """Notes acts that change something. Safe to use from many threads.

    The latest are held, each is a line of the log, and with ``path`` one of a file as well.

    Raises:
        ConfigError: The file cannot be written.
    """

    def __init__(self, path: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: deque[dict[str, Any]] = deque(maxlen=_MOST_HELD)
        self._file: int | None = None
        if path is not None:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._file = os.open(Path(path), flags, 0o600)
            except OSError as error:
                msg = f"gateway.audit_log: {path} cannot be written: {error.strerror or error}"
                raise ConfigError(msg) from error

    def note(
        self, act: str, *, key: str, client: str, names: Mapping[str, str], body: Any, status: int
    ) -> None:
        """Note an act and what became of it.

        Args:
            act: Its method and path.
            key: The name of the key that it was done with.
            client: The address it came from.
            names: What its path names.
            body: Its body, of which names and numbers are noted.
            status: That of the answer.
        """
        line = {
            "time": round(self._clock(), 3),
            "key": key,
            "client": client,
            "act": act,
            **names,
            **_told(body),
            "status": status,
        }
        text = msgspec.json.encode(line)
        logger.info("%s", text.decode())
        with self._lock:
            self._held.append(line)
            if self._file is not None:
                try:
                    # One write of a whole line: several workers may share the file.
                    os.write(self._file, text + b"\n")
                except OSError as error:
                    logger.error("the audit log cannot be written: %s", error.strerror or error)

    def latest(self) -> list[dict[str, Any]]:
        """Return the latest acts, the latest first."""
        with self._lock:
            return list(reversed(self._held))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


def _told(body: Any) -> dict[str, Any]:
    if isinstance(body, msgspec.Struct):
        body = msgspec.structs.asdict(body)
    if not isinstance(body, dict):
        return {}
    found = {name: body[name] for name in _SAFE if body.get(name) not in {None, False}}
    # A policy's keys are told, its values need not be.
    rest = sorted(str(name) for name in body if name not in _SAFE and name != "question")
    return {**found, **({"fields": rest} if rest else {})}
