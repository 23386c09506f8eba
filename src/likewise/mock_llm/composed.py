"""What the answers of the protocols beside chat share."""

from __future__ import annotations

from likewise.mock_llm.wire import (
    Answer,
    Choice,
    JsonObject,
    compose,
    count_words,
    find_directives,
    hash_messages,
    read_text,
)


class ComposedAnswer(Answer):
    """What the protocols beside chat share."""

    def __init__(
        self, body: JsonObject, messages: list[JsonObject], model: str, tokens: int | None
    ) -> None:
        self.directives = find_directives(messages)
        # The same words in another protocol get another answer.
        said = [{"protocol": type(self).__name__}, *messages]
        self.digest = hash_messages(said)
        self.choices = [
            compose(hash_messages(said, index), self.directives, tokens)
            for index in range(body.get("n") or 1)
        ]
        self.model = body.get("model") or model
        self.prompt_tokens = sum(count_words(read_text(message)) for message in messages)

    @property
    def choice(self) -> Choice:
        """The answer, where there is only one."""
        return self.choices[0]


def as_system(content: object) -> list[JsonObject]:
    """Return a system prompt as messages, of which it may be none."""
    return [{"role": "system", "content": content}] if content else []
