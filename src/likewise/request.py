"""What the caller asked, in canonical form, whatever the wire format was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from likewise.scope import Scope
from likewise.sensitive import sensitive

TOOL_RESULTS = "tool results"
"""Why only equal requests may be served where an earlier turn holds what a tool has said."""


@dataclass(frozen=True, slots=True)
class Controls:
    """What a caller may ask of the cache for one request. A caller tightens, never loosens.

    Attributes:
        category: The category the caller names, which wins over every rule.
        no_cache: Skip the read; the new answer is stored.
        no_store: Skip the write.
        max_age_s: Accept no answer older than this many seconds.
        ttl_s: Keep the new answer no longer than this many seconds.
        similarity_threshold: Accept nothing less similar; below the category's it has no effect.
        sources: What the new answer is made of: it is revoked when one of them has a new version.
    """

    category: str | None = None
    no_cache: bool = False
    no_store: bool = False
    max_age_s: float | None = None
    ttl_s: float | None = None
    similarity_threshold: float | None = None
    sources: tuple[str, ...] = ()


class _Room:
    """Room for what an engine has found of a request, for when the very same is asked again."""

    __slots__ = ("_found", "_sensitive")
    _found: object
    _sensitive: tuple[Sequence[str], str | None]

    @property
    def found(self) -> object:
        """What was found, ``None`` for nothing; only who kept it knows whether it still holds."""
        return getattr(self, "_found", None)

    def keep(self, found: object) -> None:
        """Keep what was found; it is no part of the request."""
        object.__setattr__(self, "_found", found)


@dataclass(frozen=True, slots=True)
class Request(_Room):
    """A question with everything the decision needs to know about how it was asked.

    Attributes:
        question: The last user turn as text.
        scope: What must be equal for an answer to be reusable at all.
        controls: What the caller asked of the cache.
        exact_only: Why only the exact tier may serve this request, or ``None``. Set for tools and
            tool results, images and audio, several choices.
        turns: User turns of the conversation, this one included.
        temperature: Sampling temperature when the caller set one.
        system: The system prompt, for rules.
        path: The path the request came in on, for rules.
        stateful: Whether its answer depends on, or becomes part of, what the model's server holds:
            such a request is neither answered from cache nor kept.
    """

    question: str = field(repr=False)
    scope: Scope = field(default_factory=Scope)
    controls: Controls = field(default_factory=Controls)
    exact_only: str | None = None
    turns: int = 1
    temperature: float | None = None
    system: str = field(default="", repr=False)
    path: str = ""
    stateful: bool = False

    def holds(self, kinds: Sequence[str]) -> str | None:
        """Return which kind of secrets or personal data the question holds, see ``sensitive``."""
        known = getattr(self, "_sensitive", None)
        if known is None or known[0] is not kinds:
            known = kinds, sensitive(self.question, kinds)
            object.__setattr__(self, "_sensitive", known)
        return known[1]
