"""A stand-in for a model: an OpenAI-compatible server that answers at once, for nothing.

The same messages always get the same answer, and different messages always different ones. A
directive in the last user message makes it misbehave on demand:

    [[status:429]]        an error with this status, in OpenAI's shape
    [[finish:length]]     another finish reason than "stop"
    [[slow:2.5]]          seconds before the first byte, instead of the configured latency
    [[cut]]               the connection closes in the middle of the body
    [[garbage]]           status 200, and something that is not JSON
    [[tool:get_weather]]  a call of this tool instead of text
    [[refusal]]           a refusal instead of text
    [[reasoning]]         reasoning before the text
    [[unicode]]           emoji and CJK in the text

``GET /requests`` tells what arrived; ``DELETE /requests`` forgets it. What an answer looks like is
in ``wire``, what serves it in ``server``.
"""

from likewise.mock_llm.server import MockSettings, create_app

__all__ = ["MockSettings", "create_app"]
