"""How well categories are named by examples, what that costs, and what it does to reuse."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

from likewise.bench import quality
from likewise.bench.prompts import Embedded, Prompt, sample
from likewise.classify.examples import builtin_examples
from likewise.classify.nearest import Nearest, rows_of
from likewise.classify.rules import BUILTIN_RULES, Rules
from likewise.config import Policies
from likewise.demo.prompts import load_prompts
from likewise.embed import Embedder
from likewise.errors import ConfigError
from likewise.page import div, require_charts, write_page
from likewise.rebuild import Progress
from likewise.request import Request

EXAMPLES = 30
_LEAST_LEFT = 100
"""Prompts of a category that must be left for a figure of it to mean anything."""

_TIMED = 300
_UNNAMED = "unlike all"

Confusion = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Named:
    """Prompts with the category they have and the one that examples name."""

    given: list[str]
    guessed: list[str]

    @property
    def confusion(self) -> Confusion:
        """How many prompts of each category were named so."""
        table: Confusion = {}
        for given, guessed in zip(self.given, self.guessed, strict=True):
            row = table.setdefault(given, {})
            row[guessed] = row.get(guessed, 0) + 1
        return table

    @property
    def accuracy(self) -> float:
        """Share that was named rightly."""
        right = sum(a == b for a, b in zip(self.given, self.guessed, strict=True))
        return right / len(self.given)

    @property
    def f1(self) -> dict[str, float]:
        """Harmonic mean of precision and recall, by category."""
        given, guessed = Counter(self.given), Counter(self.guessed)
        both = Counter(a for a, b in zip(self.given, self.guessed, strict=True) if a == b)
        return {name: 2 * both[name] / (given[name] + guessed[name]) for name in sorted(given)}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is measured on: examples by category, other prompts, and what has too few of these."""

    examples: dict[str, list[str]]
    prompts: list[Prompt]
    left_out: list[str]


def choose(prompts: Sequence[Prompt], embedder: Embedder, *, rows: int, seed: int) -> Chosen:
    """Draw ``EXAMPLES`` prompts of each category, and at most about ``rows`` others of each.

    A text that stands in two categories is left out: its labels contradict each other, for whether
    one answer serves both is not known across categories.
    """
    homes: dict[str, set[str]] = {}
    for prompt in prompts:
        homes.setdefault(_folded(prompt.text), set()).add(prompt.category)
    by_category: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        if len(homes[_folded(prompt.text)]) == 1 and embedder.fits(prompt.text):
            by_category.setdefault(prompt.category, []).append(prompt)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    examples: dict[str, list[str]] = {}
    left: list[Prompt] = []
    for name in sorted(by_category):
        mine = by_category[name]
        if len(mine) < EXAMPLES + _LEAST_LEFT:
            continue
        drawn = set(rng.sample(range(len(mine)), EXAMPLES))
        examples[name] = [mine[place].text for place in sorted(drawn)]
        left += [prompt for place, prompt in enumerate(mine) if place not in drawn]
    if len(examples) < 2:
        msg = f"--data: two categories need {EXAMPLES + _LEAST_LEFT} prompts each; these have fewer"
        raise ConfigError(msg)
    chosen = sample(left, seed=seed, rows_per_category=rows)
    return Chosen(examples, chosen, sorted(by_category.keys() - examples.keys()))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def texts_of(chosen: Chosen) -> list[str]:
    """Return every text that ``measure`` needs the vector of."""
    texts = [prompt.text for prompt in chosen.prompts] + [text for _, text in held_out()]
    return texts + [
        text for known in (chosen.examples, builtin_examples()) for n in known for text in known[n]
    ]


def measure(
    chosen: Chosen,
    embedder: Embedded,
    timed: Embedder,
    *,
    progress: Progress,
) -> dict[str, Any]:
    """Name categories by a few examples of each, and compare reuse with the categories given.

    Protocol "once" runs over the prompts twice under the policies that ship: once with the
    categories given, once with those that the examples name.

    Args:
        chosen: Examples and prompts.
        embedder: Knows the vectors of ``texts_of`` these.
        timed: The embedder that made them, to time.
        progress: Told of the steps.

    Returns:
        ``macro_f1`` and ``f1`` by category; ``cost_us`` and ``embed_us``, medians for one prompt
        taken in turn, and ``cost_alone_us``, without embeddings between;
        ``given`` and ``classified``, each with ``right``, ``wrong`` and ``wrong_per_hit``; and
        ``confusion``. ``builtin`` has the same of the examples that ship: ``accuracy`` and
        ``confusion`` on prompts written for this project, with the built-in rules before them in
        ``accuracy_with_rules``, and ``data``, what they call the prompts given.
    """
    examples, prompts = chosen.examples, chosen.prompts
    nearest = rows_of(examples, embedder).fit()
    named = _name(nearest, [(p.category, p.text) for p in prompts], embedder)
    progress(1, 4)
    policies = Policies.built_in()
    given = quality.run("given", policies, prompts, embedder).total
    progress(2, 4)
    classified = quality.run("classified", policies, prompts, embedder, examples=examples).total
    progress(3, 4)
    builtin = rows_of(builtin_examples(), embedder).fit()
    own = held_out()
    shipped = _name(builtin, own, embedder)
    data = _name(builtin, [(p.category, p.text) for p in prompts], embedder)
    cost_us, embed_us, cost_alone_us = _times(
        nearest, [p.text for p in prompts[:_TIMED]], embedder, timed
    )
    progress(4, 4)
    return {
        "macro_f1": float(np.mean(list(named.f1.values()))),
        "f1": named.f1,
        "accuracy": named.accuracy,
        "cost_us": cost_us,
        "cost_alone_us": cost_alone_us,
        "embed_us": embed_us,
        "given": _outcome(given),
        "classified": _outcome(classified),
        "confusion": named.confusion,
        "examples": EXAMPLES,
        "prompts": len(prompts),
        "left_out": chosen.left_out,
        "builtin": {
            "accuracy": shipped.accuracy,
            "accuracy_with_rules": _with_rules(shipped, own).accuracy,
            "confusion": shipped.confusion,
            "data": data.confusion,
        },
    }


def write_report(found: Mapping[str, Any], path: Path) -> None:
    """Write a page with the confusion tables as pictures.

    Raises:
        ConfigError: plotly is not installed.
    """
    require_charts()
    builtin = found["builtin"]
    parts = [
        f"<p>Macro-F1 {found['macro_f1']:.3f} with {found['examples']} examples of each category, "
        f"{found['prompts']:,} prompts; {found['cost_us']:.0f} us for a prompt beside "
        f"{found['embed_us']:.0f} us for its vector.</p>",
        "<h2>Categories named by a few examples of each</h2>",
        div(_heatmap(found["confusion"]), library=True),
        "<h2>The examples that ship, on prompts written for this project</h2>",
        div(_heatmap(builtin["confusion"])),
        "<h2>What they call the prompts given</h2>",
        div(_heatmap(builtin["data"])),
    ]
    write_page(path, "Naming categories", "\n".join(parts))


def _name(nearest: Nearest, prompts: Sequence[tuple[str, str]], embedder: Embedded) -> Named:
    guessed = []
    for _, text in prompts:
        guess = nearest.guess(text, embedder.embed([text])[0]) if embedder.fits(text) else None
        guessed.append((guess and guess.category) or _UNNAMED)
    return Named([category for category, _ in prompts], guessed)


def _with_rules(named: Named, prompts: Sequence[tuple[str, str]]) -> Named:
    """Return the same with the built-in rules asked first."""
    rules = Rules(BUILTIN_RULES)
    ruled = [rules.classify(Request(text)) for _, text in prompts]
    return Named(
        named.given, [rule or guess for rule, guess in zip(ruled, named.guessed, strict=True)]
    )


def held_out() -> list[tuple[str, str]]:
    """Return category and text of prompts written for this project that are no examples."""
    text = files("likewise.bench").joinpath("held_out.yaml").read_text(encoding="utf-8")
    own: dict[str, list[str]] = yaml.safe_load(text)
    found = [(name, prompt) for name, prompts in own.items() for prompt in prompts]
    return found + [(prompt.category, prompt.text) for prompt in load_prompts()]


def _times(
    nearest: Nearest, texts: Sequence[str], embedder: Embedded, timed: Embedder
) -> tuple[float, float, float]:
    """Return the median microseconds of naming and of embedding one text.

    The first two are taken in turn, as in service, where the embedding leaves no cache warm; the
    third is that of naming alone, one text after the other.
    """
    naming, embedding, alone = [], [], []
    for text in texts:
        vector = embedder.embed([text])[0]
        alone.append(
            _timed(lambda text=text, vector=vector: nearest.guess(text, vector))  # type: ignore[misc]
        )
    for text in texts:
        vector = embedder.embed([text])[0]
        embedding.append(_timed(lambda text=text: timed.embed([text])))  # type: ignore[misc]
        naming.append(
            _timed(lambda text=text, vector=vector: nearest.guess(text, vector))  # type: ignore[misc]
        )
    return median(naming), median(embedding), median(alone)


def _timed(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return (time.perf_counter() - started) * 1e6


def _outcome(tally: quality.Tally) -> dict[str, float | None]:
    found = tally.to_dict()
    return {name: found[name] for name in ("right", "wrong", "wrong_per_hit", "reusable")}


def _heatmap(confusion: Confusion) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415 - an extra

    given = sorted(confusion)
    guessed = sorted({name for row in confusion.values() for name in row})
    shares = [[confusion[a].get(b, 0) / sum(confusion[a].values()) for b in guessed] for a in given]
    figure = go.Figure(
        go.Heatmap(
            x=[escape(name) for name in guessed],
            y=[f"{escape(name)} ({sum(confusion[name].values()):,})" for name in given],
            z=shares,
            text=[[f"{share:.0%}" if share >= 0.005 else "" for share in row] for row in shares],
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0.0,
            zmax=1.0,
            showscale=False,
        )
    )
    figure.update_layout(
        template="plotly_white",
        height=120 + 32 * len(given),
        xaxis={"title": "named", "side": "top"},
        yaxis={"title": "is", "autorange": "reversed"},
        margin={"l": 150, "r": 20, "t": 90, "b": 20},
    )
    return figure
