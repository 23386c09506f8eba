"""Likewise beside other caches: the same vectors, the same machine, the same run, in turn.

GPTCache and LiteLLM are installed by pip, in their newest versions, in virtual environments of
their own; pgvector comes with ``likewise[bench]``. Each is set as is fast by its documentation:

- GPTCache looks up through its ``get``, over SQLite and FAISS, with the distance of the search as
  its evaluation. Its report of every hit, a write to SQLite that is on by default, and its counter
  of tokens are off, and it has room for all entries. FAISS has one thread: with one for each core
  it was no faster on an idle machine, and several times slower on a busy one.
- pgvector has an HNSW index with its default parameters, all in memory, on a private PostgreSQL
  behind a local socket. The one query is prepared, its vector goes over the wire in binary, and it
  filters by nothing: neither by scope nor by age.
- The LiteLLM proxy has its in-memory cache on, one worker, its production mode, no key, no
  callbacks, no retries, only errors in its log, and Granian as its server: a few per cent faster
  here than its default.

Likewise has its memory store; scope, category, guards and statistics are as always. Its gateway is
that of ``throughput.exact_hit``, over SQLite. Vectors are made beforehand for all, so that nobody's
time includes embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from statistics import median
from typing import Any

from likewise.bench import contenders, throughput
from likewise.bench.clients import Volley, chat, pool
from likewise.bench.contenders import Lookup
from likewise.bench.environments import LeftOut
from likewise.errors import ConfigError, UpstreamError
from likewise.rebuild import Progress

PEERS = ("gptcache", "pgvector", "litellm")
ENTRIES = 20_000
ROUNDS, ROUND = 5, 100
"""Rounds of lookups that count, and questions in each."""

WINDOW_S = 2.0

_LEAST_HITS = 0.95

Told = Callable[[str], Progress]


def measure(
    *,
    told: Told,
    entries: int = ENTRIES,
    only: Collection[str] = PEERS,
    fresh: bool = False,
) -> dict[str, Any]:
    """Measure Likewise and the peers that can be had here.

    Args:
        told: Returns what is told of a step's progress, given its name.
        entries: How many are stored where lookups are measured.
        only: The peers to measure.
        fresh: Install them anew, in their newest versions.

    Returns:
        ``gptcache`` and ``pgvector`` with ``lookup_us``, ``litellm`` with ``rps``, each with its
        ``version``; ``likewise`` with both; ``left_out``, the reason for every peer that is not
        there.

    Raises:
        ConfigError: A peer in ``only`` is not known.
        UpstreamError: A server failed while it was measured.
    """
    unknown = sorted(set(only) - set(PEERS))
    if unknown:
        msg = f"--only: {unknown[0]!r} is no peer; those are {', '.join(PEERS)}"
        raise ConfigError(msg)
    left_out = {name: "not asked for" for name in PEERS if name not in only}
    found = lookups(
        told=told, entries=entries, only=only, fresh=fresh, left_out=left_out, rounds=ROUNDS
    )
    rates = requests(
        told=told, only=only, fresh=fresh, left_out=left_out, rounds=ROUNDS, window_s=WINDOW_S
    )
    rows = {name: {**found.get(name, {}), **rates.get(name, {})} for name in (*PEERS, "likewise")}
    return {name: row for name, row in rows.items() if row} | {"left_out": left_out}


def lookups(
    *,
    told: Told,
    entries: int,
    only: Collection[str],
    fresh: bool,
    left_out: dict[str, str],
    rounds: int,
) -> dict[str, dict[str, Any]]:
    """Measure lookups that hit by meaning, without what embedding costs.

    All look up the same questions, each once, in rounds that take turns; a first round is not
    counted.

    Args:
        told: See ``measure``; so are the others.
        entries: See there.
        only: See there.
        fresh: See there.
        left_out: Gets the reason for every peer that cannot be measured.
        rounds: How many count.

    Returns:
        ``lookup_us``, the median, and for peers ``version``, by name.
    """
    found: dict[str, dict[str, Any]] = {}
    sides: dict[str, Lookup] = {}
    openers = {"gptcache": contenders.gptcache, "pgvector": contenders.pgvector}
    with ExitStack() as stack:
        corpus = contenders.corpus_of(entries, (rounds + 1) * ROUND)
        for name, opener in openers.items():
            if name not in only:
                continue
            step = told(f"installing and filling {name}")
            step(0, 1)
            try:
                sides[name], version = stack.enter_context(opener(corpus, fresh))
                found[name] = {"version": version}
            except LeftOut as error:
                left_out[name] = str(error)
            step(1, 1)
        sides["likewise"] = stack.enter_context(
            contenders.likewise(corpus, told("filling likewise"))
        )
        times: dict[str, list[float]] = {name: [] for name in sides}
        step = told("looking up")
        for number in range(rounds + 1):
            for name, lookup in list(sides.items()):
                try:
                    taken = round_of(lookup, number * ROUND)
                except LeftOut as error:
                    if name not in openers:
                        raise
                    left_out[name] = str(error)
                    del sides[name]
                    continue
                if number:
                    times[name] += taken
            step(number, rounds)
        return {name: {"lookup_us": median(times[name]), **found.get(name, {})} for name in sides}


def requests(
    *,
    told: Told,
    only: Collection[str],
    fresh: bool,
    left_out: dict[str, str],
    rounds: int,
    window_s: float,
) -> dict[str, dict[str, Any]]:
    """Measure exact hits through a gateway, asked for by 16 clients in windows that take turns.

    Args:
        told: See ``measure``; so are the next two.
        only: See there.
        fresh: See there.
        left_out: Gets the reason for every peer that cannot be measured.
        rounds: Windows of each that count.
        window_s: Length of a window.

    Returns:
        ``rps``, the median over the windows, and for peers ``version``, by name.

    Raises:
        UpstreamError: A server failed while it was measured.
    """
    request = chat(
        throughput.QUESTION, model=throughput.MODEL, x_mock_tokens=str(throughput.TOKENS)
    )
    musts = {"likewise": throughput.EXACT, "litellm": b"x-litellm-cache-key: "}
    versions: dict[str, str] = {}
    with ExitStack() as stack:
        model, gateway = stack.enter_context(throughput.gateway_before_model())
        ports = {"likewise": gateway}
        if "litellm" in only:
            step = told("installing and starting litellm")
            step(0, 1)
            try:
                ports["litellm"], versions["litellm"] = stack.enter_context(
                    contenders.litellm(model, throughput.MODEL, fresh)
                )
                throughput.stored_answer(ports["litellm"], request, must=musts["litellm"])
            except (LeftOut, UpstreamError, OSError) as error:
                ports.pop("litellm", None)
                left_out["litellm"] = str(error)
            step(1, 1)
        throughput.stored_answer(gateway, request)
        volleys = {
            name: Volley(
                port=port,
                requests=[request],
                clients=throughput.CLIENTS,
                seconds=window_s,
                must=musts[name],
            )
            for name, port in ports.items()
        }
        windows = throughput.alternating(
            stack.enter_context(pool()), volleys, rounds=rounds, progress=told("asking gateways")
        )
    return {
        name: {"rps": median(window.rps for window in found)}
        | ({"version": versions[name]} if name in versions else {})
        for name, found in windows.items()
    }


def round_of(lookup: Lookup, first: int) -> list[float]:
    """Return the microseconds of a round's lookups.

    Raises:
        LeftOut: Too few of them were hits.
    """
    times_us, hits = lookup(first, first + ROUND)
    if hits < _LEAST_HITS * ROUND:
        msg = f"only {hits} of {ROUND} questions were hits, of which all should be"
        raise LeftOut(msg)
    return times_us
