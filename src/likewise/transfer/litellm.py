"""LiteLLM's caches in Redis (litellm 1.106).

``redis-semantic`` is a cache of RedisVL named ``litellm_semantic_cache_index``. Its prompt is the
text of all messages, one after the other with nothing between them; its response is a dictionary
with ``timestamp`` and ``response``, as Python or as JSON writes it; ``litellm_cache_key`` is a
digest of the model, the parameters and the client's key, team and organisation.

``redis``, the exact cache, keeps ``[NAMESPACE:]SHA256`` and the answer. The digest is of the whole
request, which is kept nowhere: such an answer cannot be met by any question.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from likewise.transfer.records import Foreign, Refused
from likewise.transfer.redis_source import RedisSource
from likewise.transfer.redisvl import Filters, read_redisvl

PREFIX = "litellm_semantic_cache_index"

_EXACT = re.compile(rb"(.+:)?[0-9a-f]{64}")
_BEGINNING = 24
NO_PROMPT = "LiteLLM's exact cache keeps no prompt, only a digest of it"


def read_litellm(
    source: RedisSource, *, prefix: str, filters: Filters, system: str | None, now: float
) -> Iterator[tuple[str, Foreign | Refused]]:
    """Yield every entry of the semantic cache, and count those of the exact one.

    ``system`` is the system prompt that requests begin with: it is cut off the prompt, and entries
    that begin otherwise are left out.
    """
    for where, found in read_redisvl(source, prefix=prefix, filters=filters, now=now):
        yield where, found if isinstance(found, Refused) else _unwrapped(found, system)
    exact = sum(
        _EXACT.fullmatch(key) is not None and b"timestamp" in begins
        for key, begins in source.beginnings(_BEGINNING)
    )
    if exact:
        yield "exact cache", Refused(NO_PROMPT, damaged=False, count=exact)


def _unwrapped(found: Foreign, system: str | None) -> Foreign | Refused:
    question = found.question
    if system is not None:
        if not question.startswith(system):
            return Refused("of another system prompt", damaged=False)
        question = question.removeprefix(system)
    value = _read(found.answer)
    if not isinstance(value, dict):
        return Refused("a response that is no dictionary")
    created_at = value.get("timestamp")
    if not isinstance(created_at, int | float):
        created_at = found.created_at
    answer = value.get("response", value)
    if isinstance(answer, str):
        answer = _read(answer)
    if not isinstance(answer, dict) or "choices" not in answer:
        return Refused("not a chat completion", damaged=False)
    try:
        answer = msgspec.json.decode(msgspec.json.encode(answer))
    except (TypeError, ValueError, RecursionError):
        return Refused("a response that is not JSON")
    # The vector is of the whole prompt: of the question it is only when nothing was cut off.
    vector = found.vector if question == found.question else None
    return replace(
        found, question=question, answer=answer, created_at=float(created_at), vector=vector
    )


def _read(text: str) -> Any:
    """Return the value that JSON, or else Python, writes as ``text``; ``None`` for neither."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
