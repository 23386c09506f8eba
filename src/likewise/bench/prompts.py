"""Prompts with ground truth: which of them may share an answer."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from likewise.category import DEFAULT, check_name
from likewise.embed import Embedder, Sketcher, Vectors, sketcher_of
from likewise.errors import ConfigError
from likewise.rebuild import Progress

T = TypeVar("T", bound=msgspec.Struct)

_PATTERN = "prompts_*.jsonl*"
_PAIRS = "pairs_*.jsonl*"


class Prompt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prompt; two of them share ``answer_key`` exactly when one answer serves both."""

    category: str
    text: str
    answer_key: str
    id: str = ""


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two questions, and whether one answer serves both."""

    category: str
    a: str
    b: str
    same: bool


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a log: a question with its answer, any JSON value."""

    question: str
    answer: Any
    category: str = DEFAULT


class Line(msgspec.Struct, frozen=True):
    """A line of a log of which only the question must be there; other fields are passed over."""

    question: str
    answer: Any = msgspec.UNSET
    category: str = DEFAULT
    t: float | None = None


def read_prompts(folder: Path) -> list[Prompt]:
    """Read every ``prompts_*.jsonl`` and ``prompts_*.jsonl.gz`` of a folder.

    Raises:
        ConfigError: There is none, or a line is not a prompt; the message names file and line.
    """
    paths = sorted(folder.glob(_PATTERN)) if folder.is_dir() else []
    if not paths:
        msg = f"--data: {folder} holds no prompts_*.jsonl or prompts_*.jsonl.gz"
        raise ConfigError(msg)
    prompts = [prompt for path in paths for prompt in _read(path, Prompt)]
    known: dict[tuple[str, str], str] = {}
    for prompt in prompts:
        key = known.setdefault((prompt.category, prompt.text), prompt.answer_key)
        if key != prompt.answer_key:
            msg = (
                f"--data: contradictory labels in category {prompt.category!r}: one text has the "
                f"answer keys {key!r} and {prompt.answer_key!r}; keep one of them"
            )
            raise ConfigError(msg)
    return prompts


def read_pairs(folder: Path) -> list[Pair]:
    """Read every ``pairs_*.jsonl`` and ``pairs_*.jsonl.gz`` of a folder; there may be none.

    Raises:
        ConfigError: A line is not a pair, or two say the opposite of one pair.
    """
    pairs = [pair for path in sorted(folder.glob(_PAIRS)) for pair in _read(path, Pair)]
    known: dict[tuple[str, frozenset[str]], bool] = {}
    for pair in pairs:
        if known.setdefault((pair.category, frozenset((pair.a, pair.b))), pair.same) != pair.same:
            msg = (
                f"--data: contradictory labels in category {pair.category!r}: a pair is marked the "
                "same and different; keep one of them"
            )
            raise ConfigError(msg)
    return pairs


def half_of(prompts: Sequence[Prompt], half: int | None) -> list[Prompt]:
    """Return the prompts whose answers fall into one half, 0 or 1, or all of them for ``None``.

    The halves share no answer: so what is tuned on one can be judged on the other.
    """
    return [p for p in prompts if half is None or _half(p.answer_key) == half]


def pairs_of_half(pairs: Sequence[Pair], prompts: Sequence[Prompt], half: int | None) -> list[Pair]:
    """Return the pairs none of whose texts is a prompt of the other half."""
    other = {p.text for p in prompts if half is not None and _half(p.answer_key) != half}
    return [pair for pair in pairs if pair.a not in other and pair.b not in other]


def _half(answer_key: str) -> int:
    return sha256(f"1|{answer_key}".encode("utf-8", "surrogatepass")).digest()[0] % 2


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


def deal(
    prompts: Iterable[Prompt], *, seed: int, rows_per_category: int, streams: int
) -> list[list[Prompt]]:
    """Deal prompts into up to ``streams`` samples that share no answer; see ``sample``."""
    left = list(prompts)
    dealt: list[list[Prompt]] = []
    while left and len(dealt) < streams:
        chosen = sample(left, seed=seed + len(dealt), rows_per_category=rows_per_category)
        keys = {(prompt.category, prompt.answer_key) for prompt in chosen}
        left = [prompt for prompt in left if (prompt.category, prompt.answer_key) not in keys]
        dealt.append(chosen)
    return dealt


def read_log(path: Path) -> list[Prompt]:
    """Read answered questions, one JSON object a line with ``question``, ``answer``, ``category``.

    Two questions share an answer when their answers are equal but for case and white space.

    Raises:
        ConfigError: The file cannot be read, or a line is not such an object.
    """
    return [
        Prompt(answered.category, answered.question, _normalised(answered.answer))
        for answered in _read(path, Answered)
    ]


def read_lines(path: Path) -> list[Line]:
    """Read logged questions, one JSON object a line with ``question``.

    ``answer``, ``category`` and ``t``, when it was asked in seconds, may be there.

    Raises:
        ConfigError: The file cannot be read, or a line is not such an object.
    """
    return list(_read(path, Line))


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

    @property
    def sketcher(self) -> Sketcher | None:
        """See ``sketcher_of``."""
        return sketcher_of(self._embedder)

    def fits(self, text: str) -> bool:
        """See ``Embedder.fits``."""
        return self._fits[text]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder.embed``."""
        return np.stack([self._vectors[text] for text in texts])


def _normalised(answer: object) -> str:
    text = (
        answer if isinstance(answer, str) else msgspec.json.encode(answer, order="sorted").decode()
    )
    return " ".join(text.casefold().split())


def _read(path: Path, kind: type[T]) -> Iterator[T]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield _decoded(line, kind, f"{path.name}, line {number}")
    except (OSError, EOFError) as error:
        msg = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(msg) from error


def _decoded(line: bytes, kind: type[T], where: str) -> T:
    try:
        decoded = msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        names = ", ".join(field.name for field in msgspec.structs.fields(kind))
        msg = f"{where}: not a JSON object with {names}: {error}"
        raise ConfigError(msg) from error
    try:
        check_name(decoded.category)  # type: ignore[attr-defined]
    except ConfigError as error:
        msg = f"{where}: {error}"
        raise ConfigError(msg) from error
    return decoded
