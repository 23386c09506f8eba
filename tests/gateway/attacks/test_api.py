"""Random requests made of our OpenAPI descriptions, right and wrong ones, by Schemathesis."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from likewise.aio import AsyncCache
from likewise.config import parse
from likewise.gateway import openapi
from likewise.gateway.admin.app import ACTS
from likewise.testing import HashingEmbedder

from ..support import Gateway, chat, gateway_over

CASES = int(os.environ.get("LIKEWISE_ATTACK_CASES", "300"))
"""How many in all; ``make attacks`` asks for 10,000."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
KEY = "attacked"
DOCUMENTS: dict[str, dict[str, Any]] = {
    "public": json.loads(openapi.public()),
    "admin": json.loads(json.dumps(openapi.admin(ACTS))),
}
OPERATIONS = [
    (name, method, path, mode)
    for name, document in DOCUMENTS.items()
    for path, ways in document["paths"].items()
    for method, operation in ways.items()
    for mode in GenerationMode
    # What takes nothing cannot be asked wrongly.
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & operation.keys()
]
SEEN: Counter[int] = Counter()


@pytest.fixture(scope="module")
def attacked(stand_in: str) -> Iterator[Gateway]:
    """One gateway for all cases, whose admin API has no pace."""
    admin = {"admin_key": KEY, "acts_per_minute": 100_000_000}
    config = parse({"load": {"max_wait": None}, "gateway": admin})
    cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
    with gateway_over(config, cache, stand_in) as gateway:
        for text in ("How tall is a stork?", "How do I undo a commit?"):
            gateway.post(chat(text))
        yield gateway
        print(f"\nrequests by status: {dict(sorted(SEEN.items()))}")  # noqa: T201 - a figure
        assert gateway.post(chat("Does it live?")).status == 200


@pytest.mark.parametrize(("name", "method", "path", "mode"), OPERATIONS)
def test_no_request_breaks_it(
    attacked: Gateway, name: str, method: str, path: str, mode: GenerationMode
) -> None:
    """Whatever is sent, the answer is one that the description knows, and no 5xx of ours."""
    schema = schemathesis.openapi.from_dict(DOCUMENTS[name])
    operation = schema[path][method]
    headers = {"authorization": f"Bearer {KEY}"} if name == "admin" else {}
    examples = math.ceil(CASES / len(OPERATIONS))

    with requests.Session() as session:

        @settings(
            max_examples=examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def attack(case: Any) -> None:
            response = case.call(base_url=attacked.url, session=session, headers=headers)
            SEEN[response.status_code] += 1
            case.validate_response(response, checks=CHECKS, headers=headers)

        attack()
