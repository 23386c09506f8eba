"""Lengths of time and amounts of bytes as people write them: ``90s``, ``1h30m``, ``64MB``."""

from __future__ import annotations

import math
import re

from likewise.errors import ConfigError

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNIT_BYTES = {"b": 1} | {
    f"{letter}{middle}b": base**power
    for power, letter in enumerate("kmgt", start=1)
    for middle, base in (("", 1000), ("i", 1024))
}
_BYTES = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt]?i?b)?", re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])", re.IGNORECASE)
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+", re.IGNORECASE)


def seconds(value: float | str, *, what: str = "duration") -> float:
    """Return ``value`` in seconds; a bare number is seconds already.

    >>> seconds("2m"), seconds("1h30m"), seconds(45)
    (120.0, 5400.0, 45.0)

    Raises:
        ConfigError: ``value`` is not a positive length of time; ``what`` names it in the message.
    """
    if isinstance(value, str):
        text = value.strip()
        if _WHOLE.fullmatch(text):
            total = sum(
                float(number) * _UNIT_S[unit.lower()] for number, unit in _PART.findall(text)
            )
        else:
            try:
                total = float(text)
            except ValueError:
                total = math.nan
    else:
        total = float(value)
    if not (math.isfinite(total) and total > 0):
        msg = f"{what}: {value!r} is not a length of time; write for example 90s, 2m, 12h or 30d"
        raise ConfigError(msg)
    return total


def byte_count(value: int | str, *, what: str = "size") -> int:
    """Return an amount of bytes; a bare number is bytes already, a kilobyte is 1,000 of them.

    >>> byte_count("64MB"), byte_count("1.5 GiB"), byte_count(4096)
    (64000000, 1610612736, 4096)

    Raises:
        ConfigError: ``value`` is not a positive amount; ``what`` names it in the message.
    """
    found = _BYTES.fullmatch(str(value).strip())
    total = 0
    if found is not None:
        amount = float(found["number"]) * _UNIT_BYTES[(found["unit"] or "b").lower()]
        total = int(amount) if math.isfinite(amount) else 0
    if total < 1:
        msg = f"{what}: {value!r} is not an amount of bytes; write for example 64MB or 2GiB"
        raise ConfigError(msg)
    return total


def humanize(value_s: float | None) -> str:
    """Return a length of time in its largest fitting unit; ``None`` is ``never``.

    >>> humanize(120), humanize(0.0042), humanize(86400), humanize(None)
    ('2m', '4.2ms', '1d', 'never')
    """
    if value_s is None:
        return "never"
    if value_s < 1:
        return f"{_short(value_s * 1000)}ms"
    for unit in ("d", "h", "m"):
        size = _UNIT_S[unit]
        if value_s >= size:
            return f"{_short(value_s / size)}{unit}"
    return f"{_short(value_s)}s"


def _short(number: float) -> str:
    """Three digits are enough to read, except that a whole part is never cut."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
