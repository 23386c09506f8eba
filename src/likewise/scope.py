"""The partition that is never crossed.

A scope is everything that must be equal for an answer to be reusable at all. Lookups never leave
it: each scope and category has an index of its own, and the scope is checked again in the entry
that a hit fetches.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

DIGEST_BYTES = 16
"""128 bits: a collision among a billion scopes has a chance of about 1e-21 (birthday bound)."""


class _Known:
    """Room for the digest once it is known: it is asked for more often than a scope is made."""

    __slots__ = ("_digest",)
    _digest: bytes


@dataclass(frozen=True, slots=True)
class Scope(_Known):
    """Who asks, of what, in which context. Every field defaults to empty.

    Attributes:
        tenant: Whose answers these are; the gateway derives it from the API key.
        namespace: A part of a tenant's traffic that shares nothing with its other parts.
        model: The model's name as requested.
        context: Canonical form of the system prompt and of all earlier turns.
        tools: Canonical form of the tools offered to the model.
        parameters: Canonical form of sampling parameters, response format and all other fields.
    """

    tenant: str = ""
    namespace: str = ""
    model: str = ""
    context: str = ""
    tools: str = ""
    parameters: str = ""

    def digest(self) -> bytes:
        """Return the scope's 16-byte identity."""
        try:
            return self._digest
        except AttributeError:
            pass
        found = digest_of(
            "scope",
            self.tenant,
            self.namespace,
            self.model,
            self.context,
            self.tools,
            self.parameters,
        )
        object.__setattr__(self, "_digest", found)
        return found

    def __repr__(self) -> str:
        """Show the identity only: a context holds prompts, a tenant may be a name."""
        return f"Scope(digest={self.digest().hex()})"


def digest_of(*parts: str | bytes) -> bytes:
    """Return a 16-byte digest of ``parts`` in which no two lists of parts run together."""
    state = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.digest()


def tenant_of(api_key: str | None) -> str:
    """Return the tenant an API key stands for; the key cannot be read back from it."""
    if not api_key:
        return "anonymous"
    return digest_of("tenant", api_key).hex()
