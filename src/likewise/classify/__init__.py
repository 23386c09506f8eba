"""Which category a request belongs to: named by the caller, by a rule, or the default.

A learned classifier takes its place between rules and default: it is a ``Classifier`` too.
"""

from __future__ import annotations

from typing import Protocol

from likewise.request import Request


class Classifier(Protocol):
    """A seam: names the category of a request, or passes."""

    def classify(self, request: Request) -> str | None:
        """Return a category's name, or ``None`` to leave it to the next in line."""


__all__ = ["Classifier"]
