"""What one text has and the other lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def difference(what: str, a: Sequence[str], b: Sequence[str]) -> str | None:
    """Return what differs between two collections in which order does not count, or ``None``."""
    if a == b:
        return None
    first, second = sorted(a), sorted(b)
    if first == second:
        return None
    left, right = Counter(first), Counter(second)
    missing = ", ".join(sorted((right - left).elements())) or "none"
    added = ", ".join(sorted((left - right).elements())) or "none"
    return f"{what}: {added} against {missing}"
