"""The receipt of a decision that a running gateway has made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import urllib3
from rich.markup import escape
from rich.table import Table

from likewise.cli.output import console
from likewise.errors import ConfigError, UpstreamError


def fetch_receipt(url: str, request_id: str, *, admin_key: str | None) -> dict[str, Any]:
    """Ask a gateway for a receipt.

    Raises:
        ConfigError: There is no admin key, or the gateway refuses it.
        UpstreamError: The gateway cannot be reached, or does not hold the receipt.
    """
    if not admin_key:
        msg = "a receipt needs the gateway's admin key: --admin-key, or gateway.admin_key"
        raise ConfigError(msg)
    where = f"{url.rstrip('/')}/admin/decisions/{request_id}"
    try:
        response = urllib3.request(
            "GET",
            where,
            headers={"Authorization": f"Bearer {admin_key}".encode().decode("latin-1")},
            timeout=10.0,
            retries=False,
        )
        body = msgspec.json.decode(response.data)
    except (urllib3.exceptions.HTTPError, msgspec.MsgspecError, ValueError) as error:
        msg = f"no gateway answers at {url} ({type(error).__name__}); name it with --gateway"
        raise UpstreamError(msg) from error
    if response.status == 401:
        msg = f"the gateway at {url} refuses the admin key"
        raise ConfigError(msg)
    if response.status != 200 or not isinstance(body, dict):
        msg = f"the gateway at {url} holds no receipt of {request_id}: it keeps the latest 2,000"
        raise UpstreamError(msg)
    return body


def show_receipt(receipt: dict[str, Any]) -> None:
    """Print a receipt for people."""
    at = datetime.fromtimestamp(receipt["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    detail = f" ({receipt['detail']})" if receipt.get("detail") else ""
    console.print(
        f"[bold]{receipt['decision'].upper()}[/] {receipt['reason']}{escape(detail)} at {at}",
        soft_wrap=True,
    )
    probability = receipt["probability_threshold"]
    thresholds = f"similarity {receipt['similarity_threshold']:g}"
    if probability is not None:
        thresholds += f", probability {probability:g} (by {receipt['threshold_by']})"
    console.print(
        f"category [bold]{receipt['category']}[/] (named by {receipt['category_by']}), "
        f"policy {receipt['policy_version']}: "
        f"{thresholds}; pressure {receipt['pressure']:g}",
        soft_wrap=True,
    )
    base = receipt["base"]
    if any(receipt[name] != value for name, value in base.items()):
        moved = (
            f"{name.removesuffix('_s').replace('_', ' ')} {value:g} now {receipt[name]:g}"
            for name, value in base.items()
            if value is not None and receipt[name] != value
        )
        console.print(f"moved by the load: {', '.join(moved)}", soft_wrap=True)
    if receipt.get("likely"):
        likely = ", ".join(f"{name} {share:.2f}" for name, share in receipt["likely"].items())
        console.print(f"examples say: {likely}", soft_wrap=True)
    if len(receipt.get("strictest_of", [])) > 1:
        console.print(f"in doubt: the strictest of {', '.join(receipt['strictest_of'])}")
    console.print(f"deciding again gives the same: {'yes' if receipt['replays'] else 'NO'}")
    if not receipt["candidates"]:
        console.print("no entry of this scope and category to compare with")
        return
    table = Table("similarity", "probability", "entry", "objection", box=None)
    for candidate in receipt["candidates"]:
        probable = candidate["probability"]
        table.add_row(
            f"{candidate['similarity']:.4f}",
            "-" if probable is None else f"{probable:.4f}",
            candidate["entry_id"],
            escape(candidate["objection"] or "-"),
        )
    console.print(table)
