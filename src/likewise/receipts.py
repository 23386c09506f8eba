"""Receipts: everything a decision was made of, so that it can be shown and made again.

The latest decisions are held in memory with the objects they were made of; nothing is copied but
what would keep a long context alive, and nothing is written anywhere. What a receipt shows holds no
text.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec

from likewise.category import Category
from likewise.entry import Provenance
from likewise.naming import Naming
from likewise.policy import Candidate, Decision, Hit, Miss, decide, standing_objection
from likewise.request import Request
from likewise.scope import Scope

_MOST_RECEIPTS = 2_000
_LONGEST_QUESTION = 20_000
"""Characters of a question; the receipt of a longer one is not held."""

_LONGEST_CONTEXT = 1_000
"""Characters of a context that is held as it is, because to leave it out would cost more."""


class Receipt(msgspec.Struct, frozen=True):
    """One decision with all it was made of.

    Attributes:
        id: The request's.
        request: What was asked; its text is in no output.
        policy: The policy as it was in force, with the thresholds in force.
        naming: What named the category; ``None`` when it is that of the entry found by equality.
        threshold_by: What set the probability threshold: see ``Standing.by``; ``policy`` when
            nothing is learned in service.
        candidates: The entries compared.
        blocked: Entries that may not serve this question, because a user said so.
        now: Seconds since the epoch.
        pressure: Load of the model behind, 0 to 1.
        decided: What ``decide`` made of this.
        final: What the caller was told; differs from ``decided`` when an audit held a hit back or
            the store had lost the answer.
    """

    id: str
    request: Request
    policy: Category
    naming: Naming | None
    threshold_by: str
    candidates: Sequence[Candidate]
    blocked: Sequence[str]
    now: float
    pressure: float
    decided: Decision
    final: Decision

    def replay(self) -> Decision:
        """Decide again on the same ground."""
        return decide(
            self.candidates,
            request=self.request,
            policy=self.policy,
            now=self.now,
            blocked=self.blocked,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt ready for JSON, without any text of a request or an entry."""
        return {
            "id": self.id,
            "at": self.now,
            **_told(self.final),
            "decided": _told(self.decided),
            "replays": _told(self.replay()) == _told(self.decided),
            **_named(self.naming),
            "similarity_threshold": self.policy.similarity_threshold,
            "probability_threshold": self.policy.probability_threshold,
            "threshold_by": self.threshold_by,
            "policy_version": policy_version(self.policy.calm or self.policy),
            "ttl_s": self.policy.ttl_s,
            "base": _bars(self.policy.calm or self.policy),
            "pressure": self.pressure,
            "candidates": [self._compared(candidate) for candidate in self.candidates],
        }

    def _compared(self, candidate: Candidate) -> dict[str, Any]:
        if candidate.gate is not None:
            return {
                "tier": candidate.tier.value,
                "similarity": candidate.similarity,
                "gate": candidate.gate,
            }
        objection = standing_objection(
            candidate,
            request=self.request,
            policy=self.policy,
            now=self.now,
            blocked=self.blocked,
        )
        return {
            "entry_id": candidate.entry_id,
            "tier": candidate.tier.value,
            "similarity": candidate.similarity,
            "probability": candidate.probability,
            "age_s": self.now - candidate.created_at,
            "objection": None if objection is None else f"{objection[0].value}: {objection[1]}",
        }


class Receipts:
    """The latest receipts; safe to use from many threads."""

    def __init__(self, size: int = _MOST_RECEIPTS) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Receipt] = OrderedDict()

    def add(self, receipt: Receipt, final: Decision) -> None:
        """Hold the receipt of a decision of which the caller is told ``final``."""
        request = receipt.request
        if len(request.question) > _LONGEST_QUESTION:
            return
        slim = _slim(request)
        final = _without_answer(final, receipt.decided)
        if slim is not request or final is not receipt.decided:
            receipt = msgspec.structs.replace(receipt, request=slim, final=final)
        with self._lock:
            self._held[receipt.id] = receipt
            if len(self._held) > self._size:
                self._held.popitem(last=False)

    def close(self, request_id: str, final: Decision) -> None:
        """Take note that the caller was told something else in the end."""
        with self._lock:
            receipt = self._held.get(request_id)
            if receipt is not None:
                final = _without_answer(final, receipt.decided)
                self._held[request_id] = msgspec.structs.replace(receipt, final=final)

    def of(self, request_id: str) -> Receipt | None:
        """Return a request's receipt while it is held."""
        return self._held.get(request_id)

    def latest(self) -> list[Receipt]:
        """Return all that are held, the latest first."""
        with self._lock:
            return list(reversed(self._held.values()))

    def forget(self, entry_ids: Collection[str] | None) -> None:
        """Let go of the receipts that name one of these entries; for ``None`` of all."""
        with self._lock:
            if entry_ids is None:
                self._held.clear()
                return
            gone = set(entry_ids)
            for request_id, receipt in list(self._held.items()):
                if any(candidate.entry_id in gone for candidate in receipt.candidates):
                    del self._held[request_id]


def _slim(request: Request) -> Request:
    """Return a request without its context, which may be megabytes: deciding needs none of it."""
    scope = request.scope
    texts = len(scope.context) + len(scope.tools) + len(scope.parameters) + len(request.system)
    if texts <= _LONGEST_CONTEXT:
        return request
    scope = Scope(scope.tenant, scope.namespace, scope.model)
    return replace(request, system="", scope=scope)


def _without_answer(final: Decision, decided: Decision) -> Decision:
    """Return what a caller was told without the answer itself."""
    if not isinstance(final, Hit):
        return final
    if (
        isinstance(decided, Hit)
        and final.entry_id == decided.entry_id
        and final.tier is decided.tier
        and final.reason is decided.reason
        and final.audit is decided.audit
    ):
        return decided  # to which the answer was added
    return final.with_answer(None, Provenance())


def _bars(policy: Category) -> dict[str, float | None]:
    """Return what load may move, as it is without load."""
    return {
        "similarity_threshold": policy.similarity_threshold,
        "probability_threshold": policy.probability_threshold,
        "ttl_s": policy.ttl_s,
    }


def policy_version(policy: Category) -> str:
    """Return a short digest that changes with any value of a policy."""
    return blake2b(repr(policy).encode(), digest_size=6).hexdigest()


def _named(naming: Naming | None) -> dict[str, Any]:
    if naming is None:
        return {"category_by": "entry"}
    told: dict[str, Any] = {"category_by": naming.by}
    if naming.guess is not None:
        pairs = zip(naming.guess.likely, naming.guess.probabilities, strict=True)
        told |= {"likely": dict(pairs), "strictest_of": list(naming.strict)}
    return told


def _told(decision: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {
        "decision": type(decision).__name__.lower(),
        "category": decision.category,
        "reason": decision.reason.value,
    }
    match decision:
        case Hit():
            told |= {"entry_id": decision.entry_id, "tier": decision.tier.value}
        case Miss():
            told |= {"entry_id": decision.nearest_id, "detail": decision.detail}
    return told
