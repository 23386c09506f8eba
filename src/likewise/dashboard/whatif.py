"""Recent decisions made again under another threshold, by the policy itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from likewise.policy import Decision, Hit
from likewise.receipts import Receipt

_MOST_SHOWN = 50


def what_if(
    receipts: Sequence[Receipt],
    category: str,
    *,
    similarity: float | None = None,
    probability: float | None = None,
) -> dict[str, Any]:
    """Return what the latest decisions of a category would have been at other thresholds.

    Each is made again from what it was made of, with these thresholds in place of those then in
    force. What the gate has turned away was not compared, so it cannot be said; and below the
    threshold of then only the nearest entry is known.

    Returns:
        ``decisions`` made again, ``hits_then`` and ``hits_now``, ``gated`` ones that cannot be
        told, and of those that differ the latest: ``gained`` and ``lost``, each with its request's
        ``id``, ``similarity``, ``probability``, and the two questions.
    """
    found: dict[str, Any] = {
        "category": category,
        "similarity_threshold": similarity,
        "probability_threshold": probability,
        "decisions": 0,
        "hits_then": 0,
        "hits_now": 0,
        "gated": 0,
        "gained": [],
        "lost": [],
    }
    for receipt in receipts:
        if receipt.decided.category != category:
            continue
        found["decisions"] += 1
        then, now = receipt.replay(), _again(receipt, similarity, probability)
        if any(candidate.gate is not None for candidate in receipt.candidates):
            found["gated"] += 1
        was, would = isinstance(then, Hit), isinstance(now, Hit)
        found["hits_then"] += was
        found["hits_now"] += would
        if was != would:
            changed = found["gained" if would else "lost"]
            if len(changed) < _MOST_SHOWN:
                changed.append(_shown(receipt, now if would else then))
    return found


def together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the answers of several workers as one."""
    whole = dict(parts[0])
    for part in parts[1:]:
        for name in ("decisions", "hits_then", "hits_now", "gated"):
            whole[name] += part[name]
        for name in ("gained", "lost"):
            whole[name] = [*whole[name], *part[name]][:_MOST_SHOWN]
    return whole


def _again(receipt: Receipt, similarity: float | None, probability: float | None) -> Decision:
    policy = receipt.policy
    if similarity is not None:
        policy = replace(policy, similarity_threshold=similarity, similarity_floor=None)
    if probability is not None:
        policy = replace(policy, probability_threshold=probability, probability_floor=None)
    return msgspec.structs.replace(receipt, policy=policy).replay()


def _shown(receipt: Receipt, decision: Decision) -> dict[str, Any]:
    served = decision.entry_id if isinstance(decision, Hit) else None
    other = next((c for c in receipt.candidates if c.entry_id == served), None)
    return {
        "id": receipt.id,
        "at": receipt.now,
        "similarity": None if other is None else other.similarity,
        "probability": None if other is None else other.probability,
        "entry_id": served,
        "question": receipt.request.question,
        "candidate": None if other is None else other.question,
    }
