from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

import likewise
from likewise import AsyncCache, Bypass, Cache, Category, Entry, Hit, LikewiseError, Miss, Scope
from likewise import errors as error_module

CHECK = "category scope similarity_threshold max_age"
SIGNATURES = {
    "check": f"question * {CHECK}",
    "store": "question answer * category scope ttl sources provenance",
    "answer": "question compute * category scope",
    "feedback": "entry_id * correct question",
    "drop": "entry_id",
    "clear": "* category scope tenant",
    "explain": "question * category scope",
    "stats": "",
    "close": "",
    "open": "config * embedder progress judge aside",
}
OPENING = (
    "* store embedder categories rules classifier examples max_entries max_bytes clock progress "
    "learning judge index snapshots"
)
NOT_AWAITED = {"stats", "open"}


def shape(function: Any) -> str:
    """A function's parameters, with ``*`` before those that are by keyword only."""
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        if parameter.name != "self":
            names.append(parameter.name)
    return " ".join(names)


def test_the_public_names_are_exactly_these() -> None:
    """Adding or losing one is a decision, not an accident."""
    assert likewise.__all__ == [
        "AsyncCache", "Bypass", "Cache", "Category", "Entry", "Hit", "LikewiseError", "Miss",
        "Scope",
    ]  # fmt: skip
    assert all(hasattr(likewise, name) for name in likewise.__all__)
    assert likewise.__version__


@pytest.mark.parametrize("door", [Cache, AsyncCache])
def test_signatures_are_pinned(door: type) -> None:
    """Names, order and what must be given by keyword."""
    assert {name: shape(getattr(door, name)) for name in SIGNATURES} == SIGNATURES
    assert shape(door) == OPENING


def test_both_doors_have_the_same_methods() -> None:
    """The asynchronous one awaits all but what never waits, with the same parameters."""
    for name in SIGNATURES:
        awaited = inspect.iscoroutinefunction(getattr(AsyncCache, name))
        assert awaited is (name not in NOT_AWAITED)
        assert not inspect.iscoroutinefunction(getattr(Cache, name))
        for parameter in inspect.signature(getattr(Cache, name)).parameters.values():
            twin = inspect.signature(getattr(AsyncCache, name)).parameters[parameter.name]
            assert (twin.kind, twin.default) == (parameter.kind, parameter.default)
    for door, enter in ((Cache, "__enter__"), (AsyncCache, "__aenter__")):
        assert hasattr(door, enter)


def test_no_default_is_an_object_that_is_shared() -> None:
    """Defaults are plain values: no cache, list or dictionary made at import."""
    for door in (Cache, AsyncCache):
        for function in [door, *(getattr(door, name) for name in SIGNATURES)]:
            for parameter in inspect.signature(function).parameters.values():
                if parameter.default is not inspect.Parameter.empty and not callable(
                    parameter.default
                ):
                    assert isinstance(parameter.default, str | int | tuple | bool | None)


def test_a_hit_tells_what_the_documentation_promises() -> None:
    """Answer, similarity, entry, category, age and reason."""
    promised = {"answer", "similarity", "entry_id", "category", "age_s", "reason"}
    assert promised <= {field.name for field in fields(Hit)}
    assert {"category", "reason", "similarity"} <= {field.name for field in fields(Miss)}
    assert {"category", "reason"} <= {field.name for field in fields(Bypass)}


@pytest.mark.parametrize("value", [Category("a"), Scope(), Entry("a", b"", "a", "", None, 0, None)])
def test_values_cannot_be_changed(value: Any) -> None:
    """A policy, a scope or an entry in use stays what it is."""
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        value.tenant = "other"
    with pytest.raises((AttributeError, TypeError)):
        value.surely_no_field = 1


def test_every_error_is_of_one_family_and_has_its_own_exit_code() -> None:
    """``except LikewiseError`` is enough, and none ends a program with success."""
    found = [
        kind
        for kind in vars(error_module).values()
        if inspect.isclass(kind) and issubclass(kind, Exception)
    ]
    assert len(found) >= 9
    for kind in found:
        assert issubclass(kind, LikewiseError)
        assert kind.exit_code != 0
        assert kind.__name__ in (error_module.__doc__ or "")


def test_every_public_method_says_what_it_does() -> None:
    """No public name without a docstring."""
    for name in likewise.__all__:
        thing = getattr(likewise, name)
        assert inspect.getdoc(thing)
        for attribute, member in vars(thing).items():
            if callable(member) and not attribute.startswith("_"):
                assert inspect.getdoc(member), f"{name}.{attribute}"
