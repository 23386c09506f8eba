"""A cache for LangChain: ``set_llm_cache(LikewiseCache(cache))``, or ``cache=`` of one model.

    from langchain_core.globals import set_llm_cache
    from likewise import Cache
    from likewise.integrations.langchain import LikewiseCache

    set_llm_cache(LikewiseCache(Cache()))

LangChain looks a call up by two texts: the messages, serialised, and the model with all of its
parameters. The last human message is the question; everything else of both is its scope.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from likewise.cache import Cache
from likewise.entry import Provenance
from likewise.integrations import missing
from likewise.integrations.asking import checked, json_value, provenance, read_messages
from likewise.policy import Hit
from likewise.request import Request
from likewise.scope import Scope

try:
    from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
    from langchain_core.load import dumps, load
    from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, ChatMessageChunk
    from langchain_core.outputs import (
        ChatGeneration,
        ChatGenerationChunk,
        Generation,
        GenerationChunk,
    )
except ImportError as error:
    raise missing("langchain-core", "langchain") from error

_ALLOWED: Any = [
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    ChatMessageChunk,
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
]
"""What an answer is made of; nothing else is ever made of what a store holds."""

with warnings.catch_warnings():
    # ``load`` is called beta, and says so once; here rather than at a user's first hit.
    warnings.simplefilter("ignore")
    load([], allowed_objects=_ALLOWED)

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
_NOT_SENT = frozenset({"type", "id", "response_metadata", "usage_metadata"})
"""Of a message what does not reach the model."""

_TOOLS = re.compile(r"\('(?:tools|functions)', \[.")
_FINISHED = {None, "stop", "tool_calls", "function_call", "end_turn", "tool_use", "stop_sequence"}
"""How a whole answer ends, by its maker's word; what tells no reason is taken for whole."""


class LikewiseCache(BaseCache):
    """LangChain's ``BaseCache`` over a ``Cache``.

    A fault of the cache is a miss and fails no call. Only answers that are whole are kept, and only
    when LangChain can write them down without loss.

    API keys are no part of what LangChain tells: where one process serves several tenants, give
    each a cache object with a ``scope`` of its own.

    Args:
        cache: Stays open; it may be shared with others.
        category: The kind of question; without one, rules and examples decide.
        scope: What must be equal beside model, parameters and earlier messages.

    Raises:
        ConfigError: The category is no name of one.
    """

    def __init__(
        self, cache: Cache, *, category: str | None = None, scope: Scope | None = None
    ) -> None:
        self._cache = cache
        self._category = checked(category)
        self._scope = scope or Scope()

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Return the generations of an earlier call that this one may reuse, or ``None``."""
        try:
            request = self._read(prompt, llm_string)
            decision = None if request is None else self._cache.lookup(request)
            return _revived(decision.answer) if isinstance(decision, Hit) else None
        except Exception as error:
            self._report(error)
            return None

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep the generations of a call, if they are whole."""
        try:
            request = self._read(prompt, llm_string)
            answer = _answer_of(return_val)
            if request is not None and answer is not None:
                found = _provenance_of(return_val, request.scope.model)
                self._cache.try_keep(request, answer, provenance=found)
        except Exception as error:
            self._report(error)

    def clear(self, **kwargs: Any) -> None:
        """Delete what the cache holds of this object's category, or of ``category=``.

        Without any category all of it goes, what others have stored there as well.

        Raises:
            StoreError: The store failed.
        """
        self._cache.clear(category=kwargs.get("category", self._category))

    def _report(self, error: Exception) -> None:
        self._cache.engine.faults.report("default", "integration", error)

    def _read(self, prompt: str, llm_string: str) -> Request | None:
        found = json_value(prompt)
        messages = None
        if isinstance(found, list) and found:
            messages = [_message_of(item) for item in found]
        if not messages or not all(messages):
            messages = [{"role": "user", "content": prompt, "of": "text"}]
        known = _known_of(llm_string)
        return read_messages(
            [message for message in messages if message],
            scope=self._scope,
            category=self._category,
            identity=llm_string,
            tools=_TOOLS.findall(llm_string) or None,
            **known,
        )


def _message_of(item: object) -> dict[str, Any] | None:
    """Return a serialised message in OpenAI's form; ``None`` when it is none."""
    kwargs = item.get("kwargs") if isinstance(item, dict) else None
    if not isinstance(kwargs, dict) or "content" not in kwargs:
        return None
    kind = str(kwargs.get("type", ""))
    found = {
        name: value
        for name, value in kwargs.items()
        if name not in _NOT_SENT and value not in ({}, [], None)
    }
    found.setdefault("content", kwargs["content"])
    return {**found, "role": kwargs.get("role") or _ROLES.get(kind, kind)}


def _known_of(llm_string: str) -> dict[str, Any]:
    """Return what is to be read of a model's description: its name, temperature and choices.

    It is JSON with a Python literal behind it, or such a literal alone.
    """
    given: dict[str, Any] = {}
    try:
        described, end = json.JSONDecoder().raw_decode(llm_string)
        given.update(described.get("kwargs") or {})
        rest = llm_string[end:].removeprefix("---")
    except (ValueError, AttributeError):
        rest = llm_string
    # Where not all of it is plain, it stays identity as it is.
    with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        given.update(dict(ast.literal_eval(rest)))
    temperature, n = given.get("temperature"), given.get("n")
    return {
        "model": str(given.get("model_name") or given.get("model") or ""),
        "temperature": temperature if isinstance(temperature, int | float) else None,
        "n": n if isinstance(n, int) else None,
    }


def _answer_of(generations: Sequence[Generation]) -> dict[str, Any] | None:
    """Return generations as they are kept, ``None`` when they are not whole or cannot be.

    The texts stand beside, in the form of a chat completion, for what learns from answers.
    """
    kept, choices = [], []
    for generation in generations:
        if not _is_whole(generation):
            return None
        written = json.loads(dumps(generation))
        kept.append(written)
        text = written["kwargs"].get("text", "")
        choices.append({"message": {"role": "assistant", "content": text}})
    if not kept or not _is_plain(kept):
        return None
    return {"choices": choices, "langchain": kept}


def _is_whole(generation: Generation) -> bool:
    message = getattr(generation, "message", None)
    told = {**(generation.generation_info or {}), **getattr(message, "response_metadata", {})}
    reason = told.get("finish_reason") or told.get("stop_reason") or told.get("done_reason")
    if reason not in _FINISHED:
        return False
    return bool(generation.text.strip() or getattr(message, "tool_calls", None))


def _is_plain(value: Any) -> bool:
    """Return whether nothing in a serialised value stands for what could not be serialised."""
    if isinstance(value, dict):
        lossy = "lc" in value and value.get("type") in ("not_implemented", "secret")
        return not lossy and all(map(_is_plain, value.values()))
    return not isinstance(value, list) or all(map(_is_plain, value))


def _revived(answer: object) -> list[Generation] | None:
    kept = answer.get("langchain") if isinstance(answer, dict) else None
    if not isinstance(kept, list) or not kept:
        return None
    found = load(kept, allowed_objects=_ALLOWED, secrets_from_env=False)
    return found if all(isinstance(each, Generation) for each in found) else None


def _provenance_of(generations: Sequence[Generation], asked: str) -> Provenance:
    message = getattr(generations[0], "message", None)
    usage = getattr(message, "usage_metadata", None) or {}
    return provenance(
        model=str(getattr(message, "response_metadata", {}).get("model_name") or ""),
        asked=asked,
        prompt_tokens=usage.get("input_tokens"),
        completion_tokens=usage.get("output_tokens"),
    )
