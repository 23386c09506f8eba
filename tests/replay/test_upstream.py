from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
import pytest

from likewise.errors import ConfigError
from likewise.replay import Upstream, fit
from likewise.replay.log import LogLine
from likewise.service_time import ServiceTime


def logged(
    law: ServiceTime, rate: float, *, count: int = 3_000, seed: int = 0, first: bool = True
) -> list[LogLine]:
    """Return what a gateway would log of Poisson calls to a model with this law."""
    rng = np.random.default_rng(seed)
    heap: list[tuple[float, int, int]] = []
    now, under_way, order = 0.0, 0, 0
    begun, flying, firsts = [0.0] * count, [0] * count, [0.0] * count
    lines: list[LogLine] = []
    tokens = rng.integers(5, 300, size=count).tolist()

    def started(call: int, first_s: float, whole_s: float) -> None:
        nonlocal order
        order += 1
        firsts[call] = now + first_s - begun[call]
        heappush(heap, (now + whole_s, order, call))

    upstream: Upstream[int] = Upstream(law, started)

    def end() -> None:
        nonlocal now, under_way
        now, _, call = heappop(heap)
        under_way -= 1
        upstream.ended()
        lines.append(
            LogLine(
                event="answer",
                status=200,
                latency_s=now - begun[call],
                first_token_s=firsts[call] if first else None,
                completion_tokens=tokens[call],
                in_flight=flying[call],
            )
        )

    for call, at in enumerate(np.cumsum(rng.exponential(1 / rate, size=count)).tolist()):
        while heap and heap[0][0] <= at:
            end()
        now = begun[call] = at
        flying[call] = under_way + 1
        if upstream.offer(call, tokens[call]):
            under_way += 1
        else:
            lines.append(LogLine(event="answer", status=429, in_flight=flying[call]))
    while heap:
        end()
    return lines


LAW = ServiceTime(capacity=6, first_token_s=0.4, token_s=0.01, slowdown=1.0)


@pytest.mark.parametrize("first", [True, False])
def test_a_law_is_found_again_from_what_was_logged(first: bool) -> None:
    """Near its capacity, where calls also wait: every parameter within what the noise allows."""
    found = fit(logged(LAW, 1.9, first=first))
    assert found.queued
    assert found.law.capacity in {5, 6, 7}
    assert found.law.first_token_s == pytest.approx(0.4, rel=0.2)
    assert found.law.token_s == pytest.approx(0.01, rel=0.1)
    full = found.law.factor(found.law.capacity or 0)
    assert full == pytest.approx(LAW.factor(6), rel=0.2)
    assert found.law.most_waiting is None
    assert found.error < 0.15


def test_without_a_queue_the_capacity_is_only_known_to_be_no_less() -> None:
    """It is put at the most that was seen, and the latencies are still met."""
    lines = logged(LAW, 0.1, count=1_000)
    found = fit(lines)
    assert not found.queued
    assert found.law.capacity == max(line.in_flight or 0 for line in lines)
    assert found.law.token_s == pytest.approx(0.01, rel=0.1)
    assert found.error < 0.05


def test_refusals_tell_how_many_may_wait() -> None:
    """Most calls under way less the capacity, roughly; refused calls fit no latency."""
    law = ServiceTime(capacity=6, first_token_s=0.4, token_s=0.01, slowdown=1.0, most_waiting=10)
    found = fit(logged(law, 4.0))
    assert found.law.most_waiting == pytest.approx(10, abs=3)
    assert found.law.capacity in {5, 6, 7}


def test_a_model_without_slowdown_has_none() -> None:
    """Nothing below zero comes out of the noise."""
    found = fit(logged(ServiceTime(capacity=50, first_token_s=0.0, token_s=0.01), 2.0))
    assert found.law.slowdown == pytest.approx(0.0, abs=0.1)
    assert found.law.first_token_s == pytest.approx(0.0, abs=0.02)


def test_too_little_to_fit_is_said_with_the_remedy() -> None:
    """Failures and lines without figures do not count."""
    lines = [LogLine(event="answer", status=500, latency_s=1.0, completion_tokens=1, in_flight=1)]
    lines += logged(LAW, 1.0, count=19)
    lines += [LogLine(event="answer", status=200, latency_s=1.0)] * 30
    with pytest.raises(ConfigError, match=r"has 19 answers .* give --capacity"):
        fit(lines)
