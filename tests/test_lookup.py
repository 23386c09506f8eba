from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from likewise import Cache, Scope
from likewise.adaptive import Adapting
from likewise.category import Category
from likewise.classify.rules import Rule, Rules
from likewise.config import Policies
from likewise.load import LoadTerms
from likewise.lookup import InForce, new_request_id
from likewise.request import Request
from likewise.sources import NO_SOURCES
from likewise.testing import FakeClock, HashingEmbedder

HASTY, CALM = Request("What is the latest price?"), Request("What is a price?")


def force(*, cue_ttl: float) -> InForce:
    """Policies of one category."""
    category = Category("c", ttl=1000.0, cue_ttl=cue_ttl)
    return InForce(Policies(categories={"c": category}), NO_SOURCES)


def test_a_cue_shortens_the_time_to_live_and_is_made_once() -> None:
    """Every question with a cue is decided under the same policy."""
    made = force(cue_ttl=10.0)
    assert made.policy(("c",), HASTY, 0.0).ttl_s == 10.0
    assert made.policy(("c",), HASTY, 0.0) is made.policy(("c",), HASTY, 0.0)
    assert made.policy(("c",), CALM, 0.0) is made.policies.of("c")


def test_a_changed_policy_takes_the_place_of_the_one_before() -> None:
    """What is held of the old one is not what the new one makes."""
    made = force(cue_ttl=10.0)
    assert made.policy(("c",), HASTY, 0.0).ttl_s == 10.0
    made.policies = force(cue_ttl=20.0).policies
    assert made.policy(("c",), HASTY, 0.0).ttl_s == 20.0


def test_a_category_rests_with_and_without_a_cue() -> None:
    """It is served by the exact tier only for as long as it is among those that rest."""
    made = force(cue_ttl=10.0)
    for request in (HASTY, CALM):
        assert not made.policy(("c",), request, 0.0).exact_only
        made.resting = frozenset({"c"})
        assert made.policy(("c",), request, 0.0).exact_only
        made.resting = frozenset()
        assert not made.policy(("c",), request, 0.0).exact_only
    made.resting = frozenset({"c"})
    assert (made.policy(("c",), HASTY, 0.0).ttl_s, made.policy(("c",), CALM, 0.0).ttl_s) == (
        10.0,
        1000.0,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_request_ids_are_never_the_same_twice() -> None:
    """Not between threads, and not between a process and its children."""
    with ThreadPoolExecutor(4) as pool:
        lots = pool.map(lambda _: [new_request_id() for _ in range(1_000)], range(4))
        ids = [name for lot in lots for name in lot]
    assert len(set(ids)) == 4_000
    assert all(re.fullmatch("req-[0-9a-f]{32}", name) for name in ids)
    new_request_id()  # some more are drawn now
    script = (
        "import os; from likewise.lookup import new_request_id as new; new(); r, w = os.pipe()\n"
        "if os.fork() == 0: os.write(w, new().encode()); os._exit(0)\n"
        "print(os.read(r, 99).decode() == new())"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout == "False\n"


def test_a_request_asked_again_begins_as_anew(clock: FakeClock) -> None:
    """What was found of it holds until policies, rules, rest or load change."""
    cache = Cache(
        store="memory://",
        embedder=HashingEmbedder(),
        categories=[Category("a", ttl=100.0), Category("b", ttl=50.0)],
        rules=[Rule("a", pattern="tea")],
        clock=clock,
    )
    engine, request = cache._engine, Request("How is tea made?", Scope(tenant="t"))

    def begun() -> tuple[str, float | None, bool]:
        lookup, fresh = engine.start(request), engine.start(replace(request))
        assert (lookup.policy, lookup.naming, lookup.key) == (
            fresh.policy,
            fresh.naming,
            fresh.key,
        )
        assert lookup.id != fresh.id
        return lookup.policy.name, lookup.policy.ttl_s, lookup.policy.exact_only

    assert begun() == begun() == ("a", 100.0, False)
    engine.force.resting = frozenset({"a"})
    assert begun() == ("a", 100.0, True)
    engine.force.resting = frozenset()
    engine.force.policies = Policies(categories={"a": Category("a", ttl=10.0)})
    assert begun() == ("a", 10.0, False)
    adapting = Adapting(stretch=1.0)
    engine.force.adapting = adapting
    assert engine.start(request, pressure=1.0).policy.ttl_s == 20.0
    assert begun() == ("a", 10.0, False)
    engine.adopt(
        Policies(categories={"b": Category("b", ttl=50.0)}),
        ("rule", Rules([Rule("b", pattern="tea")])),
        nearest=None,
        coarse=None,
        sure=0.6,
        sources={},
        judging=None,
        load=LoadTerms(),
        adapting=adapting,
    )
    assert begun() == ("b", 50.0, False)


def test_a_classifier_of_another_maker_is_asked_each_time() -> None:
    """What it says may change."""
    names = iter(["a", "b"])

    class Moody:
        def classify(self, request: Request) -> str | None:
            return next(names)

    cache = Cache(store="memory://", embedder=HashingEmbedder(), rules=(), classifier=Moody())
    request = Request("How is tea made?")
    started = [cache._engine.start(request) for _ in range(2)]
    assert [lookup.policy.name for lookup in started] == ["a", "b"]


def test_two_caches_do_not_take_over_what_the_other_has_found() -> None:
    """Though they are asked by the very same request."""
    request = Request("How is tea made?")
    for name in ("a", "b", "a"):
        cache = Cache(
            store="memory://", embedder=HashingEmbedder(), rules=[Rule(name, pattern="tea")]
        )
        assert cache._engine.start(request).policy.name == name
