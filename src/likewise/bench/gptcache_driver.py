"""GPTCache's side of ``likewise bench peers``: run by the Python of its own environment.

It imports nothing of ours. Its argument is a folder with ``stored.npy`` and ``asked.npy`` (float32,
a vector a row) and ``texts.json`` (``stored``, ``asked`` and the ``answer`` of every entry). When
all is stored it prints ``{"entries": n}``; then, for each line ``FIRST LAST`` that it reads, it
looks up the questions from ``FIRST`` up to ``LAST`` and prints the time of each in microseconds and
how many were answered: ``{"times_us": [...], "hits": n}``.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_THRESHOLD = 0.95
"""On GPTCache's own scale, 1 less a quarter of the squared distance: a cosine of 0.9."""


def _opened(folder: Path, vectors: dict[str, Any], room: int) -> Any:
    """Return an empty GPTCache over SQLite and FAISS that knows the vector of every text."""
    from gptcache import Cache, Config  # type: ignore[import-not-found]  # noqa: PLC0415
    from gptcache.manager import (  # type: ignore[import-not-found]  # noqa: PLC0415
        CacheBase,
        VectorBase,
        get_data_manager,
    )
    from gptcache.processor.pre import get_prompt  # type: ignore[import-not-found]  # noqa: PLC0415
    from gptcache.similarity_evaluation import (  # type: ignore[import-not-found]  # noqa: PLC0415
        SearchDistanceEvaluation,
    )

    dimension = len(next(iter(vectors.values())))
    cache = Cache()
    cache.init(
        pre_embedding_func=get_prompt,
        embedding_func=lambda text, **_: vectors[text],
        data_manager=get_data_manager(
            CacheBase("sqlite", sql_url=f"sqlite:///{folder / 'gptcache.db'}"),
            VectorBase("faiss", dimension=dimension, index_path=str(folder / "gptcache.index")),
            max_size=room,
        ),
        similarity_evaluation=SearchDistanceEvaluation(),
        config=Config(
            similarity_threshold=_THRESHOLD, disable_report=True, enable_token_counter=False
        ),
    )
    return cache


def _main(folder: Path) -> None:
    # Standard output is for the caller alone, whatever a library prints.
    out, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.WARNING)
    stored, asked = np.load(folder / "stored.npy"), np.load(folder / "asked.npy")
    texts = json.loads((folder / "texts.json").read_text("utf-8"))
    questions: list[str] = texts["asked"]
    vectors = dict(zip([*texts["stored"], *questions], [*stored, *asked], strict=True))
    cache = _opened(folder, vectors, room=2 * len(stored))
    cache.import_data(texts["stored"], [texts["answer"]] * len(stored))

    from gptcache.adapter.api import get  # type: ignore[import-not-found]  # noqa: PLC0415

    def say(value: object) -> None:
        out.write(json.dumps(value) + "\n")
        out.flush()

    say({"entries": len(stored)})
    for line in sys.stdin:
        first, last = map(int, line.split())
        times_us, hits = [], 0
        for question in questions[first:last]:
            began = time.perf_counter()
            answer = get(question, cache_obj=cache)
            times_us.append(1e6 * (time.perf_counter() - began))
            hits += answer == texts["answer"]
        say({"times_us": times_us, "hits": hits})


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
