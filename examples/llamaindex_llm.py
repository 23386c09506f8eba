"""LlamaIndex with Likewise around its model, here a small one of our own; any other `LLM` does.

With a stand-in instead of a model: run `likewise mock-llm` in another window, and this with
OPENAI_BASE_URL=http://127.0.0.1:8701/v1 OPENAI_API_KEY=none
"""

import openai
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM

from likewise import Cache
from likewise.integrations.llamaindex import CachedLLM


class Small(CustomLLM):
    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="gpt-4o")

    def complete(self, prompt: str, formatted: bool = False, **kwargs) -> CompletionResponse:
        messages = [{"role": "user", "content": prompt}]
        raw = openai.OpenAI().chat.completions.create(model="gpt-4o", messages=messages)
        return CompletionResponse(text=raw.choices[0].message.content, raw=raw)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs):
        yield self.complete(prompt)


cache = Cache(store="memory://")  # sqlite:///likewise.db keeps answers for the next run
llm = CachedLLM(Small(), cache, category="code")
print(llm.complete("How do I undo the last commit?"))
print(llm.complete("How can I undo my last commit?"))  # the model was not asked
counts = cache.stats()["categories"]["code"]
print("hits:", counts["exact_hits"] + counts["semantic_hits"])
cache.close()
