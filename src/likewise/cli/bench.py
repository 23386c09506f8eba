"""``likewise bench``: measurements of this installation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.table import Table

from likewise.bench import breakeven as breaking_even
from likewise.bench import categories as naming
from likewise.bench import crossover, remote_index
from likewise.bench import decision as decisions
from likewise.bench import eviction as evictions
from likewise.bench import load as loading
from likewise.bench import quality as protocol
from likewise.bench.prompts import (
    Embedded,
    Pair,
    half_of,
    pairs_of_half,
    read_pairs,
    read_prompts,
    sample,
)
from likewise.cli.bench_peers import peers
from likewise.cli.bench_scale import scale
from likewise.cli.bench_speed import speed
from likewise.cli.bench_stores import stores
from likewise.cli.output import (
    JsonOption,
    console,
    one_thread_each,
    print_json,
    progress,
    require_folder,
)
from likewise.config import Config, EmbeddingSettings, Policies
from likewise.config import load as load_config
from likewise.durations import seconds
from likewise.errors import ConfigError
from likewise.opening import embedder_of
from likewise.page import require_charts

app = typer.Typer(
    no_args_is_help=True, help="Measure quality and speed on this machine.", add_completion=False
)


@app.callback()
def _root() -> None:
    """Measure quality and speed on this machine."""


@app.command()
def quality(
    data: Annotated[Path, typer.Option(help="Folder with prompts_*.jsonl.gz and their answers.")],
    policy: Annotated[
        list[str] | None, typer.Option(help="Also judge this config's categories; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample and its order.")] = protocol.SEED,
    rows: Annotated[
        int, typer.Option(help="Rows per category.", min=1)
    ] = protocol.ROWS_PER_CATEGORY,
    half: Annotated[
        int | None, typer.Option(help="Only answers of this half, 0 or 1.", min=0, max=1)
    ] = None,
    budget: Annotated[
        float, typer.Option(help="Wrong per hit the fitted thresholds aim at.")
    ] = 0.02,
    json: JsonOption = False,
) -> None:
    """Protocol "once": how many hits are right and wrong, by policy and category."""
    configs = [load_config(path) for path in policy or ()]
    prompts = sample(half_of(read_prompts(data), half), seed=seed, rows_per_category=rows)
    settings = configs[0].settings.embedding if configs else EmbeddingSettings()
    with progress("embedding") as report:
        embedder = Embedded(embedder_of(settings), [p.text for p in prompts], report)
    plans: list[tuple[str, Policies | Config, protocol.Threshold]] = [
        (f"uniform-{t:.2f}", protocol.uniform(t), _own) for t in protocol.UNIFORM
    ]
    plans.append(("per-category", Policies.built_in(), _own))
    plans.append(("per-category-fitted", *protocol.fitted(prompts, embedder, budget=budget)))
    plans.extend((str(config.path), config, _own) for config in configs)
    outcomes = []
    for name, policies, threshold in plans:
        with progress(name) as report:
            outcomes.append(
                protocol.run(
                    name, policies, prompts, embedder, threshold=threshold, progress=report
                )
            )
    requests, reusable = len(prompts), protocol.reusable(prompts)
    if json:
        print_json(
            {
                "protocol": "once",
                "requests": requests,
                "reusable": reusable,
                "policies": [outcome.to_dict() for outcome in outcomes],
            }
        )
        return
    console.print(f'protocol "once": {requests} requests, of which {reusable} could be reused')
    console.print(_policies([outcome.to_dict() for outcome in outcomes]))
    console.print(_categories([outcome.to_dict() for outcome in outcomes]))


@app.command()
def index(
    remote: Annotated[
        bool, typer.Option("--remote", help="Compare the local index with pgvector instead.")
    ] = False,
    postgres: Annotated[
        str | None, typer.Option(help="With --remote, the server; else a private one is started.")
    ] = None,
    entries: Annotated[
        list[int] | None, typer.Option(help="How many, with --remote; repeatable.", min=1)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Where the graph begins to beat the scan, by the number of entries in a partition."""
    if remote:
        _remote_index(postgres, entries or remote_index.SIZES, json=json)
        return
    with progress("searching") as report:
        found = crossover.measure(report)
    if json:
        print_json(found)
        return
    table = Table("entries", "scan us", "graph us", "graph recall@1", box=None)
    for size, row in found["sizes"].items():
        table.add_row(
            str(size),
            f"{row['flat_us']:.0f}",
            f"{row['hnsw_us']:.0f}",
            f"{row['hnsw_recall_at_1']:.3f}",
        )
    console.print(table)
    console.print(f"the graph is the faster from {found['crossover']} entries on")


def _remote_index(postgres: str | None, sizes: Sequence[int], *, json: bool) -> None:
    one_thread_each()
    with ExitStack() as bars:
        found = remote_index.measure(
            lambda name: bars.enter_context(progress(name)), postgres=postgres, sizes=sizes
        )
    if json:
        print_json(found)
        return
    table = Table(
        "entries", "index", "search us", "p99 us", "recall@1", "bytes here", "on disk there",
        "filled in s", box=None,
    )  # fmt: skip
    for size, sides in found["sizes"].items():
        for name, row in sides.items():
            table.add_row(
                f"{int(size):,}",
                name,
                f"{row['search_us']:,.0f}",
                f"{row['search_p99_us']:,.0f}",
                f"{row['recall_at_1']:.3f}",
                f"{row['bytes_per_entry']:,.0f}",
                f"{row['disk_bytes_per_entry']:,.0f}" if "disk_bytes_per_entry" in row else "",
                f"{row['fill_s']:,.1f}",
            )
    console.print(table)
    console.print(found["version"])


@app.command()
def pairs(
    data: Annotated[Path, typer.Option(help="Folder with pairs_*.jsonl.gz.")],
    policy: Annotated[str, typer.Option(help="The config to judge.")],
    rows: Annotated[int, typer.Option(help="Most pairs per category.", min=1)] = 4_000,
    half: Annotated[
        int | None,
        typer.Option(help="Only pairs that tune with the other --half has not seen.", min=0, max=1),
    ] = None,
    json: JsonOption = False,
) -> None:
    """How many labelled pairs a policy takes for the same, each pair alone in an empty cache."""
    config = load_config(policy)
    labelled: dict[str, list[Pair]] = {}
    every = read_pairs(data)
    seen = set() if half is None else set(pairs_of_half(every, read_prompts(data), 1 - half))
    for pair in every:
        if pair in seen:
            continue
        labelled.setdefault(pair.category, []).append(pair)
    chosen = [pair for found in labelled.values() for pair in found[:rows]]
    if not chosen:
        msg = f"--data: {data} holds no pairs_*.jsonl or pairs_*.jsonl.gz"
        raise ConfigError(msg)
    texts = [text for pair in chosen for text in (pair.a, pair.b)]
    with progress("embedding") as report:
        embedder = Embedded(embedder_of(config.settings.embedding), texts, report)
    with progress("pairs") as report:
        found = protocol.accepted(config, chosen, embedder, progress=report)
    if json:
        print_json({"pairs": found})
        return
    table = Table("category", "same", "accepted", "different", "accepted", box=None)
    for name, row in sorted(found.items()):
        cells = [str(row["same"]), _share(row["same_accepted"], row["same"])]
        cells += [str(row["different"]), _share(row["different_accepted"], row["different"])]
        table.add_row(name, *cells)
    console.print(table)


@app.command()
def categories(
    data: Annotated[Path, typer.Option(help="Folder with prompts_*.jsonl.gz and their answers.")],
    rows: Annotated[
        int, typer.Option(help="Most prompts per category.", min=1)
    ] = protocol.ROWS_PER_CATEGORY,
    seed: Annotated[int, typer.Option(help="Seed of examples and sample.")] = protocol.SEED,
    report: Annotated[
        Path | None, typer.Option(help="Page with the confusion tables to write, an HTML file.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """How well examples name categories, what it costs, and what it does to reuse."""
    if report is not None:
        require_charts()
        require_folder(report, "--report")
    timed = embedder_of(EmbeddingSettings())
    chosen = naming.choose(read_prompts(data), timed, rows=rows, seed=seed)
    with progress("embedding") as embedded:
        embedder = Embedded(timed, naming.texts_of(chosen), embedded)
    with progress("naming") as steps:
        found = naming.measure(chosen, embedder, timed, progress=steps)
    if report is not None:
        naming.write_report(found, report)
    if json:
        print_json(found)
        return
    table = Table("category", "F1", "prompts", box=None)
    for name, value in found["f1"].items():
        table.add_row(name, f"{value:.3f}", str(sum(found["confusion"][name].values())))
    console.print(table)
    console.print(
        f"macro-F1 {found['macro_f1']:.3f}; {found['cost_us']:.0f} us beside "
        f"{found['embed_us']:.0f} us of embedding"
    )
    for name in ("given", "classified"):
        row = found[name]
        console.print(f"{name}: {row['right']} right, {row['wrong_per_hit']:.1%} wrong per hit")


@app.command()
def eviction(
    data: Annotated[Path, typer.Option(help="Folder with prompts_*.jsonl.gz and their answers.")],
    requests: Annotated[
        int, typer.Option(help="Requests of the stream.", min=1_000)
    ] = evictions.REQUESTS,
    seed: Annotated[int, typer.Option(help="Seed of the stream.")] = protocol.SEED,
    json: JsonOption = False,
) -> None:
    """Hits, bytes and model time that each eviction policy saves, beside one that knows the future.

    Shares of all that is asked for, at 5, 10 and 25 % of the bytes that all questions take.
    """
    with progress("evicting") as report:
        found = evictions.measure(read_prompts(data), requests=requests, seed=seed, progress=report)
    if json:
        print_json(found)
        return
    for capacity, rows in found.items():
        table = Table("policy", "hits", "bytes", "cost saved", box=None, title=f"at {capacity}")
        for name, row in rows.items():
            shares = (row["hit_rate"], row["byte_hit_rate"], row["cost_saved"])
            table.add_row(name, *(f"{share:.1%}" for share in shares))
        console.print(table)


@app.command()
def decision(json: JsonOption = False) -> None:
    """What a decision costs beyond embedding and search, in microseconds."""
    with progress("deciding") as report:
        found = decisions.measure(report)
    if json:
        print_json(found)
        return
    console.print(
        f"read {found['read_us']:.0f} us, judge {found['judge_us']:.0f} us, decide "
        f"{found['decide_us']:.0f} us; together {found['whole_us']:.0f} us "
        f"({found['trees']} trees)"
    )
    for count, whole in found["by_candidates"].items():
        console.print(f"{count} near enough to serve: {whole:.0f} us")


@app.command()
def load(
    data: Annotated[
        Path | None, typer.Option(help="Folder with prompts_*.jsonl.gz; else the demo's prompts.")
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(help="Arrivals: a trace file, poisson:RATE or gamma:RATE:CV, uncompressed."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy to begin with, such as tune has written.")
    ] = None,
    seconds_: Annotated[
        float, typer.Option("--seconds", help="How long each run takes.", min=5.0)
    ] = loading.SECONDS,
    compress: Annotated[
        float, typer.Option(help="Seconds of the traffic that pass in one.", min=1.0)
    ] = loading.COMPRESS,
    capacity: Annotated[
        int | None,
        typer.Option(help="Requests the model serves at once; else a little too few.", min=1),
    ] = None,
    volatile: Annotated[
        float, typer.Option(help="Share of requests whose answers age.", min=0.0, max=1.0)
    ] = loading.VOLATILE_SHARE,
    truth: Annotated[
        float,
        typer.Option(help="Time to live after which such an answer truly changes, in multiples."),
    ] = loading.CALM_LIVES,
    rows: Annotated[int, typer.Option(help="Most prompts per category.", min=1)] = loading.ROWS,
    seed: Annotated[int, typer.Option(help="Seed of the workload.")] = 0,
    json: JsonOption = False,
) -> None:
    """Drive a model over its capacity, under a static policy and under one that follows the load.

    Real processes and real time: two runs of --seconds each, then the simulator's predictions.
    """
    config = Config() if policy is None else load_config(policy)
    kept = None if policy is None else yaml.safe_load(policy.read_text("utf-8"))
    prompts = loading.prompts_of(data, rows=rows, seed=seed)
    arrivals = loading.arrivals_for(trace, seconds=seconds_, compress=compress, seed=seed)
    law = replace(loading.LAW, capacity=capacity or loading.LAW.capacity)
    scenario = partial(
        loading.scenario,
        prompts,
        arrivals,
        base=kept,
        compress=compress,
        volatile=volatile,
        truth=truth,
        seed=seed,
    )
    found = scenario(law=law)
    with progress("embedding") as report:
        known = Embedded(embedder_of(config.settings.embedding), found.workload.texts, report)
    folder = None if policy is None else policy.parent
    if capacity is None:
        chosen = loading.overloaded(found, known, folder)
        found = scenario(law=replace(law, capacity=chosen))
    with ExitStack() as bars:
        result = loading.measure(
            found,
            known,
            progress=lambda name: bars.enter_context(progress(name)),
            folder=folder,
        )
    if json:
        print_json(result)
        return
    table = Table("policy", "to the model", "hits", "wrong", "outdated", "p50", "p99", box=None)
    for kind, rows_ in (("real", result), ("simulated", result["simulated"])):
        for name in ("static", "adaptive"):
            row = rows_[name]
            table.add_row(
                f"{name}, {kind}",
                f"{row['upstream']:.0f} of {row['requests']:.0f}",
                f"{row['hit_rate']:.1%}",
                f"{row['wrong_per_hit']:.2%}",
                f"{row['outdated_per_hit']:.2%}",
                f"{row['p50_s']:.2f} s",
                f"{row['p99_s']:.2f} s",
            )
    console.print(table)
    console.print(
        f"traffic to the model: {-result['traffic_reduction']:+.1%} (simulated "
        f"{-result['simulated']['traffic_reduction']:+.1%})"
    )


@app.command()
def breakeven(
    postgres: Annotated[
        str | None,
        typer.Option(help="PostgreSQL with pgvector; without one a private one is started."),
    ] = None,
    entries: Annotated[int, typer.Option(help="Entries stored.", min=200)] = breaking_even.ENTRIES,
    delay: Annotated[str, typer.Option(help="Way to the remote database, each.")] = "14ms",
    json: JsonOption = False,
) -> None:
    """Break-even hit rate of a remote vector database and of Likewise, for a call of 500 ms."""
    breaking_even.require_postgres(postgres)
    one_thread_each()
    delay_s = seconds(delay, what="--delay")
    embedder = embedder_of(EmbeddingSettings())
    with progress("looking up") as report:
        found = breaking_even.measure(
            embedder, progress=report, postgres=postgres, entries=entries, delay_s=delay_s
        )
    if json:
        print_json(found)
        return
    table = Table("cache", "miss ms", "hit ms", "break-even at 100 ms", "500 ms", "2 s", box=None)
    for name, row in found.items():
        shares = (f"{share:.2%}" for share in row["break_even_by_model_ms"].values())
        table.add_row(name, f"{row['lookup_ms']:.2f}", f"{row['hit_ms']:.2f}", *shares)
    console.print(table)


app.command("peers")(peers)
app.command("scale")(scale)
app.command("stores")(stores)
app.command("speed")(speed)


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"


def _own(_: object) -> None:
    return None


def _policies(outcomes: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("policy")
    for name in ("hits", "right", "wrong", "wrong per hit", "wrong per request"):
        table.add_column(name, justify="right")
    for row in outcomes:
        table.add_row(
            row["name"],
            str(row["hits"]),
            str(row["right"]),
            str(row["wrong"]),
            f"{row['wrong_per_hit']:.1%}",
            f"{row['wrong_per_request']:.2%}",
        )
    return table


def _categories(outcomes: list[dict[str, Any]]) -> Table:
    """Return right and wrong of every policy by category."""
    table = Table(title="right / wrong by category", title_justify="left", box=None)
    table.add_column("category")
    table.add_column("reusable", justify="right")
    for row in outcomes:
        table.add_column(row["name"].replace("per-category", "per-cat."), justify="right")
    for name, first in outcomes[0]["by_category"].items():
        cells = [row["by_category"][name] for row in outcomes]
        table.add_row(
            name, str(first["reusable"]), *(f"{cell['right']} / {cell['wrong']}" for cell in cells)
        )
    return table
