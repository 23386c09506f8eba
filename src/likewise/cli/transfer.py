"""``likewise export``, ``import`` and ``reembed``: entries into files, out of them, and anew."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer
from rich.markup import escape

from likewise.cli.output import (
    ConfigOption,
    JsonOption,
    StoreOption,
    WrongUsageError,
    console,
    errors,
    print_json,
    progress,
    require_folder,
)
from likewise.cli.settings import config_of
from likewise.durations import seconds
from likewise.errors import ConfigError, StoreError
from likewise.stores import Store

if TYPE_CHECKING:
    from likewise.config import Config
    from likewise.transfer.frame import Frame
    from likewise.transfer.importing import Importer, Outcome
    from likewise.transfer.lines import Line
    from likewise.transfer.records import Foreign, Refused
    from likewise.transfer.redisvl import Filters

Kind = Literal["likewise", "gptcache", "redisvl", "litellm"]

_LINES = (".jsonl", ".jsonl.gz")
_REDIS = ("redis://", "rediss://", "unix://")


def export(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help=".jsonl, .jsonl.gz or .parquet; - is stdout.")
    ],
    category: Annotated[str | None, typer.Option(help="Only this category's entries.")] = None,
    no_vectors: Annotated[
        bool, typer.Option("--no-vectors", help="Leave the vectors out; an import makes them.")
    ] = False,
    expired: Annotated[
        bool, typer.Option("--expired", help="Also what is past its time to live.")
    ] = False,
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Write a store's entries, verdicts, labels and statistics to a file.

    The file holds prompts and answers: only this user may read it.
    """
    from likewise.transfer import export as parts  # noqa: PLC0415 - loads what it needs
    from likewise.transfer.jsonl import JsonlWriter  # noqa: PLC0415

    path = Path(file)
    if file == "-" and json:
        msg = "export - writes the entries to standard output, where --json would be among them"
        raise WrongUsageError(msg)
    if file != "-":
        _format(path, "export")
        require_folder(path, "export")
    settings = config_of(config, store=store)
    with ExitStack() as stack:
        opened = stack.enter_context(_opened(settings))
        header = parts.header_of(opened, now=time.time())
        report = stack.enter_context(progress("exporting"))
        if file == "-":
            stream: Any = sys.stdout.buffer
        else:
            stream = stack.enter_context(parts.whole_file(path))
        if path.suffix == ".parquet":
            from likewise.transfer.parquet import ParquetWriter  # noqa: PLC0415

            writer: Any = ParquetWriter(stream, header)
        else:
            writer = JsonlWriter(stream, compress=path.suffix == ".gz")
        counts = parts.export(
            opened,
            writer,
            header,
            category=category,
            vectors=not no_vectors,
            expired=expired,
            progress=report,
        )
        writer.close()
        stream.flush()
    if json:
        print_json({"file": file, **counts})
        return
    said = errors if file == "-" else console
    said.print(
        f"{counts['entries']} entries, {counts['verdicts']} verdicts and {counts['labels']} labels "
        f"exported to {escape(file)}; {counts['expired']} expired and {counts['failed']} damaged "
        "entries left out",
        soft_wrap=True,
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Where entries come from."""

    kind: Kind
    place: str
    prefix: str | None
    filters: Filters
    system: str | None

    def records(
        self, stack: ExitStack, now: float
    ) -> tuple[int, Iterator[tuple[str, Line | Foreign | Refused]]]:
        """Return how many records there are at most, and an iterator over them."""
        from likewise.transfer import gptcache, jsonl, litellm, parquet, redisvl  # noqa: PLC0415
        from likewise.transfer.redis_source import RedisSource  # noqa: PLC0415

        path = Path(self.place)
        if self.kind == "likewise":
            read = parquet.read_parquet if path.suffix == ".parquet" else jsonl.read_jsonl
            return 0, read(path)
        if self.kind == "gptcache":
            return gptcache.read_gptcache(path, self.prefix)
        source = RedisSource(self.place)
        stack.callback(source.close)
        if self.kind == "redisvl":
            prefix = self.prefix or redisvl.PREFIX
            found = redisvl.read_redisvl(source, prefix=prefix, filters=self.filters, now=now)
        else:
            prefix = self.prefix or litellm.PREFIX
            found = litellm.read_litellm(
                source, prefix=prefix, filters=self.filters, system=self.system, now=now
            )
        return source.count(), found


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL", help="An exported file, GPTCache's SQLite file, redis://..."
        ),
    ],
    kind: Annotated[
        Kind | None, typer.Option("--from", help="Whose it is; a file's is found out.")
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(help="Their category, else rules and examples; of an export: only this one."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="For the gateway: the model that requests name.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="For the gateway: the system prompt of the requests.")
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(help="For the gateway: other fields of the requests, as a JSON object."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            help="For the gateway: the client's key, which names the tenant.",
            envvar="LIKEWISE_CLIENT_KEY",
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant itself.")] = None,
    namespace: Annotated[str, typer.Option(help="Namespace.")] = "",
    ttl: Annotated[
        str | None, typer.Option(help="Keep none longer than this, from when it was made.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Take foreign answers as made now, whatever their age.")
    ] = False,
    prefix: Annotated[
        str | None, typer.Option(help="GPTCache's table name, RedisVL's or LiteLLM's index name.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=VALUE of RedisVL's filters to take, * for any; repeatable."),
    ] = None,
    trust_vectors: Annotated[
        bool,
        typer.Option("--trust-vectors", help="The foreign vectors are of the configured embedder."),
    ] = False,
    no_embed: Annotated[
        bool, typer.Option("--no-embed", help="Make no vectors; likewise reembed does later.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first record that is damaged.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be imported.")
    ] = False,
    config: ConfigOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Put the entries of a file or of another cache into the store.

    What is there already is passed over, so it may be interrupted and run again. With --model,
    answers of another cache are met by the gateway's requests for that model with these options;
    without it by the library's. A gateway that runs serves them at once.
    """
    chosen = kind or _kind(source)
    given = {
        "--model": model, "--system": system, "--parameters": parameters, "--api-key": api_key,
        "--tenant": tenant, "--namespace": namespace, "--ttl": ttl, "--fresh": fresh,
        "--prefix": prefix, "--where": where, "--trust-vectors": trust_vectors,
    }  # fmt: skip
    _check_options(chosen, {name for name, value in given.items() if value})
    if trust_vectors and no_embed:
        msg = "--no-embed takes no vectors, so there are none to trust; leave one of the two out"
        raise WrongUsageError(msg)
    settings = config_of(config, store=store)
    frame = _frame(
        settings, category=category, model=model, system=system, parameters=parameters,
        api_key=api_key, tenant=tenant, namespace=namespace, ttl=ttl, fresh=fresh,
    )  # fmt: skip
    from likewise.transfer.redisvl import Filters  # noqa: PLC0415 - loads what it needs

    filters = Filters(_pairs(where or []))
    origin = _Source(chosen, source, prefix, filters, system)
    outcome = _import(
        settings, origin, frame, no_embed=no_embed, strict=strict, trust=trust_vectors, dry=dry_run
    )
    found = {
        "imported": outcome.imported,
        "skipped": outcome.skipped,
        "failed": outcome.failed,
        "embedded": outcome.embedded,
        "verdicts": outcome.verdicts,
        "labels": outcome.labels,
        "complete": outcome.complete,
        "dry_run": dry_run,
        "from": chosen,
        "reasons": dict(outcome.reasons),
        "filters": dict(filters.others.most_common(20)),
        "errors": [{"where": where, "why": why} for where, why in outcome.errors],
    }
    if json:
        print_json(found)
    else:
        _tell(found)


def reembed(
    config: ConfigOption = None, store: StoreOption = None, json: JsonOption = False
) -> None:
    """Make the vectors anew of entries that another embedder embedded, in place.

    It may be interrupted and run again. A gateway that runs under the old embedder serves on by the
    old vectors, which it has in memory; one that is started under the new one uses the new.
    """
    from likewise.opening import embedder_of  # noqa: PLC0415 - loads what it needs
    from likewise.reembedding import reembed as embed_anew  # noqa: PLC0415

    settings = config_of(config, store=store)
    with _opened(settings) as opened:
        embedder = embedder_of(settings.settings.embedding)
        with progress("embedding") as report:
            counts = embed_anew(opened, embedder, progress=report)
    if json:
        print_json({"embedder": embedder.name, **counts})
    else:
        console.print(
            f"{counts['embedded']} entries embedded by {embedder.name}; {counts['gone']} had gone, "
            f"{counts['failed']} cannot be embedded",
            soft_wrap=True,
        )


def _import(
    settings: Config,
    origin: _Source,
    frame: Frame,
    *,
    no_embed: bool,
    strict: bool,
    trust: bool,
    dry: bool,
) -> Outcome:
    from likewise.classify.rules import Rules  # noqa: PLC0415 - loads what it needs
    from likewise.faults import Faults  # noqa: PLC0415
    from likewise.naming import Namer  # noqa: PLC0415
    from likewise.opening import embedder_of, nearest_of  # noqa: PLC0415
    from likewise.stats import Stats  # noqa: PLC0415
    from likewise.transfer.importing import Importer  # noqa: PLC0415

    now = time.time()
    with ExitStack() as stack:
        total, records = origin.records(stack, now)
        embedder = None if no_embed else embedder_of(settings.settings.embedding)
        by_examples = embedder is not None and origin.kind != "likewise" and not frame.category
        namer = Namer(
            settings.policies,
            [("rule", Rules(settings.rules))],
            nearest_of(settings.examples, embedder) if by_examples and embedder else None,
            sure=settings.settings.classification.confidence,
            faults=Faults(Stats()),
        )
        opened = _target(settings, dry)
        if opened is not None:
            stack.enter_context(opened)
        importer = Importer(
            None if dry else opened,
            embedder=embedder,
            policies=settings.policies,
            namer=namer,
            frame=frame,
            source=origin.kind,
            now=now,
            strict=strict,
            trust=trust,
            category=frame.category if origin.kind == "likewise" else None,
        )
        if opened is not None:
            with progress("reading the store", least=5_000) as report:
                importer.learn_what_is_there(opened, report)
        _take_all(importer, records, total)
        return importer.outcome


def _take_all(
    importer: Importer, records: Iterator[tuple[str, Line | Foreign | Refused]], total: int
) -> None:
    from likewise.transfer.lines import Header  # noqa: PLC0415 - loads what it needs

    with progress("importing") as report:
        for done, (where, record) in enumerate(records, start=1):
            if isinstance(record, Header):
                total = record.entries
            importer.take(where, record)
            report(done, max(done, total))
        importer.finish()


def _target(settings: Config, dry: bool) -> Store | None:
    """Return the store to import into; none when it is not there and must not be made."""
    if not dry:
        return _opened(settings, create=True)
    try:
        return _opened(settings)
    except StoreError:
        return None


def _opened(settings: Config, *, create: bool = False) -> Store:
    from likewise.opening import store_of  # noqa: PLC0415 - loads what it needs

    return store_of(settings.settings, create=create)


def _tell(found: dict[str, Any]) -> None:
    would = "would be imported" if found["dry_run"] else "imported"
    console.print(
        f"{found['imported']} entries {would}, {found['embedded']} of them embedded; "
        f"{found['skipped']} skipped, {found['failed']} failed",
        soft_wrap=True,
    )
    for reason, count in sorted(found["reasons"].items(), key=lambda pair: -pair[1]):
        console.print(f"  skipped {count}: {escape(reason)}", soft_wrap=True)
    if found["reasons"].get("expired"):
        console.print(
            "  expired is what is older than its category's ttl; --fresh takes answers of another "
            "cache as made now",
            soft_wrap=True,
        )
    for value, count in found["filters"].items():
        console.print(f"  left out {count}: --where {escape(value)}", soft_wrap=True)
    for error in found["errors"]:
        errors.print(f"  failed: {escape(error['where'])}: {escape(error['why'])}", soft_wrap=True)
    if not found["complete"]:
        errors.print("  the file was cut off: it has no last line", soft_wrap=True)


def _format(path: Path, command: str) -> None:
    if not path.name.endswith((*_LINES, ".parquet")):
        msg = f"{command}: {path.name} names no format; end it in .jsonl, .jsonl.gz or .parquet"
        raise ConfigError(msg)


def _kind(source: str) -> Kind:
    """Return whose a file is; a Redis does not tell."""
    if source.startswith(_REDIS):
        msg = "import: say whose keys these are, by --from redisvl or --from litellm"
        raise WrongUsageError(msg)
    from likewise.transfer.gptcache import is_sqlite  # noqa: PLC0415 - loads what it needs

    if is_sqlite(Path(source)):
        return "gptcache"
    if not Path(source).is_file():
        msg = f"import: there is no file {source}"
        raise ConfigError(msg)
    _format(Path(source), "import")
    return "likewise"


def _check_options(kind: Kind, given: set[str]) -> None:
    """Refuse options that would have no effect."""
    allowed = {
        "likewise": set(),
        "gptcache": {"--prefix"},
        "redisvl": {"--prefix", "--where"},
        "litellm": {"--prefix", "--where"},
    }[kind]
    if kind != "likewise":
        allowed |= {
            "--model", "--system", "--parameters", "--api-key", "--tenant", "--namespace", "--ttl",
            "--fresh", "--trust-vectors",
        }  # fmt: skip
    if wrong := sorted(given - allowed):
        msg = f"{', '.join(wrong)}: not for --from {kind}; see likewise import --help"
        raise WrongUsageError(msg)
    if "--model" not in given and (needs := given & {"--system", "--parameters", "--api-key"}):
        if kind == "litellm" and needs == {"--system"}:
            return
        msg = f"{', '.join(sorted(needs))}: only for the gateway's requests; give --model as well"
        raise WrongUsageError(msg)
    if {"--api-key", "--tenant"} <= given:
        msg = "--api-key names the tenant already; leave --tenant out"
        raise WrongUsageError(msg)


def _frame(
    settings: Config,
    *,
    category: str | None,
    model: str | None,
    system: str | None,
    parameters: str | None,
    api_key: str | None,
    tenant: str | None,
    namespace: str,
    ttl: str | None,
    fresh: bool,
) -> Frame:
    from likewise.scope import tenant_of  # noqa: PLC0415 - loads what it needs
    from likewise.transfer.frame import Frame  # noqa: PLC0415

    if tenant is None:
        # The gateway takes the whole Authorization header for the key.
        key = None if api_key is None else f"Bearer {api_key}"
        tenant = "" if model is None else tenant_of(key)
    frame = Frame(
        category=category,
        tenant=tenant,
        namespace=namespace,
        model=model,
        system=system,
        parameters=_object(parameters),
        ttl_s=None if ttl is None else seconds(ttl, what="--ttl"),
        fresh=fresh,
        prices=settings.prices,
    )
    frame.request("")  # a wrong category or parameter is told now
    return frame


def _object(parameters: str | None) -> dict[str, Any]:
    if parameters is None:
        return {}
    try:
        return msgspec.json.decode(parameters, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"--parameters: expected a JSON object: {error}"
        raise WrongUsageError(msg) from error


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not name or not separator:
            msg = f"--where: {text!r} is not FIELD=VALUE"
            raise WrongUsageError(msg)
        pairs[name] = value
    return pairs
