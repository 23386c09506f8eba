"""Faults of the cache: counted always, logged once per kind, never passed on to a request."""

from __future__ import annotations

import logging
import threading

from likewise.errors import LikewiseError
from likewise.stats import Stats

logger = logging.getLogger("likewise")


class Faults:
    """Counts faults by category and kind, and logs the first of each kind."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._lock = threading.Lock()
        self._logged: set[tuple[str, str]] = set()

    def report(self, category: str, kind: str, error: BaseException) -> None:
        """Count a fault; log it when it is the first of its kind.

        Only the type of a foreign error is logged: its message might hold a text of the request.
        """
        self._stats.fault(category, kind)
        name = type(error).__name__
        with self._lock:
            if (kind, name) in self._logged:
                return
            self._logged.add((kind, name))
        text = str(error) if isinstance(error, LikewiseError) else ""
        logger.warning(
            "cache fault (%s): %s%s; requests go on without the cache; further ones are counted "
            "in the statistics only",
            kind,
            name,
            f": {text}" if text else "",
        )
