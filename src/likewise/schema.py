"""Reads plain data into typed structs, with errors that say where and offer the nearest key."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from likewise.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_HINTS = {
    "distance_threshold": "similarity_threshold (a cosine similarity: 1 - distance)",
    "threshold": "similarity_threshold",
}


def read(kind: type[T], data: object, where: str) -> T:
    """Return ``data`` as a struct of type ``kind``; ``where`` names its place in messages.

    Raises:
        ConfigError: A key is unknown, missing or of the wrong type.
    """
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        msg = f"{_end(where)} expected a mapping of keys to values, got {_type(data)}"
        raise ConfigError(msg)
    fields = _fields(kind)
    for key in data:
        if key not in fields:
            raise ConfigError(_unknown(str(key), list(fields), where))
    values = {
        key: _value(fields[key].type, value, f"{where}{_joint(where)}{key}")
        for key, value in data.items()
    }
    try:
        return kind(**{fields[key].name: value for key, value in values.items()})
    except TypeError as error:
        missing = [name for name, field in fields.items() if field.required and name not in values]
        problem = f"the key {missing[0]!r} is missing" if missing else str(error)
        msg = f"{_end(where)} {problem}"
        raise ConfigError(msg) from error


def expand(data: Any, where: str, environment: Mapping[str, str] = os.environ) -> Any:
    """Return ``data`` with every ``${NAME}`` and ``${NAME:-default}`` in its texts filled in.

    Raises:
        ConfigError: A variable without a default is not set.
    """
    if isinstance(data, dict):
        return {
            key: expand(value, f"{where}{_joint(where)}{key}", environment)
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [expand(value, f"{where}[{i}]", environment) for i, value in enumerate(data)]
    if not isinstance(data, str):
        return data

    def fill(match: re.Match[str]) -> str:
        name: str = match[1]
        default: str | None = match[2]
        value = environment.get(name, default)
        if value is None:
            msg = f"{where}: the environment variable {name} is not set; set it, or write a default"
            raise ConfigError(f"{msg} as ${{{name}:-value}}")
        return value

    return _VARIABLE.sub(fill, data)


@lru_cache(maxsize=256)
def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the fields of a struct by their names in data; finding them out takes long."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


_type_info = lru_cache(maxsize=256)(msgspec.inspect.type_info)


def _value(kind: Any, value: object, where: str) -> Any:
    info = _type_info(kind)
    match info:
        case msgspec.inspect.StructType(cls=cls):
            return read(cls, value, where)
        case msgspec.inspect.DictType(value_type=msgspec.inspect.StructType(cls=cls)):
            if not isinstance(value, Mapping):
                msg = f"{where}: expected a mapping of names to settings, got {_type(value)}"
                raise ConfigError(msg)
            return {str(k): read(cls, v, f"{where}.{k}") for k, v in value.items()}
        case msgspec.inspect.ListType(item_type=msgspec.inspect.StructType(cls=cls)):
            if not isinstance(value, list):
                msg = f"{where}: expected a list, got {_type(value)}"
                raise ConfigError(msg)
            return [read(cls, v, f"{where}[{i}]") for i, v in enumerate(value)]
        case msgspec.inspect.LiteralType(values=allowed) if value not in allowed:
            msg = f"{where}: {value!r} is not one of {', '.join(map(repr, allowed))}"
            raise ConfigError(msg)
    try:
        return _convert(value, kind)
    except msgspec.ValidationError as error:
        msg = f"{where}: {str(error)[:1].lower()}{str(error)[1:]}"
        raise ConfigError(msg) from error


def _convert(value: object, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        if not isinstance(value, str):
            raise
        # What an environment variable holds is always a text: "8700" is a number where one belongs.
        return msgspec.convert(value, kind, strict=False)


def _unknown(key: str, known: list[str], where: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if key in _HINTS:
        remedy = f"did you mean {_HINTS[key]}?"
    elif near:
        remedy = f"did you mean {near[0]!r}?"
    else:
        remedy = f"the keys here are: {', '.join(known)}"
    return f"{_end(where)} unknown key {key!r}; {remedy}"


def _joint(where: str) -> str:
    return " " if where.endswith(":") else "."


def _end(where: str) -> str:
    return where if where.endswith(":") else f"{where}:"


def _type(value: object) -> str:
    names = {"dict": "a mapping", "list": "a list", "str": "a text", "NoneType": "nothing"}
    return names.get(type(value).__name__, type(value).__name__)
