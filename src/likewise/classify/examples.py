"""Labelled examples of categories: those that ship, and those of the user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import yaml

from likewise.errors import ConfigError

Examples = Mapping[str, Sequence[str]]
"""Prompts by the category they are examples of."""

NO_EXAMPLES: Examples = {}


@cache
def builtin_examples() -> Examples:
    """Return the examples of the built-in categories, at least 60 of each."""
    text = files("likewise.classify").joinpath("examples.yaml").read_text(encoding="utf-8")
    # The C reader is ten times as fast, where there is one.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return MappingProxyType(yaml.load(text, Loader=loader))  # noqa: S506 - a safe loader


def read_examples(path: Path, *, what: str) -> list[str]:
    """Read examples from a text file, one a line; empty lines do not count.

    Raises:
        ConfigError: It cannot be read or holds none; the message begins with ``what``.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        msg = f"{what}: cannot read {path}: {reason}"
        raise ConfigError(msg) from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        msg = f"{what}: {path} holds no example; write one prompt a line"
        raise ConfigError(msg)
    return found


def merged(parts: Iterable[Examples]) -> dict[str, tuple[str, ...]]:
    """Return the examples of several sources together, each text once in a category."""
    found: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, texts in part.items():
            found.setdefault(name, {}).update(dict.fromkeys(texts))
    return {name: tuple(texts) for name, texts in found.items()}
