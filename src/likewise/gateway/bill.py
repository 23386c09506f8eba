"""What a call to the model cost."""

from __future__ import annotations

from typing import Any

from likewise.entry import Provenance
from likewise.prices import Prices


def provenance_of(
    completion: dict[str, Any], *, asked: str, latency_s: float, prices: Prices
) -> Provenance:
    """Return where an answer came from and what it cost, as far as it tells.

    Args:
        completion: The whole answer.
        asked: The model that was asked for.
        latency_s: Seconds from asking to the end of the answer.
        prices: Of the models; the name asked for goes before the one that answered.
    """
    usage = completion.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
    answered = str(completion.get("model") or "")
    price, cost_usd = prices.of(asked, answered), None
    if price is not None and isinstance(prompt, int) and isinstance(output, int):
        cost_usd = price.of(prompt, output)
    return Provenance(
        model=answered or asked,
        prompt_tokens=prompt if isinstance(prompt, int) else None,
        completion_tokens=output if isinstance(output, int) else None,
        latency_s=latency_s,
        cost_usd=cost_usd,
    )
