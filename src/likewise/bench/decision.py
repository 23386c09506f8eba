"""What a decision costs beyond embedding and search: features, verifier, guards, decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from string import ascii_lowercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.answers import answer_digest
from likewise.bench.prompts import Prompt
from likewise.category import Category
from likewise.demo.prompts import load_prompts
from likewise.index import Match, Partition, Record
from likewise.learn.features import CANDIDATES, Matrix
from likewise.learn.judging import Judging
from likewise.learn.labels import label
from likewise.learn.trees import fit_trees
from likewise.learn.verifier import Verifier
from likewise.policy import Candidate, decide
from likewise.rebuild import Progress
from likewise.request import Request
from likewise.testing import HashingEmbedder

_ROUNDS = 9
_DIMENSIONS = 256
_TREES = 200
_COUNTS = (1, 2, CANDIDATES)
_COPIES, _BLUR = 40, 0.1
_NAME = "all"


def measure(progress: Progress) -> dict[str, Any]:
    """Time the steps of a decision on the demo's prompts, with a verifier fitted to them.

    All prompts are held in one partition and each is asked, so that each has its full number of
    candidates. The verifier has as many trees, grown as large, as ``likewise tune`` fits: from
    blurred copies of the few pairs there are. Texts have been read before, as those of entries have
    in service; the question itself is read anew.

    What makes the question new are letters behind it: digits would let every one be searched for
    numbers, which few have.

    Returns:
        Medians over rounds in microseconds for each question: ``read`` (its words, and the features
        of the nearest candidates), ``judge`` (evidence and trees), ``decide`` (guards and the
        decision), and ``whole``; all with five candidates that might serve, the most there are.
        ``by_candidates`` has the whole for fewer, as most questions have.
    """
    prompts = [Prompt(_NAME, prompt.text, prompt.key) for prompt in load_prompts()]
    embedder = HashingEmbedder(_DIMENSIONS)
    labels = label(prompts, embedder, categories=[_NAME])
    every = np.ones(len(labels.right), np.bool_)
    evidence = labels.counted(every)
    trees = fit_trees(*_enough(labels.weighed(evidence, every), labels.right), trees=_TREES)
    judging = Judging(Verifier(trees, evidence, {_NAME: 0.0}, embedder.name))
    judging.learn([(_NAME, prompt.text) for prompt in prompts])
    near = _nearest(prompts, embedder)
    policy = Category(_NAME, similarity_threshold=0.5, probability_threshold=0.5, ttl=None)
    rounds: dict[int, list[tuple[float, float, float]]] = {count: [] for count in _COUNTS}
    for done in range(_ROUNDS):
        for count in _COUNTS:
            fresh = " q" + ascii_lowercase[done] * count
            rounds[count].append(_round(judging, prompts, near, policy, count, fresh=fresh))
        progress(done + 1, _ROUNDS)
    read, judge, decided = (median(values) for values in zip(*rounds[CANDIDATES], strict=True))
    wholes = {count: median(sum(values) for values in found) for count, found in rounds.items()}
    return {
        "read_us": read,
        "judge_us": judge,
        "decide_us": decided,
        "whole_us": wholes[CANDIDATES],
        "by_candidates": {str(count): whole for count, whole in wholes.items()},
        "trees": _TREES,
    }


def _enough(rows: Matrix, right: NDArray[np.bool_]) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return blurred copies of some pairs, enough of them for trees of full size."""
    noise = np.random.default_rng(0).normal(0.0, _BLUR, (_COPIES, *rows.shape)) * rows.std(axis=0)
    many = (rows[None] + noise).reshape(-1, rows.shape[1]).astype(np.float32)
    return many, np.tile(right, _COPIES)


def _nearest(prompts: list[Prompt], embedder: HashingEmbedder) -> list[list[Match]]:
    """Return the entries nearest to each prompt among all the others."""
    vectors = embedder.embed([prompt.text for prompt in prompts])
    partition = Partition(_DIMENSIONS)
    records = [
        Record.of(str(n), b"", b"", _NAME, p.text, 0.0, None, 0, answer_digest(p.answer_key))
        for n, p in enumerate(prompts)
    ]
    partition.add(records, vectors)
    found = [partition.search(v, floor=-1.0, usable=lambda _, __: True) for v in vectors]
    return [
        [match for match in matches if match[0] is not record]
        for matches, record in zip(found, records, strict=True)
    ]


def _round(
    judging: Judging,
    prompts: list[Prompt],
    near: list[list[Match]],
    policy: Category,
    count: int,
    *,
    fresh: str,
) -> tuple[float, float, float]:
    """Return the median microseconds of each step, with so many candidates near enough to serve.

    ``fresh`` makes every question a new text.
    """
    steps: list[tuple[float, float, float]] = []
    for prompt, matches in zip(prompts, near, strict=True):
        question = prompt.text + fresh
        floor = matches[min(count, len(matches)) - 1][1]
        pairs, read = _timed(partial(judging.read, question, _NAME, matches, floor=floor))
        probabilities, judge = _timed(partial(judging.judge, _NAME, pairs))
        candidates = [
            Candidate(r.entry_id, cosine, r.question, 0.0, None, 0, probability=probability)
            for (r, cosine), probability in zip(matches, probabilities, strict=False)
        ]
        request = Request(question)
        _, decided = _timed(partial(decide, candidates, request=request, policy=policy, now=1.0))
        steps.append((read, judge, decided))
    read, judge, decided = (median(values) for values in zip(*steps, strict=True))
    return read, judge, decided


def _timed(step: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = step()
    return result, (time.perf_counter() - started) * 1e6
