"""``likewise check`` and ``likewise explain``: one question against the cache."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
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
from likewise.cli.receipt import fetch_receipt, show_receipt
from likewise.cli.settings import config_of
from likewise.durations import humanize
from likewise.explain import Explanation
from likewise.explain import explain as explain_request
from likewise.front import request_of
from likewise.gateway.wire.chat import read_chat
from likewise.opening import from_config
from likewise.policy import Decision, Hit, Miss
from likewise.request import Request
from likewise.scope import Scope, tenant_of

_REQUEST_ID = re.compile(r"req-[0-9a-f]{32}")

TextArgument = Annotated[str, typer.Argument(metavar="TEXT", help="The question; - reads stdin.")]
CategoryOption = Annotated[
    str | None, typer.Option("--category", help="The kind of question; without it, rules decide.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Ask as the gateway would: the model requested.")
]
SystemOption = Annotated[
    str | None, typer.Option("--system", help="Ask as the gateway would: the system prompt.")
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="Ask as the gateway would: the client's key, which names the tenant.",
        envvar="LIKEWISE_CLIENT_KEY",
    ),
]
NamespaceOption = Annotated[str, typer.Option("--namespace", help="Namespace.")]


def check(
    text: TextArgument,
    category: CategoryOption = None,
    model: ModelOption = None,
    system: SystemOption = None,
    api_key: KeyOption = None,
    namespace: NamespaceOption = "",
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Look a question up, as the library or the gateway would; the statistics count it.

    With --model, --system or --api-key it is the gateway's chat request with these and nothing
    else; without them, the library's question.
    """
    request = _request(
        text, category=category, model=model, system=system, api_key=api_key, namespace=namespace
    )
    settings = config_of(config, store=store)
    with rebuilding() as report:
        cache = Cache.open(settings, progress=report)
    with cache:
        decision = cache.lookup(request)
    if json:
        print_json({"decision": type(decision).__name__.lower(), **asdict(decision)})
        return
    console.print(_headline(decision), soft_wrap=True)
    if isinstance(decision, Hit):
        console.print(escape(_shown(decision.answer)), soft_wrap=True)


def explain(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT|REQUEST_ID", help="The question, - reads stdin; or a response's id."
        ),
    ],
    category: CategoryOption = None,
    model: ModelOption = None,
    system: SystemOption = None,
    api_key: KeyOption = None,
    namespace: NamespaceOption = "",
    gateway: Annotated[
        str, typer.Option("--gateway", help="Where a request's receipt is asked for.")
    ] = "http://127.0.0.1:8700",
    admin_key: Annotated[
        str | None,
        typer.Option("--admin-key", help="The gateway's.", envvar="LIKEWISE_ADMIN_KEY"),
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show how a question would be decided, and why; the statistics do not count it.

    With --model, --system or --api-key it is the gateway's chat request with these and nothing
    else; without them, the library's question. Given the X-Likewise-Request-Id of a response
    (req-...), show the receipt of that decision, which a running gateway holds for a while.
    """
    if _REQUEST_ID.fullmatch(text):
        key = admin_key or config_of(config, store=store).settings.gateway.admin_key
        receipt = fetch_receipt(gateway, text, admin_key=key)
        if json:
            print_json(receipt)
        else:
            show_receipt(receipt)
        return
    request = _request(
        text, category=category, model=model, system=system, api_key=api_key, namespace=namespace
    )
    settings = config_of(config, store=store)
    with rebuilding() as report:
        engine = from_config(settings, progress=report)
    try:
        found = explain_request(engine, request)
    finally:
        engine.close()
    if json:
        print_json(found.to_dict())
    else:
        _show(found)


def _request(
    text: str,
    *,
    category: str | None,
    model: str | None,
    system: str | None,
    api_key: str | None,
    namespace: str,
) -> Request:
    """Return the request that the options describe: the gateway's, or the library's."""
    question = sys.stdin.read() if text == "-" else text
    plain = request_of(question, category=category, scope=Scope(namespace=namespace))
    if model is None and system is None and api_key is None:
        return plain
    messages = [{"role": "user", "content": question}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body: dict[str, Any] = {"messages": messages, "cache": {"namespace": namespace}}
    if category is not None:
        body["cache"]["category"] = category
    if model is not None:
        body["model"] = model
    # The gateway takes the whole Authorization header for the key.
    tenant = tenant_of(None if api_key is None else f"Bearer {api_key}")
    call = read_chat(msgspec.json.encode(body), {}, tenant=tenant)
    return plain if call is None else call.request


def _show(found: Explanation) -> None:
    policy = found.policy
    console.print(_headline(found.decision), soft_wrap=True)
    console.print(
        f"category [bold]{policy.name}[/] (named by {found.category_by}"
        f"{''.join(f', {name} {share:.2f}' for name, share in found.likely.items())}): "
        f"threshold {found.threshold:g}, ttl {humanize(policy.ttl_s)}, "
        f"guards {', '.join(policy.guards) or 'none'}",
        soft_wrap=True,
    )
    if policy.calm is not None:
        console.print(
            f"moved by the load: threshold {policy.calm.similarity_threshold:g} now "
            f"{policy.similarity_threshold:g}, ttl {humanize(policy.calm.ttl_s)} now "
            f"{humanize(policy.ttl_s)}"
        )
    if found.exact_only:
        console.print(f"only equal questions are answered from cache: {escape(found.exact_only)}")
    if not found.candidates:
        console.print("no entry of this scope and category to compare with")
        return
    judged = any(candidate.probability is not None for candidate in found.candidates)
    columns = ["similarity", "stored question and its entry", "guards say"]
    table = Table(*columns, *(["probability"] if judged else []), box=None)
    if found.gate is not None:
        console.print(
            f"gate: coarse similarity {found.gate.cosine:.3f}, at least {found.gate.bound:.3f} "
            f"needed: {'a miss without being embedded' if found.gate.closed else 'passes'}"
        )
    for candidate, seen in zip(found.candidates, found.vetoes, strict=True):
        row = [
            f"{candidate.similarity:.4f}",
            f"{escape(_short(candidate.question))}\n[dim]{candidate.entry_id}[/]",
            escape(seen or "-"),
        ]
        if judged:
            probable = candidate.probability
            row.append("-" if probable is None else f"{probable:.4f}")
        table.add_row(*row)
    console.print(table)


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


def _shown(answer: Any) -> str:
    """Return an answer for people: of a chat completion its text, of anything else its JSON."""
    if isinstance(answer, str):
        return answer
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        content = None
    return content if isinstance(content, str) else msgspec.json.encode(answer).decode()


def _short(text: str, width: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
