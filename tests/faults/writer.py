"""Writers to be killed: a process that forks one for each line it reads, so that none has to load.

A line of input is ``[URL, TAG]``. Lines of output are ``pid N`` and ``ended`` of a writer, and in
between ``kept NUMBER`` for each answer of it that is stored.
"""

from __future__ import annotations

import json
import os
import sys

from likewise import Cache
from likewise.stores import open_store
from likewise.testing import HashingEmbedder

QUESTIONS = 15
"""Of each writer: it stores answers to them by turns, each in the place of the one before."""


def cache_over(url: str) -> Cache:
    """A cache with nothing that takes time to open."""
    return Cache(store=url, embedder=HashingEmbedder(32), rules=(), examples={}, snapshots=None)


def question_of(tag: str, number: int) -> str:
    """What a writer's answer is stored to."""
    return f"{tag}, question {number % QUESTIONS}"


def answer_of(tag: str, number: int) -> dict[str, object]:
    """An answer of some pages of a file, from which it can be told whether it is whole."""
    return {"number": number, "pad": f"{tag} {number} " * 900}


def write(url: str, tag: str) -> None:
    """Store answers until killed; tell of each once it is stored."""
    with cache_over(url) as cache:
        for number in range(100_000):
            question = question_of(tag, number)
            if cache.store(question, answer_of(tag, number), category="code") is None:
                os._exit(1)
            os.write(1, b"kept %d\n" % number)


def main() -> None:
    """Fork writers, one after the other."""
    open_store("memory://").close()
    for line in sys.stdin:
        url, tag = json.loads(line)
        pid = os.fork()
        if not pid:
            write(url, tag)
        os.write(1, b"pid %d\n" % pid)
        os.waitpid(pid, 0)
        os.write(1, b"ended\n")


if __name__ == "__main__":
    main()
