"""How another cache's answers become entries that a request of ours can meet.

Other caches do not say for which model, with which parameters or for whom an answer was made; who
imports them says so, for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from likewise.category import check_name
from likewise.entry import Entry, Provenance
from likewise.front import request_of
from likewise.gateway.bill import provenance_of
from likewise.gateway.wire.chat import CHAT, read_chat
from likewise.gateway.wire.completion import is_well_formed, why_not_keep
from likewise.prices import Prices
from likewise.request import Request
from likewise.scope import Scope
from likewise.transfer.records import Foreign, Refused


@dataclass(frozen=True, slots=True)
class Frame:
    """What is said of all answers that are imported.

    With a ``model`` they are the gateway's: a request of the tenant for this model, with this
    system prompt and these parameters, meets them. Without one they are the library's.

    Attributes:
        category: Their category; without one rules and examples name it.
        tenant: Whose they are.
        namespace: Their namespace.
        model: The model that requests of the gateway name.
        system: The system prompt of these requests.
        parameters: Every other field of their bodies that changes what the answer says.
        ttl_s: Keep none longer than this, from when it was made.
        fresh: Take them as made now.
        prices: What the models' tokens cost.
    """

    category: str | None = None
    tenant: str = ""
    namespace: str = ""
    model: str | None = None
    system: str | None = field(default=None, repr=False)
    parameters: dict[str, Any] = field(default_factory=dict)
    ttl_s: float | None = None
    fresh: bool = False
    prices: Prices = field(default_factory=lambda: Prices({}))

    def request(self, question: str) -> Request:
        """Return the request that an imported question is met by.

        Raises:
            ConfigError: The category's name is wrong.
            RequestError: A parameter is wrong.
        """
        if self.model is None:
            scope = Scope(tenant=self.tenant, namespace=self.namespace)
            return request_of(question, category=self.category, scope=scope)
        messages = [{"role": "user", "content": question}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        cache: dict[str, Any] = {"namespace": self.namespace}
        if self.category is not None:
            cache["category"] = check_name(self.category)
        body = {**self.parameters, "model": self.model, "messages": messages, "cache": cache}
        call = read_chat(msgspec.json.encode(body), {}, tenant=self.tenant)
        assert call is not None  # noqa: S101 - there is a message
        return call.request

    def answer(self, found: Foreign, entry_id: str) -> tuple[Any, Provenance] | Refused:
        """Return an answer as it is kept, and where it came from."""
        answer = found.answer
        completion = answer if isinstance(answer, dict) else _completion(answer)
        if self.model is None and completion is not answer:
            return answer, Provenance()
        if completion is None:
            answered = {
                "id": f"chatcmpl-{entry_id}",
                "object": "chat.completion",
                "created": int(found.created_at),
                "model": self.model,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": answer},
                        "finish_reason": "stop",
                    }
                ],
            }
            if why_not_keep(answered) is not None:
                return Refused("an empty answer", damaged=False)
            return answered, Provenance(model=self.model or "")
        if not is_well_formed(completion):
            return Refused("not a chat completion", damaged=False)
        if (why := why_not_keep(completion)) is not None:
            return Refused(f"not to be kept: {why}", damaged=False)
        provenance = provenance_of(
            completion,
            CHAT.usage_of(completion),
            asked=self.model or "",
            latency_s=0.0,
            prices=self.prices,
        )
        return completion, replace(provenance, latency_s=None)

    def entry(self, found: Foreign, entry_id: str, *, now: float) -> Entry | Refused:
        """Return a found answer as an entry whose category and expiry are still to be found."""
        made = self.answer(found, entry_id)
        if isinstance(made, Refused):
            return made
        answer, provenance = made
        request = self.request(found.question)
        return Entry(
            id=entry_id,
            scope=request.scope.digest(),
            category="",
            question=request.question,
            answer=answer,
            created_at=now if self.fresh else found.created_at,
            expires_at=found.expires_at,
            tenant=self.tenant,
            namespace=self.namespace,
            provenance=provenance,
        )


def _completion(answer: Any) -> dict[str, Any] | None:
    """Return the chat completion that a text spells, if it does."""
    if not isinstance(answer, str) or not answer.lstrip().startswith("{"):
        return None
    try:
        found = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if is_well_formed(found) else None
