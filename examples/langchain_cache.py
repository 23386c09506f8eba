"""LangChain with Likewise as its cache.

With a stand-in instead of a model: run `likewise mock-llm` in another window, and this with
OPENAI_BASE_URL=http://127.0.0.1:8701/v1 OPENAI_API_KEY=none
"""

from langchain_openai import ChatOpenAI

from likewise import Cache
from likewise.integrations.langchain import LikewiseCache

cache = Cache(store="memory://")  # sqlite:///likewise.db keeps answers for the next run
llm = ChatOpenAI(model="gpt-4o", cache=LikewiseCache(cache, category="code"))

print(llm.invoke("How do I undo the last commit?").content)
print(llm.invoke("How can I undo my last commit?").content)  # the model was not asked
counts = cache.stats()["categories"]["code"]
print("hits:", counts["exact_hits"] + counts["semantic_hits"])
cache.close()
