from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import likewise

ROOT = Path(likewise.__file__).parent
VALUES = [
    "errors", "durations", "slots", "eviction", "scope", "sensitive", "answers", "entry", "request",
    "guards",
    "category", "policy", "quotas", "sources", "adaptive", "prices", "ledger", "service_time",
]  # fmt: skip
OUTER = {
    "gateway", "dashboard", "cli", "bench", "demo", "mock_llm", "replay", "advise", "transfer",
    "integrations", "__main__",
}  # fmt: skip
NO_IO = {
    "aiohttp", "asyncio", "concurrent", "http", "io", "logging", "multiprocessing", "onnxruntime",
    "os", "pathlib", "random", "shutil", "socket", "sqlite3", "starlette", "subprocess",
    "tempfile", "threading", "time", "urllib", "urllib3", "uvicorn", "yaml",
}  # fmt: skip
INNER_ORDER = [
    *VALUES, "files", "kept", "page", "clock", "breaker", "load", "listener", "embed", "testing",
    "recent", "freshness", "pace", "classify", "index", "stores", "schema", "config", "overrides",
    "vectors", "pools", "archive", "catalog", "snapshots", "gate", "stats", "faults", "naming",
    "feedback", "receipts", "upkeep", "rowreader", "rebuild", "following", "filling",
    "reembedding", "learn", "teaching", "lookup", "policybook", "beginning", "fetching",
    "gatekeeper", "neighbours", "keeping", "accounts", "engine", "opening", "explain",
    "functions", "front", "aio", "cache",
]  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below ``likewise``."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


MODULES = modules()


def part(module: str) -> str:
    """The part of the house a module belongs to."""
    return module.partition(".")[0]


def imports(path: Path) -> set[str]:
    """Everything a file imports, at any depth, except for type checkers only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            assert node.module is not None
            found.add(node.module)
            if node.module == "likewise":
                found |= {f"likewise.{alias.name}" for alias in node.names}
    return found


def ours(path: Path) -> set[str]:
    """The parts of the house a file imports."""
    return {part(name.removeprefix("likewise.")) for name in imports(path) if "likewise." in name}


def named(parts: list[str] | set[str]) -> list[str]:
    """The modules of some parts."""
    return [module for module in MODULES if part(module) in parts]


def test_the_list_of_modules_is_not_empty() -> None:
    """Otherwise nothing below could fail."""
    assert {"policy", "engine", "cache", "stores.sqlite", "index.hnsw"} <= set(MODULES)
    assert ours(MODULES["policy"]) == {"category", "entry", "guards", "request"}


@pytest.mark.parametrize("module", named(VALUES))
def test_values_do_no_input_or_output(module: str) -> None:
    """Nothing that could read a file, a clock, a socket or chance, and no part further out."""
    used = imports(MODULES[module])
    assert not {name.partition(".")[0] for name in used} & NO_IO
    assert ours(MODULES[module]) <= set(VALUES)


@pytest.mark.parametrize("module", [m for m in MODULES if m and part(m) not in OUTER])
def test_the_core_knows_nothing_of_what_is_around_it(module: str) -> None:
    """Neither gateway nor command line, bench or demo."""
    assert not ours(MODULES[module]) & OUTER


@pytest.mark.parametrize("module", [m for m in MODULES if m and part(m) not in OUTER])
def test_imports_point_inward(module: str) -> None:
    """Each part imports only what comes before it in the order of the house."""
    place = INNER_ORDER.index(part(module))
    allowed = set(INNER_ORDER[: place + 1])
    if module == "embed.registry":
        allowed.add("testing")  # opens the hashing embedder when it is asked for by name
    assert ours(MODULES[module]) <= allowed


def test_no_module_is_without_its_place() -> None:
    """A new part must be put into the order above."""
    assert {part(module) for module in MODULES if module} <= {*INNER_ORDER, *OUTER}


def test_importing_the_library_loads_no_model_and_no_server() -> None:
    """Nor does opening a cache that needs neither."""
    code = (
        "import sys, likewise\n"
        "from likewise.testing import HashingEmbedder\n"
        "likewise.Cache(store='memory://', embedder=HashingEmbedder()).close()\n"
        "heavy = {'onnx', 'onnxruntime', 'tokenizers', 'safetensors', 'starlette', 'aiohttp',"
        " 'uvicorn', 'typer', 'rich', 'prometheus_client', 'urllib3', 'openai', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_importing_prints_and_connects_nothing() -> None:
    """No side effect at import: no output, no socket, no child process, no file written."""
    code = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event in {'socket.connect', 'subprocess.Popen', 'os.mkdir', 'sqlite3.connect'}:\n"
        "        raise SystemExit(f'{event} {args}')\n"
        "sys.addaudithook(hook)\n"
        "import likewise, likewise.stores, likewise.config"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) not in OUTER])
def test_the_core_prints_nothing(module: str) -> None:
    """A library logs; it never writes to the screen."""
    calls = [
        node
        for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"print", "input"}
    ]
    assert calls == []


def test_only_its_own_module_imports_an_integrated_package() -> None:
    """What integrates one package works without the others."""
    packages = {
        "httpx": "integrations.httpx", "httpx2": "integrations.httpx2",
        "langchain_core": "integrations.langchain", "litellm": "integrations.litellm",
        "llama_index": "integrations.llamaindex",
    }  # fmt: skip
    for module, path in MODULES.items():
        found = {name.partition(".")[0] for name in imports(path)} & set(packages)
        assert found <= {name for name, owner in packages.items() if owner == module}, module
    assert set(packages.values()) <= set(MODULES)
