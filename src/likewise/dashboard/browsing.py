"""Looks entries up for a person: by text, by meaning, one in full, and all near one."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from likewise.embed import Vectors
from likewise.engine import Engine
from likewise.entry import OMITTED, Entry
from likewise.errors import EmbedderError, RequestError
from likewise.index import Match, Record

MOST = 200
"""Most entries that are shown at once."""

MOST_DROPPED = 10_000
"""Most entries that are dropped at once for being near another."""


def by_text(engine: Engine, text: str, *, category: str, limit: int) -> dict[str, Any]:
    """Return the entries whose question has ``text`` in it, whatever its case, newest first.

    Returns:
        ``total`` of them, and of at most ``limit`` the ``entries``.
    """
    wanted = text.casefold()
    found = [
        record
        for record in engine.catalog.records()
        if (not category or record.category == category)
        and (not wanted or wanted in record.question.casefold())
    ]
    newest = heapq.nlargest(min(limit, MOST), found, key=lambda record: record.created_at)
    return {"total": len(found), "entries": [_shown(record) for record in newest]}


def by_meaning(engine: Engine, question: str, *, category: str, limit: int) -> dict[str, Any]:
    """Return the entries nearest to a question in all scopes, nearest first.

    Raises:
        RequestError: The question is longer than the embedder reads, or it cannot be embedded.
        StoreError: The server of a remote index failed.
    """
    if not question.strip() or not engine.embedder.fits(question):
        msg = "a question to search by has some text, and no more than the embedder reads"
        raise RequestError(msg, param="question")
    try:
        vector = engine.embedder.embed([question])[0]
    except EmbedderError as error:
        raise RequestError(str(error), param="question") from error
    most = min(limit, MOST)
    found = engine.catalog.around(vector, floor=-1.0, most=most, category=category)
    return {"total": len(found), "entries": [_shown(*match) for match in found]}


def in_full(engine: Engine, entry_id: str) -> dict[str, Any]:
    """Return an entry with its texts and where its answer came from.

    Raises:
        RequestError: There is no such entry.
        StoreError: The store cannot be read.
    """
    entry = _entry(engine, entry_id)
    record = engine.catalog.record(entry_id)
    provenance = entry.provenance
    return {
        "id": entry.id,
        "category": entry.category,
        "question": "" if entry.question.startswith(OMITTED) else entry.question,
        "answer": entry.answer,
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
        "scope": entry.scope.hex(),
        "tenant": entry.tenant[:12],
        "namespace": entry.namespace,
        "epoch": entry.epoch,
        "embedder": entry.embedder,
        "sources": entry.sources,
        "named": entry.named,
        "bytes": entry.size,
        "indexed": record is not None,
        "provenance": {
            "model": provenance.model,
            "prompt_tokens": provenance.prompt_tokens,
            "completion_tokens": provenance.completion_tokens,
            "latency_s": provenance.latency_s,
            "cost_usd": provenance.cost_usd,
        },
    }


def near(engine: Engine, entry_id: str, similarity: float) -> list[Match]:
    """Return an entry and those of its category from a cosine up, in all scopes, nearest first.

    Raises:
        RequestError: There is no such entry, or it has no vector of the embedder in use.
        StoreError: The store cannot be read.
    """
    entry = _entry(engine, entry_id)
    found = engine.catalog.around(
        _vector_of(engine, entry), floor=similarity, most=MOST_DROPPED, category=entry.category
    )
    if all(record.entry_id != entry_id for record, _ in found):
        record = engine.catalog.record(entry_id)
        found = found if record is None else [(record, 1.0), *found]
    return found


def listed(matches: list[Match]) -> list[dict[str, Any]]:
    """Return entries with their similarity, ready for JSON; at most ``MOST``."""
    return [_shown(*match) for match in matches[:MOST]]


def _entry(engine: Engine, entry_id: str) -> Entry:
    entry = engine.store.get(entry_id)
    if entry is None:
        msg = "there is no such entry; it may have expired or been dropped"
        raise RequestError(msg, status=404)
    return entry


def _vector_of(engine: Engine, entry: Entry) -> Vectors:
    if entry.vector is None or entry.embedder != engine.embedder.name:
        msg = "the entry is served to equal questions only: it has no vector to be near to"
        raise RequestError(msg)
    return entry.vector.astype(np.float32)


def _shown(record: Record, similarity: float | None = None) -> dict[str, Any]:
    return {
        "id": record.entry_id,
        "category": record.category,
        "question": record.question,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "tenant": record.tenant[:12],
        "bytes": record.size,
        "cost_s": record.cost,
        "similarity": None if similarity is None else min(1.0, float(similarity)),
    }
