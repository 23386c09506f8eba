"""How long a model takes under load: one law for the stand-in model and for the simulator.

A model serves up to ``capacity`` requests at once, the others wait in one line, first come first
served, and beyond ``most_waiting`` of them it refuses with 429. A request that starts when ``n``
are in service, itself among them, takes

    (first_token_s + output_tokens * token_s) * (1 + slowdown * (n - 1) / capacity)

seconds, and the first token comes after ``first_token_s`` times the same factor. What comes and
goes while it runs does not change it any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from likewise.errors import ConfigError

RETRY_AFTER_S = 1
"""What a refusal says in ``Retry-After``: the least that the header can say and still ask for a
pause; with every request that ends a place in the line is free again."""


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """The law of one model; see the module.

    Attributes:
        capacity: Requests served at once; ``None`` is without bound, and then nothing waits.
        first_token_s: Seconds to the first token of a request that is alone.
        token_s: Seconds for each token of the answer, of a request that is alone.
        slowdown: By how much a full model is slower than an idle one: 1 takes about twice as long.
        most_waiting: Requests that may wait in line; ``None`` is without bound.

    Raises:
        ConfigError: A value is out of its range.
    """

    capacity: int | None = None
    first_token_s: float = 0.1
    token_s: float = 0.0
    slowdown: float = 0.0
    most_waiting: int | None = None

    def __post_init__(self) -> None:
        if self.capacity is not None and self.capacity < 1:
            msg = f"capacity is {self.capacity}; a model serves at least 1 request at once"
            raise ConfigError(msg)
        if self.most_waiting is not None and self.most_waiting < 0:
            msg = f"most_waiting is {self.most_waiting}; it is at least 0"
            raise ConfigError(msg)
        for name in ("first_token_s", "token_s", "slowdown"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                msg = f"{name} is {value}; it is a number from 0 on"
                raise ConfigError(msg)

    def factor(self, in_service: int) -> float:
        """Return how much slower a request is that starts as one of ``in_service``.

        >>> ServiceTime(capacity=4, slowdown=1.0).factor(3)
        1.5
        """
        if self.capacity is None:
            return 1.0
        return 1.0 + self.slowdown * (in_service - 1) / self.capacity

    def seconds(self, output_tokens: float, in_service: int) -> float:
        """Return how long a request takes from its start to its last token.

        >>> ServiceTime(capacity=4, first_token_s=0.5, token_s=0.01, slowdown=1.0).seconds(50, 3)
        1.5
        """
        return (self.first_token_s + output_tokens * self.token_s) * self.factor(in_service)

    def admits(self, in_service: int) -> bool:
        """Return whether one more may start when ``in_service`` are served."""
        return self.capacity is None or in_service < self.capacity

    def refuses(self, waiting: int) -> bool:
        """Return whether one more is refused when ``waiting`` wait in line."""
        return self.most_waiting is not None and waiting >= self.most_waiting
