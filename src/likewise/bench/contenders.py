"""The caches that ``peers`` measures, opened and filled; each yields what looks up in it."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from likewise.bench.breakeven import private_server
from likewise.bench.clients import HOST
from likewise.bench.crossover import clustered
from likewise.bench.environments import LeftOut, environment, last_line, surroundings, version_of
from likewise.cache import Cache
from likewise.category import Category
from likewise.demo.prompts import load_prompts
from likewise.embed import Vectors
from likewise.policy import Hit
from likewise.rebuild import Progress

GPTCACHE = ("gptcache", "faiss-cpu", "sqlalchemy")
LITELLM = ("litellm[proxy]",)

Lookup = Callable[[int, int], tuple[list[float], int]]
"""Looks up the questions from one place up to another; returns microseconds, and hits."""

_THRESHOLD = 0.9
_NOISE = 0.25
"""Length of what is added to a stored vector: the question's cosine to it is 0.97."""

_WORDS = 10
_NAME = "all"
_ANSWER = "An answer of some sixty tokens, as short ones are, is what every entry holds. " * 4
_START_S = 180.0
_LINGER_S = 10.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is stored and what is asked: texts, and unit vectors as float32, one a row."""

    texts: list[str]
    vectors: Vectors
    questions: list[str]
    asked: Vectors


def corpus_of(entries: int, count: int) -> Corpus:
    """Return entries in clusters, and questions each of which lies near an entry of its own."""
    vectors = clustered(entries, seed=1)
    rng = np.random.default_rng(2)
    near = rng.permutation(np.resize(np.arange(entries), max(entries, count)))[:count]
    noise = rng.normal(size=(count, vectors.shape[1]))
    noise *= _NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
    asked = vectors[near] + noise
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    words = sorted({w.lower() for p in load_prompts() for w in p.text.split() if w.isalpha()})
    dice = random.Random(3)  # noqa: S311 - draws texts, guards nothing
    texts: dict[str, None] = {}
    while len(texts) < entries:
        texts[" ".join(dice.sample(words, _WORDS))] = None
    stored = list(texts)
    # Each a text of its own, also where an entry is asked for more than once.
    questions = [f"please{' tell me' * (n // entries)}: {stored[at]}" for n, at in enumerate(near)]
    return Corpus(stored, vectors, questions, asked.astype(np.float32))


class _Known:
    """An embedder that has the vectors of all texts."""

    name = "known"

    def __init__(self, corpus: Corpus) -> None:
        texts = [*corpus.texts, *corpus.questions]
        vectors: list[Vectors] = [*corpus.vectors, *corpus.asked]
        self._known = dict(zip(texts, vectors, strict=True))
        self.dimensions = int(corpus.vectors.shape[1])

    def fits(self, _text: str) -> bool:
        """See ``Embedder.fits``."""
        return True

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder.embed``."""
        if len(texts) == 1:  # a lookup's, whose time is told without embedding
            return self._known[texts[0]].reshape(1, -1)
        return np.stack([self._known[text] for text in texts])


@contextmanager
def likewise(corpus: Corpus, progress: Progress) -> Iterator[Lookup]:
    """Yield lookups in a cache with a memory store."""
    with Cache(
        store="memory://",
        embedder=_Known(corpus),
        categories=[Category(_NAME, similarity_threshold=_THRESHOLD)],
        rules=(),
        examples={},
        max_entries=2 * len(corpus.texts),
    ) as cache:
        for done, text in enumerate(corpus.texts, start=1):
            cache.store(text, _ANSWER, category=_NAME)
            progress(done, len(corpus.texts))

        def lookup(first: int, last: int) -> tuple[list[float], int]:
            times_us, hits = [], 0
            for question in corpus.questions[first:last]:
                began = time.perf_counter()
                decision = cache.check(question, category=_NAME)
                times_us.append(1e6 * (time.perf_counter() - began))
                hits += isinstance(decision, Hit) and decision.tier == "semantic"
            return times_us, hits

        yield lookup


@contextmanager
def gptcache(corpus: Corpus, fresh: bool) -> Iterator[tuple[Lookup, str]]:
    """Yield lookups in a GPTCache in a process of its own, and its version.

    Raises:
        LeftOut: It cannot be installed or filled.
    """
    python = environment("gptcache", GPTCACHE, fresh=fresh)
    with tempfile.TemporaryDirectory(prefix="likewise-peer-") as home:
        folder = Path(home)
        np.save(folder / "stored.npy", corpus.vectors)
        np.save(folder / "asked.npy", corpus.asked)
        texts = {"stored": corpus.texts, "asked": corpus.questions, "answer": _ANSWER}
        (folder / "texts.json").write_text(json.dumps(texts), "utf-8")
        with (folder / "said.txt").open("w+", encoding="utf-8") as said:
            process = subprocess.Popen(  # noqa: S603 - our own driver, no shell
                [str(python), str(Path(__file__).with_name("gptcache_driver.py")), str(folder)],
                cwd=folder,
                env=surroundings(python, {"OMP_NUM_THREADS": "1"}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

            def read() -> Any:
                line = process.stdout.readline() if process.stdout else ""
                if not line:
                    said.seek(0)
                    msg = f"failed: {last_line(said.read())}"
                    raise LeftOut(msg)
                return json.loads(line)

            def lookup(first: int, last: int) -> tuple[list[float], int]:
                if process.stdin is not None:
                    with suppress(BrokenPipeError):
                        process.stdin.write(f"{first} {last}\n")
                        process.stdin.flush()
                found = read()
                return found["times_us"], found["hits"]

            try:
                read()
                yield lookup, version_of(python, "gptcache")
            finally:
                _end(process)


@contextmanager
def pgvector(corpus: Corpus, fresh: bool) -> Iterator[tuple[Lookup, str]]:
    """Yield lookups in a table of pgvector, and its version with PostgreSQL's.

    Raises:
        LeftOut: A package is missing, or the server does not start.
    """
    missing = [name for name in ("psycopg", "pgserver") if find_spec(name) is None]
    if missing:
        msg = f"{' and '.join(missing)} not installed; pip install 'likewise[bench]'"
        raise LeftOut(msg)
    from likewise.bench.pgvector import filled  # noqa: PLC0415 - an extra; nothing else needs it

    with ExitStack() as stack:
        try:
            url = stack.enter_context(private_server())
            search, version = stack.enter_context(
                filled(url, corpus.texts, corpus.vectors, _ANSWER)
            )
        except Exception as error:  # whatever keeps a server from starting, it is left out for it
            msg = f"did not start: {type(error).__name__}: {last_line(str(error))}"
            raise LeftOut(msg) from error

        def lookup(first: int, last: int) -> tuple[list[float], int]:
            times_us, hits = [], 0
            for vector in corpus.asked[first:last]:
                began = time.perf_counter()
                answer, similarity = search(vector)
                times_us.append(1e6 * (time.perf_counter() - began))
                hits += answer == _ANSWER and similarity >= _THRESHOLD
            return times_us, hits

        yield lookup, version


@contextmanager
def litellm(model: int, name: str, fresh: bool) -> Iterator[tuple[int, str]]:
    """Yield the port of a LiteLLM proxy before a stand-in model, and its version.

    Args:
        model: The stand-in's port.
        name: The model's.
        fresh: Install it anew.

    Raises:
        LeftOut: It cannot be installed or does not start.
    """
    python = environment("litellm", LITELLM, fresh=fresh)
    config = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{name}",
                    "api_base": f"http://{HOST}:{model}/v1",
                    "api_key": "none",
                },
            }
        ],
        "litellm_settings": {
            "cache": True,
            "cache_params": {"type": "local"},
            "callbacks": [],
            "num_retries": 0,
            "set_verbose": False,
        },
        # Without this it asks for a key to be set, which every request would be checked for.
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    settings = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="likewise-peer-") as home:
        folder = Path(home)
        (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
        with (folder / "said.txt").open("w+", encoding="utf-8") as said:
            command = [str(python.with_name("litellm")), "--config", "config.yaml", "--run_granian"]
            process = subprocess.Popen(  # noqa: S603 - the peer's own command, no shell
                [*command, "--num_workers", "1", "--host", HOST, "--port", str(port)],
                cwd=folder,
                env=surroundings(python, settings),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            try:
                if not _listens(process, port):
                    said.seek(0)
                    msg = f"did not start: {last_line(said.read())}"
                    raise LeftOut(msg)
                yield port, version_of(python, "litellm")
            finally:
                _end(process)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def _listens(process: subprocess.Popen[Any], port: int) -> bool:
    """Wait until a server listens; return whether it does, and is still there."""
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, port), 1.0):
            return True
        time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[Any]) -> None:
    """End a process, and wait until it is gone."""
    process.terminate()
    try:
        process.communicate(timeout=_LINGER_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
