import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import Scope
from likewise.classify.rules import BUILTIN_RULES, Rule, Rules
from likewise.errors import ConfigError
from likewise.request import Request

ASKED = Request("How do I BREW tea?", Scope(model="gpt-4o"), system="You teach.", path="/v1/chat")


@pytest.mark.parametrize(
    ("conditions", "claims"),
    [
        ({"pattern": r"\bbrew\b"}, True),
        ({"pattern": r"^brew"}, False),
        ({"model": "gpt-4*"}, True),
        ({"model": "gpt-4"}, False),
        ({"path": "/v1/*"}, True),
        ({"path": "/v2/*"}, False),
        ({"system": "TEACH"}, True),
        ({"system": "preach"}, False),
        ({"pattern": "tea", "model": "gpt-*", "path": "/v1/chat", "system": "you"}, True),
        ({"pattern": "tea", "model": "claude-*"}, False),
    ],
)
def test_a_rule_claims_when_every_condition_holds(conditions: dict[str, Any], claims: bool) -> None:
    """Patterns ignore case and may stand anywhere; model and path are matched whole."""
    assert Rule("acme", **conditions).claims(ASKED) is claims


@pytest.mark.parametrize(
    ("conditions", "said"),
    [({}, "no condition"), ({"pattern": "("}, "does not compile"), ({"system": "["}, "system")],
)
def test_a_rule_that_cannot_work_is_refused(conditions: dict[str, Any], said: str) -> None:
    """One without a condition would claim everything; one that does not compile, nothing."""
    with pytest.raises(ConfigError, match=said):
        Rule("acme", **conditions)


def test_a_bad_category_is_refused() -> None:
    """A rule's category must be a name."""
    with pytest.raises(ConfigError, match="Bad Name"):
        Rule("Bad Name", pattern="x")


def test_the_first_rule_that_claims_wins() -> None:
    """Order decides, and what nothing claims is left to the next in line."""
    rules = Rules([Rule("a", pattern="none"), Rule("b", pattern="tea"), Rule("c", pattern="tea")])
    assert rules.classify(ASKED) == "b"
    assert rules.classify(Request("coffee")) is None
    assert Rules(()).classify(ASKED) is None


def test_only_the_beginning_of_a_long_question_is_read() -> None:
    """What a slow pattern can cost is bounded."""
    rule = Rule("acme", pattern="needle")
    assert rule.claims(Request("x" * 7000 + "needle"))
    assert not rule.claims(Request("x" * 9000 + "needle"))


@pytest.mark.parametrize(
    ("question", "category"),
    [
        ("What is my wife's birthday?", "personal"),
        ("Summarise my latest blood test", "personal"),
        ("My SSN is 123-45-6789, is that safe to share?", "personal"),
        ("Is 4111 1111 1111 1111 a valid card?", "personal"),
        ("SELECT my password FROM users", "personal"),
        ("Write a query: select name from users", "sql"),
        ("How do I rebase in git?", "code"),
        ("Translate 'good morning' to French", "translation"),
        ("What is the price of gold today?", "prices"),
        ("What is the latest news?", "news"),
        ("Write me a short poem", "creative"),
        ("What is the capital of France?", None),
        ("How does a marriage work?", None),
    ],
)
def test_the_built_in_rules_are_cautious(question: str, category: str | None) -> None:
    """They know the plain cases, put what is personal first, and leave the rest alone."""
    assert Rules(BUILTIN_RULES).classify(Request(question)) == category


@pytest.mark.parametrize("rule", [r for r in BUILTIN_RULES if r.pattern])
def test_no_built_in_pattern_is_slow(rule: Rule) -> None:
    """Nested repetition, which can take exponential time, is in none of them."""
    assert not re.search(r"\([^()]*[+*]\)[+*]", rule.pattern or "")


@pytest.mark.parametrize("rule", BUILTIN_RULES)
@given(data=st.data())
def test_no_needle_is_missing(rule: Rule, data: st.DataObject) -> None:
    """A built-in pattern is found wherever ignoring case would find it, and nowhere else."""
    assert rule.pattern is not None
    pattern = re.compile(rule.pattern, re.IGNORECASE)
    match = st.from_regex(re.compile(rule.pattern, re.IGNORECASE | re.ASCII))
    text = data.draw(st.one_of(match, st.text()))
    assert rule.claims(Request(text)) == bool(pattern.search(text))


def test_what_rules_say_is_not_mixed_up_between_requests() -> None:
    """The same question under another model, system prompt or path is another request."""
    rules = Rules([Rule("a", model="m-*"), Rule("b", system="lawyer"), Rule("c", path="/x")])
    asked = [
        (Request("q", Scope(model="m-1")), "a"),
        (Request("q", Scope(model="n-1")), None),
        (Request("q", Scope(model="n-1"), system="You are a lawyer."), "b"),
        (Request("q", Scope(model="n-1"), path="/x"), "c"),
    ]
    for _ in range(2):
        assert [rules.classify(request) for request, _ in asked] == [name for _, name in asked]
