"""What the integrations that see messages, not HTTP, share: from messages to a request, and tokens.

Messages are read by the code that reads them for the gateway, so that what is a question, what is
context and what only the exact tier may serve is the same everywhere.
"""

from __future__ import annotations

from typing import Any

import msgspec

from likewise.category import check_name
from likewise.entry import Provenance
from likewise.gateway.wire.chat import read_chat
from likewise.gateway.wire.dialect import parse_json
from likewise.prices import Prices
from likewise.request import Request
from likewise.scope import Scope

_PRICES = Prices({})


def read_messages(
    messages: list[dict[str, Any]],
    *,
    scope: Scope,
    category: str | None,
    identity: object,
    controls: dict[str, Any] | None = None,
    **known: Any,
) -> Request | None:
    """Return the request that messages in OpenAI's form make; ``None`` without any.

    Args:
        messages: The conversation; the last one is the question when it is the user's.
        scope: What must be equal beside everything else.
        category: The category the integration was given.
        identity: A JSON value that tells model and parameters apart; all of it is identity.
        controls: The ``cache`` object of a call; its category goes before the other one.
        known: Of the fields of a chat request those that decide more than identity: ``model``,
            ``temperature``, ``n``, ``tools``.

    Raises:
        RequestError: A control is wrong, or something is no JSON value.
    """
    fields = {name: value for name, value in known.items() if value is not None}
    cache = {"category": category, "namespace": scope.namespace, **(controls or {})}
    outer = [identity, scope.model, scope.context, scope.tools, scope.parameters]
    body = {**fields, "messages": messages, "likewise": outer, "cache": cache}
    call = read_chat(msgspec.json.encode(body), {}, tenant=scope.tenant)
    return None if call is None else call.request


def checked(category: str | None) -> str | None:
    """Return a category's name as it is.

    Raises:
        ConfigError: It is no name of a category.
    """
    return None if category is None else check_name(category)


def json_value(text: str) -> Any:
    """Return the value of a JSON text, and of any other text nothing."""
    try:
        return parse_json(text.encode())
    except Exception:
        return None


def provenance(
    *, model: str, asked: str, prompt_tokens: object, completion_tokens: object,
    latency_s: float | None = None,
) -> Provenance:  # fmt: skip
    """Return where an answer came from and what it cost at list prices, as far as it is known."""
    prompt = prompt_tokens if isinstance(prompt_tokens, int) else None
    output = completion_tokens if isinstance(completion_tokens, int) else None
    price = _PRICES.of(asked, model)
    known = price is not None and prompt is not None and output is not None
    cost_usd = price.of(prompt, output) if known and price and prompt and output else None
    return Provenance(
        model=model or asked,
        prompt_tokens=prompt,
        completion_tokens=output,
        latency_s=latency_s,
        cost_usd=cost_usd,
    )
