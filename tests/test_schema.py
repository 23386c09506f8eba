import msgspec
import pytest

from likewise import schema
from likewise.errors import ConfigError


class Inner(msgspec.Struct, kw_only=True):
    """A struct inside another."""

    size: int
    name: str = "x"


class Outer(msgspec.Struct, kw_only=True):
    """A struct with every kind of nesting."""

    inner: Inner | None = None
    one: Inner = msgspec.field(default_factory=lambda: Inner(size=1))
    many: list[Inner] = msgspec.field(default_factory=list)
    named: dict[str, Inner] = msgspec.field(default_factory=dict)
    share: float = 0.5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"shar": 1}, "here: unknown key 'shar'; did you mean 'share'?"),
        ({"one": {"sise": 1}}, "here.one: unknown key 'sise'; did you mean 'size'?"),
        ({"many": [{"size": 1}, {"nme": 1}]}, "here.many[1]: unknown key 'nme'"),
        ({"named": {"a": {"zzz": 1}}}, "here.named.a: unknown key 'zzz'; the keys here are: size"),
        ({"one": {}}, "here.one: the key 'size' is missing"),
        ({"one": {"size": "big"}}, "here.one.size: expected `int`"),
        ({"one": 5}, "here.one: expected a mapping of keys to values, got int"),
        ({"many": {"size": 1}}, "here.many: expected a list, got a mapping"),
        ({"named": ["a"]}, "here.named: expected a mapping of names to settings, got a list"),
        ([], "here: expected a mapping of keys to values, got a list"),
        ({1: 2}, "here: unknown key '1'"),
    ],
)
def test_an_error_names_place_and_remedy(data: object, message: str) -> None:
    """At every depth the path, the key and what would be right are in one line."""
    with pytest.raises(ConfigError) as caught:
        schema.read(Outer, data, "here")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_nothing_means_the_defaults() -> None:
    """An empty file, or an empty section, is all defaults."""
    assert schema.read(Outer, None, "here") == Outer()


def test_numbers_may_come_as_texts() -> None:
    """What an environment variable holds is a text, wherever a number is meant."""
    read = schema.read(Outer, {"share": "0.25", "one": {"size": "3"}}, "here")
    assert (read.share, read.one.size) == (0.25, 3)


def test_texts_stay_texts() -> None:
    """A text that looks like a number is not one where a text is meant."""
    assert schema.read(Inner, {"size": 1, "name": "5"}, "here").name == "5"


def test_variables_are_filled_in_at_every_depth() -> None:
    """Texts in mappings and lists take values and defaults; keys and numbers are left alone."""
    data = {"a": ["${ONE}-${TWO:-2}", 3], "${ONE}": {"b": "${EMPTY:-}"}}
    filled = schema.expand(data, "here", {"ONE": "1"})
    assert filled == {"a": ["1-2", 3], "${ONE}": {"b": ""}}


def test_a_value_is_not_filled_in_twice() -> None:
    """What a variable holds is taken as it is, even when it looks like a variable."""
    assert schema.expand("${A}", "here", {"A": "${B}", "B": "x"}) == "${B}"


def test_a_variable_that_is_not_set_is_named() -> None:
    """The message says where it is used and how to give it a default."""
    with pytest.raises(ConfigError) as caught:
        schema.expand({"a": [{"b": "${NOPE}"}]}, "here:", {})
    assert str(caught.value).startswith("here: a[0].b: the environment variable NOPE is not set")
    assert "${NOPE:-value}" in str(caught.value)
