"""Import from other caches, to the hit: of GPTCache's real file, and of Redis layouts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise import Cache, Scope
from likewise.config import load
from likewise.testing import HashingEmbedder

from .support import PATIENCE_S, Shell

GPTCACHE = Path(__file__).parents[1] / "data" / "gptcache.sqlite"
"""Written by the real GPTCache; see ``make_gptcache.py`` beside it."""

UNDO = "How do I undo the last commit in git?"


def answer(shell: Shell, question: str, **asked: Any) -> Any:
    """Return what the library answers a question with, ``None`` for a miss."""
    with Cache.open(load(shell.folder / "likewise.yaml")) as cache:
        return getattr(cache.check(question, **asked), "answer", None)


def reworded(shell: Shell, question: str) -> Any:
    """Return the answer to a question that is near, but not equal."""
    return answer(shell, f"{question[:-1]} ?", category="code")


# -- GPTCache -----------------------------------------------------------------------------------


def test_gptcache_is_met_by_the_library(shell: Shell) -> None:
    """Texts come over; pictures, parts and what was deleted do not, and are counted."""
    done = shell.json("import", str(GPTCACHE), "--fresh", "--category", "code")
    assert done["from"] == "gptcache"
    assert (done["imported"], done["embedded"], done["failed"]) == (3, 3, 0)
    assert done["reasons"] == {
        "an answer that is a picture": 1,
        "a question with parts beside its text": 1,
        "deleted in GPTCache": 1,
    }
    assert answer(shell, UNDO, category="code") == "git reset --soft HEAD~1"
    assert reworded(shell, UNDO) == "git reset --soft HEAD~1"
    assert answer(shell, "Who wrote Faust?", category="code") == "Goethe"
    assert answer(shell, UNDO, category="code", scope=Scope(tenant="else")) is None
    again = shell.json("import", str(GPTCACHE), "--fresh", "--category", "code")
    assert (again["imported"], again["reasons"]["there already"]) == (0, 3)


def test_categories_are_named_as_the_cache_names_them(shell: Shell) -> None:
    """Without ``--category`` a request that names none meets what was imported."""
    assert shell.json("import", str(GPTCACHE), "--fresh")["imported"] == 3
    assert answer(shell, UNDO) == "git reset --soft HEAD~1"
    assert answer(shell, "What is the capital of Peru?") == "Lima"


def test_trusted_vectors_are_taken_and_wrong_ones_refused(shell: Shell) -> None:
    """The file's vectors are the hashing embedder's, of 256 values."""
    named = ["import", str(GPTCACHE), "--fresh", "--trust-vectors", "--category", "code"]
    assert shell.json(*named)["embedded"] == 0
    assert reworded(shell, UNDO) == "git reset --soft HEAD~1"
    damaged = shell.folder / "other.sqlite"
    shutil.copy(GPTCACHE, damaged)
    with sqlite3.connect(damaged) as db:
        other = np.eye(256, dtype="<f4")[0].tobytes()
        db.execute("UPDATE gptcache_question SET embedding_data = ?", (other,))
    db.close()
    store = ["--store", f"sqlite:///{shell.folder / 'b.db'}"]
    refused = shell.run("import", str(damaged), *named[2:], *store)
    assert refused.returncode == 3
    assert "not of hashing/256" in refused.stderr


def test_old_answers_are_expired_unless_taken_as_fresh(shell: Shell) -> None:
    """A category's ttl counts from when the other cache got its answer."""
    shell.configure(categories={"brief": {"ttl": "0.001s"}})
    done = shell.json("import", str(GPTCACHE), "--category", "brief")
    assert (done["imported"], done["reasons"]["expired"]) == (0, 3)


def test_the_gateway_serves_what_was_imported(shell: Shell) -> None:
    """A chat request for the model, of the key's tenant, is a hit in both forms."""
    arguments = ["--model", "stand-in-1", "--api-key", "k", "--fresh"]
    assert shell.json("import", str(GPTCACHE), *arguments)["imported"] == 3
    with (
        shell.serving("mock-llm") as model,
        shell.serving("serve", "--upstream", f"{model.url}") as gateway,
    ):
        found = gateway.ask(UNDO)
        assert (found.status, found.headers["x-cache"]) == (200, "HIT")
        message = found.json()["choices"][0]["message"]
        assert message == {"role": "assistant", "content": "git reset --soft HEAD~1"}
        streamed = gateway.ask(UNDO, stream=True)
        assert streamed.headers["x-cache"] == "HIT"
        assert streamed.data.endswith(b"data: [DONE]\n\n")
        assert gateway.ask(UNDO, key="another").headers["x-cache"] != "HIT"
        assert gateway.ask(UNDO, seed=7).headers["x-cache"] != "HIT"


# -- Redis --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own, gone with the tests."""
    binary = shutil.which("redis-server")
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "redis-server never answered"
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


@pytest.fixture
def client(server: str) -> Iterator[Any]:
    """A client of that Redis, which is empty."""
    if os.environ.get("CI"):
        import redis  # noqa: PLC0415 - in CI its absence is a failure
    else:
        redis = pytest.importorskip("redis")
    made = redis.Redis.from_url(server)
    made.flushall()
    yield made
    made.close()


def entry(prompt: str, response: str, **fields: Any) -> dict[str, Any]:
    """Return a hash as RedisVL writes it; see its ``CacheEntry.to_dict``."""
    vector = HashingEmbedder().embed([prompt])[0].astype(np.float32).tobytes()
    made = time.time() - 5
    return {
        "entry_id": "0" * 64,
        "prompt": prompt,
        "response": response,
        "prompt_vector": vector,
        "inserted_at": made,
        "updated_at": made,
        **fields,
    }


def test_redisvl(shell: Shell, server: str, client: Any) -> None:
    """Prompt, response and time to live come over; filters must be named."""
    client.hset("llmcache:1", mapping=entry(UNDO, "git reset", metadata='{"a": 1}'))
    client.hset("llmcache:2", mapping=entry("Who wrote Faust?", "Goethe"))
    client.pexpire("llmcache:2", 3_600_000)
    client.hset("llmcache:3", mapping=entry("Whose?", "Ann's", user="ann"))
    client.hset("llmcache:4", mapping={"prompt": "no response"})
    client.hset("other:1", mapping=entry("Not ours?", "no"))
    named = ["import", server, "--from", "redisvl", "--category", "code"]
    done = shell.json(*named)
    assert (done["imported"], done["embedded"], done["failed"]) == (2, 2, 1)
    assert done["filters"] == {"user=ann": 1}
    assert reworded(shell, UNDO) == "git reset"
    with Cache.open(load(shell.folder / "likewise.yaml")) as cache:
        left = {
            row.question: None if row.expires_at is None else row.expires_at - time.time()
            for row in cache._engine.store.scan()
        }
    assert 3_500 < (left["Who wrote Faust?"] or 0) <= 3_600
    assert answer(shell, "Whose?", category="code") is None
    more = shell.json(*named, "--where", "user=ann", "--tenant", "ann")
    assert more["imported"] == 1
    assert answer(shell, "Whose?", category="code", scope=Scope(tenant="ann")) == "Ann's"


def completion(text: str, **fields: Any) -> dict[str, Any]:
    """Return a chat completion as LiteLLM keeps it."""
    return {
        "id": "chatcmpl-1",
        "created": 1,
        "model": "stand-in-1",
        "object": "chat.completion",
        "choices": [
            {
                "finish_reason": "stop",
                "index": 0,
                "message": {"content": text, "role": "assistant", "tool_calls": None},
            }
        ],
        "usage": {"completion_tokens": 3, "prompt_tokens": 9, "total_tokens": 12},
        **fields,
    }


def kept(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what LiteLLM hands to its cache."""
    return {"timestamp": time.time() - 10, "response": json.dumps(answer)}


def test_litellm(shell: Shell, server: str, client: Any) -> None:
    """The semantic cache comes over to the gateway; the exact one has no prompts."""
    index = "litellm_semantic_cache_index"
    key = {"litellm_cache_key": "k1"}
    client.hset(f"{index}:1", mapping=entry(f"Be brief.{UNDO}", str(kept(completion("a"))), **key))
    client.hset(f"{index}:2", mapping=entry("Else?", str(kept(completion("b"))), **key))
    cut = completion("c")
    cut["choices"][0]["finish_reason"] = "length"
    client.hset(f"{index}:3", mapping=entry("Be brief.Cut?", str(kept(cut)), **key))
    client.hset(f"{index}:4", mapping=entry("Be brief.What?", "__import__('os')", **key))
    client.set("a" * 64, str(kept(completion("d"))))
    client.set(f"team:{'b' * 64}", json.dumps(kept(completion("e"))))
    client.set("unrelated", "x")
    named = ["import", server, "--from", "litellm", "--model", "stand-in-1", "--api-key", "k"]
    named += ["--system", "Be brief.", "--category", "code"]
    assert shell.json(*named)["filters"] == {"litellm_cache_key=k1": 4}
    done = shell.json(*named, "--where", "litellm_cache_key=k1")
    assert (done["imported"], done["failed"]) == (1, 1)
    assert done["reasons"] == {
        "of another system prompt": 1,
        "not to be kept: not finished": 1,
        "LiteLLM's exact cache keeps no prompt, only a digest of it": 2,
    }
    asked = ["check", UNDO, "--model", "stand-in-1", "--system", "Be brief.", "--api-key", "k"]
    found = shell.json(*asked, "--category", "code")
    assert found["decision"] == "hit"
    assert found["answer"]["choices"][0]["message"]["content"] == "a"
    assert found["provenance"]["completion_tokens"] == 3


def test_redis_that_is_not_there(shell: Shell) -> None:
    """One line that says where, without the password."""
    done = shell.run("import", "redis://u:secret@127.0.0.1:1/0", "--from", "redisvl")
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
    assert "secret" not in done.stderr
    assert "--from redisvl" in shell.run("import", "redis://x").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.jsonl", "--model", "m"],
        [str(GPTCACHE), "--system", "s"],
        [str(GPTCACHE), "--where", "a=b"],
        [str(GPTCACHE), "--model", "m", "--parameters", "[]"],
        [str(GPTCACHE), "--trust-vectors", "--no-embed"],
    ],
)
def test_options_that_have_no_effect_are_refused(shell: Shell, arguments: list[str]) -> None:
    """Rather than imported into a scope that nobody asks."""
    (shell.folder / "a.jsonl").write_text("")
    assert shell.run("import", *arguments).returncode == 2


@pytest.mark.parametrize(
    ("package", "call"),
    [("pyarrow", "read_parquet(Path('a.parquet'))"), ("redis", "[RedisSource('redis://x')]")],
)
def test_a_missing_package_is_named(shell: Shell, package: str, call: str) -> None:
    """With the command that installs it."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from pathlib import Path\n"
        "from likewise.errors import ConfigError\n"
        "from likewise.transfer.parquet import read_parquet\n"
        "from likewise.transfer.redis_source import RedisSource\n"
        f"try:\n    list({call})\nexcept ConfigError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'likewise[" in done.stdout


def test_parameters_of_the_gateway(shell: Shell) -> None:
    """Named parameters are part of what must be equal."""
    given = ["--model", "m", "--parameters", '{"temperature": 0}', "--fresh"]
    assert shell.json("import", str(GPTCACHE), *given)["imported"] == 3
    assert shell.json("check", UNDO, "--model", "m")["decision"] == "miss"
    plain = shell.json("import", str(GPTCACHE), "--model", "m", "--fresh")
    assert plain["imported"] == 3
    assert shell.json("check", UNDO, "--model", "m")["decision"] == "hit"
