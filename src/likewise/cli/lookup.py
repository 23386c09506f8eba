"""``likewise check`` and ``likewise explain``: one question against the cache."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from likewise.cache import Cache
from likewise.cli.output import (
    ConfigOption,
    JsonOption,
    StoreOption,
    console,
    print_json,
    rebuilding,
)
from likewise.cli.settings import config_of
from likewise.durations import humanize
from likewise.policy import Decision, Hit, Miss
from likewise.scope import Scope

TextArgument = Annotated[str, typer.Argument(metavar="TEXT", help="The question; - reads stdin.")]
CategoryOption = Annotated[
    str | None, typer.Option("--category", help="The kind of question; without it, rules decide.")
]
TenantOption = Annotated[str, typer.Option("--tenant", help="Tenant, as the entry has it.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="Namespace.")]
ModelOption = Annotated[str, typer.Option("--model", help="Model, as requests name it.")]


def check(
    text: TextArgument,
    category: CategoryOption = None,
    tenant: TenantOption = "",
    namespace: NamespaceOption = "",
    model: ModelOption = "",
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Look a question up and print the decision, and the answer when there is one."""
    scope = Scope(tenant=tenant, namespace=namespace, model=model)
    with _open(config, store) as cache:
        decision = cache.check(_text(text), category=category, scope=scope)
    if json:
        print_json({"decision": type(decision).__name__.lower(), **asdict(decision)})
        return
    console.print(_headline(decision))
    if isinstance(decision, Hit):
        answer = decision.answer
        console.print(escape(answer if isinstance(answer, str) else repr(answer)), soft_wrap=True)


def explain(
    text: TextArgument,
    category: CategoryOption = None,
    tenant: TenantOption = "",
    namespace: NamespaceOption = "",
    model: ModelOption = "",
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show how a question would be decided, and why: policy, nearest entries, guards."""
    scope = Scope(tenant=tenant, namespace=namespace, model=model)
    with _open(config, store) as cache:
        found = cache.explain(_text(text), category=category, scope=scope)
    if json:
        print_json(found.to_dict())
        return
    policy = found.policy
    console.print(_headline(found.decision))
    console.print(
        f"category [bold]{policy.name}[/] (named by {found.category_by}): "
        f"threshold {found.threshold:g}, ttl {humanize(policy.ttl_s)}, "
        f"guards {', '.join(policy.guards) or 'none'}"
    )
    if found.exact_only:
        console.print(f"only equal questions are answered from cache: {escape(found.exact_only)}")
    if not found.candidates:
        console.print("no entry of this scope and category to compare with")
        return
    table = Table("similarity", "entry", "guards say", "stored question", box=None)
    for candidate, seen in zip(found.candidates, found.vetoes, strict=True):
        table.add_row(
            f"{candidate.similarity:.4f}",
            candidate.entry_id,
            escape(seen or "-"),
            escape(_short(candidate.question)),
        )
    console.print(table)


def _open(config: str | None, store: str | None) -> Cache:
    settings = config_of(config, store=store)
    with rebuilding() as report:
        return Cache.open(settings, progress=report)


def _text(text: str) -> str:
    return sys.stdin.read() if text == "-" else text


def _headline(decision: Decision) -> str:
    parts = [f"[bold]{type(decision).__name__.upper()}[/]", decision.reason.value]
    if isinstance(decision, Miss) and decision.detail:
        parts.append(f"({escape(decision.detail)})")
    if isinstance(decision, Hit):
        parts.append(
            f"tier {decision.tier}, similarity {decision.similarity:.4f}, "
            f"age {humanize(max(decision.age_s, 1.0))}, entry {decision.entry_id}"
        )
    return " ".join(parts)


def _short(text: str, width: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
