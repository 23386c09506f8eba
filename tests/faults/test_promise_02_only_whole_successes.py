"""Promise 2: only complete, valid successes are stored.

Mutations tried: ``why_not_keep`` without its look at ``finish_reason``; ``whole`` that needs no
``[DONE]``. ``tests/gateway/test_upstream_faults.py`` and ``test_streaming.py`` have the single
cases, and what the client is told.
"""

from __future__ import annotations

import random
from functools import partial

from ..gateway.support import Gateway
from .conftest import Report
from .history import Asker, History
from .model import DEFECTS, Behaviour, Canary, Model
from .support import Client, answer_in, gateway, run, scaled
from .wire import CLEAR, FaultProxy, Way, between

ASKER = Asker("Bearer one")
STATUSES = (400, 401, 404, 408, 429, 500, 502, 503, 504, 529)
TIMEOUT_S = 1.0
EXACT = {"categories": {"loose": {"exact_only": True, "ttl": "never"}}}
SETTINGS = {**EXACT, "upstream": {"timeout": f"{TIMEOUT_S}s"}}


def ways_to_fail() -> list[tuple[Behaviour, bool]]:
    """All the ways in which an answer is not a whole success, as a stream (True) or not."""
    ways = [
        *(Behaviour(status=status) for status in STATUSES),
        *(Behaviour(defect=defect) for defect in DEFECTS),
        Behaviour(delay_s=2 * TIMEOUT_S),
    ]
    # Only a stream has an end that can be left out.
    return [(way, s) for way in ways for s in (False, True) if s or way.defect != "no-done"]


def kept(served: Gateway) -> list[Canary]:
    """What the entries say of themselves."""
    served.settle()
    store = served.cache.engine.store
    assert len(served.cache.engine.catalog) == store.count()
    found = []
    for row in store.scan():
        entry = store.get(row.id)
        assert entry is not None
        choice = entry.answer["choices"][0]
        assert choice["finish_reason"] == "stop"
        text = answer_in(bytes_of(entry.answer))
        assert text is not None
        found.append(Canary.of(text))
    return found


def bytes_of(answer: object) -> bytes:
    """An answer as it is sent."""
    import msgspec  # noqa: PLC0415 - used here only

    return msgspec.json.encode(answer)


def test_nothing_else_is_stored(upstream: tuple[Model, str], report: Report) -> None:
    """Each failure, streamed or not, then a success to the same question, which alone is kept."""
    model, url = upstream
    rounds, ways = scaled(1, 20), ways_to_fail()

    async def ask(served: Gateway) -> History:
        expected = 0
        async with Client(served.url) as client:
            for turn in range(rounds):
                for number, (behaviour, stream) in enumerate(ways):
                    text = f"question {turn} {number}"
                    model.behave = partial(as_told, behaviour)
                    await client.ask(ASKER, text, stream=stream)
                    served.settle()
                    assert len(kept_ids(served)) == expected, behaviour
                    model.behave = lambda _: Behaviour()
                    assert (await client.ask(ASKER, text, stream=stream)).cache == "MISS"
                    served.settle()
                    expected += 1
            return client.history

    with gateway(url, settings=SETTINGS) as served:
        history = run(ask(served))
        entries = kept(served)
    assert {canary.serial for canary in entries} <= model.successes
    failures = rounds * len(ways)
    assert len(entries) == failures
    report(2, failures=failures, kinds=len(ways), requests=len(history), wrongly_stored=0)


def as_told(behaviour: Behaviour, _: Canary) -> Behaviour:
    """Behave so, whatever is asked."""
    return behaviour


def kept_ids(served: Gateway) -> list[str]:
    """The entries there are."""
    return [row.id for row in served.cache.engine.store.scan()]


def test_no_part_of_a_cut_answer_is_stored(upstream: tuple[Model, str], report: Report) -> None:
    """Cut off or half-closed after any number of bytes, streamed or not."""
    model, url = upstream
    dice = random.Random(2)  # noqa: S311 - chooses where to cut
    cuts = scaled(120, 4_000)

    async def ask(served: Gateway, proxy: FaultProxy) -> History:
        async with Client(served.url) as client:
            for number in range(cuts):
                after = dice.randrange(1, 1_100)
                proxy.way = Way(after=after, ends=dice.choice(["cut", "half-close"]))
                await client.ask(ASKER, f"question {number}", stream=dice.random() < 0.5)
            return client.history

    with between(url) as (through, proxy), gateway(through, settings=EXACT) as served:
        history = run(ask(served, proxy))
        proxy.way = CLEAR
        entries = {canary.serial for canary in kept(served)}
    # What came whole before the cut may be kept; nothing else, and nothing that was not said.
    whole = {o.canary.serial for o in history.operations if o.status == 200 and o.canary}
    assert entries <= whole
    assert history.made_up(model) == []
    broken = sum(o.canary is None for o in history.operations)
    assert broken
    report(2, cuts=sum(proxy.did.values()), broken=broken, whole=len(whole), wrongly_stored=0)
