"""What a miss costs with its embedding, and what the gate spares and loses."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import mean, median

from likewise.bench import quality
from likewise.bench.prompts import Embedded, Prompt
from likewise.cache import Cache
from likewise.category import DEFAULT, Category
from likewise.classify.examples import builtin_examples
from likewise.config import Config, Policies
from likewise.demo.prompts import load_prompts
from likewise.embed.minilm import MiniLM
from likewise.policy import Bypass, Miss, Reason
from likewise.rebuild import Progress

THRESHOLD = 0.95
SHORT, LONG = (12, 18), (180, 256)
"""Tokens of a question of about 15, and of one of about 256; long ones of real data vary more."""

_MOST = 400
"""Questions of each length: half of them are stored, half asked."""

_TOPICS = 4
_ASIDES = (
    "I have already tried what the manual says.", "It worked last week and nothing has changed.",
    "A colleague told me to ask here first.", "There is no hurry, but I want to understand it.",
    "I am no expert, so please keep it simple.", "Sorry that the story is a bit long.",
    "Tell me if more details are needed.", "I found nothing about it elsewhere.",
    "We are a small team and all of us wonder.", "Maybe I have overlooked something obvious.",
    "Three articles I have read contradict each other.", "My notes say the opposite.",
    "It is for a friend who does not dare to ask.", "Any hint would do.",
    "Step by step, if that is possible.", "A short answer is better than none.",
    "As far as I can tell the rest is in order.", "The same happens on another machine.",
    "Some of it is probably not important here.", "Last month another person asked about this.",
)  # fmt: skip


def cost(prompts: Sequence[Prompt] | None, progress: Progress) -> dict[str, dict[str, float]]:
    """Time misses with the gate and without it.

    Two caches hold the same half of the questions, the other half is asked: the whole of ``check``
    is timed, from the text to the decision, each question in both caches in turn. No request names
    its category, and every category has a threshold of 0.95; the rest is as built in. What is
    answered or not to be cached counts nowhere.

    Args:
        prompts: Where the questions come from; without them our own, the long ones made of four
            of a category and of asides until there are 256 tokens.
        progress: Told of the questions.

    Returns:
        For ``"15"`` and ``"256"`` tokens medians in microseconds, ``gated`` and ``ungated``;
        ``gated_mean`` and ``ungated_mean``; ``skipped``, the share that was not embedded; and the
        ``misses`` they are of.
    """
    model = MiniLM()
    found: dict[str, dict[str, float]] = {}
    lengths = {"15": SHORT, "256": LONG}
    for place, (name, (least, most)) in enumerate(lengths.items()):
        texts = list(_texts(prompts, model, least, most))
        random.Random(0).shuffle(texts)  # noqa: S311 - an order of questions guards nothing
        texts = texts[:_MOST]
        if len(texts) < 20:
            continue
        found[name] = _timed(texts, _part(progress, place, len(lengths)))
    return found


def gate(
    prompts: Sequence[Prompt], embedder: Embedded, progress: Progress, *, rows: int
) -> dict[str, float]:
    """Run protocol "once" with the gate and without it, at one threshold of 0.95.

    Args:
        prompts: With their answers' keys.
        embedder: Knows their vectors.
        progress: Told of the requests.
        rows: Most requests, for a test.

    Returns:
        ``recall_lost``, the share of the right answers that the gate costs;
        ``transformer_skipped``, the share of the misses that were not embedded; and ``right``,
        ``right_gated`` and ``misses``.
    """
    prompts = prompts[:rows]
    totals = []
    for place, bound in enumerate((0.0, None)):
        policy = Policies(
            Category(DEFAULT, similarity_threshold=THRESHOLD, ttl=None, guards=(), gate=bound), {}
        )
        part = _part(progress, place, 2)
        totals.append(quality.run("gate", policy, prompts, embedder, progress=part).total)
    ungated, gated = totals
    misses = gated.requests - gated.right - gated.wrong
    return {
        "recall_lost": (ungated.right - gated.right) / max(ungated.right, 1),
        "transformer_skipped": gated.gated / max(misses, 1),
        "right": ungated.right,
        "right_gated": gated.right,
        "misses": misses,
    }


def _timed(texts: Sequence[str], progress: Progress) -> dict[str, float]:
    """Return what is said in ``cost`` for texts of one length."""
    caches = {name: _cache(gate=name == "gated") for name in ("gated", "ungated")}
    half = len(texts) // 2
    for text in texts[:half]:
        for cache in caches.values():
            cache.store(text, "an answer")
    times_us: dict[str, list[float]] = {name: [] for name in caches}
    skipped = 0
    for done, text in enumerate(texts[half:], start=1):
        both = {}
        # Each is first in turn, for the second finds the processor's caches warm.
        for name in sorted(caches, reverse=done % 2 == 0):
            began = time.perf_counter()
            decision = caches[name].check(text)
            both[name] = (1e6 * (time.perf_counter() - began), decision)
        if all(isinstance(decision, Miss | Bypass) for _, decision in both.values()) and isinstance(
            both["ungated"][1], Miss
        ):
            for name, (taken_us, _) in both.items():
                times_us[name].append(taken_us)
            skipped += both["gated"][1].reason is Reason.GATED
        progress(done, len(texts) - half)
    for cache in caches.values():
        cache.close()
    misses = len(times_us["gated"])
    figures: dict[str, float] = {name: median(values) for name, values in times_us.items()}
    figures |= {f"{name}_mean": mean(values) for name, values in times_us.items()}
    return figures | {"skipped": skipped / misses, "misses": misses}


def _cache(*, gate: bool) -> Cache:
    config = Config()
    config.settings.store = "memory://"
    config.settings.embedding.gate = gate
    strict = {
        name: replace(policy, similarity_threshold=THRESHOLD)
        for name, policy in config.policies.categories.items()
    }
    default = replace(config.policies.default, similarity_threshold=THRESHOLD)
    return Cache.open(replace(config, policies=Policies(default, strict)), embedder=MiniLM())


def _texts(prompts: Sequence[Prompt] | None, model: MiniLM, least: int, most: int) -> Iterator[str]:
    """Yield questions of so many tokens."""
    if prompts is not None:
        texts = dict.fromkeys(prompt.text for prompt in prompts)
    else:
        pools: dict[str, list[str]] = {name: list(ts) for name, ts in builtin_examples().items()}
        for prompt in load_prompts():
            pools.setdefault(prompt.category, []).append(prompt.text)
        if least > SHORT[1]:
            yield from _rambling(pools, model, most)
            return
        texts = dict.fromkeys(text for own in pools.values() for text in own)
    for text in texts:
        if model.fits(text) and least <= len(model.tokens(text)) + 2 <= most:
            yield text


def _rambling(pools: Mapping[str, Sequence[str]], model: MiniLM, most: int) -> Iterator[str]:
    """Yield questions of nearly ``most`` tokens: a few of one category, told with asides."""
    rng = random.Random(0)  # noqa: S311 - texts to embed guard nothing
    names = sorted(pools)
    for _ in range(_MOST):
        topics = rng.sample(sorted(set(pools[rng.choice(names)])), _TOPICS)
        told: list[str] = []
        left = most - 2
        for aside in rng.sample(_ASIDES, len(_ASIDES)):
            told += [rng.choice(topics), aside]
            left -= sum(len(model.tokens(text)) for text in told[-2:])
            if left < 0:
                del told[-2:]
                break
        yield " ".join(told)


def _part(progress: Progress, place: int, parts: int) -> Progress:
    """Return what tells of one part's progress as of that of the whole."""
    return lambda done, total: progress(place * total + done, parts * total)
