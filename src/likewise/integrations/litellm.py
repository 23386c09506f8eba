"""A cache for LiteLLM: ``litellm.cache = LikewiseCache(cache)``.

    import litellm
    from likewise import Cache
    from likewise.integrations.litellm import LikewiseCache

    litellm.cache = LikewiseCache(Cache())
    litellm.completion(model="gpt-4o", messages=[...])              # as ever
    litellm.completion(..., cache={"category": "code", "ttl": 60})  # with a word to the cache

It is a ``litellm.Cache``, not a ``BaseCache`` below one: LiteLLM hands a ``BaseCache`` a digest of
the whole call, of which nothing near can be found.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from likewise.cache import Cache
from likewise.gateway.wire.completion import is_well_formed, why_not_keep
from likewise.integrations import missing
from likewise.integrations.asking import checked, json_value, provenance, read_messages
from likewise.policy import Hit
from likewise.request import Request
from likewise.scope import Scope, digest_of

try:
    from litellm.caching.caching import Cache as LiteLLMCache
except ImportError as error:
    raise missing("litellm", "litellm") from error

_CALL_TYPES: Any = ("completion", "acompletion")

_NOT_IDENTITY = frozenset(
    {
        "acompletion",
        "api_key",
        "cache",
        "cache_key",
        "caching",
        "call_type",
        "client",
        "completion_call_id",
        "cooldown_time",
        "fallbacks",
        "id",
        "logger_fn",
        "max_retries",
        "messages",
        "metadata",
        "model_info",
        "num_retries",
        "original_function",
        "parent_otel_span",
        "proxy_server_request",
        "request_timeout",
        "retry_policy",
        "safety_identifier",
        "shared_session",
        "stream",
        "stream_options",
        "timeout",
        "ttl",
        "user",
        "verbose",
    }
)
"""What does not change the answer, is part of the scope elsewhere, or differs from call to call;
and so is whatever begins with ``litellm_``."""

_WHO = ("user_api_key", "user_api_key_team_id", "user_api_key_org_id")
"""Where LiteLLM's proxy says whose call it is."""


class LikewiseCache(LiteLLMCache):
    """A ``litellm.Cache`` over a ``Cache``, for ``completion`` and ``acompletion``.

    Streaming or not is the same answer. All arguments of a call but those that cannot change the
    answer are its scope; the tenant is its ``api_key`` and whoever LiteLLM's proxy says that calls.
    What a call says in ``cache={...}`` is obeyed as the gateway does. A fault of the cache is a
    miss.

    Args:
        cache: Stays open; it may be shared with others.
        category: The kind of question; without one, rules and examples decide.
        scope: What must be equal beside everything else.

    Raises:
        ConfigError: The category is no name of one.
    """

    def __init__(
        self, cache: Cache, *, category: str | None = None, scope: Scope | None = None
    ) -> None:
        super().__init__(supported_call_types=list(_CALL_TYPES))
        self._likewise = cache
        self._category = checked(category)
        self._scope = scope or Scope()

    def get_cache(self, dynamic_cache_object: object = None, **kwargs: Any) -> Any:
        """Return the answer of an earlier call that this one may reuse, or ``None``."""
        try:
            request = self._read(kwargs)
            decision = None if request is None else self._likewise.lookup(request)
            if isinstance(decision, Hit) and is_well_formed(decision.answer):
                return decision.answer
        except Exception as error:
            self._report(error)
        return None

    async def async_get_cache(self, dynamic_cache_object: object = None, **kwargs: Any) -> Any:
        """See ``get_cache``."""
        return await asyncio.to_thread(self.get_cache, None, **kwargs)

    def add_cache(self, result: Any, **kwargs: Any) -> None:
        """Keep the answer of a call, if it is whole."""
        try:
            request = self._read(kwargs)
            answer = _plain(result)
            if request is None or answer is None or why_not_keep(answer):
                return
            usage = answer.get("usage") or {}
            found = provenance(
                model=str(answer.get("model") or ""),
                asked=request.scope.model,
                prompt_tokens=usage.get("prompt_tokens"),
                completion_tokens=usage.get("completion_tokens"),
            )
            self._likewise.try_keep(request, answer, provenance=found)
        except Exception as error:
            self._report(error)

    async def async_add_cache(
        self, result: Any, dynamic_cache_object: object = None, **kwargs: Any
    ) -> None:
        """See ``add_cache``."""
        await asyncio.to_thread(self.add_cache, result, **kwargs)

    def _report(self, error: Exception) -> None:
        self._likewise.engine.faults.report("default", "integration", error)

    def _read(self, kwargs: dict[str, Any]) -> Request | None:
        """Return what a call asks; ``None`` of one that is not to be cached."""
        messages = [_plain(message) for message in kwargs.get("messages") or []]
        wanted: bool = self.should_use_cache(**kwargs)  # type: ignore[no-untyped-call]
        if not messages or None in messages or not wanted:
            return None
        identity: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name in _NOT_IDENTITY or name.startswith("litellm_") or value is None:
                continue
            try:
                identity[name] = msgspec.json.decode(msgspec.json.encode(_schema_of(value)))
            except (TypeError, ValueError, RecursionError):
                return None  # what it is cannot be told, so neither whether another is equal
        controls = dict(kwargs.get("cache") or {})
        if "s-max-age" in controls:
            controls["s-maxage"] = controls.pop("s-max-age")
        temperature, n = identity.get("temperature"), identity.get("n")
        return read_messages(
            [message for message in messages if message is not None],
            scope=self._within(kwargs),
            category=self._category,
            identity=identity,
            controls=controls,
            model=str(kwargs.get("model") or ""),
            temperature=temperature if isinstance(temperature, int | float) else None,
            n=n if isinstance(n, int) else None,
            tools=identity.get("tools"),
            functions=identity.get("functions"),
        )

    def _within(self, kwargs: dict[str, Any]) -> Scope:
        """Return the scope given, for whom a call is made."""
        inner = kwargs.get("litellm_params") or {}
        sources = [
            source.get(name) or {}
            for source in (kwargs, inner)
            for name in ("metadata", "litellm_metadata")
        ]
        who = [kwargs.get("api_key"), *(s.get(name) for name in _WHO for s in sources)]
        if not any(who):
            return self._scope
        own = self._scope
        tenant = digest_of("tenant", own.tenant, *(str(part or "") for part in who)).hex()
        return Scope(tenant, own.namespace, own.model, own.context, own.tools, own.parameters)


def _plain(value: Any) -> dict[str, Any] | None:
    """Return a message or an answer, which may be JSON already, as a dictionary of JSON values."""
    if hasattr(value, "model_dump_json"):
        value = value.model_dump_json(exclude_unset=True)
    if isinstance(value, str):
        value = json_value(value)
    return value if isinstance(value, dict) else None


def _schema_of(value: Any) -> Any:
    """Return what stands for a value in JSON: of a class of answers its schema."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return value
