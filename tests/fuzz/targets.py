"""What is fuzzed: functions that read bytes of others, and examples of what they are to read.

Each target takes any bytes and returns; what it lets through is a defect, unless it is an error of
ours that its docstring promises.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from likewise import overrides
from likewise.answers import answer_text
from likewise.catalog import Catalog
from likewise.config import Policies, load
from likewise.entry import Entry, Provenance
from likewise.errors import ConfigError, EmbedderError, RequestError, StoreError
from likewise.faults import Faults
from likewise.freshness import Changes
from likewise.gateway.wire import completion
from likewise.gateway.wire.chat import CHAT, read_chat
from likewise.gateway.wire.controls import asked_of
from likewise.gateway.wire.dialect import parse_json
from likewise.gateway.wire.sse import Splitter, data_of
from likewise.guards import GUARDS
from likewise.index import Record
from likewise.learn.lessons import unpack as unpack_lesson
from likewise.naming import Namer
from likewise.rowreader import RowReader
from likewise.sensitive import DETECTORS
from likewise.snapshots import Snapshots
from likewise.stats import Stats
from likewise.stores import MemoryStore
from likewise.stores.feed import pack, unpack
from likewise.stores.packing import pack_entry, unpack_entry, unpack_row
from likewise.testing import HashingEmbedder
from likewise.transfer.frame import Frame
from likewise.transfer.gptcache import read_gptcache
from likewise.transfer.importing import Importer
from likewise.transfer.jsonl import JsonlWriter, read_jsonl
from likewise.transfer.lines import End, Header, Line, VerdictLine, line_of
from likewise.transfer.litellm import _read as read_literal
from likewise.transfer.parquet import ParquetWriter, read_parquet

FOLDER = Path(tempfile.mkdtemp(prefix="likewise-fuzz-"))
DATA = Path(__file__).parents[1] / "data"
DIMENSIONS = 8
EMBEDDER = HashingEmbedder(DIMENSIONS)

logging.getLogger("likewise").addHandler(logging.NullHandler())
logging.getLogger("likewise").propagate = False


@dataclass(frozen=True, slots=True)
class Target:
    """Something to fuzz.

    Attributes:
        run: Takes any bytes.
        seeds: What it is to read.
        grows: Returns an input of about this many bytes that must not take quadratic time.
    """

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...] = ()
    grows: tuple[Callable[[int], bytes], ...] = ()


# -- the wire --------------------------------------------------------------------------------------

_CHAT = (
    b'{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":'
    b'[{"type":"text","text":"Q"}]}],"temperature":0.5,"cache":{"ttl":3,"namespace":"n"}}'
)
_TOOLS = (
    b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a"}]},'
    b'{"role":"tool","tool_call_id":"a","content":"1"}],"tools":[{}],"n":2,"stream":true}'
)


def _chat(data: bytes) -> None:
    # Writing it in canonical form may take some levels more than reading: the endpoint knows.
    with contextlib.suppress(RequestError, RecursionError):
        call = read_chat(data, {}, tenant="t", query="q")
        if call is not None:
            call.request.scope.digest()


def _controls(data: bytes) -> None:
    name, _, value = data.partition(b":")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1").strip()}
    with contextlib.suppress(RequestError):
        asked_of(headers, None)
        asked_of({}, parse_json(data))


def _sse(data: bytes) -> None:
    step = 1 + (data[0] if data else 0)
    splitter = Splitter()
    events = [
        event for at in range(0, len(data), step) for event in splitter.feed(data[at : at + step])
    ]
    assert b"".join(events) + splitter.rest() == data
    for event in events:
        data_of(event)


_CHUNK = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
)


def _stream(data: bytes) -> None:
    splitter = Splitter()
    events = splitter.feed(data + b"\n\n")
    for event in events:
        CHAT.is_usage_only(event)
    for needs_done in (True, False):
        whole = completion.from_stream(events, needs_done=needs_done)
        if whole is not None and completion.is_well_formed(whole):
            completion.why_not_keep(whole)
            for _ in completion.to_stream(whole, include_usage=True):
                pass


def _completion(data: bytes) -> None:
    with contextlib.suppress(RequestError):
        answer = parse_json(data)
        completion.why_not_keep(answer)
        with contextlib.suppress(RecursionError):
            answer_text(answer)
        if completion.is_well_formed(answer):
            list(completion.to_stream(answer, include_usage=True))


# -- the configuration -----------------------------------------------------------------------------

_YAML = b"""defaults: {ttl: 1h}
categories: {code: {similarity_threshold: 0.9, guards: [numbers]}}
rules: [{category: code, pattern: "git"}]
max_bytes: 2GB
prices: {m: {input: 1, output: 2}}
upstream: {base_url: "http://u", replicas: [{url: "http://v"}]}
"""


def _config(data: bytes) -> None:
    path = FOLDER / "likewise.yaml"
    path.write_bytes(data)
    with contextlib.suppress(ConfigError):
        config = load(path)
        _ = (config.load, config.ledger, config.prices, config.adapting, config.sources)


def _overrides(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        overrides.overridden(Policies(), overrides.decode(data))


# -- files of others -------------------------------------------------------------------------------


def _importer() -> Importer:
    policies = Policies()
    namer = Namer(policies, [], None, faults=Faults(Stats()))
    return Importer(
        MemoryStore(),
        embedder=EMBEDDER,
        policies=policies,
        namer=namer,
        frame=Frame(model="m"),
        source="fuzz",
        now=2e9,
    )


def _take(records: Iterator[tuple[str, Any]]) -> None:
    importer = _importer()
    with contextlib.suppress(ConfigError, EmbedderError):
        for where, record in records:
            importer.take(where, record)
        importer.finish()


def _jsonl(data: bytes) -> None:
    path = FOLDER / ("a.jsonl.gz" if data[:2] == b"\x1f\x8b" else "a.jsonl")
    path.write_bytes(data)
    _take(read_jsonl(path))


def _parquet(data: bytes) -> None:
    path = FOLDER / "a.parquet"
    path.write_bytes(data)
    _take(read_parquet(path))


def _gptcache(data: bytes) -> None:
    path = FOLDER / "a.sqlite"
    path.write_bytes(data)
    with contextlib.suppress(ConfigError):
        _, rows = read_gptcache(path)
        _take(rows)


def _litellm(data: bytes) -> None:
    read_literal(data.decode("latin-1"))


# -- what is kept ----------------------------------------------------------------------------------

_ENTRY = Entry(
    id="lw-1",
    scope=bytes(16),
    category="code",
    question="How?",
    answer={"choices": [{"message": {"role": "assistant", "content": "So."}}]},
    created_at=1.0,
    expires_at=None,
    vector=np.ones(DIMENSIONS, np.float16),
    embedder=EMBEDDER.name,
    provenance=Provenance(model="m"),
)


def _packing(data: bytes) -> None:
    reader = RowReader(embedder=EMBEDDER.name, dimensions=DIMENSIONS)
    unpack_entry("a", data, b"{}")
    packed, answer = pack_entry(_ENTRY)
    unpack_entry("a", packed, data)
    unpack_entry("a", data, answer)
    if (row := unpack_row("a", data)) is not None:
        reader.read(row)


def _feed(data: bytes) -> None:
    for kind in ("put", "verdict", "memo", data[:5].decode("latin-1")):
        unpack(1, kind, data, own=False)


def _lesson(data: bytes) -> None:
    with contextlib.suppress(StoreError):
        unpack_lesson(data)


def _changes(data: bytes) -> None:
    Changes().load(data)


def _snapshot(data: bytes) -> None:
    """Change a file of a good snapshot, and its checksum with it; ``data`` says how."""
    files = dict(_FILES)
    names = sorted(files)
    if len(data) >= 4:
        name = names[data[0] % len(names)]
        content = bytearray(files[name])
        at = int.from_bytes(data[1:3], "little") % (len(content) + 1)
        match data[3] % 3:
            case 0:
                content[at : at + len(data) - 4] = data[4:]
            case 1:
                del content[at:]
            case _:
                content[at:at] = data[4:]
        files[name] = bytes(content)
    folder = FOLDER / "index" / "snapshot-1"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        manifest = msgspec.json.decode(files.pop("manifest.json").partition(b"\n")[2])
    except (msgspec.DecodeError, UnicodeDecodeError):
        manifest = None
    for name, content_ in files.items():
        (folder / name).write_bytes(content_)
        if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
            known = {"size": len(content_), "digest": hashlib.sha256(content_).hexdigest()}
            manifest["files"][name] = known
    text = msgspec.json.encode(manifest)
    digest = hashlib.sha256(text).hexdigest().encode()
    (folder / "manifest.json").write_bytes(digest + b"\n" + text)
    catalog = Catalog(DIMENSIONS)
    kept = Snapshots(FOLDER / "index", embedder=EMBEDDER.name)
    kept.read(catalog, store="s", seq=1)


def _written() -> dict[str, bytes]:
    catalog = Catalog(DIMENSIONS)
    for number in range(20):
        record = Record.of(
            f"entry-{number}", b"key%013d" % number, bytes(16), "code", "Q", 1.0, None, 0, number
        )
        catalog.add(record, EMBEDDER.embed([f"question {number}"])[0] if number % 3 else None)
    kept = Snapshots(FOLDER / "made", embedder=EMBEDDER.name)
    assert kept.write(catalog, store="s", seq=1)
    (folder,) = (FOLDER / "made").iterdir()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- texts -----------------------------------------------------------------------------------------


def _texts(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    a, _, b = text.partition("\0")
    for guard in GUARDS.values():
        found = guard(a, b)
        assert found is None or isinstance(found, str)
        assert guard(a, a) is None
    for detector in DETECTORS.values():
        detector(text)


# -- all of them -----------------------------------------------------------------------------------


def _exported(suffix: str) -> bytes:
    stream = io.BytesIO()
    header = Header(1, "0", 1.0, 1)
    writer = ParquetWriter(stream, header) if suffix == "parquet" else JsonlWriter(stream)
    lines: list[Line] = [header, line_of(_ENTRY, vectors=True)]
    for line in (*lines, VerdictLine(b"a", b"b", correct=True), End(1)):
        writer.write(line)
    writer.close()
    return stream.getvalue()


def _sqlite(rows: int) -> bytes:
    path = FOLDER / "grown.sqlite"
    path.write_bytes((DATA / "gptcache.sqlite").read_bytes())
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO gptcache_question (id, question, create_on, deleted) "
            "SELECT i, 'q' || i, '2026-01-01', 0 FROM n",
            (rows + 100,),
        )
    return path.read_bytes()


def _repeated(part: bytes, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + part * (size // len(part)) + after


_FILES = _written()
_MESSAGE = b'{"role":"user","content":"Q"},'
_TURNS = (b'{"model":"m","messages":[', b'{"role":"user"}]}')
_INDEXED = b'data: {"choices":[{"delta":{"tool_calls":[{"index":%d}]}}]}\n\n'


def _calls(size: int) -> bytes:
    return b"".join(_INDEXED % number for number in range(size // len(_INDEXED)))


TARGETS = {
    "chat": Target(_chat, (_CHAT, _TOOLS), (_repeated(_MESSAGE, *_TURNS), _repeated(b"[", b"["))),
    "controls": Target(
        _controls,
        (b"cache-control: no-cache, max-age=3", b"x-likewise-sources: a, b", b'{"ttl": 3}'),
        (_repeated(b"max-age=1,", b"cache-control:"), _repeated(b"a,", b"x-likewise-sources:")),
    ),
    "sse": Target(
        _sse,
        (_CHUNK, b"\r: keep\n\r\ndata: a\rdata: b\r\r"),
        (_repeated(b"data: a\n\n", b"\x40"), _repeated(b"a", b"\x40data: ")),
    ),
    "stream": Target(
        _stream,
        (_CHUNK + b"data: [DONE]\n\n", _INDEXED % 1 + _CHUNK + b"data: [DONE]"),
        (_repeated(_CHUNK, after=b"data: [DONE]"), _calls),
    ),
    "completion": Target(
        _completion,
        (b'{"choices":[{"message":{"content":"a b","tool_calls":[{"function":{}}]}}]}',),
        (_repeated(b"a ", b'{"choices":[{"message":{"content":"', b'"}}]}'),),
    ),
    "config": Target(_config, (_YAML, b"rules: [{category: a, pattern: '('}]", b"a: &a [*a]")),
    "overrides": Target(_overrides, (b'{"code":{"ttl":"1h"}}', b'{"default":{"epoch":1}}')),
    "jsonl": Target(_jsonl, (_exported("jsonl"),)),
    "parquet": Target(_parquet, (_exported("parquet"),)),
    "gptcache": Target(_gptcache, ((DATA / "gptcache.sqlite").read_bytes(),)),
    "litellm": Target(_litellm, (b"{'a': [1, None]}", b'{"response": "{}"}')),
    "packing": Target(_packing, pack_entry(_ENTRY)),
    "feed": Target(_feed, (pack(("a", "b")), b'{"entry_key":"YQ==","key":"YQ==","correct":true}')),
    "lesson": Target(_lesson),
    "changes": Target(_changes, (b'{"code":[[1.0,true]]}',)),
    "snapshot": Target(_snapshot, (b"\0\0\0\0abc", b"\1\5\0\1", b"\2\1\0\2a")),
    "texts": Target(
        _texts,
        (b"Is it safe to take 5 mg?\0Is it not safe to take 50 mg?", "ä\u200b\u0665".encode()),
        (
            *(_repeated(part) for part in (b"a.", b"1,", b"-1", b"from the ", b"A", b"a@", b"\n")),
            *(
                _repeated(part)
                for part in (b"eyJ-", b"sk-", b"+1 ", b"twenty ", b"'", b"a_", b"/.")
            ),
            *(_repeated(part) for part in (b"1.", b"a:", b"password ", b"AB12 ", b"x'", b"> ")),
        ),
    ),
}
