"""A cache for LlamaIndex: ``CachedLLM(llm, cache)``, an ``LLM`` around any other.

    from llama_index.core import Settings
    from likewise import Cache
    from likewise.integrations.llamaindex import CachedLLM

    Settings.llm = CachedLLM(llm, Cache())

The last user message is the question; earlier messages, the model with all of its settings and the
arguments of the call are its scope.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from likewise.cache import Cache
from likewise.integrations import missing
from likewise.integrations.asking import checked, provenance, read_messages
from likewise.policy import Hit
from likewise.request import Request
from likewise.scope import Scope

try:
    from llama_index.core.base.llms.types import (
        ChatMessage,
        ChatResponse,
        CompletionResponse,
        LLMMetadata,
    )
    from llama_index.core.llms.llm import LLM
    from pydantic import Field, PrivateAttr
except ImportError as error:
    raise missing("llama-index-core", "llamaindex") from error

R = TypeVar("R", ChatResponse, CompletionResponse)

_SHARED = (
    "callback_manager",
    "system_prompt",
    "messages_to_prompt",
    "completion_to_prompt",
    "output_parser",
    "pydantic_program_mode",
    "query_wrapper_prompt",
)
"""What LlamaIndex asks of an ``LLM`` itself, taken from the one inside."""

_CUT = frozenset({"length", "max_tokens", "content_filter", "error", "SAFETY", "MAX_TOKENS"})
"""Reasons to end that leave an answer not whole."""

_PIECE = re.compile(r"\S*\s*\S*\s*\S*\s*", re.DOTALL)
"""A stored text is replayed about three words at a time."""


class CachedLLM(LLM):
    """An ``LLM`` that answers from a ``Cache``, and asks another ``LLM`` what that cannot answer.

    Chat and completion, streaming or not, waiting or not: a stream is kept when it is whole, and
    either form is served from the other. A hit causes no event of a model's call. ``raw`` of a hit
    is what it was, as plain JSON. Tools are offered to no model through it: what asks for a model
    that calls functions sees none, and is to be given the inner one.

    Args:
        llm: Whom to ask.
        cache: Stays open; it may be shared with others.
        category: The kind of question; without one, rules and examples decide.
        scope: What must be equal beside everything else; it is the place for a tenant.
        identity: What tells the model's settings from others', in place of the settings: for a
            model that has some which cannot be written down.

    Raises:
        ConfigError: The category is no name of one.
    """

    llm: LLM = Field(description="The model that is asked.")
    _cache: Cache = PrivateAttr()
    _category: str | None = PrivateAttr()
    _scope: Scope = PrivateAttr()
    _identity: str | None = PrivateAttr()

    def __init__(
        self,
        llm: LLM,
        cache: Cache,
        *,
        category: str | None = None,
        scope: Scope | None = None,
        identity: str | None = None,
    ) -> None:
        super().__init__(**{"llm": llm, **{name: getattr(llm, name) for name in _SHARED}})
        self._cache = cache
        self._category = checked(category)
        self._scope = scope or Scope()
        self._identity = identity

    @classmethod
    def class_name(cls) -> str:
        """Return the name LlamaIndex knows it by."""
        return "likewise_cached_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """What the inner model says of itself, but that it does not call functions."""
        return self.llm.metadata.model_copy(update={"is_function_calling_model": False})

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the model's or a kept response."""
        request = self._of_chat(messages, kwargs)
        return self._answered(request, ChatResponse, lambda: self.llm.chat(messages, **kwargs))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Return the model's or a kept response."""
        request = self._of_text(prompt, formatted, kwargs)
        return self._answered(
            request, CompletionResponse, lambda: self.llm.complete(prompt, formatted, **kwargs)
        )

    def stream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Any:  # a generator, as LlamaIndex has it
        """Yield the model's or a kept response, piece by piece."""
        request = self._of_chat(messages, kwargs)
        return self._streamed(
            request, ChatResponse, lambda: self.llm.stream_chat(messages, **kwargs)
        )

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Yield the model's or a kept response, piece by piece."""
        request = self._of_text(prompt, formatted, kwargs)
        return self._streamed(
            request,
            CompletionResponse,
            lambda: self.llm.stream_complete(prompt, formatted, **kwargs),
        )

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """See ``chat``."""
        request = self._of_chat(messages, kwargs)
        kept = await asyncio.to_thread(self._kept, request, ChatResponse)
        if kept is not None:
            return kept
        began = time.perf_counter()
        response = await self.llm.achat(messages, **kwargs)
        await asyncio.to_thread(self._keep, request, response, began, _reason_of(response))
        return response

    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """See ``complete``."""
        request = self._of_text(prompt, formatted, kwargs)
        kept = await asyncio.to_thread(self._kept, request, CompletionResponse)
        if kept is not None:
            return kept
        began = time.perf_counter()
        response = await self.llm.acomplete(prompt, formatted, **kwargs)
        await asyncio.to_thread(self._keep, request, response, began, _reason_of(response))
        return response

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        """See ``stream_chat``."""
        request = self._of_chat(messages, kwargs)
        kept = await asyncio.to_thread(self._kept, request, ChatResponse)
        if kept is not None:
            return _awaited(_pieces_of(kept))
        began = time.perf_counter()
        stream = await self.llm.astream_chat(messages, **kwargs)
        return self._relayed(request, stream, began)

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """See ``stream_complete``."""
        request = self._of_text(prompt, formatted, kwargs)
        kept = await asyncio.to_thread(self._kept, request, CompletionResponse)
        if kept is not None:
            return _awaited(_pieces_of(kept))
        began = time.perf_counter()
        stream = await self.llm.astream_complete(prompt, formatted, **kwargs)
        return self._relayed(request, stream, began)

    def _answered(self, request: Request | None, kind: type[R], compute: Callable[[], R]) -> R:
        kept = self._kept(request, kind)
        if kept is not None:
            return kept
        began = time.perf_counter()
        response = compute()
        self._keep(request, response, began, _reason_of(response))
        return response

    def _streamed(
        self, request: Request | None, kind: type[R], compute: Callable[[], Iterator[R]]
    ) -> Iterator[R]:
        kept = self._kept(request, kind)
        if kept is not None:
            yield from _pieces_of(kept)
            return
        began = time.perf_counter()
        last, reason = None, None
        for piece in compute():
            last, reason = piece, _reason_of(piece) or reason
            yield piece
        if last is not None:
            self._keep(request, last, began, reason)

    async def _relayed(
        self, request: Request | None, stream: AsyncIterator[R], began: float
    ) -> AsyncIterator[R]:
        last, reason = None, None
        async for piece in stream:
            last, reason = piece, _reason_of(piece) or reason
            yield piece
        if last is not None:
            await asyncio.to_thread(self._keep, request, last, began, reason)

    def _kept(self, request: Request | None, kind: type[R]) -> R | None:
        """Return a response that may be reused."""
        try:
            decision = None if request is None else self._cache.lookup(request)
            if not isinstance(decision, Hit):
                return None
            return kind.model_validate(decision.answer["llamaindex"])
        except Exception as error:
            self._report(error)
            return None

    def _keep(self, request: Request | None, response: R, began: float, reason: str | None) -> None:
        """Keep a response, if it is whole."""
        if request is None or reason in _CUT:
            return
        try:
            text = _text_of(response)
            # Nothing is kept that cannot be written down, and read again as what it was.
            written = response.model_dump(mode="json", exclude={"delta", "logprobs"})
            if not text.strip() and not _calls_tools(response):
                return
            choices = [{"message": {"role": "assistant", "content": text}}]
            usage = (written.get("raw") or {}).get("usage") or {}
            found = provenance(
                model=self.metadata.model_name,
                asked=self.metadata.model_name,
                prompt_tokens=usage.get("prompt_tokens"),
                completion_tokens=usage.get("completion_tokens"),
                latency_s=time.perf_counter() - began,
            )
            answer = {"choices": choices, "llamaindex": written}
            self._cache.try_keep(request, answer, provenance=found)
        except Exception as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        self._cache.engine.faults.report("default", "integration", error)

    def _of_chat(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Request | None:
        return self._read(lambda: [_message_of(message) for message in messages], kwargs)

    def _of_text(self, prompt: str, formatted: bool, kwargs: dict[str, Any]) -> Request | None:
        how = {"role": "user", "of": "text", "formatted": formatted}
        return self._read(lambda: [{**how, "content": prompt}], kwargs)

    def _read(
        self, messages: Callable[[], list[dict[str, Any]]], kwargs: dict[str, Any]
    ) -> Request | None:
        """Return what is asked; ``None`` of what cannot be told apart from all else."""
        try:
            settings: object = self._identity
            if settings is None:
                settings = self.llm.model_dump(mode="json", fallback=_named)
            temperature = kwargs.get("temperature", getattr(self.llm, "temperature", None))
            return read_messages(
                messages(),
                scope=self._scope,
                category=self._category,
                identity=[self.llm.class_name(), settings, msgspec.to_builtins(kwargs)],
                model=self.llm.metadata.model_name,
                temperature=temperature if isinstance(temperature, int | float) else None,
                tools=kwargs.get("tools"),
            )
        except Exception as error:
            self._report(error)
            return None


def _named(value: Any) -> str:
    """Return what tells a function apart, of a setting that is one.

    Raises:
        TypeError: It is something else.
    """
    name = getattr(value, "__qualname__", None)
    if name is None:
        msg = f"a setting of type {type(value).__name__} cannot be told apart; give an identity"
        raise TypeError(msg)
    return f"{value.__module__}.{name}"


def _message_of(message: ChatMessage) -> dict[str, Any]:
    """Return a message in OpenAI's form."""
    plain = message.model_dump(mode="json")
    blocks: list[dict[str, Any]] = plain.pop("blocks")
    if all(set(block) == {"block_type", "text"} for block in blocks):
        content: Any = "\n".join(block["text"] for block in blocks)
    else:
        content = blocks
    more = {name: value for name, value in plain["additional_kwargs"].items() if value is not None}
    return {**more, "role": plain["role"], "content": content}


def _text_of(response: ChatResponse | CompletionResponse) -> str:
    if isinstance(response, ChatResponse):
        return response.message.content or ""
    return response.text


def _calls_tools(response: ChatResponse | CompletionResponse) -> bool:
    if not isinstance(response, ChatResponse):
        return False
    message = response.message
    blocks = any(getattr(block, "block_type", "") == "tool_call" for block in message.blocks)
    return blocks or bool(message.additional_kwargs.get("tool_calls"))


def _reason_of(response: ChatResponse | CompletionResponse) -> str | None:
    """Return why the model ended, where its own answer says so in one of the usual places."""
    raw = response.raw
    choices = _field(raw, "choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    for holder in (first, raw):
        for name in ("finish_reason", "stop_reason", "done_reason"):
            if isinstance(reason := _field(holder, name), str):
                return reason
    return None


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)


def _pieces_of(response: R) -> Iterator[R]:
    """Yield a whole response as a stream has it: each piece with all that was said before it."""
    text = _text_of(response)
    said = ""
    for piece in _PIECE.findall(text):
        said += piece
        if not piece or said == text:
            break
        if isinstance(response, ChatResponse):
            message = ChatMessage(role=response.message.role, content=said)
            yield response.model_copy(update={"message": message, "delta": piece, "raw": None})
        else:
            yield response.model_copy(update={"text": said, "delta": piece, "raw": None})
    yield response.model_copy(update={"delta": text[len(said) - len(piece) :] if text else ""})


async def _awaited(pieces: Iterator[R]) -> AsyncIterator[R]:
    for piece in pieces:
        yield piece
