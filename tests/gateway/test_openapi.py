from __future__ import annotations

import json
import re
from typing import Any

from starlette.routing import Mount, Route

from likewise.aio import AsyncCache
from likewise.config import parse
from likewise.gateway import openapi
from likewise.gateway.admin.app import ACTS
from likewise.gateway.app import create_app
from likewise.testing import HashingEmbedder

from .conftest import Open
from .support import chat
from .test_admin import KEY, admin


def test_the_description_is_of_what_is_served(open_gateway: Open) -> None:
    """Without a key the public part, with one the admin part; each act and endpoint is in it."""
    gateway = open_gateway({"gateway": {"admin_key": "geheim-ü"}})
    told = gateway.http.request("GET", f"{gateway.url}/openapi.json")
    assert (told.status, told.headers["content-type"]) == (200, "application/json")
    public = told.json()
    assert public["openapi"] == "3.1.0"
    assert not any(path.startswith("/admin") for path in public["paths"])
    assert admin(gateway, "GET", "openapi.json", headers={})[0] == 401
    status, private = admin(gateway, "GET", "openapi.json", headers=KEY)
    assert status == 200
    described = {(m.upper(), path) for path, ways in private["paths"].items() for m in ways}
    assert described == {(act.method, f"/admin{act.path}") for act in ACTS}


async def test_every_route_is_described() -> None:
    """What the application routes outside of admin, pages and the proxy is in the table."""
    config = parse({"upstream": {"base_url": "http://127.0.0.1:1"}})
    cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
    app = create_app(config, cache)
    served = {route.path for route in app.routes if isinstance(route, Route)}
    mounts = {route.path for route in app.routes if isinstance(route, Mount)}
    assert served == {endpoint.path for endpoint in openapi.PUBLIC}
    assert mounts == {"/admin", "/ui", "/v1"}
    await cache.close()


def test_references_lead_somewhere() -> None:
    """Every ``$ref`` of both descriptions names a schema that is there."""
    for document in (json.loads(openapi.public()), openapi.admin(ACTS)):
        text = json.dumps(document)
        wanted = set(re.findall(r'"#/components/schemas/(\w+)"', text))
        assert wanted
        assert wanted <= set(document["components"]["schemas"])


def test_bodies_are_those_that_are_read(open_gateway: Open) -> None:
    """A field that the description does not know is refused where it says so."""
    gateway = open_gateway({"gateway": {"admin_key": "geheim-ü"}})
    schemas: dict[str, Any] = openapi.admin(ACTS)["components"]["schemas"]
    assert schemas["Purge"]["additionalProperties"] is False
    assert admin(gateway, "POST", "purge", {"all": True, "why": "x"})[0] == 400
    assert schemas["Near"]["required"] == ["entry_id"]
    assert admin(gateway, "POST", "drop-near", {})[0] == 400
    public = json.loads(openapi.public())
    body = public["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    wanted = body["content"]["application/json"]["schema"]["required"]
    assert set(wanted) <= set(chat("Q"))
