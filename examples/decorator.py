"""A function that asks a model, cached by a decorator.

With a stand-in instead of a model: run `likewise mock-llm` in another window, and this with
OPENAI_BASE_URL=http://127.0.0.1:8701/v1 OPENAI_API_KEY=none
"""

import openai

from likewise import Cache

cache = Cache(store="memory://")  # sqlite:///likewise.db keeps answers for the next run


@cache.cached(category="code")
def ask(question: str, model: str = "gpt-4o") -> str:
    messages = [{"role": "user", "content": question}]
    reply = openai.OpenAI().chat.completions.create(model=model, messages=messages)
    return reply.choices[0].message.content


print(ask("How do I undo the last commit?"))
print(ask("How can I undo my last commit?"))  # the same answer; the model was not asked
counts = cache.stats()["categories"]["code"]
print("hits:", counts["exact_hits"] + counts["semantic_hits"])
cache.close()
