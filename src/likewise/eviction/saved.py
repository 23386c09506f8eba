"""What a policy knows, as plain values that can be written down and read again."""

from __future__ import annotations

from array import array
from typing import Any

from likewise.eviction.base import Columns, Eviction, Heap, Queue
from likewise.eviction.frequency import Ranked
from likewise.eviction.queues import Ghosts
from likewise.slots import Slots

_PARTS = (Columns, Eviction, Ghosts, Heap, Queue, Ranked, Slots)


def kind_of(policy: Eviction) -> str:
    """Return what a policy is: only one of the same kind understands what it knows."""
    inner = getattr(policy, "_inner", None)
    name = type(policy).__name__
    return name if inner is None else f"{name}({kind_of(inner)})"


def saved(policy: Eviction) -> dict[str, Any]:
    """Return what a policy knows: numbers, bytes, and dictionaries of these."""
    return _saved(policy, {id(column) for column, _ in policy.columns.all})


def restore(policy: Eviction, known: dict[str, Any]) -> None:
    """Let a new policy know what another of its kind has known.

    Raises:
        ValueError: It is not that.
        KeyError: The same.
    """
    _restore(policy, known, {id(column) for column, _ in policy.columns.all})
    if {len(column) for column, _ in policy.columns.all} != {policy.columns.rows}:
        msg = "its columns are not of one length"
        raise ValueError(msg)


def _saved(part: Any, columns: set[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in vars(part).items():
        match value:
            case int() | float():
                found[name] = value
            case array() if id(value) not in columns:
                found[name] = value.tobytes()
            case dict():
                found[name] = list(value.items())
            case _ if isinstance(value, _PARTS):
                found[name] = _saved(value, columns)
    if isinstance(part, Columns):
        found["all"] = [column.tobytes() for column, _ in part.all]
    return found


def _restore(part: Any, known: dict[str, Any], columns: set[int]) -> None:
    for name, value in vars(part).items():
        match value:
            case int() | float():
                setattr(part, name, type(value)(known[name]))
            case array() if id(value) not in columns:
                _fill(value, known[name])
            case dict():
                setattr(part, name, dict(known[name]))
            case _ if isinstance(value, _PARTS):
                _restore(value, known[name], columns)
    if isinstance(part, Columns):
        for (column, _), data in zip(part.all, known["all"], strict=True):
            _fill(column, data)


def _fill(column: array[Any], data: bytes) -> None:
    # In place: others refer to it.
    del column[:]
    column.frombytes(data)
