"""Calls of a function as requests: which argument is the question, and what else is identity."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from likewise.category import check_name
from likewise.errors import ConfigError
from likewise.scope import Scope

_encode = msgspec.json.Encoder(order="sorted").encode

_GENERATORS = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class CallReader:
    """Reads calls of one function.

    Args:
        function: Whose calls are read.
        awaited: Whether it is to be a coroutine function.
        question: The parameter that is the question; without one the first.
        ignore: Parameters that do not change the answer, such as a client or a request's number.
        category: Checked here, so that a wrong one is told at once.
        scope: What must be equal beside the other arguments.

    Raises:
        ConfigError: It is no function that can be cached, or has no such parameter.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        awaited: bool,
        question: str | None,
        ignore: Sequence[str],
        category: str | None,
        scope: Scope | None,
    ) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        if any(is_generator(function) for is_generator in _GENERATORS):
            raise ConfigError(f"{self._name} is a generator; cache a function that returns")
        if inspect.iscoroutinefunction(function) is not awaited:
            door = "Cache" if awaited else "AsyncCache"
            kind = "a plain function" if awaited else "a coroutine function"
            raise ConfigError(f"{self._name} is {kind}; take {door}.cached for it")
        self._signature = inspect.signature(function)
        named = [question] if question else list(self._signature.parameters)[:1]
        unknown = {*named, *ignore} - set(self._signature.parameters)
        if unknown or not named:
            what = ", ".join(sorted(unknown)) or "that is the question"
            raise ConfigError(f"{self._name} has no parameter {what}")
        self._question, self._ignored = named[0], frozenset(ignore)
        self._scope = scope or Scope()
        if category is not None:
            check_name(category)

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Scope]:
        """Return the question of a call, and the scope that its other arguments make.

        Raises:
            ConfigError: The question is no text, or another argument is no JSON value.
            TypeError: The arguments do not fit the function.
        """
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {n: v for n, v in bound.arguments.items() if n not in self._ignored}
        question = given.pop(self._question)
        if not isinstance(question, str):
            kind = type(question).__name__
            raise ConfigError(f"{self._name}: {self._question}: expected a text, got {kind}")
        for name, value in given.items():
            if not _is_json(value):
                msg = (
                    f"{self._name}: {name} is {type(value).__name__}, no JSON value; "
                    "ignore it if the answer does not depend on it"
                )
                raise ConfigError(msg)
        parts = [self._name, self._scope.parameters, given]
        return question, replace(self._scope, parameters=_encode(parts).decode())


def _is_json(value: object) -> bool:
    """Return whether no different value has the same JSON; a tuple counts as a list."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_json(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return value - value == 0.0  # JSON has neither infinity nor what is no number
    return value is None or type(value) in (str, int, bool)
