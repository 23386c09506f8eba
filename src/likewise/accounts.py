"""The statistics of a running cache, with the ledger's accounts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from likewise.catalog import Catalog
from likewise.freshness import Changes
from likewise.ledger import Ledger, LedgerTerms, account, by_tenant
from likewise.lookup import InForce
from likewise.pools import Room
from likewise.stats import Stats, report

logger = logging.getLogger("likewise")


class Accounts:
    """Reads the counters, and watches which categories do not earn what they cost.

    Args:
        stats: The counters.
        catalog: The index.
        changes: How fast answers change.
        force: What is in force; told of the categories that rest.
        terms: How costs and savings are weighed.
    """

    def __init__(
        self,
        *,
        stats: Stats,
        catalog: Catalog,
        changes: Changes,
        force: InForce,
        terms: LedgerTerms | None,
    ) -> None:
        self._stats = stats
        self._catalog = catalog
        self._changes = changes
        self._force = force
        self.ledger = Ledger(terms)

    def by_category(
        self, room: Room, others: Sequence[Mapping[str, Mapping[str, float]]] = ()
    ) -> dict[str, dict[str, Any]]:
        """Return the statistics of each category since the start, ready for JSON.

        ``others`` are counters of other processes, which are added.
        """
        counters = self._stats.by_category()
        for more in others:
            for category, amounts in more.items():
                known = counters.setdefault(category, {})
                for name, amount in amounts.items():
                    known[name] = known.get(name, 0.0) + amount
        categories = report(counters, self._catalog.counts())
        held = self._catalog.byte_counts()
        terms = self.ledger.terms
        for name, found in categories.items():
            policy, own = self._force.policies.of(name), counters.get(name, {})
            found["freshness"] = self._changes.report(policy)
            found["bytes"] = held.get(name, 0)
            found["guaranteed_entries"] = int(room.guaranteed_entries.get(name, 0))
            found["eviction"] = policy.eviction
            found["ledger"] = {
                **account(own, terms),
                "proposal": "exact-only" if name in self.ledger.proposed else None,
                "resting": name in self.ledger.resting,
                "tenants": by_tenant(own, terms),
            }
            if self._force.teaching is not None:
                found["learning"] = self._force.teaching.learner.report(policy)
        return categories

    def weigh(self, now: float) -> None:
        """Look which categories do not earn what they cost, and let them rest if that is wished."""
        for name in self.ledger.weigh(self._stats.by_category(), now):
            logger.warning(
                "category %s: its hits by meaning save less than looking for them costs; %s",
                name,
                "it is served by the exact tier only for now"
                if self.ledger.terms.switch
                else "exact_only: true would serve it better",
            )
        self._force.resting = self.ledger.resting
