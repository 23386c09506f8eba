"""Writes ``gptcache.sqlite`` with the real GPTCache 0.1.44; run where it and faiss are installed.

The vectors are those of ``HashingEmbedder()``: this file needs Likewise on its path as well.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from gptcache import Cache, Config  # type: ignore[import-not-found]
from gptcache.adapter.api import get, put  # type: ignore[import-not-found]
from gptcache.manager import (  # type: ignore[import-not-found]
    CacheBase,
    VectorBase,
    get_data_manager,
)
from gptcache.manager.scalar_data.base import (  # type: ignore[import-not-found]
    Answer,
    CacheData,
    DataType,
    Question,
    QuestionDep,
)
from gptcache.processor.pre import get_prompt  # type: ignore[import-not-found]
from gptcache.similarity_evaluation import (  # type: ignore[import-not-found]
    SearchDistanceEvaluation,
)

from likewise.testing import HashingEmbedder

HERE = Path(__file__).parent


def main() -> None:
    """Store six questions; one has two answers, one a picture, one a part, one is deleted."""
    embedder = HashingEmbedder()
    file = HERE / "gptcache.sqlite"
    file.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        manager = get_data_manager(
            CacheBase("sqlite", sql_url=f"sqlite:///{file}"),
            VectorBase("faiss", dimension=256, index_path=f"{folder}/index"),
        )
        cache = Cache()
        cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=lambda text, **_: embedder.embed([text])[0],
            data_manager=manager,
            similarity_evaluation=SearchDistanceEvaluation(),
            config=Config(disable_report=True, enable_token_counter=False),
        )
        put("How do I undo the last commit in git?", "git reset --soft HEAD~1", cache_obj=cache)
        put("What is the capital of Peru?", "Lima", cache_obj=cache)
        assert get("What is the capital of Peru?", cache_obj=cache) == "Lima"
        storage = manager.s

        def add(question: str | Question, answers: list[Answer]) -> int:
            text = question if isinstance(question, str) else question.content
            vector = embedder.embed([text])[0]
            (number,) = storage.batch_insert([CacheData(question, answers, vector)])
            return int(number)

        add("Who wrote Faust?", [Answer("Goethe"), Answer("Johann Wolfgang von Goethe")])
        add("Draw a cat", [Answer("aGk=", DataType.IMAGE_BASE64)])
        part = QuestionDep("image", "https://example.org/a.png", DataType.IMAGE_URL)
        add(Question("What is in this picture?", [part]), [Answer("A cat")])
        gone = add("What was deleted?", [Answer("This")])
        storage.mark_deleted([gone])
        cache.flush()
        storage.close()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
