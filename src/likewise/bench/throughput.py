"""What the gateway costs in real processes: exact hits, semantic hits, and misses that stream.

Every figure is told beside what it must be compared with, measured in the same run and in turn: a
bare server, the embedding of the same texts, the model without a gateway before it. The gateways
are ``likewise serve`` with one worker, a store in a temporary folder and settings that differ from
the built-in ones only where a docstring says so.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from likewise.bench.clients import Connection, Volley, Window, chat, pool
from likewise.bench.floor import floor
from likewise.category import TAXONOMY
from likewise.config import EmbeddingSettings
from likewise.demo.prompts import load_prompts
from likewise.demo.server import server
from likewise.errors import UpstreamError
from likewise.opening import embedder_of
from likewise.rebuild import Progress

MODEL = "stand-in-1"
QUESTION = "How do I undo my last git commit without losing the changes?"
TOKENS = 60
"""Of the answer to it."""

CLIENTS, STREAMS = 16, 64
WINDOW_S, ROUNDS = 1.0, 7
EXACT = b"x-likewise-tier: exact"
"""In the head of an exact hit, in lower case."""

_STORED_S = 10.0
"""How long an answer may take to be stored, before a measurement is given up."""

_THRESHOLD = 0.8
_GREETINGS = (
    "Hello, {}", "Hi there. {}", "Quick question: {}", "One more thing: {}", "{} Thanks!",
    "{} Thank you in advance.", "{} Please help me.", "Please tell me: {}", "I wonder: {}",
    "Good morning! {}", "Sorry to bother you. {}", "{} Any help is welcome.",
)  # fmt: skip
"""What makes a new text of a question without making it another question."""

_FIRST_TOKEN_S, _PIECE_S = 0.2, 0.05
_WORDS = 12
_STREAM_TOKENS = 40
_TOKENS_PER_PIECE = 3
"""Of the stand-in model's streams: most pieces have as many."""

_NOT_MISSED = 0.1
"""Share of the questions of ``first_byte`` that may be no misses all the same: words drawn by
chance can look personal, which is not cached, or come close to others. They are in no figure."""


def measure(progress: Progress) -> dict[str, Any]:
    """Measure all three.

    Args:
        progress: Told of the windows done.

    Returns:
        ``exact_hit`` as by ``exact_hit``, and ``semantic_hit_us`` and ``first_byte_added_ms``, the
        figures of that name by ``semantic_hit`` and ``first_byte``.

    Raises:
        UpstreamError: A server did not start, or did not answer as it should.
    """
    parts: tuple[Callable[[Progress], dict[str, Any]], ...] = (exact_hit, semantic_hit, first_byte)
    exact, semantic, first = (
        part(_part_of(progress, place, len(parts))) for place, part in enumerate(parts)
    )
    return {
        "exact_hit": exact,
        "semantic_hit_us": semantic["semantic_hit_us"],
        "first_byte_added_ms": first["first_byte_added_ms"],
    }


def exact_hit(
    progress: Progress,
    *,
    rounds: int = ROUNDS,
    window_s: float = WINDOW_S,
    clients: int = CLIENTS,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure exact hits of one short answer beside the same bytes from a bare server.

    The gateway answers a question of a chat, without a stream, from its exact tier; its answer has
    60 tokens. The bare server is an ASGI application without a framework on the same server with
    the same settings, and answers with the same body. Both get the same requests from the same
    clients, which keep their connections, in windows that alternate.

    Args:
        progress: Told of the rounds done.
        rounds: Windows of each.
        window_s: Length of a window.
        clients: How many ask at once, each one question after the other.
        config: The gateway's, as YAML yields it.

    Returns:
        ``gateway_rps`` and ``floor_rps``, medians over the windows; ``p50_us`` and ``p99_us``,
        medians over the gateway's windows of the quantiles within one; ``rounds``; and
        ``clients_busy``, the share of a floor's window in which the clients' process was at work:
        near 1, the floor is higher than its figure says.

    Raises:
        UpstreamError: A server did not start, or an answer was no exact hit.
    """
    request = chat(QUESTION, model=MODEL, x_mock_tokens=str(TOKENS))
    with ExitStack() as stack:
        _, gateway = stack.enter_context(gateway_before_model(config))
        body = stored_answer(gateway, request)
        bare = stack.enter_context(floor(body))
        run = stack.enter_context(pool())
        sides = {
            "gateway": Volley(
                port=gateway,
                requests=[request],
                clients=clients,
                seconds=window_s,
                must=EXACT,
            ),
            "floor": Volley(port=bare, requests=[request], clients=clients, seconds=window_s),
        }
        windows = alternating(run, sides, rounds=rounds, progress=progress)
    ours, least = windows["gateway"], windows["floor"]
    return {
        "gateway_rps": median(window.rps for window in ours),
        "floor_rps": median(window.rps for window in least),
        "p50_us": median(window.p50_us for window in ours),
        "p99_us": median(window.p99_us for window in ours),
        "rounds": rounds,
        "clients_busy": median(window.busy for window in least),
    }


def semantic_hit(
    progress: Progress, *, most: int = 400, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Measure what a semantic hit takes beyond embedding its question.

    The gateway has answered the demo's prompts, and is asked each again in other words around it:
    one client, one question after the other, each text once, for the vector of a text seen before
    is remembered. Only answers that the gateway's headers call semantic hits count. All built-in
    categories have a threshold of 0.8 here; guards, rules and examples are those built in, and no
    request names its category.

    What embedding costs cannot be seen from outside, and no header tells it. So the same text is
    embedded in this process right after its answer, by an embedder with the same settings and one
    thread: both processes have waited for each other before, so that both find the processor's
    caches as cold. The figure is the median of the differences, text by text, for the length of the
    text is in both. What a batch or a queue adds to an embedding within the gateway is the
    gateway's and stays in the figure.

    Args:
        progress: Told of the questions asked.
        most: Questions asked.
        config: The gateway's, as YAML yields it, instead of that above.

    Returns:
        ``semantic_hit_us``, and the medians ``request_us`` and ``embed_us`` it is made of; ``hits``
        counted.

    Raises:
        UpstreamError: A server did not start, or fewer than a fifth of the questions were hits.
    """
    config = config or {
        "categories": {name: {"similarity_threshold": _THRESHOLD} for name in TAXONOMY}
    }
    embedder = embedder_of(EmbeddingSettings(**config.get("embedding", {})))
    prompts = list(dict.fromkeys(prompt.text for prompt in load_prompts()))
    variants = [form.format(text) for form in _GREETINGS for text in prompts]
    random.Random(0).shuffle(variants)  # noqa: S311 - an order of questions guards nothing
    asked = variants[:most]
    request_s: list[float] = []
    embed_s: list[float] = []
    with gateway_before_model(config) as (_, port), closing(Connection(port)) as client:
        for text in prompts:
            client.ask(chat(text, model=MODEL, x_mock_tokens=str(TOKENS)))
        for done, text in enumerate(asked, start=1):
            answer, whole_s = client.ask(chat(text, model=MODEL, x_mock_tokens=str(TOKENS)))
            began = time.perf_counter()
            embedder.embed([text])
            alone_s = time.perf_counter() - began
            if answer.ok and answer.header("x-likewise-tier") == "semantic":
                request_s.append(whole_s)
                embed_s.append(alone_s)
            progress(done, len(asked))
    if 5 * len(request_s) < len(asked):
        msg = f"only {len(request_s)} of {len(asked)} questions were semantic hits of the gateway"
        raise UpstreamError(msg)
    both = zip(request_s, embed_s, strict=True)
    return {
        "semantic_hit_us": 1e6 * median(whole - alone for whole, alone in both),
        "request_us": 1e6 * median(request_s),
        "embed_us": 1e6 * median(embed_s),
        "hits": len(request_s),
    }


def first_byte(
    progress: Progress,
    *,
    rounds: int = 5,
    streams: int = STREAMS,
    tokens: int = _STREAM_TOKENS,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure how much later the first byte of a streamed miss comes through the gateway.

    The stand-in model begins every answer 200 ms after it is asked and takes about a second for a
    stream of 40 tokens. It is asked by so many clients that begin evenly over such a time, so that
    as many streams are under way at once, none of them in step: in one window directly, in the next
    through the gateway, in turn. Every client asks twice, and what is asked until all have begun is
    not counted. All questions are different, and the gateway keeps every answer. The first byte is
    that of the body, which is the first event.

    Args:
        progress: Told of the rounds done; a first one is not counted.
        rounds: Windows of each way.
        streams: How many are under way at once.
        tokens: Length of an answer.
        config: The gateway's, as YAML yields it.

    Returns:
        ``first_byte_added_ms``, the median over the rounds of the difference of the windows'
        medians; ``direct_ms`` and ``gateway_ms``, medians over the rounds; ``rounds``;
        ``streams``, those counted.

    Raises:
        UpstreamError: A server did not start, requests failed, or over a tenth were no misses.
    """
    questions = _questions()
    stream_s = _FIRST_TOKEN_S + _PIECE_S * tokens / _TOKENS_PER_PIECE
    added: list[tuple[float, float]] = []
    counted = other = 0
    with ExitStack() as stack:
        model, gateway = stack.enter_context(
            gateway_before_model(config, first_s=_FIRST_TOKEN_S, piece_s=_PIECE_S)
        )
        run = stack.enter_context(pool())
        for number in range(-1, rounds):
            pair = []
            for port, must in ((model, b""), (gateway, b"x-cache: miss")):
                asked = [
                    chat(next(questions), model=MODEL, stream=True, x_mock_tokens=str(tokens))
                    for _ in range(2 * streams)
                ]
                volley = Volley(
                    port=port,
                    requests=asked,
                    clients=streams,
                    spread_s=stream_s,
                    must=must,
                    uncounted=streams,
                )
                pair.append(run(volley))
            if number < 0:
                continue
            counted += pair[1].answered
            other += pair[1].other
            added.append((pair[0].first_us / 1e3, pair[1].first_us / 1e3))
            progress(number + 1, rounds)
    if other > _NOT_MISSED * (counted + other):
        msg = (
            f"{other} of {counted + other} questions, which are new, were no misses of the gateway"
        )
        raise UpstreamError(msg)
    return {
        "first_byte_added_ms": median(through - direct for direct, through in added),
        "direct_ms": median(direct for direct, _ in added),
        "gateway_ms": median(through for _, through in added),
        "rounds": rounds,
        "streams": counted,
    }


@contextmanager
def gateway_before_model(
    config: Mapping[str, Any] | None = None, *, first_s: float = 0.0, piece_s: float = 0.0
) -> Iterator[tuple[int, int]]:
    """Run a stand-in model and a gateway before it; yields their ports.

    Args:
        config: The gateway's, as YAML yields it; its store is a file in a temporary folder.
        first_s: Seconds until the model's first token.
        piece_s: Seconds between the pieces of its streams.

    Raises:
        UpstreamError: One of them did not start.
    """
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likewise-bench-")))
        model = stack.enter_context(
            server(
                *("mock-llm", "--port", "0", "--model", MODEL),
                *("--latency", f"{1000 * first_s}ms" if first_s else "0"),
                *("--piece-latency", f"{1000 * piece_s}ms" if piece_s else "0"),
            )
        )
        path = home / "likewise.yaml"
        store = f"sqlite:///{home / 'likewise.db'}"
        path.write_text(json.dumps({"store": store, **(config or {})}), "utf-8")
        gateway = stack.enter_context(
            server("serve", "--port", "0", "--upstream", model, "--config", str(path))
        )
        yield _port_of(model), _port_of(gateway)


def stored_answer(port: int, request: bytes, *, must: bytes = EXACT) -> bytes:
    """Ask until the head of the answer holds ``must``, in lower case; returns its body.

    Raises:
        UpstreamError: It never did, or the gateway answers with errors.
    """
    deadline = time.monotonic() + _STORED_S
    with closing(Connection(port)) as client:
        while time.monotonic() < deadline:
            answer, _ = client.ask(request)
            if not answer.ok:
                msg = f"the gateway answered {answer.first_line!r} instead of a hit"
                raise UpstreamError(msg)
            if must in answer.head:
                return answer.body
            time.sleep(0.05)
    msg = f"the gateway did not store an answer within {_STORED_S:.0f} s; see what it has logged"
    raise UpstreamError(msg)


def alternating(
    run: Callable[[Volley], Window],
    sides: Mapping[str, Volley],
    *,
    rounds: int,
    progress: Progress,
) -> dict[str, list[Window]]:
    """Return ``rounds`` windows of each side, in turn, after one that is not counted.

    Raises:
        UpstreamError: Requests failed, or answers lacked what their heads must hold.
    """
    windows: dict[str, list[Window]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, volley in sides.items():
            window = run(volley)
            if window.other:
                msg = f"{name}: {window.other} of {window.answered + window.other} were no hits"
                raise UpstreamError(msg)
            if number:
                windows[name].append(window)
        progress(number, rounds)
    return windows


def _questions() -> Iterator[str]:
    """Yield questions that no other resembles: words of one category's prompts, drawn by chance."""
    words: dict[str, set[str]] = {}
    for prompt in load_prompts():
        if TAXONOMY[prompt.category].cacheable:
            own = words.setdefault(prompt.category, set())
            own |= {word.lower() for word in prompt.text.split() if word.isalpha()}
    categories = [sorted(own) for _, own in sorted(words.items())]
    rng = random.Random(1)  # noqa: S311 - as above
    while True:
        yield " ".join(rng.sample(rng.choice(categories), _WORDS)) + "?"


def _port_of(url: str) -> int:
    """Return the port of ``http://127.0.0.1:PORT``."""
    return int(url.rpartition(":")[2])


def _part_of(progress: Progress, place: int, parts: int) -> Progress:
    """Return what tells of one part's progress as of that of the whole."""
    return lambda done, total: progress(place * total + done, parts * total)
