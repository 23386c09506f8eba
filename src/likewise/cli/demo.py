"""``likewise demo``: the gateway over a model, three hundred prompts, and what came of them."""

from __future__ import annotations

import json as jsonlib
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.output import JsonOption, console, errors, print_json, progress
from likewise.demo.prompts import load_prompts
from likewise.demo.runner import run_demo
from likewise.demo.server import server
from likewise.demo.show import show

_PRICE_IN_USD = 2.50
_PRICE_OUT_USD = 10.00
"""Assumed for the money column, US dollars per million tokens; not any vendor's list price."""


def demo(
    upstream: Annotated[
        str | None, typer.Option(help="A real model's base URL; its key is OPENAI_API_KEY's.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model to ask.")] = "stand-in-1",
    latency: Annotated[str, typer.Option(help="Time the stand-in takes to answer.")] = "100ms",
    json: JsonOption = False,
) -> None:
    """Watch the gateway answer about 300 prompts of 10 categories, and see what it got right."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likewise-demo-")))
        real = upstream is not None
        if upstream is None:
            upstream = stack.enter_context(
                server("mock-llm", "--port", "0", "--latency", latency, "--model", model)
            )
            errors.print(f"a stand-in model answers after {latency} on {upstream}")
        config = folder / "likewise.yaml"
        price = {"input": _PRICE_IN_USD, "output": _PRICE_OUT_USD}
        values: dict[str, object] = {"prices": {model: price}}
        if real and "OPENAI_API_KEY" in os.environ:
            # The variable's name only: the gateway reads the key from its environment.
            values["upstream"] = {"api_key": "${OPENAI_API_KEY}"}
        config.write_text(jsonlib.dumps(values), "utf-8")
        gateway = stack.enter_context(
            server(
                *("serve", "--port", "0", "--upstream", upstream),
                *("--store", f"sqlite:///{folder / 'demo.db'}", "--config", str(config)),
            )
        )
        errors.print(f"the gateway listens on {gateway}/v1 with the built-in policies")
        with progress("asking") as report:
            found = run_demo(
                f"{gateway}/v1",
                model=model,
                prompts=load_prompts(),
                progress=report,
                price_in=_PRICE_IN_USD,
                price_out=_PRICE_OUT_USD,
            )
    if json:
        print_json(found.to_dict())
        return
    show(found, console)
    console.print(
        "\nWhat to try next\n"
        "  likewise serve --upstream URL       put it before your own model\n"
        "  likewise demo --upstream URL --model NAME\n"
        "  likewise explain 'TEXT'             see why a question hits or misses\n"
        "  the README's config example         set your own categories",
        highlight=False,
    )
