"""The configuration that a command's options describe."""

from __future__ import annotations

from pathlib import Path

from likewise.config import Config, load

_DEFAULT_FILE = Path("likewise.yaml")


def config_of(path: str | None, *, store: str | None = None) -> Config:
    """Return the configuration: of the file given, else of ``likewise.yaml`` here, else defaults.

    Raises:
        ConfigError: It is wrong.
    """
    if path is None and _DEFAULT_FILE.is_file():
        path = str(_DEFAULT_FILE)
    config = Config() if path is None else load(path)
    if store is not None:
        config.settings.store = store
    return config
