"""Writes the pages of ``docs/reference`` that are made of the code: metrics and the admin API.

Run by ``make docs``; a test compares the pages with what this would write.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.core import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from likewise import Cache
from likewise.config import LoadSettings, UpstreamSettings
from likewise.gateway.admin.app import ACTS
from likewise.gateway.metrics import Metrics
from likewise.gateway.pool import Pool
from likewise.testing import HashingEmbedder

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def metrics_page() -> str:
    """Return the page of all metrics, with their labels."""
    rows = [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |"
        for name, kind, labels, text in sorted(_families())
    ]
    return "\n".join(
        [
            "# Metrics",
            "",
            "`GET /metrics` gives these, for Prometheus. `category` and `model` take 100 values",
            "each at most; further ones are counted as `other`, but for those listed.",
            "With several workers each sample has the number of its `worker`.",
            "",
            "| name | kind | labels | what it counts |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def admin_page() -> str:
    """Return the page of the admin API."""
    rows = [
        f"| `{act.method} /admin{act.path}` | {act.role.name.lower()} | {act.summary} |"
        f" {_taken(act.query, act.body)} |"
        for act in ACTS
    ]
    return "\n".join(
        [
            "# Admin API",
            "",
            "Every request names a key: `Authorization: Bearer KEY`. A key has a role; each may do",
            "what those before it may: read, write, admin. Answers are JSON, errors have the shape",
            "of OpenAI's.",
            "",
            "| request | role | what it does | takes |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _families() -> list[tuple[str, str, tuple[str, ...], str]]:
    with Cache(store="memory://", embedder=HashingEmbedder()) as cache:
        metrics = Metrics(cache._engine, _pool())
        return [
            *_of_registry(metrics.registry),
        ]


def _pool() -> Pool:
    async def made() -> Pool:
        return Pool(UpstreamSettings(base_url="http://127.0.0.1:1"), LoadSettings())

    return asyncio.run(made())


def _of_registry(registry: CollectorRegistry) -> list[tuple[str, str, tuple[str, ...], str]]:
    found = []
    for collector in list(registry._collector_to_names):
        own: tuple[str, ...] = ()
        if isinstance(collector, MetricWrapperBase):
            own = tuple(collector._labelnames)
        for family in collector.collect():
            labels = own or tuple(getattr(family, "_labelnames", ()))
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found.append((name, family.type, labels, family.documentation))
    return found


def _taken(query: type | None, body: Any) -> str:
    parts = []
    for what, kind in (("query", query), ("body", body)):
        if kind is None:
            continue
        if kind is Any:
            parts.append(f"{what}: what `categories` of a configuration would say")
            continue
        names = [_field(one) for one in msgspec.structs.fields(kind)]
        parts.append(f"{what}: {', '.join(names)}")
    return "; ".join(parts)


def _field(field: Any) -> str:
    return f"`{field.name}`" if field.required else f"[`{field.name}`]"


PAGES = {"metrics.md": metrics_page, "admin.md": admin_page}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
    sys.stdout.write(f"wrote {', '.join(PAGES)}\n")
