"""Acts on entries: look them up, judge them, drop them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from likewise.category import check_name
from likewise.dashboard import browsing
from likewise.errors import ConfigError, RequestError
from likewise.gateway.admin.acts import Act, Desk, Given, Role
from likewise.scope import tenant_of

_LEAST_PREFIX = 12
"""Characters of a tenant's digest that are shown, and so the least that name one."""


class Text(msgspec.Struct, forbid_unknown_fields=True):
    """Which entries to list."""

    text: str = ""
    category: str = ""
    limit: int = 50


class Meaning(msgspec.Struct, forbid_unknown_fields=True):
    """A question to look for others near it."""

    question: str
    category: str = ""
    limit: int = 20


class Verdict(msgspec.Struct, forbid_unknown_fields=True):
    """What is said of an entry, and of which question to it."""

    correct: bool
    question: str | None = None


class Near(msgspec.Struct, forbid_unknown_fields=True):
    """An entry, and from which cosine on others are near it; ``dry_run`` drops nothing."""

    entry_id: str
    similarity: float = 0.9
    dry_run: bool = False


class Erasure(msgspec.Struct, forbid_unknown_fields=True):
    """A tenant, by its name, the beginning of its digest, or its API key."""

    tenant: str | None = None
    api_key: str | None = None


class Purge(msgspec.Struct, forbid_unknown_fields=True):
    """What to delete: a category, or all."""

    category: str | None = None
    all: bool = False


async def _by_text(desk: Desk, given: Given) -> dict[str, Any]:
    asked: Text = given.query
    return await asyncio.to_thread(
        browsing.by_text,
        desk.cache.engine,
        asked.text,
        category=asked.category,
        limit=max(asked.limit, 1),
    )


async def _by_meaning(desk: Desk, given: Given) -> dict[str, Any]:
    asked: Meaning = given.body
    return await asyncio.to_thread(
        browsing.by_meaning,
        desk.cache.engine,
        asked.question,
        category=asked.category,
        limit=max(asked.limit, 1),
    )


async def _in_full(desk: Desk, given: Given) -> dict[str, Any]:
    return await asyncio.to_thread(browsing.in_full, desk.cache.engine, given.names["id"])


async def _drop(desk: Desk, given: Given) -> dict[str, Any]:
    return {"dropped": int(await desk.cache.drop(given.names["id"]))}


async def _judge(desk: Desk, given: Given) -> dict[str, Any]:
    entry_id, said = given.names["id"], given.body
    if not await desk.cache.feedback(entry_id, correct=said.correct, question=said.question):
        msg = "there is no such entry; it may have expired or been dropped"
        raise RequestError(msg, status=404)
    return {"entry_id": entry_id, "correct": said.correct}


async def _drop_near(desk: Desk, given: Given) -> dict[str, Any]:
    asked: Near = given.body
    if not 0.0 < asked.similarity <= 1.0:
        msg = "similarity lies above 0 and is at most 1"
        raise RequestError(msg, param="similarity")
    engine = desk.cache.engine
    matches = await asyncio.to_thread(browsing.near, engine, asked.entry_id, asked.similarity)
    dropped = 0
    if not asked.dry_run:
        for record, _ in matches:
            dropped += await desk.cache.drop(record.entry_id)
    return {"near": len(matches), "dropped": dropped, "entries": browsing.listed(matches)}


async def _purge(desk: Desk, given: Given) -> dict[str, Any]:
    asked: Purge = given.body
    if asked.all == (asked.category is not None):
        msg = 'name what to purge: {"category": NAME} or {"all": true}'
        raise RequestError(msg)
    if asked.category is None:
        return {"dropped": await desk.cache.clear()}
    try:
        name = check_name(asked.category)
    except ConfigError as error:
        raise RequestError(str(error), param="category") from error
    return {"dropped": await desk.cache.clear(category=name)}


async def _erase(desk: Desk, given: Given) -> dict[str, Any]:
    asked: Erasure = given.body
    if (asked.tenant is None) == (asked.api_key is None):
        msg = "name one of tenant and api_key"
        raise RequestError(msg, param="tenant")
    if asked.api_key is not None:
        tenant = tenant_of(f"Bearer {asked.api_key}")
    else:
        tenant = await asyncio.to_thread(_tenant, desk, asked.tenant or "")
    return {"dropped": await desk.cache.clear(tenant=tenant)}


def _tenant(desk: Desk, named: str) -> str:
    """Return the tenant of that name, or whose digest begins with it.

    Raises:
        RequestError: There is none, or there are several.
    """
    known = {record.tenant for record in desk.cache.engine.catalog.records()}
    if named in known:
        return named
    found = [one for one in known if len(named) >= _LEAST_PREFIX and one.startswith(named)]
    if len(found) != 1:
        msg = (
            "there is no such tenant" if not found else "several tenants begin so; name more of it"
        )
        raise RequestError(msg, status=400 if found else 404, param="tenant")
    return found[0]


ACTS = (
    Act("GET", "/entries", Role.READ, "Entries by text, newest first", _by_text, query=Text),
    Act(
        "POST", "/entries/search", Role.READ, "Entries by meaning, nearest first", _by_meaning,
        body=Meaning,
    ),
    Act("GET", "/entries/{id}", Role.READ, "An entry in full", _in_full),
    Act("DELETE", "/entries/{id}", Role.WRITE, "Drop an entry", _drop),
    Act(
        "POST", "/entries/{id}/feedback", Role.WRITE, "Say whether an entry is right", _judge,
        body=Verdict,
    ),
    Act(
        "POST", "/drop-near", Role.WRITE, "Drop an entry and all near it", _drop_near, body=Near
    ),
    Act("POST", "/erase", Role.ADMIN, "Delete all of a tenant", _erase, body=Erasure),
    Act("POST", "/purge", Role.ADMIN, "Delete a category, or everything", _purge, body=Purge),
)  # fmt: skip
