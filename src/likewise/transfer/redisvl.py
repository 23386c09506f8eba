"""RedisVL's semantic cache (redisvl 0.28): a hash for each entry, under ``NAME:``.

Its fields are ``prompt``, ``response``, ``prompt_vector`` (raw floats), ``inserted_at`` and
``updated_at`` (seconds since the epoch), ``metadata`` (JSON), and one for each filter that the
entry was stored with. A filter separates users or models, so entries that have one are only taken
when it is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from likewise.embed import Vectors
from likewise.transfer.records import Foreign, Refused
from likewise.transfer.redis_source import RedisSource

PREFIX = "llmcache"
"""The library's own default name."""

_OWN = {
    "entry_id", "key", "prompt", "response", "prompt_vector", "inserted_at", "updated_at",
    "metadata",
}  # fmt: skip

ANY = "*"
"""Stands for every value of a filter."""


class Filters:
    """Which entries are taken, and which values those had that were not.

    Args:
        wanted: The value of each filter that is named, ``ANY`` for all of them.
    """

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._wanted = dict(wanted)
        self.others: Counter[str] = Counter()
        """``FIELD=VALUE`` of entries that were left out, and how many had it."""

    def refusal(self, fields: Mapping[str, str]) -> Refused | None:
        """Return why an entry with these filters is left out, if it is."""
        for name, value in self._wanted.items():
            if name not in fields:
                return Refused(f"without the field {name}", damaged=False)
            if value not in (ANY, fields[name]):
                return Refused(f"another {name}", damaged=False)
        for name in sorted(fields.keys() - self._wanted.keys()):
            self.others[f"{name}={fields[name]}"] += 1
            return Refused(f"stored for a {name}; name it by --where", damaged=False)
        return None


def read_redisvl(
    source: RedisSource, *, prefix: str, filters: Filters, now: float
) -> Iterator[tuple[str, Foreign | Refused]]:
    """Yield every entry under a prefix; ``created_at`` is when it was first stored."""
    for key, fields, left_s in source.hashes(f"{prefix}:"):
        expires_at = None if left_s is None else now + left_s
        yield shown(key), _found(fields, filters, expires_at)


def shown(key: bytes) -> str:
    """Return a key as a message may name it."""
    return key.decode(errors="replace")[:120]


def _found(
    fields: Mapping[bytes, bytes], filters: Filters, expires_at: float | None
) -> Foreign | Refused:
    try:
        text = {
            name: value.decode()
            for raw, value in fields.items()
            if (name := raw.decode()) != "prompt_vector"
        }
        if "prompt" not in text or "response" not in text:
            return Refused("a hash without prompt and response")
        others = {name: value for name, value in text.items() if name not in _OWN}
        refusal = filters.refusal(others)
        if refusal is not None:
            return refusal
        created_at = float(text["inserted_at"])
    except UnicodeDecodeError:
        return Refused("a field that is not UTF-8")
    except (KeyError, ValueError):
        return Refused("inserted_at is no number")
    if not np.isfinite(created_at):
        return Refused("inserted_at is no number")
    vector = _vector(fields.get(b"prompt_vector"))
    return Foreign(text["prompt"], text["response"], created_at, expires_at, vector)


def _vector(data: bytes | None) -> Vectors | None:
    """Return a vector of float32, the library's default; of another type it will not fit."""
    if not data or len(data) % 4:
        return None
    return np.frombuffer(data, "<f4").astype(np.float32)
