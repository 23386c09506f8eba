from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from .targets import TARGETS

CASES = int(os.environ.get("LIKEWISE_FUZZ_CASES", "60"))
SMALL, LARGE = 2_000, 16_000
"""Bytes of two inputs; of eight times as many, linear reading takes eight times as long."""

MOST = 28.0
"""Between eight and sixty-four, on the side of the first: the machine may be busy."""


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """Return a seed with some places changed, cut out, doubled or set in from elsewhere."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 1, 2, 8, 40)))
        match chance.randrange(5):
            case 0:
                data[at:to] = chance.randbytes(to - at)
            case 1:
                del data[at:to]
            case 2:
                data[at:at] = data[at:to] * chance.choice((1, 3, 50))
            case 3:
                data[at:at] = chance.choice(
                    (b"null", b"1e999", b"\xff", b"\0", b"\xed\xa0\x80", b'"', b"[" * 2000, b"-1")
                )
            case _:
                data[at:to] = chance.choice((b"{}", b"[]", b'"a"', b"9" * 30, b"true", b""))
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_our_errors(name: str) -> None:
    """Whatever bytes are read, the reader returns or raises what it promises."""
    target = TARGETS[name]
    seeds = target.seeds or (b"",)

    @settings(
        max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.binary(max_size=300))
    @example(data=b"")
    def anything(data: bytes) -> None:
        target.run(data)

    @settings(
        max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(which=st.integers(0, len(seeds) - 1), number=st.integers(0, 2**32))
    def nearly(which: int, number: int) -> None:
        target.run(mutated(seeds[which], random.Random(number)))  # noqa: S311 - no secret

    for seed in seeds:
        target.run(seed)
    anything()
    nearly()


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, n) for name, target in TARGETS.items() for n in range(len(target.grows))],
)
def test_time_grows_as_the_input_does(name: str, number: int) -> None:
    """Eight times the bytes take about eight times as long: nothing is quadratic."""
    target = TARGETS[name]
    grow = target.grows[number]
    small, large = _seconds(target.run, grow(SMALL)), _seconds(target.run, grow(LARGE))
    # What takes less than this for the large one is no attack, and cannot be compared.
    assert large / max(small, 0.002) < MOST, f"{large / small:.0f} times as long"


BAD_UTF8 = b'{"a": "\xff"}'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("stream", b'data: {"usage":1,"a":"\xff"}\n\ndata: [DONE]'),
        ("overrides", BAD_UTF8),
        ("jsonl", BAD_UTF8),
        ("changes", BAD_UTF8),
        ("packing", b"\x9f\xa2\xff\xff"),
        ("config", b"a: &a [*a]"),
        ("litellm", b"{[]}"),
        ("feed", b'["\xff"]'),
    ],
)
def test_what_was_found_once(name: str, data: bytes) -> None:
    """Bytes that are no UTF-8 and a list that holds itself once got through; see the changelog."""
    TARGETS[name].run(data)


def _seconds(run: Callable[[bytes], None], data: bytes) -> float:
    """Return the least time of the processor that reading takes."""
    found = []
    gc.disable()
    try:
        for _ in range(3):
            start = time.process_time()
            run(data)
            found.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(found)
