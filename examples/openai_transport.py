"""OpenAI's client with a cache under it, and no gateway: streams, tools and headers included.

With a stand-in instead of a model: run `likewise mock-llm` in another window, and this with
OPENAI_BASE_URL=http://127.0.0.1:8701/v1 OPENAI_API_KEY=none
"""

import httpx
import openai

from likewise import Cache
from likewise.integrations.httpx import CachingTransport

cache = Cache(store="memory://")  # sqlite:///likewise.db keeps answers for the next run
client = openai.OpenAI(http_client=httpx.Client(transport=CachingTransport(cache)))


def ask(question: str) -> None:
    reply = client.chat.completions.with_raw_response.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": question}],
        extra_headers={"X-Likewise-Category": "code"},
    )
    print(reply.headers["X-Cache"], reply.parse().choices[0].message.content)


ask("How do I undo the last commit?")
ask("How can I undo my last commit?")  # HIT: the same answer; the model was not asked
counts = cache.stats()["categories"]["code"]
print("hits:", counts["exact_hits"] + counts["semantic_hits"])
client.close()
cache.close()
