"""Prompts with ground truth: which of them may share an answer."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from likewise.embed import Embedder, Vectors
from likewise.errors import ConfigError
from likewise.rebuild import Progress

_PATTERN = "prompts_*.jsonl*"


class Prompt(msgspec.Struct, frozen=True):
    """A prompt; two of them share ``answer_key`` exactly when one answer serves both."""

    category: str
    text: str
    answer_key: str


def read_prompts(folder: Path) -> list[Prompt]:
    """Read every ``prompts_*.jsonl`` and ``prompts_*.jsonl.gz`` of a folder.

    Raises:
        ConfigError: There is none, or a line is not a prompt; the message names file and line.
    """
    paths = sorted(folder.glob(_PATTERN)) if folder.is_dir() else []
    if not paths:
        msg = f"--data: {folder} holds no prompts_*.jsonl or prompts_*.jsonl.gz"
        raise ConfigError(msg)
    return [prompt for path in paths for prompt in _read(path)]


def sample(prompts: Iterable[Prompt], *, seed: int, rows_per_category: int) -> list[Prompt]:
    """Take whole groups of one answer at random, by category, until there are enough rows.

    Returns:
        The rows of all categories, shuffled together. Equal input and seed give equal output.
    """
    groups: dict[str, dict[str, list[Prompt]]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.category, {}).setdefault(prompt.answer_key, []).append(prompt)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    chosen: list[Prompt] = []
    for category in sorted(groups):
        keys = sorted(groups[category])
        rng.shuffle(keys)
        rows: list[Prompt] = []
        for key in keys:
            if len(rows) >= rows_per_category:
                break
            rows.extend(groups[category][key])
        chosen.extend(rows)
    rng.shuffle(chosen)
    return chosen


class Embedded:
    """An embedder that knows the vectors of the prompts at hand, so that passes share them."""

    def __init__(self, embedder: Embedder, texts: Sequence[str], progress: Progress) -> None:
        self._embedder = embedder
        self._fits = {text: embedder.fits(text) for text in texts}
        self._vectors: dict[str, Vectors] = {}
        for done, text in enumerate(texts, start=1):
            if self._fits[text] and text not in self._vectors:
                self._vectors[text] = embedder.embed([text])[0]
            progress(done, len(texts))

    @property
    def name(self) -> str:
        """See ``Embedder.name``."""
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        """See ``Embedder.dimensions``."""
        return self._embedder.dimensions

    def fits(self, text: str) -> bool:
        """See ``Embedder.fits``."""
        return self._fits[text]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder.embed``."""
        return np.stack([self._vectors[text] for text in texts])


def _read(path: Path) -> Iterator[Prompt]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield msgspec.json.decode(line, type=Prompt)
            except msgspec.MsgspecError as error:
                msg = f"{path.name}, line {number}: not a prompt with its answer: {error}"
                raise ConfigError(msg) from error
