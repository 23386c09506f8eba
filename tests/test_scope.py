from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import Scope
from likewise.scope import DIGEST_BYTES, digest_of, tenant_of

SCOPES = st.builds(Scope, *(st.text(max_size=8) for _ in fields(Scope)))


@pytest.mark.parametrize("name", [field.name for field in fields(Scope)])
def test_every_field_is_part_of_the_identity(name: str) -> None:
    """A difference in any one field is another scope."""
    assert replace(Scope(), **{name: "x"}).digest() != Scope().digest()


@given(SCOPES, SCOPES)
def test_digests_are_equal_exactly_when_scopes_are(a: Scope, b: Scope) -> None:
    """No two different scopes run together, whatever their texts hold."""
    assert (a.digest() == b.digest()) == (a == b)
    assert len(a.digest()) == DIGEST_BYTES


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_parts_do_not_run_together(a: list[str], b: list[str]) -> None:
    """``("ab", "c")`` and ``("a", "bc")`` are not one."""
    assert (digest_of(*a) == digest_of(*b)) == (a == b)


def test_a_digest_is_the_same_in_every_process() -> None:
    """Stored digests must mean the same after a restart, so the value is pinned."""
    assert Scope(tenant="a", model="m").digest().hex() == "d5fe69530ced354485f3b79cc0ea5ddc"


def test_a_lone_surrogate_has_a_digest() -> None:
    """A text that is not valid Unicode, as JSON may carry, is no crash."""
    assert digest_of("\ud800") != digest_of("?")


def test_a_scope_shows_nothing_of_its_texts() -> None:
    """Neither a tenant's name nor a system prompt is in ``repr``."""
    shown = repr(Scope(tenant="CANARY", context="CANARY", parameters="CANARY"))
    assert "CANARY" not in shown


def test_a_tenant_does_not_give_its_key_away() -> None:
    """Different keys are different tenants, and none contains its key."""
    assert tenant_of("sk-one") != tenant_of("sk-two")
    assert "sk-one" not in tenant_of("sk-one")
    assert tenant_of(None) == tenant_of("") == "anonymous"
