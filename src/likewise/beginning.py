"""How a lookup begins: what a request is of, under which policy, and what identifies it."""

from __future__ import annotations

import time

import msgspec

from likewise.category import DEFAULT, Category
from likewise.config import Policies
from likewise.entry import UNNAMED, exact_key
from likewise.lookup import InForce, Lookup, new_request_id
from likewise.naming import Namer, Naming
from likewise.request import Request


class _Beginning(msgspec.Struct, frozen=True):
    """What a lookup begins with, without any load, and under what that was found."""

    namer: Namer
    policies: Policies
    resting: frozenset[str]
    naming: Naming | None
    policy: Category
    scope: bytes
    key: bytes


def begin(request: Request, namer: Namer, force: InForce, *, dry: bool, pressure: float) -> Lookup:
    """Return a request as a lookup.

    Args:
        request: What was asked.
        namer: Names its category.
        force: The policies in force.
        dry: Whether it is to leave no trace.
        pressure: Load of the model behind, 0 to 1.
    """
    started = time.perf_counter()
    found = request.found
    if (
        not isinstance(found, _Beginning)
        or found.namer is not namer
        or found.policies is not force.policies
        or found.resting is not force.resting
    ):
        found = _found(request, namer, force)
    policy = found.policy
    if pressure > 0.0:
        policy = force.policy((policy.name,), request, pressure)
    return Lookup(
        request,
        policy,
        found.scope,
        found.key,
        started,
        new_request_id(),
        found.naming,
        found.key,
        dry=dry,
        pressure=pressure,
    )


def _found(request: Request, namer: Namer, force: InForce) -> _Beginning:
    """Return what a lookup begins with, and keep it with the request where that may be."""
    policies, resting = force.policies, force.resting
    naming = namer.at_once(request)
    name = UNNAMED if naming is None else naming.category
    scope = request.scope.digest()
    found = _Beginning(
        namer,
        policies,
        resting,
        naming,
        force.calm(name or DEFAULT, request),
        scope,
        exact_key(scope, name, request.question),
    )
    if namer.steady:
        request.keep(found)
    return found
