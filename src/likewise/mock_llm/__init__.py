"""A stand-in for a model: a server that answers at once, for nothing.

It speaks chat completions, completions, responses and embeddings as OpenAI does, and messages as
Anthropic does.

The same messages always get the same answer, and different messages always different ones. A
directive in the last user message makes it misbehave on demand:

    [[status:429]]        an error with this status, in the protocol's shape
    [[finish:length]]     another finish reason than "stop"
    [[slow:2.5]]          seconds before the first byte, instead of the configured latency
    [[cut]]               the connection closes in the middle of the body
    [[garbage]]           status 200, and something that is not JSON
    [[tool:get_weather]]  a call of this tool instead of text
    [[refusal]]           a refusal instead of text
    [[reasoning]]         reasoning before the text
    [[unicode]]           emoji and CJK in the text
    [[tokens:120]]        an answer of so many words, which stand for tokens

The header ``x-mock-tokens`` asks for a length as well; it is no part of what was asked, so a cache
in between does not tell requests apart by it. Where tokens take time, ``max_tokens`` is the length
of an answer without either. With a ``capacity`` the stand-in is as slow as its load makes it, by
the law of ``service_time``, and refuses with 429 when too many wait.

``GET /requests`` tells what arrived; ``DELETE /requests`` forgets it. What an answer looks like is
in ``wire`` and ``protocols``, what serves it in ``server``.
"""

from likewise.mock_llm.server import MockSettings, create_app

__all__ = ["MockSettings", "create_app"]
