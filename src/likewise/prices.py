"""What calls to models cost.

Prices are the makers' list prices for text in US dollars per million tokens, without discounts for
batches or cached prompts, as their price pages gave them in November 2025:
https://openai.com/api/pricing, https://www.anthropic.com/pricing,
https://ai.google.dev/gemini-api/docs/pricing. They change: the configuration's ``prices`` go first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

AS_OF = "2025-11"
"""When the built-in prices were looked up."""

_PER = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return the US dollars that a call costs."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / _PER


BUILT_IN: Mapping[str, Price] = MappingProxyType(
    {
        "gpt-5": Price(1.25, 10.00),
        "gpt-5-mini": Price(0.25, 2.00),
        "gpt-5-nano": Price(0.05, 0.40),
        "gpt-4.1": Price(2.00, 8.00),
        "gpt-4.1-mini": Price(0.40, 1.60),
        "gpt-4.1-nano": Price(0.10, 0.40),
        "gpt-4o": Price(2.50, 10.00),
        "gpt-4o-mini": Price(0.15, 0.60),
        "o3": Price(2.00, 8.00),
        "o4-mini": Price(1.10, 4.40),
        "claude-opus-4-5": Price(5.00, 25.00),
        "claude-opus-4-1": Price(15.00, 75.00),
        "claude-sonnet-4-5": Price(3.00, 15.00),
        "claude-sonnet-4": Price(3.00, 15.00),
        "claude-haiku-4-5": Price(1.00, 5.00),
        "claude-3-5-haiku": Price(0.80, 4.00),
        "gemini-2.5-pro": Price(1.25, 10.00),
        "gemini-2.5-flash": Price(0.30, 2.50),
        "gemini-2.5-flash-lite": Price(0.10, 0.40),
        "text-embedding-3-small": Price(0.02, 0.0),
        "text-embedding-3-large": Price(0.13, 0.0),
        "text-embedding-ada-002": Price(0.10, 0.0),
    }
)
"""By model; dated versions such as ``gpt-4o-2024-08-06`` cost what their name without date does."""


class Prices:
    """Prices by model: those given, then the built-in ones."""

    def __init__(self, given: Mapping[str, Price]) -> None:
        self._given = given
        self._found: dict[str, Price | None] = {}

    def of(self, *models: str) -> Price | None:
        """Return the price of the first of some names that has one; ``None`` for none of them.

        >>> Prices({}).of("openai/gpt-4o-mini-2024-07-18")
        Price(input=0.15, output=0.6)
        """
        for model in models:
            if model not in self._found:
                if len(self._found) > 1_000:  # callers may invent names
                    self._found.clear()
                self._found[model] = self._look_up(model)
            if (price := self._found[model]) is not None:
                return price
        return None

    def _look_up(self, model: str) -> Price | None:
        bare = model.rpartition("/")[2]
        for name in (model, bare):
            if name in self._given:
                return self._given[name]
        for table in (self._given, BUILT_IN):
            # The longest name goes first: "gpt-4o-mini" is no "gpt-4o".
            for name in sorted(table, key=len, reverse=True):
                rest = bare.removeprefix(name)
                if rest != bare and (not rest or _is_version(rest)):
                    return table[name]
        return None


def _is_version(rest: str) -> bool:
    """Return whether what follows a model's name only dates it: ``-2024-08-06``, ``-latest``."""
    return rest[0] in "-@:" and (rest[1:] == "latest" or rest[1:].replace("-", "").isdigit())
