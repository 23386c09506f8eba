from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from likewise.errors import ConfigError
from likewise.replay.trace import arrivals_of, gamma, poisson, read_trace


def line(t_s: object, tokens: int = 10) -> str:
    """A line of a trace."""
    row = {"t_s": t_s, "category_or_model": "x", "input_tokens": tokens, "output_tokens": tokens}
    return json.dumps(row)


def write(path: Path, *lines: str) -> Path:
    """Write lines, gzipped where the name says so."""
    data = "".join(f"{text}\n" for text in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["trace_a.jsonl.gz", "trace_a.jsonl"])
def test_a_trace_is_read_in_order_of_time(tmp_path: Path, name: str) -> None:
    """It begins at 0 whatever its clock, and rows keep their own tokens."""
    path = write(tmp_path / name, line(7.5, 3), "", line(5.0, 1), line(6.0, 2))
    found = read_trace(path)
    assert found.times_s.tolist() == [0.0, 1.0, 2.5]
    assert found.output_tokens.tolist() == found.input_tokens.tolist() == [1, 2, 3]


def test_a_short_trace_begins_anew() -> None:
    """Rounds follow each other at the mean gap; a shorter count takes the first ones."""
    whole = gamma(1.0, 1.0, 5, seed=1)
    longer = whole.first(12)
    gap = whole.times_s[-1] / 4
    assert longer.times_s[5] == pytest.approx(whole.times_s[-1] + gap)
    assert longer.times_s[10] - longer.times_s[5] == pytest.approx(longer.times_s[5])
    assert (np.diff(longer.times_s) >= 0).all()
    assert longer.output_tokens[5:10].tolist() == whole.output_tokens.tolist()
    assert whole.first(3).times_s.tolist() == whole.times_s[:3].tolist()


def test_time_is_compressed() -> None:
    """The same arrivals in a part of the time."""
    usual, fast = arrivals_of("poisson:2", count=50), arrivals_of("poisson:2", count=50, compress=4)
    assert fast.times_s == pytest.approx(usual.times_s / 4)
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="--compress"):
            usual.compressed(factor)


def test_generated_arrivals_have_the_rate_and_the_bursts_asked_for() -> None:
    """Mean gap and its variation are as asked, within what chance allows."""
    for made, cv in ((poisson(4.0, 40_000, seed=3), 1.0), (gamma(4.0, 3.0, 40_000, seed=3), 3.0)):
        gaps = np.diff(made.times_s)
        assert gaps.mean() == pytest.approx(0.25, rel=0.1)
        assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.1)
        assert made.output_tokens.min() >= 1


def test_equal_seeds_give_equal_arrivals() -> None:
    """And others others."""
    one, same, other = (arrivals_of("gamma:5:2", count=9, seed=seed) for seed in (1, 1, 2))
    assert one.times_s.tolist() == same.times_s.tolist()
    assert one.output_tokens.tolist() == same.output_tokens.tolist()
    assert one.times_s.tolist() != other.times_s.tolist()


@pytest.mark.parametrize(
    "spec", ["poisson:", "poisson:0", "poisson:x", "poisson:1:2", "gamma:1", "gamma:1:-2", "gamma:"]
)
def test_a_wrong_process_is_refused(spec: str) -> None:
    """The message says how it is written."""
    with pytest.raises(ConfigError, match=r"is not (poisson:RATE|gamma:RATE:CV)"):
        arrivals_of(spec)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "is empty"),
        ([line(0.0), "nonsense"], "t.jsonl.gz, line 2: not a JSON object with t_s"),
        ([line("soon")], "line 1"),
        (['{"t_s": 1}'], "line 1"),
        ([line(0.0, -1)], "line 1"),
    ],
)
def test_a_wrong_trace_is_refused(tmp_path: Path, lines: list[str], told: str) -> None:
    """The message names the file and the line."""
    with pytest.raises(ConfigError, match=told):
        read_trace(write(tmp_path / "t.jsonl.gz", *lines))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    """Not there, no gzip, cut off, damaged inside: one line each."""
    path = tmp_path / "t.jsonl.gz"
    with pytest.raises(ConfigError, match="cannot read"):
        read_trace(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(ConfigError, match="cannot read"):
        read_trace(path)
    whole = gzip.compress(many_lines())
    for data in (whole[: len(whole) // 2], whole[:60] + b"\xff" * 40 + whole[100:]):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"t\.jsonl\.gz"):
            read_trace(path)


def many_lines() -> bytes:
    """Lines that do not compress to nothing."""
    rng = np.random.default_rng(0)
    return "".join(f"{line(float(t))}\n" for t in rng.random(500)).encode()
