"""What readers of other caches yield."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from likewise.embed import Vectors


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that does not become an entry.

    Attributes:
        why: The reason, without any text of a prompt or an answer.
        damaged: Whether it should have been readable; else it is of a kind that we do not take.
        count: How many of them there are.
    """

    why: str
    damaged: bool = True
    count: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """An answer that another cache holds.

    Attributes:
        question: What it keeps as the prompt.
        answer: A text, or a chat completion.
        created_at: When it was made, in seconds since the epoch.
        expires_at: When the other cache would drop it.
        vector: The prompt's vector, of whatever embedder.
    """

    question: str = field(repr=False)
    answer: Any = field(repr=False)
    created_at: float
    expires_at: float | None = None
    vector: Vectors | None = field(default=None, repr=False)
