"""Wire formats: from bytes to a canonical request, and from a stored answer back to bytes."""

from likewise.gateway.wire.chat import CHAT
from likewise.gateway.wire.embeddings import EMBEDDINGS
from likewise.gateway.wire.messages import MESSAGES
from likewise.gateway.wire.responses import RESPONSES
from likewise.gateway.wire.text import TEXT_COMPLETIONS

__all__ = ["CHAT", "DIALECTS", "EMBEDDINGS", "MESSAGES", "RESPONSES", "TEXT_COMPLETIONS"]

DIALECTS = (CHAT, TEXT_COMPLETIONS, RESPONSES, EMBEDDINGS, MESSAGES)
"""The protocols whose answers are cached."""
