"""Sends the demo's prompts through a gateway and judges what came back.

Every hit names the entry it was served from, and the runner knows which prompt stored that entry.
So it can tell, without a human, whether a hit was right: it is when the two prompts belong to the
same group of ``prompts.yaml``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from likewise.demo.prompts import DemoPrompt
from likewise.errors import ConfigError, UpstreamError

if TYPE_CHECKING:
    from openai import OpenAI

_TOKENS_PER_PRICE = 1_000_000  # providers quote prices per million tokens


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """What the demo measured in one category, or in all of them.

    Attributes:
        category: the category's name, or ``total``.
        asked: prompts sent.
        exact_hits: hits on the very same text.
        semantic_hits: hits on another text.
        wrong_hits: hits, of both kinds, whose answer belongs to another group of prompts.
        unjudged_hits: hits on entries that this run did not store, so nothing is known of them.
        bypassed: prompts the gateway did not look up at all.
        hit_s: median seconds of a hit; ``None`` without hits.
        miss_s: median seconds of a miss; ``None`` without misses.
        saved_s: sum, over the hits, of the category's ``miss_s`` minus the hit's own seconds.
        saved_money: what the tokens of the hits would have cost, in US dollars.
    """

    category: str
    asked: int
    exact_hits: int
    semantic_hits: int
    wrong_hits: int
    unjudged_hits: int
    bypassed: int
    hit_s: float | None
    miss_s: float | None
    saved_s: float
    saved_money: float

    @property
    def hits(self) -> int:
        """Return the number of hits of both kinds."""
        return self.exact_hits + self.semantic_hits


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt, and the stored prompt that the gateway found near it."""

    category: str
    asked: str
    stored: str
    similarity: float | None


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The outcome of a demo.

    Attributes:
        rows: one per category, by name.
        total: all categories together.
        wrong: every wrong hit.
        reused: every semantic hit that was right.
        turned_away: look-alikes that were misses although the prompt they resemble was stored.
            ``similarity`` is the gateway's, to the entry nearest to it.
    """

    rows: tuple[CategoryRow, ...]
    total: CategoryRow
    wrong: tuple[Pair, ...]
    reused: tuple[Pair, ...]
    turned_away: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, ready for JSON."""
        return asdict(self)


def run_demo(
    base_url: str,
    *,
    model: str,
    prompts: Sequence[DemoPrompt],
    progress: Callable[[int, int], None],
    price_in: float,
    price_out: float,
) -> DemoReport:
    """Send the prompts one after the other and report what the gateway made of them.

    Args:
        base_url: the gateway's OpenAI-compatible root, which ends in ``/v1``.
        model: the model to ask for.
        prompts: what to ask, in this order; see `load_prompts`.
        progress: called after each answer with the number done and the number of all.
        price_in: US dollars per million prompt tokens.
        price_out: US dollars per million answer tokens.

    Raises:
        ConfigError: the openai client is not installed, or no gateway listens at ``base_url``.
        UpstreamError: the gateway answered a prompt with an error, or not at all.
    """
    recorder = _Recorder()
    with _open_client(base_url) as client:
        for done, prompt in enumerate(prompts, start=1):
            recorder.add(_ask(client, model=model, prompt=prompt))
            progress(done, len(prompts))
    return recorder.report(price_in=price_in, price_out=price_out)


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the gateway's answer to one prompt said about itself."""

    prompt: DemoPrompt
    outcome: str
    tier: str | None
    entry_id: str | None
    similarity: float | None
    seconds: float
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class _Judged:
    """A reply, and the prompt whose answer it was: ``None`` unless it is a hit we can judge."""

    reply: _Reply
    stored: DemoPrompt | None

    @property
    def wrong(self) -> bool:
        return self.stored is not None and not _same_group(self.reply.prompt, self.stored)

    def pair(self, stored: DemoPrompt) -> Pair:
        prompt = self.reply.prompt
        return Pair(prompt.category, prompt.text, stored.text, self.reply.similarity)


class _Recorder:
    """Collects replies in the order of asking; knows which prompt stored which entry."""

    def __init__(self) -> None:
        self._judged: list[_Judged] = []
        self._stored_by: dict[str, DemoPrompt] = {}
        self._stored_first: dict[tuple[str, str], DemoPrompt] = {}
        self._turned_away: list[Pair] = []

    def add(self, reply: _Reply) -> None:
        entry_id = reply.entry_id or ""
        prompt = reply.prompt
        stored = self._stored_by.get(entry_id) if reply.outcome == "HIT" else None
        judged = _Judged(reply, stored)
        self._judged.append(judged)
        if reply.outcome != "MISS":
            return
        alike = self._stored_first.get((prompt.category, prompt.unlike or ""))
        if alike is not None:
            self._turned_away.append(judged.pair(alike))
        if entry_id:
            self._stored_by[entry_id] = prompt
            self._stored_first.setdefault((prompt.category, prompt.key), prompt)

    def report(self, *, price_in: float, price_out: float) -> DemoReport:
        by_category: dict[str, list[_Judged]] = {}
        for judged in self._judged:
            by_category.setdefault(judged.reply.prompt.category, []).append(judged)
        rows = [
            _summarise(name, group, price_in=price_in, price_out=price_out)
            for name, group in sorted(by_category.items())
        ]
        known = [(judged, judged.stored) for judged in self._judged if judged.stored is not None]
        return DemoReport(
            rows=tuple(rows),
            total=_add_up(rows, self._judged),
            wrong=tuple(judged.pair(stored) for judged, stored in known if judged.wrong),
            reused=tuple(
                judged.pair(stored)
                for judged, stored in known
                if not judged.wrong and judged.reply.tier == "semantic"
            ),
            turned_away=tuple(self._turned_away),
        )


def _same_group(one: DemoPrompt, other: DemoPrompt) -> bool:
    return (one.category, one.key) == (other.category, other.key)


def _summarise(
    category: str, judged: Sequence[_Judged], *, price_in: float, price_out: float
) -> CategoryRow:
    hits = [item for item in judged if item.reply.outcome == "HIT"]
    semantic = sum(item.reply.tier == "semantic" for item in hits)
    tokens_in = sum(item.reply.tokens_in for item in hits)
    tokens_out = sum(item.reply.tokens_out for item in hits)
    miss_s = _median_s(judged, "MISS")
    return CategoryRow(
        category=category,
        asked=len(judged),
        exact_hits=len(hits) - semantic,
        semantic_hits=semantic,
        wrong_hits=sum(item.wrong for item in hits),
        unjudged_hits=sum(item.stored is None for item in hits),
        bypassed=sum(item.reply.outcome == "BYPASS" for item in judged),
        hit_s=_median_s(judged, "HIT"),
        miss_s=miss_s,
        # Without a miss there is nothing to compare with, and no saving is claimed.
        saved_s=0.0 if miss_s is None else sum(miss_s - item.reply.seconds for item in hits),
        saved_money=(tokens_in * price_in + tokens_out * price_out) / _TOKENS_PER_PRICE,
    )


def _add_up(rows: Sequence[CategoryRow], judged: Sequence[_Judged]) -> CategoryRow:
    return CategoryRow(
        category="total",
        asked=sum(row.asked for row in rows),
        exact_hits=sum(row.exact_hits for row in rows),
        semantic_hits=sum(row.semantic_hits for row in rows),
        wrong_hits=sum(row.wrong_hits for row in rows),
        unjudged_hits=sum(row.unjudged_hits for row in rows),
        bypassed=sum(row.bypassed for row in rows),
        hit_s=_median_s(judged, "HIT"),
        miss_s=_median_s(judged, "MISS"),
        saved_s=sum(row.saved_s for row in rows),
        saved_money=sum(row.saved_money for row in rows),
    )


def _median_s(judged: Sequence[_Judged], outcome: str) -> float | None:
    seconds = [item.reply.seconds for item in judged if item.reply.outcome == outcome]
    return median(seconds) if seconds else None


def _open_client(base_url: str) -> OpenAI:
    try:
        import openai  # noqa: PLC0415 - an extra; the package works without it
    except ImportError as error:
        message = "the demo needs the openai client: pip install 'likewise[demo]'"
        raise ConfigError(message) from error
    # The demo's gateway is local: a proxy in the environment must not get these requests.
    http_client = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=base_url, api_key="demo", max_retries=0, http_client=http_client)


def _ask(client: OpenAI, *, model: str, prompt: DemoPrompt) -> _Reply:
    from openai import APIConnectionError, APIStatusError  # noqa: PLC0415 - see _open_client

    start = time.perf_counter()
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": prompt.text}],
            extra_headers={"X-Likewise-Category": prompt.category},
        )
    except APIStatusError as error:
        message = (
            f"the gateway answered {error.status_code} to a demo prompt; "
            "check the model behind it and its key"
        )
        raise UpstreamError(message) from error
    except APIConnectionError as error:
        raise UpstreamError("the gateway did not answer a demo prompt") from error
    seconds = time.perf_counter() - start
    usage = raw.parse().usage
    headers: Mapping[str, str] = raw.headers
    return _Reply(
        prompt=prompt,
        outcome=_read_outcome(headers),
        tier=headers.get("x-likewise-tier"),
        entry_id=headers.get("x-likewise-entry"),
        similarity=_read_similarity(headers),
        seconds=seconds,
        tokens_in=usage.prompt_tokens if usage else 0,
        tokens_out=usage.completion_tokens if usage else 0,
    )


def _read_outcome(headers: Mapping[str, str]) -> str:
    outcome = headers.get("x-cache", "").upper()
    if outcome not in {"HIT", "MISS", "BYPASS"}:
        raise ConfigError(
            "the server answered without the header X-Cache: base_url is not a Likewise gateway"
        )
    return outcome


def _read_similarity(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers["x-likewise-similarity"])
    except (KeyError, ValueError):
        return None
