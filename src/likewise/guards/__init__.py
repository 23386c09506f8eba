"""Cheap checks on the two raw texts that veto a candidate; each names what it saw.

An embedding hardly moves when a number changes or a "not" appears: a question and its negation
have a cosine of 0.94 to 0.98, above any useful threshold. A guard looks at just that. It returns
``None`` when it has nothing to object, else a few words that say what differs. The words it reports
are numbers, units, languages, days, markers of negation and prepositions, never running text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from likewise.guards.meaning import comparison, dates, languages, names
from likewise.guards.opposites import opposites
from likewise.guards.quantity import numbers, units
from likewise.guards.surface import identifiers, order, spelling
from likewise.guards.wording import direction, negation

Guard = Callable[[str, str], str | None]

GUARDS: Mapping[str, Guard] = MappingProxyType(
    {
        "numbers": numbers,
        "units": units,
        "negation": negation,
        "direction": direction,
        "opposites": opposites,
        "order": order,
        "identifiers": identifiers,
        "spelling": spelling,
        "names": names,
        "languages": languages,
        "dates": dates,
        "comparison": comparison,
    }
)
"""Every guard by the name that a category's ``guards`` uses."""


def veto(names: Iterable[str], a: str, b: str) -> str | None:
    """Return the first objection among the guards named, or ``None``."""
    if a == b:
        return None
    for name in names:
        found = GUARDS[name](a, b)
        if found is not None:
            return found
    return None


__all__ = [
    "GUARDS",
    "Guard",
    "comparison",
    "dates",
    "direction",
    "identifiers",
    "languages",
    "names",
    "negation",
    "numbers",
    "opposites",
    "order",
    "spelling",
    "units",
    "veto",
]
