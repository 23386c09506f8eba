"""``likewise replay``: policies compared over logged or generated traffic, on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from likewise.cli.output import JsonOption, console, errors, print_json, progress, require_folder
from likewise.durations import seconds
from likewise.errors import ConfigError
from likewise.service_time import ServiceTime

if TYPE_CHECKING:
    from likewise.embed import Embedder
    from likewise.replay import Compared, Plan, Setting, Workload
    from likewise.replay.log import Log
    from likewise.replay.upstream import Fit

_REQUESTS = 10_000
_TRACE = "poisson:5"
_LAW = ServiceTime(
    capacity=8, first_token_s=0.5, token_s=0.01, slowdown=1.0, most_waiting=64
)  # a small server of one accelerator

_ROWS = (
    ("hits per request", "hit_rate", "{:.1%}"),
    ("wrong per hit", "wrong_per_hit", "{:.2%}"),
    ("outdated per hit", "outdated_per_hit", "{:.2%}"),
    ("stale per hit", "stale_per_hit", "{:.2%}"),
    ("calls wanted", "wanted", "{:,.0f}"),
    ("requests to the model", "upstream", "{:,.0f}"),
    ("p50 latency, s", "p50_s", "{:.2f}"),
    ("p99 latency, s", "p99_s", "{:.2f}"),
    ("within the SLO", "within_slo", "{:.1%}"),
    ("failed", "failed_share", "{:.2%}"),
    ("saved, $", "saved_usd", "{:.2f}"),
)


def replay(
    log: Annotated[
        Path | None, typer.Argument(help="Log of a gateway; without one traffic is generated.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Config to try; repeatable, the first is compared to.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with prompts_*.jsonl.gz to generate traffic of.")
    ] = None,
    trace: Annotated[
        str, typer.Option(help="Arrivals: a trace's file, poisson:RATE or gamma:RATE:CV.")
    ] = _TRACE,
    compress: Annotated[float, typer.Option(help="Let this many seconds pass in one.")] = 1.0,
    requests: Annotated[
        int | None, typer.Option(help="How many; a trace's or log's own number, or 10,000.", min=1)
    ] = None,
    zipf: Annotated[
        list[str] | None,
        typer.Option(help="Exponent of the repetition, for all or as CATEGORY=S; repeatable."),
    ] = None,
    mix: Annotated[
        list[str] | None, typer.Option(help="Share of a category, CATEGORY=SHARE; repeatable.")
    ] = None,
    lifetime: Annotated[
        list[str] | None,
        typer.Option(help="How long answers stay right, CATEGORY=TIME; repeatable."),
    ] = None,
    tenants: Annotated[int, typer.Option(help="How many ask.", min=1)] = 1,
    model: Annotated[str, typer.Option(help="Name of the model, for its price.")] = "model",
    seed: Annotated[int, typer.Option(help="Seed of what is generated.", min=0)] = 0,
    seeds: Annotated[
        int, typer.Option(help="Repeat over so many seeds, for intervals.", min=1)
    ] = 1,
    capacity: Annotated[
        int | None, typer.Option(help="Requests that the model serves at once.", min=1)
    ] = None,
    first_token: Annotated[
        str | None, typer.Option(help="Time to the first token of an idle model.")
    ] = None,
    token: Annotated[str | None, typer.Option(help="Time for each token of an answer.")] = None,
    slowdown: Annotated[
        float | None, typer.Option(help="How much longer a full model takes than an idle one.")
    ] = None,
    most_waiting: Annotated[
        int | None, typer.Option(help="Requests that may wait; more get 429.", min=0)
    ] = None,
    most_wait: Annotated[
        str | None, typer.Option(help="How long a request waits for a model that says 429.")
    ] = None,
    slo: Annotated[str, typer.Option(help="Within what time to answer.")] = "2s",
    lookup: Annotated[
        str, typer.Option(help="Time of a lookup, or: measured, here without embedding.")
    ] = "3ms",
    report: Annotated[
        Path | None, typer.Option(help="Page with pictures to write, an HTML file.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Try policies on logged or generated traffic, with the model behind as a queue."""
    # Imported here: other commands need none of this.
    from likewise.page import require_charts  # noqa: PLC0415
    from likewise.replay import Setting, over_seeds  # noqa: PLC0415
    from likewise.replay.report import write_report  # noqa: PLC0415

    plans = _plans(policy or [])
    if report is not None:
        require_charts()
        require_folder(report, "--report")
    read = _read(log, data, seeds)
    given = {
        "capacity": capacity,
        "first_token_s": None if first_token is None else _time(first_token, "--first-token"),
        "token_s": None if token is None else _time(token, "--token"),
        "slowdown": slowdown,
        "most_waiting": most_waiting,
    }
    law, fitted = _law(read, {name: value for name, value in given.items() if value is not None})
    setting = Setting(
        law=law,
        slo_s=seconds(slo, what="--slo"),
        lookup_s=None if lookup == "measured" else _time(lookup, "--lookup"),
        most_wait_s=None if most_wait is None else _time(most_wait, "--most-wait"),
    )
    if read is not None:
        make = _logged(read, compress, requests)
    else:
        make = _generated(
            data,
            trace,
            compress=compress,
            requests=requests,
            zipf=_numbers(zipf, "--zipf", everywhere=True),
            mix=_numbers(mix, "--mix"),
            lifetimes=_times(lifetime),
            tenants=tenants,
            model=model,
        )
    chosen = range(seed, seed + seeds)
    made = {number: make(number) for number in chosen}
    embedders = _embedders(plans, list(made.values()))
    with progress("replaying") as told:
        compared = over_seeds(
            made.__getitem__,
            plans,
            setting,
            embedder_of=lambda plan: embedders[plan.name],
            seeds=chosen,
            progress=told,
        )
    found = _found(made[seed], setting, fitted, compared)
    if report is not None:
        write_report(found, report)
    if json:
        print_json(found)
        return
    _show(found)
    if report is not None:
        errors.print(f"the report is in {report}", soft_wrap=True)


# -- what is asked for ----------------------------------------------------------------------------


def _plans(paths: Sequence[str]) -> list[Plan]:
    from likewise.config import load  # noqa: PLC0415 - as above
    from likewise.replay import Plan  # noqa: PLC0415 - as above

    if not paths:
        msg = "no policy is named; give one or more configs with --policy FILE"
        raise ConfigError(msg)
    if len(set(paths)) < len(paths):
        msg = "--policy: one config is named twice; to compare a policy with itself says nothing"
        raise ConfigError(msg)
    return [Plan(path, load(path)) for path in paths]


def _read(log: Path | None, data: Path | None, seeds: int) -> Log | None:
    from likewise.replay.log import read_log  # noqa: PLC0415 - as above

    if log is None:
        return None
    if data is not None:
        msg = "give a log, or --data to generate traffic of, not both"
        raise ConfigError(msg)
    if seeds > 1:
        msg = "--seeds: a log is what it is; only generated traffic differs from seed to seed"
        raise ConfigError(msg)
    return read_log(log)


def _law(log: Log | None, given: dict[str, Any]) -> tuple[ServiceTime, Fit | None]:
    """Return the model's law: as given, else fitted to the log, else a usual one."""
    from likewise.replay.upstream import fit  # noqa: PLC0415 - as above

    if log is None or {"capacity", "first_token_s", "token_s"} <= given.keys():
        return replace(_LAW, **given), None
    fitted = fit(log.answers)
    return replace(fitted.law, **given), fitted


def _logged(log: Log, compress: float, requests: int | None) -> Callable[[int], Workload]:
    from likewise.replay.log import workload_of  # noqa: PLC0415 - as above

    return lambda _seed: workload_of(log, compress=compress, count=requests)


def _generated(
    data: Path | None,
    trace: str,
    *,
    compress: float,
    requests: int | None,
    zipf: dict[str, float],
    mix: dict[str, float],
    lifetimes: dict[str, float],
    tenants: int,
    model: str,
) -> Callable[[int], Workload]:
    from likewise.bench.prompts import read_prompts  # noqa: PLC0415 - as above
    from likewise.replay import arrivals_of, generate  # noqa: PLC0415 - as above
    from likewise.replay.workload import demo_prompts  # noqa: PLC0415 - as above

    prompts = demo_prompts() if data is None else read_prompts(data)
    generated = trace.startswith(("poisson:", "gamma:"))
    fixed = None if generated else arrivals_of(trace, count=requests, compress=compress)

    def make(seed: int) -> Workload:
        arrivals = fixed or arrivals_of(
            trace, count=requests or _REQUESTS, seed=seed, compress=compress
        )
        return generate(
            prompts,
            arrivals,
            zipf=zipf,
            mix=mix or None,
            lifetimes_s=lifetimes,
            tenants=tenants,
            seed=seed,
            model=model,
            name=f"{'demo prompts' if data is None else data.name}, {Path(trace).name}",
        )

    return make


def _numbers(given: list[str] | None, option: str, *, everywhere: bool = False) -> dict[str, float]:
    """Return numbers by category; ``""`` stands for all others, where that makes sense."""
    found = {}
    for text in given or ():
        name, equals, value = text.rpartition("=")
        try:
            if bool(equals) == bool(name) and (name or everywhere):
                found[name] = float(value)
                continue
        except ValueError:
            pass
        shape = "CATEGORY=NUMBER, or a number for all" if everywhere else "CATEGORY=NUMBER"
        msg = f"{option}: {text!r} is not {shape}"
        raise ConfigError(msg)
    return found


def _times(given: list[str] | None) -> dict[str, float]:
    found = {}
    for text in given or ():
        name, _, value = text.partition("=")
        if not name or not value:
            msg = f"--lifetime: {text!r} is not CATEGORY=TIME, such as prices=2m"
            raise ConfigError(msg)
        found[name] = seconds(value, what=f"--lifetime {name}")
    return found


def _time(text: str, what: str) -> float:
    return 0.0 if text.strip() in {"0", "0s", "0ms"} else seconds(text, what=what)


def _embedders(plans: Sequence[Plan], workloads: Sequence[Workload]) -> dict[str, Embedder]:
    """Return each policy's embedder; those that name the same one share the work."""
    import msgspec  # noqa: PLC0415 - as above

    from likewise.bench.prompts import Embedded  # noqa: PLC0415 - as above
    from likewise.opening import embedder_of  # noqa: PLC0415 - as above
    from likewise.replay.policy import Blind  # noqa: PLC0415 - as above

    texts = list(dict.fromkeys(text for workload in workloads for text in workload.texts))
    if not texts:
        return {plan.name: Blind() for plan in plans}
    opened: dict[bytes, Embedder] = {}
    for plan in plans:
        settings = plan.config.settings.embedding
        identity = msgspec.json.encode(settings)
        if identity not in opened:
            with progress("embedding") as told:
                opened[identity] = Embedded(embedder_of(settings), texts, told)
    return {
        plan.name: opened[msgspec.json.encode(plan.config.settings.embedding)] for plan in plans
    }


# -- what came of it ------------------------------------------------------------------------------


def _found(
    workload: Workload, setting: Setting, fitted: Fit | None, compared: Compared
) -> dict[str, Any]:
    """Return everything ready for JSON; curves and categories are those of the first seed."""
    law = setting.law
    return {
        "workload": {
            "name": workload.name,
            "requests": len(workload),
            "seconds": float(workload.times_s[-1]),
            "questions": len(workload.texts) or workload.hashed,
            "hashed": workload.hashed,
            "labelled": workload.labelled,
        },
        "model": {
            "capacity": law.capacity,
            "first_token_s": law.first_token_s,
            "token_s": law.token_s,
            "slowdown": law.slowdown,
            "most_waiting": law.most_waiting,
            "fit": None if fitted is None else fitted.to_dict(),
        },
        "slo_s": setting.slo_s,
        "policies": [outcomes[0].to_dict() for outcomes in compared.outcomes.values()],
        "seeds": compared.to_dict(),
    }


def _show(found: dict[str, Any]) -> None:
    workload, law = found["workload"], found["model"]
    console.print(
        f"{workload['requests']:,} requests in {workload['seconds']:,.0f} s ({workload['name']}); "
        f"the model serves {law['capacity']} at once, {law['first_token_s'] * 1000:.0f} ms to the "
        f"first token, {law['token_s'] * 1000:.1f} ms a token, slow-down {law['slowdown']:.2g}",
        soft_wrap=True,
    )
    if workload["hashed"]:
        console.print(
            "the log holds hashes in the place of texts: only equal questions can be told, "
            "and only the exact tier serves",
            soft_wrap=True,
        )
    several = len(found["seeds"]["seeds"]) > 1
    estimates = found["seeds"]["policies"]
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("")
    for name in estimates:
        table.add_column(name, justify="right", overflow="fold")
    for title, key, shape in _ROWS:
        table.add_row(title, *(_cell(row[key], shape, several) for row in estimates.values()))
    console.print(table)
    for name, row in found["seeds"]["differences"].items():
        console.print(
            f"{name}: {_less(row['wanted_reduction'])} fewer calls wanted, "
            f"{_less(row['traffic_reduction'])} fewer requests to the model than the first",
            soft_wrap=True,
        )


def _cell(found: dict[str, float | None], shape: str, several: bool) -> str:
    mean, high = found["mean"] or 0.0, found["high"]
    half = f" ±{shape.format(high - mean)}" if several and high is not None else ""
    return shape.format(mean) + half


def _less(found: dict[str, float | None]) -> str:
    low, high = found["low"], found["high"]
    bounds = "" if low is None or high is None else f" ({low:.1%} to {high:.1%})"
    return f"{found['mean']:.1%}{bounds}"
