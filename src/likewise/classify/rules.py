"""Categories by rules on model, path, system prompt and question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from likewise.category import check_name
from likewise.errors import ConfigError
from likewise.guards.plain import Caseless
from likewise.recent import Recent
from likewise.request import Request

_READ_CHARACTERS = 8000
"""How much of a question a pattern reads: bounds what a slow pattern can cost."""

_MOST_BYTES = 8 * 1024 * 1024
"""For the questions met lately of which it is known what rules say: each is searched for all."""

_EACH = 500
"""Bytes that one of them takes beside its texts."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Claims the requests for which every condition given holds.

    Attributes:
        category: The category of what it claims.
        pattern: Regular expression found anywhere in the question, case ignored.
        model: Shell pattern the model's name matches (``gpt-4*``).
        path: Shell pattern the request's path matches.
        system: Regular expression found anywhere in the system prompt, case ignored.

    Raises:
        ConfigError: No condition, a bad name or a pattern that does not compile.
    """

    category: str
    pattern: str | None = field(default=None, kw_only=True)
    model: str | None = field(default=None, kw_only=True)
    path: str | None = field(default=None, kw_only=True)
    system: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.category)
        if not (self.pattern or self.model or self.path or self.system):
            msg = (
                f"rule for {self.category!r} has no condition; "
                "give it one of pattern, model, path, system"
            )
            raise ConfigError(msg)
        for name in ("pattern", "system"):
            text = getattr(self, name)
            try:
                _compiled(text or "")
            except re.error as error:
                msg = f"rule for {self.category!r}: {name} {text!r} does not compile: {error}"
                raise ConfigError(msg) from error

    def claims(self, request: Request) -> bool:
        """Return whether every condition holds for ``request``."""
        if self.model and not fnmatchcase(request.scope.model, self.model):
            return False
        if self.path and not fnmatchcase(request.path, self.path):
            return False
        if self.system and not _compiled(self.system).search(request.system[:_READ_CHARACTERS]):
            return False
        if self.pattern:
            text = request.question[:_READ_CHARACTERS]
            quick = _quick.get(self.pattern)
            return (
                bool(_compiled(self.pattern).search(text))
                if quick is None
                else quick.found_in(text)
            )
        return True


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


class Rules:
    """The first rule that claims a request names its category."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._recent: Recent[tuple[str, str, str, str], tuple[str | None]] = Recent(_MOST_BYTES)

    def classify(self, request: Request) -> str | None:
        """See ``Classifier.classify``."""
        key = (
            request.question[:_READ_CHARACTERS],
            request.scope.model,
            request.path,
            request.system[:_READ_CHARACTERS],
        )
        found = self._recent.of(key)
        if found is None:
            found = (next((rule.category for rule in self._rules if rule.claims(request)), None),)
            self._recent.add(key, found, _EACH + sum(map(len, key)))
        return found[0]


def _built_in(category: str, pattern: str, *needles: str) -> Rule:
    """Return a rule for a pattern in small letters; see ``Caseless`` for the needles."""
    _quick[pattern] = Caseless(pattern, *needles)
    return Rule(category, pattern=pattern)


_quick: dict[str, Caseless] = {}
"""The built-in patterns, which are searched for in small letters."""

BUILTIN_RULES = (
    # What is about the asker comes first: it must never be stored, whatever else it looks like.
    _built_in(
        "personal",
        r"\b(?:my|our)\s+(?:own\s+|latest\s+|last\s+|new\s+|old\s+)?(?:password|passcode|pin"
        r"|ssn|social security|salary|payslip|diagnosis|blood (?:test|pressure)|lab results?"
        r"|medical record|prescription|passport|home address|phone number|e-?mail address|iban"
        r"|credit card|account number|bank account|tax return|diary|therapist|husband|wife"
        r"|boyfriend|girlfriend|son|daughter|ex)\b",
        "my",
        "our",
    ),
    _built_in("personal", r"\b\d{3}-\d{2}-\d{4}\b|\b(?:\d[ -]?){13,16}\b", *"0123456789"),
    _built_in(
        "sql",
        r"\bselect\b[\s\S]{1,200}?\bfrom\b|\bsql\b|\b(?:inner|left) join\b|\bgroup by\b",
        *("select", "sql", "join", "group by"),
    ),
    _built_in(
        "code",
        r"```|\bdef \w+\(|\b(?:python|javascript|typescript|rust|golang|java|kotlin|bash"
        r"|regex|git|docker|kubernetes|numpy|pandas)\b|\bc\+\+|\bstack trace\b|\btraceback\b",
        *("```", "def ", "python", "javascript", "typescript", "rust", "golang", "java", "kotlin"),
        *("bash", "regex", "git", "docker", "kubernetes", "numpy", "pandas", "c++", "stack trace"),
        "traceback",
    ),
    _built_in(
        "translation",
        r"^\W*(?:please\s+)?translate\b|\bhow do (?:you|i) say\b",
        *("translate", "how do"),
    ),
    _built_in(
        "prices",
        r"\b(?:price|prices|stock|share price|exchange rate|quote|trading at)\b"
        r"[\s\S]{0,60}\b(?:now|today|current(?:ly)?|latest|right now|at the moment)\b"
        r"|\b(?:current|latest|today'?s)\b[\s\S]{0,60}\b(?:price|prices|exchange rate|rate of)\b",
        *("price", "stock", "exchange rate", "quote", "trading at", "rate of"),
    ),
    _built_in(
        "news",
        r"\b(?:news|headlines|weather|forecast|score|scores)\b"
        r"[\s\S]{0,60}\b(?:now|today|tonight|tomorrow|latest|this (?:morning|week|evening))\b"
        r"|\b(?:latest|today'?s|breaking)\b[\s\S]{0,60}\b(?:news|headlines|weather|score)\b",
        *("news", "headlines", "weather", "forecast", "score"),
    ),
    _built_in(
        "creative",
        r"\bwrite (?:me )?an? (?:\w+ )?(?:poem|story|song|haiku|limerick)\b",
        "write ",
    ),
)
"""Cautious rules for requests that nobody named a category for."""
