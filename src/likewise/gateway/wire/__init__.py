"""Wire formats: from bytes to a canonical request, and from a stored answer back to bytes."""

from likewise.gateway.wire.chat import CHAT

DIALECTS = (CHAT,)
"""The protocols whose answers are cached."""
