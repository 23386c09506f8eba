"""Break-even of a remote vector database and of Likewise, measured side by side.

The remote cache does what gateways with a vector database do: embed the question, then one query
for the nearest entry, which brings its answer along. It runs on pgvector, once as it is on this
machine and once behind a delay each way, as a database in another zone or region would be.
"""

from __future__ import annotations

import asyncio
import queue
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from likewise.cache import Cache
from likewise.category import Category
from likewise.demo.prompts import load_prompts
from likewise.embed import Embedder, Vectors
from likewise.errors import ConfigError
from likewise.policy import Hit
from likewise.rebuild import Progress

ENTRIES = 10_000
DELAY_S = 0.014
"""Of the paper's remote vector database, each way."""

MODEL_S = (0.1, 0.5, 2.0)
"""Seconds of a model call for which break-even is told; the middle one is the headline's."""

_THRESHOLD = 0.95
_SPREAD = 0.6
_BATCH = 500
_NAME = "all"
_ANSWER = {"choices": [{"message": {"role": "assistant", "content": "An answer. " * 100}}]}
"""Some kilobyte, as answers have."""


def require_postgres(url: str | None) -> None:
    """Check that the remote side can be measured.

    Raises:
        ConfigError: A package is missing.
    """
    needed = ["psycopg", *([] if url else ["pgserver"])]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        msg = (
            f"the remote side needs {' and '.join(missing)}: pip install 'likewise[bench]', or "
            "name a PostgreSQL with pgvector by --postgres"
        )
        raise ConfigError(msg)


def measure(
    embedder: Embedder,
    *,
    progress: Progress,
    postgres: str | None = None,
    entries: int = ENTRIES,
    delay_s: float = DELAY_S,
    rounds: int = 3,
) -> dict[str, Any]:
    """Measure lookups that miss and that hit, and the break-even that follows.

    Args:
        embedder: Embeds the questions, in both.
        progress: Told of the lookups done.
        postgres: A server with pgvector; without one a private one is started.
        entries: How many are stored.
        delay_s: Seconds that each way to the remote database takes.
        rounds: How often every question is asked.

    Returns:
        For ``remote`` (behind the delay), ``remote_local`` (without) and ``likewise``: medians
        ``lookup_ms`` of a lookup that misses and ``hit_ms`` of one that hits, with embedding,
        except that most hits of Likewise are of its exact tier, which needs none;
        ``break_even`` for a model call of 500 ms, and ``break_even_by_model_ms``.
    """
    stored, fillers = _filled(embedder, entries)
    asked = [prompt.text for prompt in load_prompts()]
    sides: dict[str, Callable[[str], bool]] = {}
    with ExitStack() as stack:
        remote = stack.enter_context(_database(postgres, stored, fillers, delay_s))
        for name, search in remote.items():
            sides[name] = _remote(embedder, search)
        sides["likewise"] = stack.enter_context(_likewise(embedder, stored, fillers))
        times: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in sides}
        for number in range(rounds):
            # A question is a new text each time, or its vector would be remembered. The sides take
            # turns by rounds: after a wait for the network every cache of the processor is cold.
            texts = [f"{text}{' ' * (1 + number)}" for text in asked]
            for place, (name, lookup) in enumerate(sides.items()):
                for text in texts:
                    started = time.perf_counter()
                    hit = lookup(text)
                    times[name][hit].append(time.perf_counter() - started)
                progress(number * len(sides) + place + 1, rounds * len(sides))
    return {name: _row(*found) for name, found in times.items()}


def _row(misses: list[float], hits: list[float]) -> dict[str, Any]:
    miss_s, hit_s = median(misses), median(hits)
    by_model = {f"{1000 * m:.0f}": min(1.0, miss_s / max(m - hit_s, 1e-9)) for m in MODEL_S}
    return {
        "lookup_ms": 1000.0 * miss_s,
        "hit_ms": 1000.0 * hit_s,
        "break_even": by_model["500"],
        "break_even_by_model_ms": by_model,
        "misses": len(misses),
        "hits": len(hits),
    }


def _filled(embedder: Embedder, count: int) -> tuple[list[str], Vectors]:
    """Return questions to store with their vectors: every other prompt, and many around them all.

    Their vectors lie about the prompts' own, so that an index has as much to do as with real ones.
    """
    prompts = [prompt.text for prompt in load_prompts()]
    vectors = embedder.embed(prompts)
    rng = np.random.default_rng(0)
    base = vectors[rng.integers(0, len(prompts), count)]
    noise = rng.normal(size=base.shape) / np.sqrt(base.shape[1])
    near = base + 2.0 * _SPREAD * noise
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    kept = list(range(0, len(prompts), 2))
    texts = [*(prompts[n] for n in kept), *(f"filler {n}" for n in range(count - len(kept)))]
    found: Vectors = np.concatenate([vectors[kept], near[: count - len(kept)]]).astype(np.float32)
    return texts, found


class _Known:
    """An embedder that has the vectors of the stored questions, and embeds all others."""

    def __init__(self, embedder: Embedder, texts: Sequence[str], vectors: Vectors) -> None:
        self._embedder = embedder
        self._known = dict(zip(texts, vectors, strict=True))
        self.name, self.dimensions = embedder.name, embedder.dimensions

    def fits(self, text: str) -> bool:
        """See ``Embedder.fits``."""
        return text in self._known or self._embedder.fits(text)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder.embed``."""
        known = [self._known.get(text) for text in texts]
        if any(vector is None for vector in known):
            return self._embedder.embed(texts)
        return np.stack([vector for vector in known if vector is not None])


@contextmanager
def _likewise(
    embedder: Embedder, texts: Sequence[str], vectors: Vectors
) -> Iterator[Callable[[str], bool]]:
    """Yield a lookup in a cache over SQLite that holds the entries."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(
            store=f"sqlite:///{Path(folder) / 'bench.db'}",
            embedder=_Known(embedder, texts, vectors),
            categories=[Category(_NAME, similarity_threshold=_THRESHOLD, guards=())],
            rules=(),
            examples={},
            max_entries=2 * len(texts),
        )
        with cache:
            for text in texts:
                cache.store(text, _ANSWER, category=_NAME)
            yield lambda text: isinstance(cache.check(text, category=_NAME), Hit)


def _remote(embedder: Embedder, search: Callable[[Vectors], float]) -> Callable[[str], bool]:
    return lambda text: search(embedder.embed([text])[0]) >= _THRESHOLD


@contextmanager
def _database(
    url: str | None, texts: Sequence[str], vectors: Vectors, delay_s: float
) -> Iterator[dict[str, Callable[[Vectors], float]]]:
    """Yield searches in a table of pgvector: of the nearest entry, with its answer."""
    import psycopg  # noqa: PLC0415 - an extra; nothing else needs it

    with ExitStack() as stack:
        url = url or stack.enter_context(private_server())
        direct = stack.enter_context(psycopg.connect(url, autocommit=True))
        stack.enter_context(_table(direct, texts, vectors))
        port = stack.enter_context(_delayed(direct.info, delay_s))
        far = stack.enter_context(
            psycopg.connect(url, host="127.0.0.1", hostaddr="", port=port, autocommit=True)
        )
        yield {"remote": _search_in(far), "remote_local": _search_in(direct)}


def _search_in(connection: Any) -> Callable[[Vectors], float]:
    query = (
        "select answer, 1 - (v <=> %s::vector) from likewise_bench "
        "where expires > now() order by v <=> %s::vector limit 1"
    )

    def search(vector: Vectors) -> float:
        text = _written(vector)
        with connection.cursor() as cursor:
            found = cursor.execute(query, (text, text), prepare=True).fetchone()
        return float(found[1])

    return search


@contextmanager
def private_server() -> Iterator[str]:
    """Run a PostgreSQL with pgvector until the block ends; yields its URL, of a local socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pgserver  # noqa: PLC0415 - an extra; nothing else needs it

    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            # It looks for a folder of the session, which services and containers have not.
            warnings.simplefilter("ignore")
            server = pgserver.get_server(folder)  # type: ignore[attr-defined]
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def _table(connection: Any, texts: Sequence[str], vectors: Vectors) -> Iterator[None]:
    """Hold a table with the entries and an HNSW index, and drop it at the end.

    Raises:
        ConfigError: The server has no pgvector.
    """
    import psycopg  # noqa: PLC0415 - as above

    answer = "An answer. " * 100
    with connection.cursor() as cursor:
        try:
            cursor.execute("create extension if not exists vector")
        except psycopg.Error as error:
            msg = f"--postgres: this server has no pgvector: {type(error).__name__}"
            raise ConfigError(msg) from error
        cursor.execute("drop table if exists likewise_bench")
        cursor.execute(
            "create table likewise_bench (id serial, question text, answer text, "
            f"expires timestamptz default now() + interval '1 day', v vector({vectors.shape[1]}))"
        )
        with cursor.copy("copy likewise_bench (question, answer, v) from stdin") as copy:
            for text, vector in zip(texts, vectors, strict=True):
                copy.write_row((text, answer, _written(vector)))
        cursor.execute("create index on likewise_bench using hnsw (v vector_cosine_ops)")
        cursor.execute("analyze likewise_bench")
        try:
            yield
        finally:
            cursor.execute("drop table if exists likewise_bench")


def _written(vector: Vectors) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in vector.tolist()) + "]"


@contextmanager
def _delayed(info: Any, delay_s: float) -> Iterator[int]:
    """Yield the port of a way to the server on which every byte takes ``delay_s`` longer."""
    ports: queue.Queue[int] = queue.Queue()
    loops: queue.Queue[asyncio.AbstractEventLoop] = queue.Queue()
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if info.host.startswith("/"):
            path = f"{info.host}/.s.PGSQL.{info.port}"
            inner, outer = await asyncio.open_unix_connection(path)
        else:
            inner, outer = await asyncio.open_connection(info.host, info.port)
        try:
            # Cancelled at the end, which nobody need be told.
            with suppress(asyncio.CancelledError):
                await asyncio.gather(_pump(reader, outer, delay_s), _pump(inner, writer, delay_s))
        finally:
            for end in (outer, writer):
                end.close()
                await end.wait_closed()

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            ports.put(server.sockets[0].getsockname()[1])
            loops.put(asyncio.get_running_loop())
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="likewise-delay", daemon=True)
    thread.start()
    try:
        yield ports.get()
    finally:
        loops.get().call_soon_threadsafe(stop.set)
        thread.join()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Hand on what comes, each piece ``delay_s`` after it came, until one end is closed."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(65_536):
        loop.call_later(delay_s, writer.write, data)
