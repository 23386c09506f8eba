"""The gate's place in a lookup: what it is asked, what it turns away, and what that has cost."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from likewise.catalog import Catalog
from likewise.category import Category
from likewise.errors import StoreError
from likewise.faults import Faults
from likewise.gate import Coarse, Gate
from likewise.lookup import InForce, Lookup
from likewise.naming import Namer, Naming
from likewise.stats import Stats


class Gatekeeper:
    """Asks the gate, and tells it what came of it. Safe to use from many threads.

    Args:
        gate: The gate.
        catalog: Tells what a scope holds.
        force: The policies in force.
        stats: Counts.
        faults: Told of what goes wrong beside the way of a request.
    """

    def __init__(
        self, gate: Gate, *, catalog: Catalog, force: InForce, stats: Stats, faults: Faults
    ) -> None:
        self.gate = gate
        self._catalog = catalog
        self._force = force
        self._stats = stats
        self._faults = faults

    def look(self, lookup: Lookup) -> Coarse | None:
        """Compare sketches in every category the question may be of; see ``Gate.look``.

        Raises:
            EmbedderError: The question cannot be read.
        """
        request, naming = lookup.request, lookup.naming
        names = self._catalog.categories(lookup.scope) if naming is None else naming.places
        policies = (self._expected(name, lookup) for name in names)
        least = request.controls.similarity_threshold or 0.0
        coarse = self.gate.look(request.question, lookup.scope, policies, least)
        lookup.meter.coarse = None if coarse is None else coarse.cosine
        return coarse

    def seeming(self, lookup: Lookup, namer: Namer) -> Naming | None:
        """Return what a question seems to be that is not embedded; ``None`` to embed it."""
        sketch = self.gate.sketch(lookup.request.question)
        return None if sketch is None else namer.coarsely(lookup.request.question, sketch)

    def served(self, lookup: Lookup) -> None:
        """Tell the gate that it has let a hit through."""
        if lookup.meter.coarse is not None:
            self.gate.saw(lookup.policy.name, lookup.meter.coarse)

    def check(self, lookup: Lookup, hits: Callable[[Lookup], bool]) -> None:
        """Tell the gate when it has cost a hit: what it turned away has its vector by now.

        No fault of it keeps an answer from being stored.

        Args:
            lookup: Named, of a question that is to be stored.
            hits: Whether it would have been a hit by its vector.
        """
        try:
            if (coarse := self.look(lookup)) is None or not coarse.closed:
                return
            lost = hits(msgspec.structs.replace(lookup, dry=True))
        except Exception as error:
            kind = "index" if isinstance(error, StoreError) else "internal"
            self._faults.report(lookup.policy.name, kind, error)
            return
        self.gate.came_back()
        if lost:
            self.gate.saw(lookup.policy.name, coarse.cosine)
            self._stats.add(lookup.policy.name, gate_lost=1)

    def _expected(self, name: str, lookup: Lookup) -> Category:
        """Return a category's policy with the thresholds that a hit would have to pass."""
        force = self._force
        if force.teaching is not None:
            taught = force.taught((name,), lookup.request, lookup.pressure)
            # Without a certificate nothing is served by meaning: nothing is to be expected then.
            if taught.probability_threshold is not None and taught.probability_threshold < 1.0:
                return taught
        if lookup.pressure:
            return force.policy((name,), lookup.request, lookup.pressure)
        return force.policies.of(name)  # haste and rest change no threshold
