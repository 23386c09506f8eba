"""Acts that tell how the gateway fares, and how it decides."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

import msgspec

from likewise.dashboard import labelled
from likewise.dashboard.history import series
from likewise.dashboard.whatif import together, what_if
from likewise.errors import ConfigError, RequestError
from likewise.explain import explain
from likewise.gateway.admin.acts import Act, Desk, Given, Role
from likewise.gateway.reading import tenant_in
from likewise.gateway.siblings import Answers
from likewise.gateway.wire import CHAT, DIALECTS

_MOST_LISTED = 500


class Span(msgspec.Struct, forbid_unknown_fields=True):
    """How far back to look."""

    span: Literal["1h", "24h", "30d"] = "1h"


class Listing(msgspec.Struct, forbid_unknown_fields=True):
    """Which decisions to list."""

    category: str = ""
    decision: Literal["", "hit", "miss", "bypass"] = ""
    limit: int = 50


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """A request to be explained, the headers that would come with it, and the path it is for."""

    request: dict[str, Any]
    path: str = CHAT.path
    headers: dict[str, str] = {}


class Thresholds(msgspec.Struct, forbid_unknown_fields=True):
    """A category and the thresholds to judge it by."""

    category: str
    similarity_threshold: float | None = None
    probability_threshold: float | None = None


def answers(desk: Desk) -> Answers:
    """What a worker tells the others of the same gateway."""
    engine = desk.cache.engine
    return {
        "audit": desk.audit.latest,
        "counters": engine.stats.by_category,
        "load": lambda: _load(desk),
        "decision": lambda request_id: _decision(desk, request_id),
        "decisions": lambda asked: _decisions(desk, msgspec.json.decode(asked, type=Listing)),
        "history": desk.history.steps,
        "similarities": lambda category: labelled.similarities(engine, category),
        "what_if": lambda asked: _again(desk, msgspec.json.decode(asked, type=Thresholds)),
    }


async def _stats(desk: Desk, _: Given) -> dict[str, Any]:
    return desk.cache.engine.statistics(await desk.ask("counters"))


async def _show_load(desk: Desk, _: Given) -> dict[str, Any]:
    others = {} if desk.siblings is None else await desk.siblings.ask("load")
    return _load(desk) | ({"workers": others} if others else {})


async def _show_history(desk: Desk, given: Given) -> dict[str, Any]:
    span = given.query.span
    return series(
        span, [desk.history.steps(span), *await desk.ask("history", span)], now=time.time()
    )


async def _list_decisions(desk: Desk, given: Given) -> dict[str, Any]:
    asked: Listing = given.query
    found = _decisions(desk, asked)
    for more in await desk.ask("decisions", msgspec.json.encode(asked).decode()):
        found += more
    found.sort(key=lambda one: one["at"], reverse=True)
    return {"decisions": found[: _limit(asked)]}


async def _show_decision(desk: Desk, given: Given) -> dict[str, Any]:
    request_id = given.names["id"]
    found = _decision(desk, request_id)
    if found is None:
        others = await desk.ask("decision", request_id)
        found = next((one for one in others if one is not None), None)
    if found is None:
        msg = "no such decision among the latest ones"
        raise RequestError(msg, status=404)
    return found


async def _explain(desk: Desk, given: Given) -> dict[str, Any]:
    asked: Question = given.body
    headers = {name.lower(): value for name, value in asked.headers.items()}
    dialect = next((one for one in DIALECTS if one.path == asked.path), None)
    if dialect is None:
        paths = ", ".join(one.path for one in DIALECTS)
        msg = f"nothing of {asked.path!r} is cached; there are {paths}"
        raise RequestError(msg, param="path")
    body = msgspec.json.encode(asked.request)
    call = dialect.read(body, headers, tenant=tenant_in(headers))
    if call is None:
        msg = f"this is no request that the cache reads at {asked.path}"
        raise RequestError(msg, param="request")
    engine, request = desk.cache.engine, call.request
    try:
        explained = await asyncio.to_thread(explain, engine, request)
    except ConfigError as error:
        raise RequestError(str(error)) from error
    return {
        "asked": {
            "question": request.question,
            "model": request.scope.model,
            "tenant": request.scope.tenant[:12],
            "namespace": request.scope.namespace,
            "scope": request.scope.digest().hex(),
            "turns": request.turns,
            "temperature": request.temperature,
            "exact_only": request.exact_only,
        },
        "in_scope": list(engine.catalog.categories(request.scope.digest())),
        **explained.to_dict(),
    }


async def _similarities(desk: Desk, given: Given) -> dict[str, Any]:
    name = given.names["name"]
    found = await asyncio.to_thread(labelled.similarities, desk.cache.engine, name)
    for other in await desk.ask("similarities", name):
        for part in ("hits", "misses"):
            found[part] = [a + b for a, b in zip(found[part], other[part], strict=True)]
    return found


async def _wrong(desk: Desk, _: Given) -> dict[str, Any]:
    return labelled.wrong_rates(desk.cache.engine)


async def _what_if(desk: Desk, given: Given) -> dict[str, Any]:
    asked: Thresholds = given.body
    similarity, probability = asked.similarity_threshold, asked.probability_threshold
    if (similarity is None) == (probability is None):
        msg = "name one of similarity_threshold and probability_threshold"
        raise RequestError(msg, param="similarity_threshold")
    for name, value in (
        ("similarity_threshold", similarity),
        ("probability_threshold", probability),
    ):
        if value is not None and not 0.0 <= value <= 1.0:
            msg = f"{name} lies between 0 and 1"
            raise RequestError(msg, param=name)
    own = await asyncio.to_thread(_again, desk, asked)
    others = await desk.ask("what_if", msgspec.json.encode(asked).decode())
    found = together([own, *others])
    if similarity is not None:
        found["labels"] = labelled.labels_from(desk.cache.engine, asked.category, similarity)
    return found


def _load(desk: Desk) -> dict[str, Any]:
    return {"models": desk.cache.load.report(), **desk.pool.report()}


def _decision(desk: Desk, request_id: str) -> dict[str, Any] | None:
    receipt = desk.cache.engine.receipts.of(request_id)
    return None if receipt is None else receipt.to_dict()


def _limit(asked: Listing) -> int:
    return min(max(asked.limit, 1), _MOST_LISTED)


def _decisions(desk: Desk, asked: Listing) -> list[dict[str, Any]]:
    """Return the latest decisions without any text, the latest first."""
    found: list[dict[str, Any]] = []
    for receipt in desk.cache.engine.receipts.latest():
        final = receipt.final
        told = type(final).__name__.lower()
        if asked.category and final.category != asked.category:
            continue
        if asked.decision and told != asked.decision:
            continue
        found.append(
            {
                "id": receipt.id,
                "at": receipt.now,
                "category": final.category,
                "decision": told,
                "reason": final.reason.value,
                "similarity": getattr(final, "similarity", None),
                "entry_id": getattr(final, "entry_id", None) or getattr(final, "nearest_id", None),
            }
        )
        if len(found) >= _limit(asked):
            break
    return found


def _again(desk: Desk, asked: Thresholds) -> dict[str, Any]:
    return what_if(
        desk.cache.engine.receipts.latest(),
        asked.category,
        similarity=asked.similarity_threshold,
        probability=asked.probability_threshold,
    )


async def _acts(desk: Desk, _: Given) -> dict[str, Any]:
    found = desk.audit.latest()
    for more in await desk.ask("audit"):
        found += more
    return {"acts": sorted(found, key=lambda one: one["time"], reverse=True)}


ACTS = (
    Act("GET", "/stats", Role.READ, "Statistics since the start, with the ledger", _stats),
    Act("GET", "/load", Role.READ, "Load of the models and of their replicas", _show_load),
    Act("GET", "/history", Role.READ, "Counters over time", _show_history, query=Span),
    Act("GET", "/wrong", Role.READ, "How often the hits of each category were wrong", _wrong),
    Act("GET", "/decisions", Role.READ, "The latest decisions", _list_decisions, query=Listing),
    Act("GET", "/decisions/{id}", Role.READ, "The receipt of a decision", _show_decision),
    Act("GET", "/audit", Role.ADMIN, "The latest acts that changed something", _acts),
    Act(
        "GET",
        "/similarities/{name}",
        Role.READ,
        "How similar right and wrong pairs of a category are",
        _similarities,
    ),
    Act("POST", "/explain", Role.READ, "Decide without serving", _explain, body=Question),
    Act(
        "POST",
        "/what-if",
        Role.READ,
        "The latest decisions of a category at another threshold",
        _what_if,
        body=Thresholds,
    ),
)
