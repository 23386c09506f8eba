"""The default embedder: all-MiniLM-L6-v2 in int8, on the CPU, in this process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.embed import Sketcher, Vectors
from likewise.embed.graph import DIMENSIONS, INPUT, OUTPUT, RECIPE, load_graph
from likewise.embed.sketch import (
    SKETCH_DIMENSIONS,
    expected_floor,
    load_table,
    sketch_name,
    summed,
    surplus_of,
)
from likewise.embed.weights import (
    INSTALL_COMMAND,
    MODEL,
    TOKENIZER_FILE,
    WEIGHTS_SHA256,
    find_weights,
)
from likewise.errors import ConfigError, EmbedderError, WeightsCorruptError

# [CLS] before and [SEP] after every text.
_FRAME = 2
# [UNK], which stands for whatever the vocabulary lacks, and the least length of a "word" that the
# tokenizer gives up on.
_UNKNOWN_ID = 100
_LONG_WORD = re.compile(r"\S{100}").search
# A text longer than this many characters for each token of the window is taken not to fit without
# tokenising it. Prose has 4-5, so only padding and endless "words" are that long.
_MOST_CHARACTERS_PER_TOKEN = 32
# Texts of one length run together up to this many tokens. Measured on one thread: 8 texts of 15
# tokens cost 1.4 ms each instead of 2.0 alone, of 50 tokens 4.6 instead of 5.4, of 256 tokens 37
# instead of 29 (the activations leave the processor's cache).
_BATCH_TOKENS = 384
# Texts whose tokens are remembered for a moment.
_REMEMBERED = 256
# Positions the model was trained with.
_MOST_TOKENS = 512
# What the published tokenizer makes of a probe; another one would feed the model noise, silently.
_PROBE, _PROBE_IDS = "Hello, world", [101, 7592, 1010, 2088, 102]


class MiniLM:
    """all-MiniLM-L6-v2, 384 dimensions: about 2 ms for 15 tokens and 30 ms for 256 on one thread.

    Constructing it loads the model: some 0.2 s, and once for each cache folder about 1 s more to
    build its graph. ``path`` is a folder with ``model.safetensors`` and ``tokenizer.json``; without
    it the weights are looked for as ``find_weights`` says. ``threads`` is the number of processor
    threads one call may use, ``max_tokens`` (8 to 512) the longest text read whole.

    A vector does not depend on the texts it is embedded with: activations are quantised token by
    token and nothing is ever padded. Safe to call from many threads.

    Raises:
        ConfigError: ``threads`` or ``max_tokens`` is out of range.
        WeightsNotFoundError: The weights are not installed.
        WeightsCorruptError: The weights or the tokenizer are not the published ones.
    """

    def __init__(
        self, path: str | Path | None = None, *, threads: int = 1, max_tokens: int = 256
    ) -> None:
        if threads < 1:
            raise ConfigError(f"threads is {threads}: give at least 1")
        if not 8 <= max_tokens <= _MOST_TOKENS:
            raise ConfigError(f"max_tokens is {max_tokens}: give 8 to {_MOST_TOKENS}")
        folder = find_weights(path)
        self._max_tokens = max_tokens
        self._tokenizer = _open_tokenizer(folder / TOKENIZER_FILE)
        # A question is asked whether it fits, sketched, and then embedded.
        self._encoded = lru_cache(_REMEMBERED)(self._encode)
        self._table = load_table(folder)
        self._session = _open_session(load_graph(folder), threads)

    def __repr__(self) -> str:
        return f"MiniLM(name={self.name!r}, max_tokens={self._max_tokens})"

    @property
    def name(self) -> str:
        """Model and way of quantising it; weights other than the published ones never load."""
        return f"{MODEL}/{RECIPE}"

    @property
    def dimensions(self) -> int:
        """Length of a vector: 384."""
        return DIMENSIONS

    def fits(self, text: str) -> bool:
        """Whether the model reads the whole of ``text``.

        It does not when there are more than ``max_tokens`` tokens, [CLS] and [SEP] included, or one
        it does not know (a rare character, a "word" of more than 100 characters): two texts that
        differ only there would look equal. Most texts are ASCII and short enough to tell without
        tokenising; one of more than 32 characters for each token of the window is said not to fit.
        """
        if text.isascii() and len(text) <= self._max_tokens - _FRAME and not _LONG_WORD(text):
            return True
        if len(text) > _MOST_CHARACTERS_PER_TOKEN * self._max_tokens:
            return False
        try:
            ids = self._encoded(text)
        except EmbedderError:
            return False  # a lone surrogate
        return len(ids) <= self._max_tokens and _UNKNOWN_ID not in ids

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed ``n`` texts as float32 of shape ``(n, 384)``, each row of length 1.

        A text that does not fit is cut after its first ``max_tokens - 1`` tokens.

        Raises:
            EmbedderError: A text is not valid Unicode, or the runtime failed.
        """
        vectors = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for places, ids in _batches([self._tokenise(text) for text in texts]):
            try:
                vectors[places] = self._session.run([OUTPUT], {INPUT: ids})[0]
            except Exception as error:  # the runtime's errors share no base but this
                raise EmbedderError(
                    f"{self.name}: {type(error).__name__} in the runtime"
                ) from error
        return vectors

    @property
    def sketcher(self) -> Sketcher:
        """What makes coarse vectors of the same texts."""
        return _Sketcher(self)

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text without their frame, as far as they are read.

        Raises:
            EmbedderError: The text is not valid Unicode.
        """
        return self._tokenise(text)[1:-1]

    def sketch(self, texts: Sequence[str]) -> Vectors:
        """See ``Sketcher.sketch``."""
        return summed(self._table, [self.tokens(text) for text in texts])

    def _tokenise(self, text: str) -> list[int]:
        ids = self._encoded(text)
        if len(ids) > self._max_tokens:
            ids = [*ids[: self._max_tokens - 1], ids[-1]]
        return ids

    def _encode(self, text: str) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.encode(text).ids
        except (TypeError, UnicodeError) as error:
            # JSON can carry half of a surrogate pair, which no encoding can.
            raise EmbedderError(
                f"{self.name}: a text holds half of a surrogate pair; send valid Unicode"
            ) from error
        return ids


class _Sketcher:
    def __init__(self, model: MiniLM) -> None:
        self._model = model

    dimensions = SKETCH_DIMENSIONS

    @property
    def name(self) -> str:
        return sketch_name()

    def sketch(self, texts: Sequence[str]) -> Vectors:
        return self._model.sketch(texts)

    def floor(self, cosine: float) -> float:
        return expected_floor(cosine)

    def surplus(self, text: str) -> float:
        return surplus_of(len(self._model.tokens(text)))


def _batches(rows: list[list[int]]) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Rows of one length together: their places in ``rows`` and the rows as one array."""
    places_by_length: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        places_by_length.setdefault(len(row), []).append(place)
    for length, places in places_by_length.items():
        step = max(1, _BATCH_TOKENS // length)
        for start in range(0, len(places), step):
            chosen = places[start : start + step]
            yield chosen, np.array([rows[place] for place in chosen], dtype=np.int64)


def _open_tokenizer(path: Path) -> Any:
    """The tokenizer without its own padding and cutting, after a probe of what it does.

    It is only ever given one text at a time: a batch would start threads of its own.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - importing this module loads nothing

    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        known = tokenizer.encode(_PROBE).ids == _PROBE_IDS
    except Exception as error:  # the library raises plain Exception
        raise WeightsCorruptError(
            f"{path} is not a tokenizer; remove it and run: {INSTALL_COMMAND} --force-reinstall"
        ) from error
    if not known:
        raise WeightsCorruptError(
            f"{path} is not the tokenizer of {MODEL} (weights {WEIGHTS_SHA256[:12]}...); "
            f"remove it and run: {INSTALL_COMMAND} --force-reinstall"
        )
    return tokenizer


def _open_session(graph: bytes, threads: int) -> Any:
    import onnxruntime  # noqa: PLC0415 - importing this module loads nothing

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors only
    # Idle threads would otherwise spin, and take the processor from the server around them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no base but this
        raise EmbedderError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {MODEL}/{RECIPE} "
            f"({type(error).__name__}); upgrade it with: pip install -U onnxruntime"
        ) from error
