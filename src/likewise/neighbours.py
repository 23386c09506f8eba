"""The entries near a question, as candidates for its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, zip_longest

from likewise.catalog import Catalog
from likewise.category import Category
from likewise.embed import Vectors
from likewise.entry import exact_key
from likewise.feedback import Feedback
from likewise.index import Match, Record
from likewise.lookup import InForce, Lookup
from likewise.policy import (
    Candidate,
    Tier,
    bypass_of,
    exact_only_of,
    standing_objection,
    threshold_of,
)
from likewise.sources import outdated


class Neighbours:
    """Finds them in the index and describes them for the decision. Safe to use from many threads.

    Args:
        catalog: Where they are.
        feedback: Which of them may not serve which question.
        clock: Seconds since the epoch.
        force: Policies, sources and verifier in force.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        feedback: Feedback,
        clock: Callable[[], float],
        force: InForce,
    ) -> None:
        self._catalog = catalog
        self._feedback = feedback
        self._clock = clock
        self._force = force

    def holds(self, lookup: Lookup) -> bool:
        """Return whether there is anything to compare with."""
        naming = lookup.naming
        return naming is not None and any(
            self._catalog.holds(lookup.scope, name) for name in naming.places
        )

    def judged(self, lookup: Lookup, vector: Vectors, floor: float) -> list[Candidate]:
        """Return the nearest entries with what the verifier thinks of them."""
        # How far the first stand out from the rest tells, so the rest is looked up whatever it is.
        near = self.nearest(lookup, vector, -1.0)
        question, category = lookup.request.question, lookup.policy.name
        probabilities: list[float] = []
        teaching, judging = self._force.teaching, self._force.judging
        if teaching is not None and near and not lookup.dry:
            probabilities = teaching.learner.consider(
                lookup.pair,
                question,
                category,
                near,
                usable=lambda place: self._usable(lookup, near[place], floor),
            )
        elif judging is not None and near and near[0][1] >= floor:
            probabilities = judging.judge(
                category, judging.read(question, category, near, floor=floor)
            )
        return [
            self.candidate(lookup, record, similarity, probability=probability)
            for (record, similarity), probability in zip_longest(near, probabilities)
        ]

    def candidates(self, lookup: Lookup, vector: Vectors, floor: float) -> list[Candidate]:
        """Return the nearest entries, see ``nearest``, that no verifier has judged."""
        return [self.candidate(lookup, *match) for match in self.nearest(lookup, vector, floor)]

    def nearest(self, lookup: Lookup, vector: Vectors, floor: float) -> list[Match]:
        """Return the nearest entries in every likely category of the lookup, nearest first.

        See ``Partition.search``. What is of another category than the lookup's own must be allowed
        by the policy of that one, too.
        """
        now, blocked = self._clock(), self.blocked(lookup)

        def usable(record: Record, similarity: float) -> bool:
            objection = standing_objection(
                self.candidate(lookup, record, similarity),
                request=lookup.request,
                policy=lookup.policy,
                now=now,
                blocked=blocked,
            )
            # Without any grace: what is stale must not keep the search from what is fresh.
            return objection is None

        names = (lookup.policy.name,) if lookup.naming is None else lookup.naming.places
        found = [
            self._catalog.nearest(lookup.scope, name, vector, floor=floor, usable=usable)
            for name in names
        ]
        for place, name in enumerate(names[1:], start=1):
            own = self._force.taught((name,), lookup.request, lookup.pressure)
            found[place] = [match for match in found[place] if self._allows(own, lookup, match)]
        if len(found) == 1:
            return found[0]
        return sorted(chain.from_iterable(found), key=lambda match: match[1], reverse=True)

    def candidate(
        self,
        lookup: Lookup,
        record: Record,
        similarity: float,
        tier: Tier = Tier.SEMANTIC,
        probability: float | None = None,
    ) -> Candidate:
        """Return an entry as a candidate for the lookup's answer."""
        entry_id, key, question, created_at, expires_at, epoch = record.facts
        policy, shared = lookup.policy, record.shared
        if shared.category != policy.name:
            # Of another likely category, whose epoch it must be of.
            own = self._force.policies.of(shared.category).epoch
            epoch = policy.epoch if epoch == own else policy.epoch - 1
        return Candidate(
            entry_id,
            # Low precision may put a cosine a little above 1.
            1.0 if similarity > 1.0 else similarity,
            question,
            created_at,
            expires_at,
            epoch,
            tier,
            probability,
            self._feedback.strikes(key),
            outdated(shared.sources, self._force.sources) if shared.sources else "",
        )

    def blocked(self, lookup: Lookup) -> list[str]:
        """Return the entries that may not serve the question of a lookup."""
        if not self._feedback.blocks:
            return []
        naming, keys = lookup.naming, {lookup.pair}
        if naming is not None and len(naming.places) > 1:
            keys |= {exact_key(lookup.scope, n, lookup.request.question) for n in naming.places[1:]}
        found = [
            self._catalog.exact(entry) for key in keys for entry in self._feedback.blocked(key)
        ]
        return [record.entry_id for record in found if record is not None]

    def _usable(self, lookup: Lookup, match: Match, floor: float) -> bool:
        """Return whether nothing but its probability could stand against serving an entry."""
        objection = standing_objection(
            self.candidate(lookup, *match),
            request=lookup.request,
            policy=lookup.policy,
            now=self._clock(),
            blocked=self.blocked(lookup),
        )
        return match[1] >= floor and objection is None

    def _allows(self, own: Category, lookup: Lookup, match: Match) -> bool:
        """Return whether the policy of an entry's own category would let it be served, too.

        What that one asks of a verifier the lookup's must ask as well: of a category that has
        lost its certificate nothing is served in the name of another.
        """
        request = lookup.request
        needed, asked = own.probability_threshold, lookup.policy.probability_threshold
        if bypass_of(request, own) or exact_only_of(request, own):
            return False
        if match[1] < threshold_of(request, own):
            return False
        if needed is not None and (asked is None or asked < needed):
            return False
        candidate = replace(self.candidate(lookup, *match), epoch=own.epoch)
        objection = standing_objection(
            candidate,
            request=request,
            policy=own,
            now=self._clock(),
            blocked=(),  # the decision itself asks
            grace_s=own.grace_s(on_error=lookup.on_error),
        )
        return objection is None and match[0].epoch == own.epoch
