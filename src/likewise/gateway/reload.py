"""Follows the configuration file: a good change takes effect, a bad one is refused and logged."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from likewise.classify.rules import Rules
from likewise.config import Config, load
from likewise.engine import Engine
from likewise.errors import ConfigError
from likewise.gateway.admin.access import KeyRing
from likewise.opening import coarse_of, judging_of, nearest_of, retention_of

logger = logging.getLogger("likewise")

_POLL_S = 1.0
_AT_START_ONLY = (
    "upstream",
    "store",
    "index",
    "max_entries",
    "max_bytes",
    "embedding",
    "learning",
    "gateway",
    "prices",
)


class Follower:
    """Puts new policies and rules in force when the file they come from changes."""

    def __init__(self, engine: Engine, config: Config, keys: KeyRing | None = None) -> None:
        self._engine = engine
        self._keys = keys
        self._path = config.path
        self._stamp = _stamp(config.path)
        self._in_file = _values(config)
        self._examples = config.examples
        if config.path is not None:
            # Options of the command line may have changed what the file said.
            with suppress(ConfigError):
                self._in_file = _values(load(config.path))

    async def run(self) -> None:
        """Look at the file every second until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            # In a thread: a new verifier reads every stored question.
            await asyncio.to_thread(self.look)

    def look(self) -> bool:
        """Take over a changed file; return whether new policies are in force."""
        path = self._path
        stamp = _stamp(path)
        if path is None or stamp is None or stamp == self._stamp:
            return False
        self._stamp = stamp
        engine = self._engine
        try:
            config = load(path)
            old, new = self._in_file, _values(config)
            same = old["verifier"] == new["verifier"]
            judging = engine.force.judging if same else judging_of(config)
            nearest, coarse = engine.book.namer.nearest, engine.book.namer.coarse
            if config.examples != self._examples:
                found = nearest_of(config.examples, engine.embedder)
                # An embedder that fails now is no reason to forget what is known.
                nearest = found or (nearest if config.examples else None)
                if engine.gate is not None:
                    coarse = coarse_of(config.examples, engine.embedder)
            keys = KeyRing.read(config.settings.gateway)
            engine.adopt(
                config.policies,
                ("rule", Rules(config.rules)),
                nearest=nearest,
                coarse=coarse,
                sure=config.settings.classification.confidence,
                sources=config.sources,
                judging=judging,
                load=config.load,
                adapting=config.adapting,
            )
            engine.force.retention_s = retention_of(config.settings)
            if self._keys is not None:
                self._keys.put(keys)
        except ConfigError as error:
            logger.error("the changed config is refused, the old policies stay: %s", error)
            return False
        except Exception:
            logger.exception("the changed config cannot be taken over, the old policies stay")
            return False
        self._examples = config.examples
        fixed = [*_AT_START_ONLY, *(["verifier"] if engine.learner is not None else [])]
        late = [name for name in fixed if old[name] != new[name]]
        if late:
            logger.warning("these changes take effect at the next start: %s", ", ".join(late))
        self._in_file = new
        logger.info("new policies are in force from %s", path)
        return True


def _values(config: Config) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(config.settings)
    for name in ("admin_key", "keys"):
        values["gateway"].pop(name)  # these take effect at once
    return values


def _stamp(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
