import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.durations import humanize, seconds
from likewise.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1.5h", 5400),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("250ms", 0.25),
        ("1h30m", 5400),
        (" 1h 30m ", 5400),
        ("5 M", 300),
        ("45", 45),
        ("0.5", 0.5),
        (45, 45),
        (0.25, 0.25),
    ],
)
def test_lengths_of_time_are_read(text: str | float, expected: float) -> None:
    """Every unit, sums of units and bare seconds are understood."""
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "bad",
    ["", "never", "2 fortnights", "-1s", "0", "0s", 0, -3, "nan", "inf", "1h x", "m", "1..5s"],
)
def test_what_is_no_length_of_time_is_refused(bad: str | float) -> None:
    """The message names the setting, shows the value and an example, in one line."""
    with pytest.raises(ConfigError) as caught:
        seconds(bad, what="categories.code.ttl")
    message = str(caught.value)
    assert message.startswith("categories.code.ttl: ")
    assert repr(bad) in message
    assert "30d" in message
    assert "\n" not in message


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text is a positive length of time or a ConfigError."""
    with contextlib.suppress(ConfigError):
        assert seconds(text) > 0


@pytest.mark.parametrize(
    ("value_s", "expected"),
    [
        (None, "never"),
        (0.0042, "4.2ms"),
        (1, "1s"),
        (90, "1.5m"),
        (5400, "1.5h"),
        (86400, "1d"),
        (604800, "7d"),
        (1234 * 86400, "1234d"),
        (30 * 86400, "30d"),
    ],
)
def test_lengths_of_time_are_shown_in_their_largest_unit(
    value_s: float | None, expected: str
) -> None:
    """What people read is short, and never in powers of ten."""
    assert humanize(value_s) == expected


@given(st.floats(min_value=0.001, max_value=1e9))
def test_what_is_shown_can_be_read_back(value_s: float) -> None:
    """A shown length of time parses, and is right to its three digits."""
    assert seconds(humanize(value_s)) == pytest.approx(value_s, rel=0.006)
