"""From the configuration's ``embedding.model`` to an embedder."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

from likewise.embed import Embedder
from likewise.embed.weights import MODEL
from likewise.errors import ConfigError

GROUP = "likewise.embedders"


@dataclass(frozen=True, slots=True)
class EmbedderOptions:
    """What the configuration may say about an embedder besides its model; None is unsaid."""

    path: str | Path | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    dimensions: int | None = None
    timeout_s: float = 2.0
    threads: int = 1


class EmbedderFactory(Protocol):
    """What an entry point of the group ``likewise.embedders`` must load to.

    For the entry point ``acme`` and the model ``acme:large``, ``name`` is ``large``. A factory
    reads the options it knows, and raises ``ConfigError`` for a name or value it cannot take.
    """

    def __call__(self, name: str, options: EmbedderOptions) -> Embedder:
        """Make the embedder for ``name``."""


def open_embedder(
    model: str,
    *,
    path: str | Path | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    dimensions: int | None = None,
    timeout_s: float = 2.0,
    threads: int = 1,
) -> Embedder:
    """The embedder that ``model`` names, ready to use.

    ``all-MiniLM-L6-v2`` reads ``path`` and ``threads``; ``openai:NAME`` reads ``base_url``,
    ``api_key``, ``dimensions`` and ``timeout_s`` (seconds); ``hashing``, which knows words but no
    meaning and is for tests, reads ``dimensions``. Another prefix is looked up among the installed
    entry points of the group ``likewise.embedders``.

    Raises:
        ConfigError: No embedder has this name, or an option is wrong for it.
        EmbedderError: The embedder cannot be loaded.
    """
    options = EmbedderOptions(path, base_url, api_key, dimensions, timeout_s, threads)
    prefix, _, name = model.partition(":")
    if model == MODEL:
        return _open_minilm(options)
    if model == "hashing":
        return _open_hashing(options)
    if prefix == "openai" and name:
        return _open_openai(name, options)
    installed = entry_points(group=GROUP)
    if prefix != "openai" and prefix in installed.names:
        return _load(installed[prefix])(name, options)
    raise ConfigError(_unknown(model, installed.names))


def _open_minilm(options: EmbedderOptions) -> Embedder:
    from likewise.embed.minilm import MiniLM  # noqa: PLC0415 - only the embedder asked for loads

    embedder = MiniLM(options.path, threads=options.threads)
    if options.dimensions not in {None, embedder.dimensions}:
        raise ConfigError(
            f"embedding.dimensions is {options.dimensions}, but {MODEL} has "
            f"{embedder.dimensions}: remove the setting"
        )
    return embedder


def _open_hashing(options: EmbedderOptions) -> Embedder:
    from likewise.testing import HashingEmbedder  # noqa: PLC0415 - only the one asked for loads

    if options.dimensions is None:
        return HashingEmbedder()
    return HashingEmbedder(options.dimensions)


def _open_openai(name: str, options: EmbedderOptions) -> Embedder:
    from likewise.embed.openai import OpenAIEmbedder  # noqa: PLC0415 - only the one asked for loads

    return OpenAIEmbedder(
        name,
        base_url=options.base_url or "https://api.openai.com/v1",
        api_key=options.api_key,
        dimensions=options.dimensions,
        timeout_s=options.timeout_s,
    )


def _load(entry_point: EntryPoint) -> EmbedderFactory:
    try:
        factory: EmbedderFactory = entry_point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the embedder {entry_point.name!r} ({entry_point.value}) cannot be imported: {error}; "
            "reinstall the package that brings it"
        ) from error
    return factory


def _unknown(model: str, installed: Iterable[str]) -> str:
    names = [MODEL, "openai:NAME", "hashing", *sorted(f"{prefix}:NAME" for prefix in installed)]
    by_folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(model.lower(), by_folded, n=1)
    hint = f"; did you mean {by_folded[near[0]]}?" if near else ""
    return f"embedding.model is {model!r}: it must be one of {', '.join(names)}{hint}"
