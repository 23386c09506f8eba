"""LiteLLM with Likewise as its cache.

With a stand-in instead of a model: run `likewise mock-llm` in another window, and this with
OPENAI_BASE_URL=http://127.0.0.1:8701/v1 OPENAI_API_KEY=none
"""

import litellm

from likewise import Cache
from likewise.integrations.litellm import LikewiseCache

cache = Cache(store="memory://")  # sqlite:///likewise.db keeps answers for the next run
litellm.cache = LikewiseCache(cache)


def ask(question: str) -> str:
    messages = [{"role": "user", "content": question}]
    reply = litellm.completion(model="openai/gpt-4o", messages=messages, cache={"category": "code"})
    return reply.choices[0].message.content


print(ask("How do I undo the last commit?"))
print(ask("How can I undo my last commit?"))  # the same answer; the model was not asked
counts = cache.stats()["categories"]["code"]
print("hits:", counts["exact_hits"] + counts["semantic_hits"])
litellm.cache = None
cache.close()
