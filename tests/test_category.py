import math
from typing import Any

import pytest

from likewise import Category
from likewise.category import TAXONOMY, check_name
from likewise.errors import ConfigError


@pytest.mark.parametrize("name", ["a", "tech_support", "a.b-c", "0", "x" * 64])
def test_good_names_are_taken(name: str) -> None:
    """Lower case letters, digits, ``_``, ``.`` and ``-``, up to 64 characters."""
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a b", "é", "-a", ".a", "x" * 65, "a\n", "a/b", 5, None])
def test_bad_names_are_refused(name: Any) -> None:
    """A name that could break a header, a label or a path is refused in one line."""
    with pytest.raises(ConfigError, match="category name") as caught:
        check_name(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"similarity_threshold": 1.01}, "similarity_threshold"),
        ({"similarity_threshold": -0.1}, "similarity_threshold"),
        ({"similarity_threshold": math.nan}, "similarity_threshold"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": math.inf}, "ttl"),
        ({"quota": 0}, "quota"),
        ({"quota": "many"}, "not an amount of bytes"),
        ({"quota": -1}, "quota"),
        ({"quota": 1.5}, "quota"),
        ({"quota": math.nan}, "quota"),
        ({"quota": math.inf}, "quota"),
        ({"guards": ("numbrs",)}, "numbrs"),
        ({"max_turns": 0}, "max_turns"),
        ({"max_temperature": -0.5}, "max_temperature"),
        ({"max_temperature": math.nan}, "max_temperature"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], named: str) -> None:
    """The message names the category and the value at fault."""
    with pytest.raises(ConfigError, match=named) as caught:
        Category("code", **values)
    assert "'code'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ttl", "ttl_s"), [("2m", 120), (120, 120), ("never", None), (" Never ", None), (None, None)]
)
def test_a_ttl_is_seconds_text_or_never(ttl: Any, ttl_s: float | None) -> None:
    """However a ttl is written, ``ttl_s`` is seconds or ``None``."""
    assert Category("a", ttl=ttl).ttl_s == ttl_s


@pytest.mark.parametrize(
    ("quota", "entries"),
    [(None, None), (0.3, 300), (1.0, 1000), (1, 1), (50, 50), (50.0, 50), ("64MB", None)],
)
def test_a_quota_is_a_share_or_a_number(quota: float | None, entries: float | None) -> None:
    """A fraction up to 1.0 is a share, a whole number is entries, a text is bytes."""
    assert Category("a", quota=quota).guaranteed_entries(1000) == entries


@pytest.mark.parametrize(
    ("quota", "size"), [(None, None), (0.25, 250.0), (50, None), ("64KB", 64_000.0)]
)
def test_a_quota_guarantees_bytes(quota: float | str | None, size: float | None) -> None:
    """A share is one of bytes, too; a number of entries says nothing of them."""
    assert Category("a", quota=quota).guaranteed_bytes(1000) == size


def test_renaming_changes_the_name_only() -> None:
    """A renamed category keeps every value."""
    base = Category("a", similarity_threshold=0.97, ttl="2m", quota=0.5, guards=(), epoch=3)
    other = base.renamed("b")
    assert other.name == "b"
    assert other.renamed("a") == base


def test_the_taxonomy_has_the_kinds_the_documentation_promises() -> None:
    """Every promised category is there, by its own name, and none is laxer than 0.9."""
    promised = {
        "code", "sql", "math", "general", "chat", "creative", "medical", "legal", "finance",
        "prices", "news", "tech_support", "customer_faq", "translation", "personal",
    }  # fmt: skip
    assert set(TAXONOMY) == promised
    assert all(name == category.name for name, category in TAXONOMY.items())
    assert all(c.similarity_threshold >= 0.9 for c in TAXONOMY.values())


def test_what_is_stale_in_minutes_lives_for_minutes() -> None:
    """Prices and news expire in minutes; nothing personal is ever kept."""
    assert (TAXONOMY["prices"].ttl_s or math.inf) <= 300
    assert (TAXONOMY["news"].ttl_s or math.inf) <= 900
    assert not TAXONOMY["personal"].cacheable
    assert TAXONOMY["creative"].exact_only
