from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from likewise.category import DEFAULT, TAXONOMY
from likewise.classify.rules import BUILTIN_RULES
from likewise.config import Config, Policies, load, parse
from likewise.errors import ConfigError


def refused(data: object) -> str:
    """The one-line message with which ``data`` is refused."""
    with pytest.raises(ConfigError) as caught:
        parse(data)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("config:")
    return message


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    """Nothing has to be configured."""
    path = tmp_path / "likewise.yaml"
    path.write_text("")
    config = load(path)
    assert config.policies == Config().policies
    assert config.rules == BUILTIN_RULES
    assert config.path == path
    assert config.settings.store == "sqlite:///likewise.db"


@pytest.mark.parametrize(
    ("data", "place", "offer"),
    [
        ({"stor": "x"}, "config: unknown key 'stor'", "'store'"),
        ({"gateway": {"prt": 1}}, "config: gateway: unknown key 'prt'", "'port'"),
        ({"upstream": {"baseurl": ""}}, "config: upstream: unknown key 'baseurl'", "'base_url'"),
        ({"embedding": {"modle": ""}}, "config: embedding: unknown key 'modle'", "'model'"),
        ({"defaults": {"tll": 1}}, "config: defaults: unknown key 'tll'", "'ttl'"),
        (
            {"categories": {"code": {"qota": 1}}},
            "config: categories.code: unknown key 'qota'",
            "'quota'",
        ),
        (
            {"rules": [{"category": "a", "patern": "x"}]},
            "config: rules[0]: unknown key 'patern'",
            "'pattern'",
        ),
        ({"prices": {"m": {"imput": 1}}}, "config: prices.m: unknown key 'imput'", "'input'"),
        ({"defaults": {"threshold": 0.9}}, "unknown key 'threshold'", "similarity_threshold"),
        (
            {"defaults": {"distance_threshold": 0.1}},
            "unknown key 'distance_threshold'",
            "1 - distance",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(data: object, place: str, offer: str) -> None:
    """At every level of the file."""
    message = refused(data)
    assert place in message
    assert offer in message


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"max_entries": "many"}, "max_entries"),
        ({"max_entries": 0}, "max_entries"),
        ({"gateway": {"port": "http"}}, "gateway.port"),
        ({"gateway": {"port": 70000}}, "gateway.port"),
        ({"gateway": {"max_body_bytes": 0}}, "gateway.max_body_bytes"),
        ({"gateway": {"usage_on_hit": "some"}}, "gateway.usage_on_hit"),
        ({"gateway": {"response_headers": 3}}, "gateway.response_headers"),
        ({"embedding": {"threads": 0}}, "embedding.threads"),
        ({"embedding": {"timeout": "soon"}}, "embedding.timeout"),
        ({"upstream": {"timeout": 0}}, "upstream.timeout"),
        ({"upstream": {"connect_timeout": "-1s"}}, "upstream.connect_timeout"),
        ({"defaults": {"ttl": [1]}}, "defaults.ttl"),
        ({"defaults": {"ttl": True}}, "defaults.ttl"),
        ({"defaults": {"guards": "numbers"}}, "defaults.guards"),
        ({"categories": []}, "categories"),
        ({"categories": {"code": 5}}, "categories.code"),
        ({"categories": {"code": {"exact_only": "maybe"}}}, "categories.code.exact_only"),
        ({"categories": {"Bad Name": {}}}, "'Bad Name'"),
        ({"categories": {"code": {"ttl": "soon"}}}, "'code': ttl"),
        ({"categories": {"code": {"guards": ["grammar"]}}}, "'grammar'"),
        ({"categories": {"code": {"quota": 1.5}}}, "quota"),
        ({"categories": {"code": {"similarity_threshold": 1.5}}}, "similarity_threshold"),
        ({"rules": [{"category": "a"}]}, "no condition"),
        ({"rules": [{"pattern": "x"}]}, "rules[0]: the key 'category' is missing"),
        ({"rules": [{"category": "a", "pattern": "("}]}, "does not compile"),
        ({"prices": {"m": {"input": 1}}}, "prices.m: the key 'output' is missing"),
        ({"prices": {"m": {"input": 1, "output": -1}}}, "prices.m.output"),
        (["a list"], "expected a mapping"),
        ("a text", "expected a mapping"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(data: object, place: str) -> None:
    """Wrong types, ranges and names each say where they stand."""
    assert place in refused(data)


@pytest.mark.parametrize("where", ["defaults", "code"])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.49])
def test_a_distance_taken_for_a_similarity_is_refused(where: str, threshold: float) -> None:
    """A threshold so low that everything hits is a misunderstanding, and is explained."""
    given = {"similarity_threshold": threshold}
    data = {"defaults": given} if where == "defaults" else {"categories": {"code": given}}
    message = refused(data)
    assert f"{threshold} would serve unrelated answers" in message
    assert "1 - d" in message


def test_defaults_hold_for_what_is_not_listed() -> None:
    """An unlisted category takes every value of ``defaults`` under its own name."""
    policies = parse({"defaults": {"similarity_threshold": 0.99, "ttl": "1h", "quota": 7}}).policies
    unlisted = policies.of("acme")
    assert unlisted.name == "acme"
    assert (unlisted.similarity_threshold, unlisted.ttl_s, unlisted.quota) == (0.99, 3600, 7)
    assert policies.default.name == DEFAULT


def test_a_built_in_category_keeps_what_is_not_given() -> None:
    """A listed category of the taxonomy is the built-in one with the given values changed."""
    policies = parse({"defaults": {"ttl": "1h"}, "categories": {"prices": {"quota": 3}}}).policies
    assert policies.of("prices").ttl_s == TAXONOMY["prices"].ttl_s
    assert policies.of("prices").quota == 3
    assert policies.of("code") == TAXONOMY["code"]


def test_a_new_category_starts_from_the_defaults() -> None:
    """A listed category the taxonomy does not know takes the rest from ``defaults``."""
    data = {"defaults": {"ttl": "1h", "epoch": 4}, "categories": {"acme": {"exact_only": True}}}
    acme = parse(data).policies.of("acme")
    assert (acme.ttl_s, acme.epoch, acme.exact_only) == (3600, 4, True)


def test_the_taxonomy_can_be_left_out() -> None:
    """Then a category of that name is like any other."""
    data = {"builtin_categories": False, "categories": {"prices": {}}, "defaults": {"ttl": "1h"}}
    policies = parse(data).policies
    assert policies.of("prices").ttl_s == 3600
    assert policies.of("code") == policies.default.renamed("code")


def test_default_may_be_written_as_a_category() -> None:
    """``categories.default`` is the policy of what is not listed."""
    policies = parse({"categories": {"default": {"ttl": None}}}).policies
    assert policies.of("acme").ttl_s is None
    assert "default" not in policies.categories


def test_a_ttl_of_null_or_never_is_for_ever() -> None:
    """Both ways to say it, and only said, not left out."""
    categories = {"code": {"ttl": None}, "sql": {"ttl": "never"}, "math": {}}
    policies = parse({"categories": categories}).policies
    assert policies.of("code").ttl_s is None
    assert policies.of("sql").ttl_s is None
    assert policies.of("math").ttl_s is not None


@pytest.mark.parametrize(
    ("written", "entries"), [("0.3", 300), ("1.0", 1000), ("1", 1), ("250", 250), ("null", None)]
)
def test_a_quota_in_yaml_is_a_share_or_a_number(
    tmp_path: Path, written: str, entries: int | None
) -> None:
    """``1.0`` is the whole cache and ``1`` a single entry, as the point says."""
    path = tmp_path / "c.yaml"
    path.write_text(f"max_entries: 1000\ncategories: {{code: {{quota: {written}}}}}\n")
    assert load(path).policies.of("code").guaranteed_entries(1000) == entries


def test_own_rules_come_before_the_built_in_ones() -> None:
    """And the built-in ones can be left out."""
    own = [{"category": "acme", "pattern": "x"}]
    assert parse({"rules": own}).rules[0].category == "acme"
    assert parse({"rules": own}).rules[1:] == BUILTIN_RULES
    assert len(parse({"rules": own, "builtin_rules": False}).rules) == 1


def test_environment_variables_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """In texts and, as texts, where a number belongs."""
    monkeypatch.setenv("MY_KEY", "sk-1")
    monkeypatch.setenv("MY_PORT", "1234")
    data = {
        "upstream": {"api_key": "${MY_KEY}", "base_url": "${NOT_SET:-http://localhost}"},
        "gateway": {"port": "${MY_PORT}"},
        "defaults": {"similarity_threshold": "${NOT_SET:-0.93}"},
    }
    config = parse(data)
    assert config.settings.upstream.api_key == "sk-1"
    assert config.settings.upstream.base_url == "http://localhost"
    assert config.settings.gateway.port == 1234
    assert config.policies.default.similarity_threshold == 0.93


def test_a_variable_that_is_not_set_is_an_error() -> None:
    """It says which one, and where."""
    message = refused({"upstream": {"api_key": "${LIKEWISE_SURELY_NOT_SET}"}})
    assert "upstream.api_key" in message
    assert "LIKEWISE_SURELY_NOT_SET" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1,\nb: 2", "line 2"),
        ("store: 'x\n", "line 2"),
        ("\tstore: x", "line 1"),
        ("a: b: c", "line 1"),
        ("store: !!python/object:os.system x", "line 1"),
        ("store: 2024-13-45", "not valid YAML"),
        ("\x01", "not valid YAML"),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """The message names the file and, where YAML knows it, the line."""
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml") as caught:
        load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Missing, a folder, or not text: one line each."""
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, said in [
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "not UTF-8"),
    ]:
        with pytest.raises(ConfigError, match=said) as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_keys_stay_out_of_repr() -> None:
    """No API key can reach a log by way of a printed configuration."""
    secret = "sk-CANARY"  # noqa: S105 - that is the point
    config = parse(
        {
            "upstream": {"api_key": secret},
            "embedding": {"api_key": secret},
            "gateway": {"admin_key": secret},
        }
    )
    assert secret not in repr(config)
    assert "api_key=***" in repr(config)
    assert "api_key=None" in repr(Config())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["store", "defaults", "categories", "rules", "code", "ttl", "quota", "gateway",
                     "similarity_threshold", "port", "prices", "category", "pattern", "guards"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)  # fmt: skip
def test_any_data_is_a_config_or_one_line(data: Any) -> None:
    """No input whatever gets a traceback out of the configuration."""
    try:
        assert isinstance(parse(data), Config)
    except ConfigError as error:
        assert "\n" not in str(error)


@given(st.text(max_size=60))
def test_any_text_is_a_config_or_one_line(text: str) -> None:
    """The same for any text as YAML."""
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return
    try:
        parse(data)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_categories_given_in_code_take_the_place_of_built_in_ones() -> None:
    """And one named ``default`` is that of every category not listed."""
    policies = Policies.built_in(
        [TAXONOMY["code"].renamed("default"), TAXONOMY["sql"].renamed("code")]
    )
    assert policies.of("code").similarity_threshold == TAXONOMY["sql"].similarity_threshold
    assert policies.of("acme") == TAXONOMY["code"].renamed("acme")


def test_the_policy_of_a_name_that_is_not_listed_is_made_once() -> None:
    """It is the default's under that name, and the same object each time."""
    policies = parse({"defaults": {"ttl": "1h"}}).policies
    assert policies.of("invented") is policies.of("invented")
    assert (policies.of("invented").name, policies.of("invented").ttl_s) == ("invented", 3600.0)
    for number in range(2_000):
        assert policies.of(f"name-{number}").name == f"name-{number}"
