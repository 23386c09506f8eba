"""``POST /v1/embeddings``: vectors of texts, which only equal texts share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from likewise.gateway.wire.dialect import Around, Dialect, JsonObject, Usage, count
from likewise.gateway.wire.text import plain_text
from likewise.request import Request

_NOT_IDENTITY = frozenset({"encoding_format", "input", "model", "user"})
_FLOAT = "float"


class Embeddings(Dialect):
    """OpenAI's embeddings.

    What is stored is the whole answer to a list of texts, in the encoding that was asked for.
    """

    path = "/v1/embeddings"

    def request_of(self, body: JsonObject, around: Around) -> Request | None:
        """See ``Dialect``. The server never streams these: who asks for it asks the server."""
        given = body.get("input")
        if isinstance(given, list) and len(given) == 1 and isinstance(given[0], str):
            given = given[0]
        if not given or not isinstance(given, str | list) or body.get("stream"):
            return None
        question, frame, exact_only = plain_text(given)
        encoding = body.get("encoding_format") or _FLOAT
        return Request(
            question=question,
            scope=self.scope_of(body, around, context=[encoding, frame], without=_NOT_IDENTITY),
            controls=around.asked.controls,
            exact_only=exact_only or "embeddings",
            path=self.path,
        )

    def is_well_formed(self, answer: object) -> bool:
        """See ``Dialect``."""
        data = answer.get("data") if isinstance(answer, dict) else None
        return (
            isinstance(data, list)
            and bool(data)
            and all(
                isinstance(r, dict) and isinstance(r.get("embedding"), list | str) for r in data
            )
        )

    def why_not_keep(self, answer: object) -> str | None:
        """See ``Dialect``."""
        if not isinstance(answer, dict) or not self.is_well_formed(answer):
            return "no embeddings"
        if not all(row["embedding"] for row in answer["data"]):
            return "an empty embedding"
        return None

    def from_stream(self, events: Sequence[bytes], *, needs_done: bool = True) -> JsonObject | None:
        """See ``Dialect``: there are no streams."""
        return None

    def to_stream(self, answer: JsonObject, *, include_usage: bool) -> Iterator[bytes]:
        """See ``Dialect``: nobody is read who asks for one."""
        raise NotImplementedError

    def usage_of(self, answer: JsonObject) -> Usage:
        """See ``Dialect``. Nothing is written, so that the price of the prompt is all of it."""
        found = answer.get("usage")
        prompt = count(found.get("prompt_tokens")) if isinstance(found, dict) else None
        return Usage(prompt, None if prompt is None else 0, prompt)

    def beginning(self, body: JsonObject) -> object:
        """See ``Dialect``: nothing is kept warm, so that any two may go anywhere."""
        return body.get("input")


EMBEDDINGS = Embeddings()
