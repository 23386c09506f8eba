"""Judges: do two answers to nearly the same question serve each other's askers?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from likewise.answers import answer_text, normalised
from likewise.embed import Embedder
from likewise.errors import JudgeError

SIMILAR = 0.9
"""Least cosine of two answers that say the same, unless the configuration says otherwise."""


JudgeFunction = Callable[[str, Any, Any], bool | None]
"""Question, stored answer, fresh answer: whether the stored one serves; ``None``: cannot tell."""


@runtime_checkable
class Judge(Protocol):
    """Says whether an answer would have served a question that got another one."""

    def same(self, question: str, stored: object, fresh: object) -> bool | None:
        """Return whether ``stored`` serves the question whose own answer is ``fresh``.

        ``None`` means that it cannot be told; nothing is learned then.

        Raises:
            JudgeError: The judge failed.
        """


class ExactJudge:
    """Answers are the same when they are equal but for case and white space."""

    def same(self, question: str, stored: object, fresh: object) -> bool | None:
        """See ``Judge.same``."""
        del question
        return normalised(stored) == normalised(fresh)


class SimilarJudge:
    """Answers are the same when their vectors are similar; an answer too long cannot be told."""

    def __init__(self, embedder: Embedder, threshold: float = SIMILAR) -> None:
        self._embedder, self._threshold = embedder, threshold

    def same(self, question: str, stored: object, fresh: object) -> bool | None:
        """See ``Judge.same``."""
        del question
        texts = [answer_text(stored), answer_text(fresh)]
        if normalised(texts[0]) == normalised(texts[1]):
            return True
        if not all(text.strip() and self._embedder.fits(text) for text in texts):
            return None
        one, other = self._embedder.embed(texts)
        return float(one @ other) >= self._threshold


class FunctionJudge:
    """A function of the caller's: question, stored answer, fresh answer; yes, no or ``None``."""

    def __init__(self, function: JudgeFunction) -> None:
        self._function = function

    def same(self, question: str, stored: object, fresh: object) -> bool | None:
        """See ``Judge.same``."""
        try:
            return self._function(question, stored, fresh)
        except Exception as error:
            msg = f"the judge function raised {type(error).__name__}"
            raise JudgeError(msg) from error
