"""What is kept: a question, its answer and where the answer came from."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from likewise.answers import answer_digest
from likewise.errors import StoreError
from likewise.scope import digest_of

StoredVector = NDArray[np.float16]
"""A vector as it is kept, shape ``(dimensions,)``; half precision moves a cosine by < 0.001."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an answer came from and what it cost.

    Attributes:
        model: The model that answered, as it named itself.
        prompt_tokens: Tokens of the question and its context; ``None`` when not reported.
        completion_tokens: Tokens of the answer; ``None`` when not reported.
        latency_s: Seconds from asking the model to its complete answer.
        cost_usd: Price of the call in US dollars; ``None`` when no price is configured.
    """

    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    cost_usd: float | None = None

    @property
    def total_tokens(self) -> int:
        """Tokens in and out, as far as reported."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


UNKNOWN = Provenance()
"""Of an answer that nothing is known of."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A stored question and answer with its provenance.

    ``vector`` is float16 of shape ``(dimensions,)`` and length 1, or ``None`` for an entry that
    only the exact tier serves. ``named`` is whether the request's caller or a rule named the
    category; else examples did or nobody, and an equal request is known before its vector is.
    ``sources`` are those it was made of with their versions, see ``sources``. Times are seconds
    since the epoch; ``expires_at`` is never moved by a hit. The texts stay out of ``repr``.
    """

    id: str
    scope: bytes
    category: str
    question: str = field(repr=False)
    answer: Any = field(repr=False)
    created_at: float
    expires_at: float | None
    vector: StoredVector | None = field(default=None, repr=False)
    embedder: str = ""
    epoch: int = 0
    tenant: str = ""
    namespace: str = ""
    named: bool = True
    sources: str = ""
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def key(self) -> bytes:
        """Identity of the exact tier, see ``exact_key``."""
        return key_of(self.scope, self.category if self.named else UNNAMED, self.question)

    @property
    def size(self) -> int:
        """Bytes it takes; see ``size_of``."""
        return size_of(self.question, encode_answer(self.answer), self.vector)

    @property
    def cost(self) -> float:
        """Seconds of the model that it takes to make the answer again; see ``cost_of``."""
        return cost_of(self.provenance)

    @property
    def answer_digest(self) -> int:
        """What tells whether another entry's answer says the same; see ``answers``."""
        return answer_digest(self.answer)


_TOKENS_PER_S = 50.0
"""How fast a model is taken to write where its latency is not known."""


def size_of(question: str, answer: bytes, vector: StoredVector | None) -> int:
    """Return the bytes that an entry takes: its texts and its vector."""
    texts = len(question.encode("utf-8", "surrogatepass")) + len(answer)
    return texts + (0 if vector is None else vector.nbytes)


def cost_of(provenance: Provenance) -> float:
    """Return what it takes to make an answer again, in seconds of the model; 1 when unknown."""
    if provenance.latency_s:
        return max(provenance.latency_s, 0.001)
    if provenance.completion_tokens:
        return provenance.completion_tokens / _TOKENS_PER_S
    return 1.0


UNNAMED = ""
"""Stands for the category where none was named."""


OMITTED = "\0omitted:"
"""Begins what stands for a question whose text is not kept; the hex digits of its key follow."""


def key_of(scope: bytes, category: str, question: str) -> bytes:
    """Return the ``exact_key`` of a question as it is kept, whether its text is or not."""
    if question.startswith(OMITTED):
        return bytes.fromhex(question.removeprefix(OMITTED))
    return exact_key(scope, category, question)


def exact_key(scope: bytes, category: str, question: str) -> bytes:
    """Return the identity that two requests share when one entry serves both to the letter.

    ``category`` is the one that the caller or a rule named, else ``UNNAMED``.

    White space around the question is not part of it; white space inside is, for code's sake.
    """
    return digest_of(scope, category, question.strip())


def new_entry_id() -> str:
    """Return a fresh identifier that cannot be guessed."""
    return "lw-" + secrets.token_hex(12)


def encode_answer(answer: object) -> bytes:
    """Return an answer as JSON.

    Raises:
        StoreError: It is not a JSON value.
    """
    try:
        return msgspec.json.encode(answer)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"an answer must be a JSON value, not {type(answer).__name__}: {error}"
        raise StoreError(msg) from error


def decode_answer(data: bytes) -> Any:
    """Return the answer that ``encode_answer`` made ``data`` of.

    Raises:
        msgspec.DecodeError: ``data`` is damaged.
    """
    return msgspec.json.decode(data)
