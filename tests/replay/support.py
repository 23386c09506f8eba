"""What the tests of the replay share: prompts, workloads, a policy, and running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from likewise.bench.prompts import Embedded, Prompt
from likewise.config import Config, parse
from likewise.replay import Outcome, Plan, Question, Setting, Workload, simulate
from likewise.service_time import ServiceTime
from likewise.testing import HashingEmbedder

FREE = ServiceTime(first_token_s=1.0)


def prompts(count: int = 30, category: str = "git") -> list[Prompt]:
    """Prompts in two wordings each, no two answers near each other."""
    rng = np.random.default_rng(5)
    found = []
    for number in range(count):
        words = " ".join("".join(rng.choice(list("abcdefghijkl"), 6)) for _ in range(6))
        found.append(Prompt(category, words, f"{category}/{number}"))
        found.append(Prompt(category, f"{words} please", f"{category}/{number}"))
    return found


def policy(**settings: Any) -> Config:
    """A configuration that needs no weights."""
    values = {"embedding": {"model": "hashing"}, "builtin_categories": False, **settings}
    return parse(values)


def asked(
    *requests: tuple[float, str] | tuple[float, str, str],
    tokens: int = 10,
    category: str = "git",
    **fields: Any,
) -> Workload:
    """A workload of requests given as time, text and, if it is not the text, the answer's key."""
    questions: dict[Question, int] = {}
    places = []
    for request in requests:
        text = request[1]
        key = request[2] if len(request) > 2 else text
        places.append(questions.setdefault(Question(category, text, key), len(questions)))
    count = len(requests)
    return Workload(
        name="test",
        questions=list(questions),
        tenants=["t"],
        times_s=np.array([request[0] for request in requests], np.float64),
        question_of=np.array(places, np.int64),
        tenant_of=np.zeros(count, np.int64),
        input_tokens=np.full(count, tokens, np.int64),
        output_tokens=np.full(count, tokens, np.int64),
        **fields,
    )


def embedded(texts: Sequence[str]) -> Embedded:
    """An embedder that knows some texts."""
    return Embedded(HashingEmbedder(), texts, lambda _done, _of: None)


def run(
    workload: Workload,
    config: Config | None = None,
    law: ServiceTime = FREE,
    **setting: Any,
) -> Outcome:
    """Simulate a workload under a policy."""
    return simulate(
        workload,
        Plan("policy", config or policy()),
        Setting(law=law, **setting),
        embedder=embedded(workload.texts),
    )
