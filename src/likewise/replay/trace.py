"""Arrivals: when requests come, and how many tokens they have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from likewise.errors import ConfigError
from likewise.replay.lines import decoded

Seconds = NDArray[np.float64]
Tokens = NDArray[np.int64]

_INPUT_MEDIAN, _INPUT_SPREAD = 250.0, 1.0
_OUTPUT_MEDIAN, _OUTPUT_SPREAD = 150.0, 0.7
"""Tokens of generated requests: medians, and standard deviations of the logarithm. Chosen for
everyday chat; a trace has its own."""

_MOST_TOKENS = 32_768


class TraceLine(msgspec.Struct, frozen=True):
    """A line of a trace; other fields are passed over."""

    t_s: float
    category_or_model: str
    input_tokens: Annotated[int, Meta(ge=0)]
    output_tokens: Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Requests without their texts, in order of time.

    Attributes:
        times_s: Seconds since the first one, shape ``(n,)``, never falling.
        input_tokens: Of question and context, shape ``(n,)``.
        output_tokens: Of the answer, shape ``(n,)``.
    """

    times_s: Seconds
    input_tokens: Tokens
    output_tokens: Tokens

    def __len__(self) -> int:
        return len(self.times_s)

    def first(self, count: int) -> Arrivals:
        """Return ``count`` arrivals; a trace that is shorter begins anew when it is over."""
        have = len(self)
        if count <= have:
            places, shifts = np.arange(count), np.zeros(count)
        else:
            places = np.arange(count) % have
            # The gap between the last of one round and the first of the next is the mean one.
            length_s = self.times_s[-1] * have / max(have - 1, 1)
            shifts = (np.arange(count) // have) * length_s
        return Arrivals(
            self.times_s[places] + shifts, self.input_tokens[places], self.output_tokens[places]
        )

    def compressed(self, factor: float) -> Arrivals:
        """Return the same arrivals in a ``factor``-th of the time.

        Raises:
            ConfigError: The factor is not a number above 0.
        """
        if not 0 < factor < math.inf:
            msg = f"--compress: {factor} is not a number above 0"
            raise ConfigError(msg)
        return Arrivals(self.times_s / factor, self.input_tokens, self.output_tokens)


def read_trace(path: Path) -> Arrivals:
    """Read a trace, JSON lines, gzipped or not, with the fields of ``TraceLine``.

    Raises:
        ConfigError: It cannot be read, has no line, or a line is wrong; the message says which.
    """
    rows = []
    for number, line in decoded(path, TraceLine):
        if not math.isfinite(line.t_s):
            msg = f"{path.name}, line {number}: t_s is {line.t_s}; it is a number of seconds"
            raise ConfigError(msg)
        rows.append((line.t_s, line.input_tokens, line.output_tokens))
    if not rows:
        msg = f"--trace: {path} is empty; each line is an object with t_s, category_or_model, "
        raise ConfigError(msg + "input_tokens and output_tokens")
    rows.sort()
    times, inputs, outputs = zip(*rows, strict=True)
    times_s = np.array(times, np.float64)
    return Arrivals(times_s - times_s[0], np.array(inputs, np.int64), np.array(outputs, np.int64))


def poisson(rate: float, count: int, *, seed: int) -> Arrivals:
    """Return ``count`` arrivals that know nothing of each other, ``rate`` a second on average."""
    return gamma(rate, 1.0, count, seed=seed)


def gamma(rate: float, cv: float, count: int, *, seed: int) -> Arrivals:
    """Return arrivals with gamma-distributed gaps.

    ``cv`` is the coefficient of variation of the gaps: at 1 it is a Poisson process, above it comes
    in bursts, below it is more regular.
    """
    rng = np.random.default_rng([seed, 1])
    shape = 1.0 / cv**2
    gaps = rng.gamma(shape, 1.0 / (rate * shape), size=count)
    times_s = np.cumsum(gaps)
    return Arrivals(
        times_s - times_s[0],
        _tokens(rng, count, _INPUT_MEDIAN, _INPUT_SPREAD),
        _tokens(rng, count, _OUTPUT_MEDIAN, _OUTPUT_SPREAD),
    )


def arrivals_of(
    spec: str, *, count: int | None = None, seed: int = 0, compress: float = 1.0
) -> Arrivals:
    """Return the arrivals that a text describes.

    Args:
        spec: ``poisson:RATE``, ``gamma:RATE:CV``, or the path of a trace.
        count: How many; of a trace all when it is ``None``, 10,000 of generated ones.
        seed: Of generated ones; equal seeds give equal arrivals.
        compress: By how much time is compressed.

    Raises:
        ConfigError: The text, the trace or the factor is wrong.
    """
    kind, _, rest = spec.partition(":")
    if kind in {"poisson", "gamma"}:
        rate, cv = _numbers(kind, rest, spec)
        made = gamma(rate, cv, 10_000 if count is None else count, seed=seed)
        return made.compressed(compress)
    found = read_trace(Path(spec))
    return (found if count is None else found.first(count)).compressed(compress)


def _numbers(kind: str, rest: str, spec: str) -> tuple[float, float]:
    try:
        numbers = [float(part) for part in rest.split(":")]
    except ValueError:
        numbers = []
    expected = 1 if kind == "poisson" else 2
    if len(numbers) != expected or not all(0 < number < math.inf for number in numbers):
        shape = "poisson:RATE" if kind == "poisson" else "gamma:RATE:CV"
        msg = f"--trace: {spec!r} is not {shape} with numbers above 0; RATE is requests a second"
        raise ConfigError(msg)
    return numbers[0], numbers[1] if expected == 2 else 1.0


def _tokens(rng: np.random.Generator, count: int, median: float, spread: float) -> Tokens:
    drawn = rng.lognormal(math.log(median), spread, size=count)
    return np.clip(np.rint(drawn), 1, _MOST_TOKENS).astype(np.int64)
