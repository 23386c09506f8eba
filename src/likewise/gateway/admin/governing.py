"""Acts on policies, wherever the store is used."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from likewise.category import check_name
from likewise.config import PolicySettings
from likewise.errors import ConfigError, RequestError
from likewise.gateway.admin.acts import Act, Desk, Given, Role
from likewise.receipts import policy_version


class Category(msgspec.Struct, forbid_unknown_fields=True):
    """A category by its name."""

    category: str


async def _policies(desk: Desk, _: Given) -> dict[str, Any]:
    engine = desk.cache.engine
    policies, overrides = engine.force.policies, engine.book.overrides
    names = {policies.default.name, *policies.categories, *overrides}
    return {
        name: {
            "policy": asdict(policies.of(name)),
            "override": overrides.get(name),
            "version": policy_version(policies.of(name)),
        }
        for name in sorted(names)
    }


async def _put(desk: Desk, given: Given) -> dict[str, Any]:
    if given.body is None:
        msg = 'write what is to hold, such as {"ttl": "1h"}; DELETE takes it back'
        raise RequestError(msg)
    return await _override(desk, given.names["name"], given.body)


async def _take_back(desk: Desk, given: Given) -> dict[str, Any]:
    return await _override(desk, given.names["name"], None)


async def _override(desk: Desk, name: str, settings: Any) -> dict[str, Any]:
    try:
        policy = await desk.cache.override(name, settings)
    except ConfigError as error:
        raise RequestError(str(error)) from error
    return {"policy": asdict(policy), "override": desk.cache.engine.book.overrides.get(name)}


async def _revoke(desk: Desk, given: Given) -> dict[str, Any]:
    try:
        name = check_name(given.body.category)
    except ConfigError as error:
        raise RequestError(str(error), param="category") from error
    return {"dropped": await desk.cache.revoke(name)}


ACTS = (
    Act("GET", "/policies", Role.READ, "The policies in force", _policies),
    Act(
        "PUT",
        "/policies/{name}",
        Role.ADMIN,
        "Put a policy in force",
        _put,
        body=Any,
        described=PolicySettings,
    ),
    Act("DELETE", "/policies/{name}", Role.ADMIN, "Take a policy back", _take_back),
    Act("POST", "/revoke", Role.ADMIN, "Void all of a category", _revoke, body=Category),
)
