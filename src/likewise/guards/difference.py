"""What one text has and the other lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def difference(what: str, a: Iterable[str], b: Iterable[str]) -> str | None:
    """Return what differs between two collections in which order does not count, or ``None``."""
    first, second = sorted(a), sorted(b)
    if first == second:
        return None
    left, right = Counter(first), Counter(second)
    missing = ", ".join(sorted((right - left).elements())) or "none"
    added = ", ".join(sorted((left - right).elements())) or "none"
    return f"{what}: {added} against {missing}"
