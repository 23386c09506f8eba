"""What kind of question a request is: by its caller, by rules, by examples, or the default.

The first two are known at once. Examples need the vector that the lookup makes anyway, so they come
after the exact tier. Where they leave doubt the strictest of the likely categories' policies holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from likewise.category import DEFAULT, Category, check_name
from likewise.classify import Classifier
from likewise.classify.nearest import Guess, Nearest
from likewise.classify.rules import Rules
from likewise.config import SURE, Policies
from likewise.embed import Vectors
from likewise.faults import Faults
from likewise.request import Request

_MOST_UNLISTED = 1_000
"""Names that callers may invent; later ones fold into the default, which bounds memory."""

_IN_DOUBT = 0.2
"""How probable a category must be for its policy to count where there is doubt."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What a request was found to be.

    Attributes:
        category: Its category, in which a new answer is stored.
        by: What named it: ``caller``, ``rule``, ``classifier``, ``examples`` or ``default``.
        strict: The categories whose policies hold, the strictest value of each; one, where there
            is no doubt.
        places: The categories among whose entries an answer is looked for.
        guess: What examples said, ``None`` when they were not asked.
    """

    category: str
    by: str
    strict: tuple[str, ...]
    places: tuple[str, ...]
    guess: Guess | None = None


def certain(category: str, by: str) -> Naming:
    """Return a naming without doubt."""
    return Naming(category, by, (category,), (category,))


class Namer:
    """Names the categories of requests. Safe to use from many threads.

    Args:
        policies: The policy of every category.
        classifiers: Asked in order for requests whose caller names none, each with the word for
            what it is.
        nearest: Asked when none of these knows, once there is a vector; ``None`` is the default.
        sure: Confidence from which on its most probable category holds alone.
        coarse: Names by their sketches the questions that need not be embedded.
        faults: Told of classifiers that fail.
        before: Whose place this one takes: the names that callers have invented go on counting.
    """

    def __init__(
        self,
        policies: Policies,
        classifiers: Sequence[tuple[str, Classifier]],
        nearest: Nearest | None,
        *,
        sure: float = SURE,
        coarse: Nearest | None = None,
        faults: Faults,
        before: Namer | None = None,
    ) -> None:
        self._policies = policies
        self._classifiers = tuple(classifiers)
        self._nearest = nearest
        self._coarse = coarse
        self._sure = sure
        self._faults = faults
        self._invented: set[str] = set() if before is None else before._invented

    def under(self, policies: Policies) -> Namer:
        """Return one that names in the same way under other policies."""
        return Namer(
            policies,
            self._classifiers,
            self._nearest,
            sure=self._sure,
            coarse=self._coarse,
            faults=self._faults,
            before=self,
        )

    @property
    def coarse(self) -> Nearest | None:
        """What names by their sketches the questions that need not be embedded."""
        return self._coarse

    @property
    def nearest(self) -> Nearest | None:
        """What names categories by examples, if anything does."""
        return self._nearest

    @property
    def steady(self) -> bool:
        """Whether ``at_once`` says the same of a request each time: rules do, others may not."""
        return all(isinstance(classifier, Rules) for _, classifier in self._classifiers)

    def at_once(self, request: Request) -> Naming | None:
        """Return what the caller or a rule says; ``None`` when the question itself must."""
        if request.controls.category is not None:
            return certain(self._known(request.controls.category), "caller")
        for by, classifier in self._classifiers:
            try:
                name = classifier.classify(request)
                if name is not None:
                    return certain(self._known(check_name(name)), by)
            except Exception as error:
                self._faults.report(DEFAULT, "classifier", error)
        return None

    def coarsely(self, question: str, sketch: Vectors) -> Naming | None:
        """Return what a question that is not embedded seems to be: a miss is counted there.

        ``None`` when it may be of a kind that is not to be cached: that is for its vector to say.
        """
        if self._coarse is None:
            return self.otherwise
        guess = self._coarse.guess(question, sketch)
        if not all(self._policies.of(name).cacheable for name in guess.likely):
            return None
        return self.otherwise if guess.category is None else certain(guess.category, "sketch")

    @property
    def otherwise(self) -> Naming:
        """What a request is that nothing names."""
        return certain(self._policies.default.name, "default")

    def by_examples(self, question: str, vector: Vectors) -> Naming:
        """Return what the examples near a question say, the default when none is near."""
        if self._nearest is None:
            return self.otherwise
        guess = self._nearest.guess(question, vector)
        if guess.category is None:
            return replace(self.otherwise, guess=guess)
        if guess.confidence >= self._sure:
            strict = guess.likely[:1]
        else:
            pairs = zip(guess.likely, guess.probabilities, strict=True)
            strict = tuple(n for n, p in pairs if p >= _IN_DOUBT) or guess.likely[:1]
        return Naming(guess.category, "examples", strict, guess.likely, guess)

    def _known(self, name: str) -> str:
        """Return ``name``, or the default's once callers have invented too many names."""
        if name in self._invented or name in self._policies.categories:
            return name
        if len(self._invented) >= _MOST_UNLISTED:
            return self._policies.default.name
        self._invented.add(name)
        return name


def strictest(policies: Sequence[Category]) -> Category:
    """Return the policy that allows only what each of some policies allows, named as the first.

    Quota and epoch are the first's: they are no question of strictness. How far load may move a
    policy is no longer told by the result: see ``adaptive`` first.
    """
    first, *others = policies
    if not others:
        return first
    lifetimes = [p.ttl_s for p in policies if p.ttl_s is not None]
    bars = [p.probability_threshold for p in policies if p.probability_threshold is not None]
    return replace(
        first,
        similarity_threshold=max(p.similarity_threshold for p in policies),
        similarity_floor=None,
        probability_threshold=max(bars) if bars else None,
        probability_floor=None,
        error_budget=min(p.error_budget for p in policies),
        pressure_budget=None,
        ttl=min(lifetimes) if lifetimes else None,
        cacheable=all(p.cacheable for p in policies),
        exact_only=any(p.exact_only for p in policies),
        guards=tuple(dict.fromkeys(guard for p in policies for guard in p.guards)),
        tool_results=all(p.tool_results for p in policies),
        alike_per_minute=_fewest([p.alike_per_minute for p in policies]),
        detect=tuple(dict.fromkeys(kind for p in policies for kind in p.detect)),
        cue_ttl=_least([p.cue_ttl for p in policies]),
        stale_while_revalidate=_common([p.stale_while_revalidate for p in policies]),
        stale_if_error=_common([p.stale_if_error for p in policies]),
        stale_on_429=all(p.stale_on_429 for p in policies),
        refresh_ahead=_common([p.refresh_ahead for p in policies]),
        calm=strictest([p.calm or p for p in policies]) if any(p.calm for p in policies) else None,
        max_turns=min(p.max_turns for p in policies),
        max_temperature=min(p.max_temperature for p in policies),
    )


def _least(limits: Sequence[float | str | None]) -> float | None:
    """Return the least of some limits, of which ``None`` is no limit."""
    return min((float(limit) for limit in limits if limit is not None), default=None)


def _fewest(limits: Sequence[int | None]) -> int | None:
    """Return the least of some limits, of which ``None`` is no limit."""
    return min((limit for limit in limits if limit is not None), default=None)


def _common(allowances: Sequence[float | str | None]) -> float | None:
    """Return what all of some allowances allow, of which ``None`` is none."""
    given = [float(allowance) for allowance in allowances if allowance is not None]
    return min(given) if len(given) == len(allowances) else None
