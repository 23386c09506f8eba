"""What a call to the model cost."""

from __future__ import annotations

from typing import Any

from likewise.entry import Provenance
from likewise.gateway.wire.dialect import Usage
from likewise.prices import Prices


def provenance_of(
    answer: dict[str, Any], usage: Usage, *, asked: str, latency_s: float, prices: Prices
) -> Provenance:
    """Return where an answer came from and what it cost, as far as it tells.

    Args:
        answer: The whole answer.
        usage: What it says it took.
        asked: The model that was asked for.
        latency_s: Seconds from asking to the end of the answer.
        prices: Of the models; the name asked for goes before the one that answered.
    """
    answered = str(answer.get("model") or "")
    price, cost_usd = prices.of(asked, answered), None
    if price is not None and usage.charged is not None and usage.output is not None:
        cost_usd = price.of(usage.charged, usage.output)
    return Provenance(
        model=answered or asked,
        prompt_tokens=usage.prompt,
        completion_tokens=usage.output,
        latency_s=latency_s,
        cost_usd=cost_usd,
    )
