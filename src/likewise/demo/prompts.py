"""The demo's prompts, in the order in which they are asked."""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

# Any number does; a fixed one gives every run, on every machine, the same traffic.
_SEED = 20


@dataclass(frozen=True, slots=True)
class DemoPrompt:
    """One prompt and what is known about it.

    Prompts with the same ``category`` and ``key`` may share one answer; no others may. ``unlike``
    is set on a look-alike: the key of the group whose answer it must not be given.
    """

    category: str
    key: str
    text: str
    unlike: str | None = None


def load_prompts() -> list[DemoPrompt]:
    """Return all demo prompts, in a fixed order that resembles mixed traffic.

    Each category asks the first prompt of all its groups, as written, then its repeats and
    paraphrases, shuffled. The categories take turns, in an order shuffled anew for each turn.
    """
    text = files("likewise.demo").joinpath("prompts.yaml").read_text(encoding="utf-8")
    document: dict[str, list[dict[str, Any]]] = yaml.safe_load(text)
    rng = random.Random(_SEED)  # noqa: S311 - shuffles a demo, guards nothing
    queues = [_order_category(name, groups, rng) for name, groups in document.items()]
    return _take_turns(queues, rng)


def _order_category(
    category: str, groups: list[dict[str, Any]], rng: random.Random
) -> list[DemoPrompt]:
    """Put the first prompt of every group before a shuffle of all the others."""
    firsts: list[DemoPrompt] = []
    others: list[DemoPrompt] = []
    for group in groups:
        prompts = [
            DemoPrompt(category, group["key"], text, group.get("unlike")) for text in group["ask"]
        ]
        firsts.append(prompts[0])
        others.extend(prompts[1:])
    rng.shuffle(others)
    return firsts + others


def _take_turns(queues: list[list[DemoPrompt]], rng: random.Random) -> list[DemoPrompt]:
    """Interleave the queues; each keeps its own order."""
    turns: list[DemoPrompt] = []
    for turn in range(max(map(len, queues), default=0)):
        waiting = [queue for queue in queues if turn < len(queue)]
        rng.shuffle(waiting)
        turns.extend(queue[turn] for queue in waiting)
    return turns
