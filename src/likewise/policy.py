"""The decision to reuse an answer: pure, and closed over Hit, Miss and Bypass.

No I/O, no clock, no randomness: candidates, policy and time are handed in, so that any decision can
be replayed. The cache asks twice at most: with the exact tier's candidate, and, when that was a
miss that meaning may still turn, with the nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from likewise.category import Category
from likewise.entry import UNKNOWN, Provenance
from likewise.guards import veto
from likewise.request import Request

_CLOCK_SKEW_S = 60.0
"""How far the clocks of machines that share a store may be apart."""


_ROUNDING_S = 1e-3
"""Times of expiry are kept as floating point sums."""


class Tier(StrEnum):
    """What compared two questions: equality to the letter, nearness in meaning, or their sketches.

    The last serves nothing: see ``gate``.
    """

    EXACT = "exact"
    SEMANTIC = "semantic"
    COARSE = "coarse"


class Reason(StrEnum):
    """Why a decision fell as it did. The values appear in headers, metrics and statistics."""

    EXACT = "exact"
    SIMILAR = "similar"
    REVALIDATING = "stale-while-revalidate"
    STALE_IF_ERROR = "stale-if-error"
    STRETCHED = "stretched-under-load"
    NO_CANDIDATE = "no-candidate"
    GATED = "gated"
    BELOW_THRESHOLD = "below-threshold"
    STALE = "stale"
    IMPROBABLE = "improbable"
    UNCERTIFIED = "uncertified"
    AUDIT = "audit"
    GUARD = "guard"
    BLOCKED_PAIR = "blocked-pair"
    EXACT_ONLY = "exact-only"
    GONE = "gone"
    EMBEDDER_FAULT = "embedder-fault"
    STORE_FAULT = "store-fault"
    INDEX_FAULT = "index-fault"
    INTERNAL_FAULT = "internal-fault"
    NOT_CACHEABLE = "not-cacheable"
    NO_CACHE = "no-cache"
    EMPTY = "empty-question"
    STATEFUL = "stateful"
    SENSITIVE = "sensitive"


@dataclass(slots=True)
class Candidate:
    """An entry near the request, before the decision.

    Not frozen, unlike the other values: many are made for each question, at a fifth of the cost.

    ``similarity`` is the cosine of the two questions' vectors, 1.0 in the exact tier, and in the
    coarse tier that of the nearest sketch, which ``gate`` says what it would have to be;
    ``probability`` what a verifier thinks of the pair, ``None`` when it was not asked; ``strikes``
    how many questions it was marked wrong for, each of which halves what its neighbourhood may lack
    of certainty; ``outdated`` names a source of which there is a newer version. Age, expiry and
    epoch come from the index, so that a stale candidate costs no I/O.
    """

    entry_id: str
    similarity: float
    question: str = field(repr=False)
    created_at: float
    expires_at: float | None
    epoch: int
    tier: Tier = Tier.SEMANTIC
    probability: float | None = None
    strikes: int = 0
    outdated: str = ""
    gate: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer may be reused.

    Attributes:
        entry_id: The entry served; hand it to ``feedback`` or ``drop``.
        category: The category whose policy decided.
        tier: ``exact`` or ``semantic``.
        reason: ``exact`` or ``similar``; of a stale answer why it may be served all the same.
        similarity: Cosine of the two questions, 1.0 in the exact tier.
        threshold: The threshold in force.
        age_s: Seconds since the answer was stored.
        answer: The stored answer, any JSON value.
        provenance: Where the answer came from.
        probability: That the answer is right, as a verifier sees it; ``None`` when not asked.
        audit: With which probability this hit was drawn to be audited; ``None`` when it was not.
        stale_s: Seconds since its time to live was over; 0 for a fresh answer.
    """

    entry_id: str
    category: str
    tier: Tier
    reason: Reason
    similarity: float
    threshold: float
    age_s: float
    answer: Any = field(default=None, repr=False)
    provenance: Provenance = UNKNOWN
    probability: float | None = None
    audit: float | None = None
    stale_s: float = 0.0

    def with_answer(self, answer: object, provenance: Provenance) -> Hit:
        """Return this hit with what the store held for it."""
        # Written out: ``replace`` takes twice as long, and every hit is made twice.
        return Hit(
            self.entry_id,
            self.category,
            self.tier,
            self.reason,
            self.similarity,
            self.threshold,
            self.age_s,
            answer,
            provenance,
            self.probability,
            self.audit,
            self.stale_s,
        )


@dataclass(frozen=True, slots=True)
class Miss:
    """No stored answer may be reused; the model is to be asked and its answer may be stored.

    Attributes:
        category: The category whose policy decided.
        reason: Why; see ``Reason``.
        detail: The reason in more words, without any text of the request.
        similarity: Cosine of the nearest entry, ``None`` when none was compared.
        nearest_id: That entry.
        threshold: The threshold in force.
        semantic: Whether nearness in meaning may serve and index this question.
        probability: That the best candidate is right; ``None`` when no verifier was asked.
    """

    category: str
    reason: Reason
    detail: str = field(default="", repr=False)
    similarity: float | None = None
    nearest_id: str | None = None
    threshold: float | None = None
    semantic: bool = True
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Bypass:
    """The cache was not read.

    Attributes:
        category: The category of the request.
        reason: Why; see ``Reason``.
        store: Whether the new answer may still be stored.
    """

    category: str
    reason: Reason
    store: bool = False


Decision = Hit | Miss | Bypass


def decide(
    candidates: Sequence[Candidate],
    *,
    request: Request,
    policy: Category,
    now: float,
    blocked: Collection[str] = (),
    on_error: bool = False,
) -> Decision:
    """Decide whether one of ``candidates`` may answer ``request``.

    The *nearest acceptable* candidate is taken, not the first above the threshold; where a verifier
    judged them, the most probable one. The reason of a miss is that of the first candidate in this
    order, so it says what stood in the way of a hit. A stale candidate is taken only when no fresh
    one may be, and the policy allows it.

    Args:
        candidates: Entries of the request's own scope and category, in any order.
        request: What was asked.
        policy: The policy of the request's category.
        now: Seconds since the epoch.
        blocked: Entries that may not serve this question, because a user said so.
        on_error: Whether the model has failed, which allows more staleness.
    """
    bypass = bypass_of(request, policy)
    if bypass is not None:
        return bypass
    found = _decide(
        candidates, request=request, policy=policy, now=now, blocked=blocked, grace_s=0.0
    )
    if isinstance(found, Hit) or not (grace_s := policy.grace_s(on_error=on_error)):
        return found
    late = _decide(
        candidates, request=request, policy=policy, now=now, blocked=blocked, grace_s=grace_s
    )
    if isinstance(late, Hit):
        return replace(late, reason=Reason.STALE_IF_ERROR if on_error else Reason.REVALIDATING)
    return found


def _decide(
    candidates: Sequence[Candidate],
    *,
    request: Request,
    policy: Category,
    now: float,
    blocked: Collection[str],
    grace_s: float,
) -> Hit | Miss:
    threshold = threshold_of(request, policy)
    exact_only = exact_only_of(request, policy)
    first_objection: Miss | None = None
    ranked = sorted(candidates, key=_rank, reverse=True) if len(candidates) > 1 else candidates
    for candidate in ranked:
        exact = candidate.tier is Tier.EXACT
        if exact_only and not exact:
            continue
        if candidate.gate is not None:
            detail = f"coarse similarity {candidate.similarity:.3f} below {candidate.gate:.3f}"
            first_objection = Miss(policy.name, Reason.GATED, detail, threshold=threshold)
            break
        found = _objection(
            candidate,
            request=request,
            policy=policy,
            now=now,
            threshold=threshold,
            blocked=blocked,
            grace_s=grace_s,
        )
        if found is None:
            late_s = lateness_of(candidate, policy=policy, now=now)
            fresh = Reason.EXACT if exact else Reason.SIMILAR
            age_s = now - candidate.created_at
            return Hit(
                candidate.entry_id,
                policy.name,
                candidate.tier,
                Reason.STRETCHED if late_s else fresh,
                candidate.similarity,
                threshold,
                age_s if age_s > 0.0 else 0.0,
                probability=candidate.probability,
                stale_s=late_s,
            )
        if first_objection is None:
            reason, detail = found
            first_objection = Miss(
                policy.name,
                reason,
                detail,
                candidate.similarity,
                candidate.entry_id,
                threshold,
                not exact_only,
                candidate.probability,
            )
    if first_objection is not None:
        return first_objection
    if exact_only:
        return Miss(policy.name, Reason.EXACT_ONLY, exact_only, threshold=threshold, semantic=False)
    return Miss(policy.name, Reason.NO_CANDIDATE, threshold=threshold)


def _rank(candidate: Candidate) -> tuple[bool, float, float]:
    return candidate.tier is Tier.EXACT, candidate.probability or 0.0, candidate.similarity


def threshold_of(request: Request, policy: Category) -> float:
    """Return the threshold in force: the category's, unless the caller asked for a stricter one."""
    own, asked = policy.similarity_threshold, request.controls.similarity_threshold
    return asked if asked is not None and asked > own else own


def bypass_of(request: Request, policy: Category) -> Bypass | None:
    """Return the bypass when the cache must not be read for this request, else ``None``."""
    controls = request.controls
    if not policy.cacheable:
        return Bypass(policy.name, Reason.NOT_CACHEABLE)
    if not request.question or request.question.isspace():
        return Bypass(policy.name, Reason.EMPTY)
    if request.stateful:
        return Bypass(policy.name, Reason.STATEFUL)
    if policy.detect and request.holds(policy.detect):
        return Bypass(policy.name, Reason.SENSITIVE)
    if controls.no_cache:
        return Bypass(policy.name, Reason.NO_CACHE, store=not controls.no_store)
    return None


def exact_only_of(request: Request, policy: Category) -> str | None:
    """Return why only the exact tier may serve this request, or ``None``."""
    if policy.exact_only:
        return "category"
    if request.exact_only:
        return request.exact_only
    if request.turns > policy.max_turns:
        return f"conversation of {request.turns} turns, at most {policy.max_turns}"
    if request.temperature is not None and request.temperature > policy.max_temperature:
        return f"temperature above {policy.max_temperature:g}"
    return None


def _objection(
    candidate: Candidate,
    *,
    request: Request,
    policy: Category,
    now: float,
    threshold: float,
    blocked: Collection[str],
    grace_s: float,
) -> tuple[Reason, str] | None:
    """Return why ``candidate`` may not be served, cheapest question first, or ``None``."""
    if candidate.tier is not Tier.EXACT:
        # Asked this way round, a similarity that is not a number is no hit either.
        threshold = _raised(threshold, candidate.strikes)
        if not candidate.similarity >= threshold:
            return Reason.BELOW_THRESHOLD, f"{candidate.similarity:.3f} below {threshold:.3f}"
        least, probability = policy.probability_threshold, candidate.probability
        if least is not None and least >= 1.0:
            return Reason.UNCERTIFIED, "no threshold of this category is certified yet"
        if least is not None:
            least = _raised(least, candidate.strikes)
        if least is not None and probability is None:
            return Reason.IMPROBABLE, "no verifier has judged it"
        if least is not None and probability is not None and not probability >= least:
            return Reason.IMPROBABLE, f"{probability:.3f} below {least:.3f}"
    return standing_objection(
        candidate, request=request, policy=policy, now=now, blocked=blocked, grace_s=grace_s
    )


def _raised(threshold: float, strikes: int) -> float:
    """Return the bar for an entry that was marked wrong for other questions."""
    return 1.0 - (1.0 - threshold) / 2.0**strikes if strikes else threshold


def standing_objection(
    candidate: Candidate,
    *,
    request: Request,
    policy: Category,
    now: float,
    blocked: Collection[str],
    grace_s: float = 0.0,
) -> tuple[Reason, str] | None:
    """Return why ``candidate`` may not be served however near it is, or ``None``."""
    stale = staleness_of(candidate, request=request, policy=policy, now=now, grace_s=grace_s)
    if stale is None and candidate.outdated:
        stale = f"there is a newer version of the source {candidate.outdated}"
    if stale is not None:
        return Reason.STALE, stale
    if candidate.entry_id in blocked:
        return Reason.BLOCKED_PAIR, "marked wrong for this question"
    if candidate.tier is not Tier.EXACT and policy.guards:
        if not candidate.question:
            return Reason.GUARD, "its text was left out, so that no guard can read it"
        seen = veto(policy.guards, request.question, candidate.question)
        if seen is not None:
            return Reason.GUARD, seen
    return None


class Dated(Protocol):
    """What has an age: a candidate, or the index's record of it."""

    @property
    def created_at(self) -> float:
        """Seconds since the epoch."""

    @property
    def expires_at(self) -> float | None:
        """Seconds since the epoch; ``None`` is never."""

    @property
    def epoch(self) -> int:
        """The policy's epoch it was stored in."""


def lateness_of(candidate: Dated, *, policy: Category, now: float) -> float:
    """Return the seconds since the candidate's time to live was over, 0 while it is not.

    It is the time to live without load that counts: what load stretches is late all the same.
    """
    late = 0.0
    if candidate.expires_at is not None and now > candidate.expires_at:
        late = now - candidate.expires_at
    ttl_s = (policy.calm or policy).ttl_s
    if ttl_s is not None and now - candidate.created_at - ttl_s > late:
        late = now - candidate.created_at - ttl_s
    return late


def _expiry(candidate: Dated, policy: Category) -> float | None:
    """Return when a candidate expires under a policy whose time to live load may have stretched.

    Only a life that is the category's own is stretched, not one that the caller gave, or that the
    category had before it was changed.
    """
    expires_at = candidate.expires_at
    if expires_at is None or policy.calm is None:
        return expires_at
    ttl_s, calm_s = policy.ttl_s, policy.calm.ttl_s
    if calm_s is None or ttl_s is None:
        return expires_at
    if abs(expires_at - candidate.created_at - calm_s) > _ROUNDING_S:
        return expires_at
    return max(expires_at, candidate.created_at + ttl_s)


def staleness_of(
    candidate: Dated, *, request: Request, policy: Category, now: float, grace_s: float = 0.0
) -> str | None:
    """Return which limit of freshness the candidate passes, or ``None``.

    ``grace_s`` is for how long after its time to live it may be served; it moves no other limit.
    """
    age_s = now - candidate.created_at
    if age_s < -_CLOCK_SKEW_S:
        return "stored in the future: a clock was set back"
    if candidate.epoch != policy.epoch:
        return f"of epoch {candidate.epoch}, in force is {policy.epoch}"
    expires_at = _expiry(candidate, policy)
    if expires_at is not None and now >= expires_at + grace_s:
        return "expired"
    ttl_s = policy.ttl_s
    if ttl_s is not None and age_s >= ttl_s + grace_s:
        return "older than the category's ttl"
    max_age_s = request.controls.max_age_s
    if max_age_s is not None and age_s > max_age_s:
        return "older than the caller's max-age"
    return None
