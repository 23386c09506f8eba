"""``likewise stats`` and ``likewise purge``: what the store holds."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from likewise.cli.output import (
    ConfigOption,
    JsonOption,
    StoreOption,
    WrongUsageError,
    console,
    print_json,
)
from likewise.cli.settings import config_of
from likewise.durations import humanize
from likewise.filling import CLEARED_MEMO, PURGED_MEMO
from likewise.freshness import CHANGES_MEMO, Changes
from likewise.ledger import account, by_tenant
from likewise.snapshots import Snapshots
from likewise.stats import nested, report
from likewise.stores import open_store

_COLUMNS = (
    "entries",
    "asked",
    "exact\nhits",
    "similar\nhits",
    "hit\nrate",
    "by-\npassed",
    "faults",
    "saved\ns",
    "saved\n$",
)
"""Two lines each, so that the table fits 80 columns; ``--json`` has every figure."""


def stats(config: ConfigOption = None, store: StoreOption = None, json: JsonOption = False) -> None:
    """Show what was asked, served and saved, by category, since the store was made.

    A running gateway adds to the figures every few seconds.
    """
    settings = config_of(config, store=store)
    changes = Changes()
    with open_store(settings.settings.store, create=False) as opened:
        counts = opened.counts()
        counters = nested(opened.counters())
        categories = report(counters, counts)
        url = opened.url
        if (known := opened.memo(CHANGES_MEMO)) is not None:
            changes.load(known)
    for name, row in categories.items():
        policy = settings.policies.of(name)
        row["freshness"] = changes.report(policy)
        row["quota"], row["eviction"] = policy.quota, policy.eviction
        found = counters.get(name, {})
        row["ledger"] = {
            **account(found, settings.ledger),
            "tenants": by_tenant(found, settings.ledger),
        }
    if json:
        print_json({"store": url, "entries": sum(counts.values()), "categories": categories})
        return
    console.print(f"[bold]{sum(counts.values())}[/] entries in {url}")
    if categories:
        console.print(_table(categories))
    for name, row in categories.items():
        for line in _details(name, row):
            console.print(line, soft_wrap=True)
        if row["labels"]:
            console.print(
                f"{name}: {row['labels']} labels, {row['audits']} hits audited, "
                f"{row['audited_wrong']} of them wrong, {row['drift_alarms']} drift alarms",
                soft_wrap=True,
            )


def _worth(account: dict[str, Any]) -> Iterator[str]:
    """Yield whether a category earns what it costs, where that is known."""
    if account["verdict"] == "unknown":
        return
    rate, needed, usd = (account[name] for name in ("hit_rate", "break_even", "break_even_usd"))
    money = "" if usd is None else f", in money from {usd:.2%} on"
    time_ = "" if needed is None else f"it pays from a hit rate of {needed:.2%} on{money}; "
    yield (
        f"{time_}it has {rate:.1%} and {account['verdict']}: {account['saved_s']:+.1f} s, "
        f"{account['saved_usd']:+.4f} $ in all"
    )


def _details(name: str, row: dict[str, Any]) -> Iterator[str]:
    """Yield what does not fit the table, where there is something to say."""
    if row["by_examples"]:
        doubt = f", {row['in_doubt']} of them in doubt" if row["in_doubt"] else ""
        yield f"{name}: {row['by_examples']} questions named by examples{doubt}"
    if row["stale_hits"] or row["refreshes"]:
        yield f"{name}: {row['stale_hits']} stale hits, {row['refreshes']} answers fetched aside"
    for line in _worth(row["ledger"]):
        yield f"{name}: {line}"
    found = row["freshness"]
    if found["changes_per_day"] is not None:
        proposed = humanize(found["proposed_ttl_s"])
        expected = found["expected_stale"]
        stale = "" if expected is None else f", {expected:.0%} of the hits expected stale"
        yield (
            f"{name}: {found['changed']} of {found['reasked']} answers had changed when asked "
            f"again, {found['changes_per_day']:.3g} a day{stale}; a ttl of {proposed} would "
            "leave 5%"
        )


def purge(
    category: Annotated[str | None, typer.Option(help="Delete this category's entries.")] = None,
    entry: Annotated[str | None, typer.Option(help="Delete the entry with this id.")] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Delete all of this tenant, named in full.")
    ] = None,
    expired: Annotated[bool, typer.Option(help="Delete what is past its time to live.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Delete every entry.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Delete entries for good; a gateway that runs on the same store serves them no more."""
    if sum(given is not None for given in (category, entry, tenant)) + expired + everything != 1:
        msg = (
            "name what to delete: one of --category NAME, --entry ID, --tenant NAME, --expired, "
            "--all; see likewise purge --help"
        )
        raise WrongUsageError(msg)
    if not yes:
        what = category or entry or tenant or ("everything expired" if expired else "EVERYTHING")
        typer.confirm(f"Delete {what} for good?", abort=True, err=True)
    from likewise.opening import snapshots_of  # noqa: PLC0415 - loads what it needs

    settings = config_of(config, store=store).settings
    with open_store(settings.store, create=False) as opened:
        if entry is not None:
            dropped = opened.delete([entry])
        elif tenant is not None:
            dropped = opened.delete([row.id for row in opened.scan() if row.tenant == tenant])
        elif expired:
            now = time.time()
            old = [r.id for r in opened.scan() if r.expires_at is not None and r.expires_at <= now]
            dropped = opened.delete(old) + opened.expire()
        else:
            opened.put_memo(CLEARED_MEMO, secrets.token_bytes(8))
            dropped = len(opened.clear(category=category))
        if opened.shared:
            opened.put_memo(PURGED_MEMO, b"")
        folder = snapshots_of(settings.index.snapshot, opened.url)
        if folder is not None:
            Snapshots(folder, embedder="").discard()
        opened.scrub()
    if json:
        print_json({"dropped": dropped})
    else:
        console.print(f"{dropped} entries deleted")


def _table(categories: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("category", overflow="fold")
    for name in _COLUMNS:
        table.add_column(name, justify="right", vertical="bottom", no_wrap=True)
    for name, row in categories.items():
        table.add_row(
            name,
            str(row["entries"]),
            str(row["requests"]),
            str(row["exact_hits"]),
            str(row["semantic_hits"]),
            f"{row['hit_rate']:.0%}",
            str(row["bypasses"]),
            str(sum(row["faults"].values())),
            f"{row['saved_s']:.1f}",
            f"{usd:.4f}" if (usd := row["saved_usd"]) < 10 else f"{usd:.2f}",
        )
    return table
