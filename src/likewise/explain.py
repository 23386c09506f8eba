"""Why a question would be a hit or a miss, in full."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from likewise.category import Category
from likewise.engine import Engine
from likewise.errors import EmbedderError
from likewise.gate import Coarse
from likewise.guards import veto
from likewise.policy import Candidate, Decision, bypass_of, exact_only_of, threshold_of
from likewise.request import Request


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a question would be decided.

    Attributes:
        decision: What would come out.
        policy: The policy in force.
        category_by: What named the category, see ``Naming.by``.
        likely: How probable the likely categories are, where examples named it.
        threshold: The threshold in force.
        exact_only: Why only the exact tier could serve, or ``None``.
        candidates: The nearest entries, nearest first, whatever their similarity.
        vetoes: For each candidate what a guard objects to, or ``None``.
        gate: What the gate sees of the question, which service asks before it is embedded, and
            which is passed over here; ``None`` when it would say nothing.
    """

    decision: Decision
    policy: Category
    category_by: str
    likely: dict[str, float]
    threshold: float
    exact_only: str | None
    candidates: list[Candidate] = field(repr=False)
    vetoes: list[str | None] = field(repr=False)
    gate: Coarse | None = None

    def to_dict(self) -> dict[str, object]:
        """Return everything ready for JSON; the candidates' questions are among it."""
        candidates = [
            asdict(candidate) | {"veto": seen}
            for candidate, seen in zip(self.candidates, self.vetoes, strict=True)
        ]
        decision = asdict(self.decision)
        decision.pop("answer", None)
        decision.pop("provenance", None)
        return {
            "decision": type(self.decision).__name__.lower(),
            **decision,
            "category_by": self.category_by,
            "likely": self.likely,
            "threshold": self.threshold,
            "exact_only": self.exact_only,
            "policy": asdict(self.policy),
            "candidates": candidates,
            "gate": None
            if self.gate is None
            else {**self.gate._asdict(), "closed": self.gate.closed},
        }


def explain(engine: Engine, request: Request) -> Explanation:
    """Decide on ``request`` without serving, counting or storing anything."""
    lookup = engine.start(request, dry=True)
    decision = engine.exact(lookup) or engine.semantic(lookup)
    lookup = engine.named(lookup)
    policy = engine.in_force(lookup)
    candidates: list[Candidate] = []
    coarse: Coarse | None = None
    if bypass_of(request, policy) is None and engine.embedder.fits(request.question):
        try:
            candidates, coarse = engine.neighbours(lookup), engine.coarse(lookup)
        except EmbedderError as error:
            engine.faults.report(policy.name, "embedder", error)
    guess = None if lookup.naming is None else lookup.naming.guess
    return Explanation(
        decision=decision,
        policy=policy,
        category_by="default" if lookup.naming is None else lookup.naming.by,
        likely={} if guess is None else dict(zip(guess.likely, guess.probabilities, strict=True)),
        threshold=threshold_of(request, policy),
        exact_only=exact_only_of(request, policy),
        candidates=candidates,
        vetoes=[veto(policy.guards, request.question, c.question) for c in candidates],
        gate=coarse,
    )
