"""Promise 8: a stale answer takes the place of declared errors only, and says so.

RFC 5861 names 500, 502, 503 and 504, to which 529 is added, Anthropic's word for overloaded; no
answer counts as one of them, and 429 only where a category says so. Mutations tried: 429 among
``_FAILURES``, and 501; ``_instead`` that serves whatever the status; ``_send_stale`` under the
headers of the miss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from likewise.testing import FakeClock

from ..gateway.support import Gateway
from .conftest import Report
from .history import Asker, Operation
from .model import GOOD, Behaviour, Canary, Model
from .support import Client, gateway, run
from .wire import CLEAR, FaultProxy, Way, between

HOUR_S = 3_600.0
CATEGORIES = {
    "never": {"ttl": "1h"},
    "aside": {"ttl": "1h", "stale_while_revalidate": "1m"},
    "on-error": {"ttl": "1h", "stale_if_error": "1h"},
    "on-429": {"ttl": "1h", "stale_if_error": "1h", "stale_on_429": True},
}
STATUSES = (400, 401, 403, 404, 408, 409, 422, 429, 500, 501, 502, 503, 504, 507, 529)
DECLARED = (500, 502, 503, 504, 529)
TIMEOUT_S = 1.0
NO_ANSWER = {"late": 504, "refused": 502, "dropped": 502}
"""Ways to get no answer, and the status that tells of it."""


@dataclass(frozen=True)
class Case:
    """A cell of the matrix."""

    category: str
    failure: int | str
    stream: bool

    @property
    def asker(self) -> Asker:
        """Somebody of its own: a model that refuses is left alone by whom it refused."""
        return Asker(f"Bearer {self.failure}-{self.category}-{self.stream}", category=self.category)

    @property
    def status(self) -> int:
        """What the client is told where nothing stale may be served."""
        return NO_ANSWER[self.failure] if isinstance(self.failure, str) else self.failure

    @property
    def stale(self) -> bool:
        """Whether a stale answer is to be served within the grace."""
        if self.category not in ("on-error", "on-429"):
            return False
        declared = isinstance(self.failure, str) or self.failure in DECLARED
        return declared or (self.failure == 429 and self.category == "on-429")


def cases() -> Iterator[Case]:
    """All of them."""
    for category in CATEGORIES:
        for status in STATUSES:
            for stream in (False, True):
                yield Case(category, status, stream)
        for kind in NO_ANSWER:
            # Waiting takes long.
            if kind != "late" or category in ("never", "on-error"):
                yield Case(category, kind, stream=False)


def failing(case: Case, canary: Canary) -> Behaviour:
    """Fail the one who asks for it, and answer all others."""
    if canary.key != case.asker.key:
        return GOOD
    if isinstance(case.failure, int):
        return Behaviour(status=case.failure)
    return Behaviour(delay_s=1.5 * TIMEOUT_S if case.failure == "late" else 0.0)


async def fails(client: Client, case: Case, model: Model, proxy: FaultProxy) -> Operation:
    """Ask while the model fails, then let it answer somebody else: it is not down."""
    model.behave = partial(failing, case)
    if case.failure == "refused":
        proxy.way = Way(refuses=True)
    elif case.failure == "dropped":
        proxy.way = Way(after=0)
    found = await client.ask(case.asker, "question", stream=case.stream)
    proxy.way = CLEAR
    proxy.drop()
    other = await client.ask(Asker("Bearer other", category="never"), f"well {len(client.history)}")
    assert other.status == 200
    return found


def test_the_matrix_of_errors_and_categories(upstream: tuple[Model, str], report: Report) -> None:
    """Fresh answers grow old; then each error comes, within the grace and after it."""
    model, url = upstream
    clock, stale, errors = FakeClock(1_700_000_000.0), 0, 0

    async def drive(served: Gateway, proxy: FaultProxy) -> None:
        nonlocal stale, errors
        async with Client(served.url) as client:
            for case in cases():
                filled = await client.ask(case.asker, "question")
                assert (filled.status, filled.cache) == (200, "MISS")
            served.settle()
            clock.advance(HOUR_S + 120)
            for case in cases():
                found = await fails(client, case, model, proxy)
                if case.stale:
                    assert (found.status, found.cache) == (200, "STALE"), case
                    assert found.reason == "stale-if-error"
                    assert found.age_s == HOUR_S + 120
                    assert found.canary is not None
                    stale += 1
                else:
                    assert (found.status, found.cache) == (case.status, "MISS"), case
                    errors += 1
            clock.advance(HOUR_S)
            for case in cases():
                found = await fails(client, case, model, proxy)
                assert found.status == case.status, case
                errors += 1
            assert client.history.leaks() == []

    settings = {"categories": CATEGORIES, "upstream": {"timeout": f"{TIMEOUT_S}s"}}
    with (
        between(url) as (through, proxy),
        gateway(through, settings=settings, clock=clock) as served,
    ):
        run(drive(served, proxy))
    report(8, cells=len(list(cases())), stale_as_declared=stale, errors_passed_on=errors,
           undeclared=0, unlabelled=0)  # fmt: skip
