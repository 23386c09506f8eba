from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from likewise.aio import AsyncCache
from likewise.config import load
from likewise.embed import Vectors
from likewise.entry import Entry
from likewise.errors import EmbedderError, StoreError
from likewise.gateway import reload
from likewise.stores import MemoryStore
from likewise.testing import FakeClock, HashingEmbedder

from .conftest import Open
from .support import Gateway, chat, gateway_over, wait_for

QUESTION = "How do I undo a commit in git, please?"
NEAR = "How do I undo a commit in git, please ?"


class FrailStore(MemoryStore):
    """A store that fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None

    def put(self, entry: Entry, *, keep_s: float | None = None) -> list[str]:
        """Keep an entry, or fail."""
        if self.error:
            raise self.error
        return super().put(entry, keep_s=keep_s)

    def get(self, entry_id: str) -> Entry | None:
        """Return an entry, or fail."""
        if self.error:
            raise self.error
        return super().get(entry_id)


class FrailEmbedder(HashingEmbedder):
    """An embedder that fails when told to."""

    error: Exception | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed, or fail."""
        if self.error:
            raise self.error
        return super().embed(texts)


@pytest.mark.parametrize("error", [StoreError("disk full"), OSError("x"), MemoryError()])
def test_a_store_that_fails(
    open_gateway: Open, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Requests are answered by the model while it does, and from the cache when it recovers."""
    store = FrailStore()
    gateway = open_gateway(store=store)
    gateway.ask(QUESTION)
    store.error = error
    for text in (QUESTION, "New?", QUESTION, "New?"):
        for stream in (False, True):
            response = gateway.post(chat(text, stream=stream))
            assert response.status == 200
            assert response.headers["x-cache"] == "MISS"
    assert gateway.metric("likewise_faults_total") >= 8
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) <= 2
    store.error = None
    gateway.ask("New?")
    assert gateway.ask("New?") == "HIT"


@pytest.mark.parametrize("error", [EmbedderError("out of time"), RuntimeError("x")])
def test_an_embedder_that_fails(open_gateway: Open, error: Exception) -> None:
    """Requests are answered by the model, equal ones from the cache all the same."""
    embedder = FrailEmbedder()
    gateway = open_gateway(embedder=embedder)
    gateway.ask(QUESTION)
    embedder.error = error
    assert gateway.ask(NEAR) == "MISS"
    assert gateway.ask("New?") == "MISS"
    assert gateway.ask("New?") == "HIT"
    assert gateway.ask(QUESTION) == "HIT"
    assert gateway.metric("likewise_faults_total", kind="embedder") >= 1
    embedder.error = None
    assert gateway.ask(QUESTION.replace(",", " ,")) == "HIT"


@pytest.mark.parametrize("answer", ["a text", {"choices": []}, {"choices": [3]}, None, [1]])
def test_an_entry_that_is_no_completion(gateway: Gateway, answer: object) -> None:
    """What a library stored in the gateway's scope is not served to its clients."""
    entry_id = gateway.post(chat(QUESTION)).headers["x-likewise-entry"]
    store = gateway.cache.engine.store
    stored = store.get(entry_id)
    assert stored is not None
    fields = {name: getattr(stored, name) for name in Entry.__slots__}
    store.put(Entry(**{**fields, "answer": answer}))
    assert gateway.ask(QUESTION, stream=True) == "MISS"
    assert gateway.ask(QUESTION, stream=True) == "HIT"


CANARY = "kanarienvogel"


def test_no_text_or_key_leaks(
    open_gateway: Open, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A prompt, an answer and a key appear in no log, metric, statistic or error of ours."""
    caplog.set_level(logging.DEBUG)
    store, embedder = FrailStore(), FrailEmbedder()
    gateway = open_gateway(
        {"gateway": {"admin_key": f"{CANARY}-admin"}}, store=store, embedder=embedder
    )
    key = {"authorization": f"Bearer {CANARY}-key"}
    own: list[bytes] = []

    def ask(text: str, **fields: Any) -> None:
        response = gateway.post(chat(f"{CANARY} {text}", **fields), key)
        if response.status != 200:
            own.append(response.data)

    for error in (None, RuntimeError(CANARY), StoreError("full")):
        store.error = embedder.error = error
        for text in ("one", "one", "two [[garbage]]", "[[cut]]", "[[finish:length]]"):
            ask(text)
            ask(text, stream=True)
    store.error = embedder.error = None
    ask("bad", cache={"ttl": -1})
    ask("bad", cache=CANARY and {"similarity_threshold": 7})
    own.append(gateway.post(f'{{"messages": "{CANARY}'.encode(), key).data)
    own.append(gateway.http.request("GET", f"{gateway.url}/metrics").data)
    own.append(gateway.http.request("GET", f"{gateway.url}/admin/stats", headers=key).data)
    own.append(repr(gateway.cache.stats()).encode())
    assert len(own) >= 6
    assert CANARY.encode() not in b"".join(own)
    logged = "".join(
        record.getMessage() + "".join(traceback.format_exception(*record.exc_info))
        if record.exc_info
        else record.getMessage()
        for record in caplog.records
    )
    out, err = capfd.readouterr()
    assert logged
    assert CANARY not in logged + out + err


# -- the configuration file ------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    """Change a file at once, as editors do, and so that its time of change differs for certain."""
    new = path.with_suffix(".new")
    new.write_text(text)
    later = path.stat().st_mtime_ns + 10**9 if path.exists() else new.stat().st_mtime_ns
    os.utime(new, ns=(later, later))
    new.replace(path)


def test_hot_reload(
    tmp_path: Path,
    stand_in: str,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A good change takes effect; a bad one is refused with one line and the old policy stays."""
    caplog.set_level(logging.INFO, "likewise")
    monkeypatch.setattr(reload, "_POLL_S", 0.01)
    path = tmp_path / "likewise.yaml"
    write(path, "categories: {code: {ttl: 1h}}\nstore: 'memory://'\n")
    config = load(path)
    config.settings.gateway.port = 1234  # as an option of the command line does
    cache = AsyncCache(
        store="memory://",
        embedder=HashingEmbedder(),
        categories=config.policies,
        rules=config.rules,
        clock=clock,
    )
    code = {"x-likewise-category": "code"}

    def logged(text: str) -> list[str]:
        return [r.getMessage() for r in caplog.records if text in r.getMessage()]

    with gateway_over(config, cache, stand_in) as gateway:
        gateway.ask(QUESTION, headers=code)
        clock.advance(120)
        assert gateway.ask(QUESTION, headers=code) == "HIT"
        write(
            path,
            "categories: {code: {ttl: 1m}}\nstore: 'memory://'\n"
            "rules: [{category: birds, pattern: sparrow}]\n",
        )
        wait_for(lambda: len(logged("new policies are in force")) == 1)
        assert gateway.ask(QUESTION, headers=code) == "MISS"
        sparrow = gateway.post(chat("A sparrow?"))
        assert sparrow.headers["x-likewise-category"] == "birds"
        assert not logged("next start")

        write(path, "categories: {code: {tll: 5m}}\n")
        wait_for(lambda: bool(logged("refused")))
        clock.advance(61)
        assert gateway.ask(QUESTION, headers=code) == "MISS"
        write(path, "categories: {code: {ttl: 5m\n  - x: [\n")
        wait_for(lambda: len(logged("refused")) == 2)
        assert all("\n" not in line for line in logged("refused"))
        assert "'ttl'" in logged("refused")[0]

        write(path, "categories: {code: {ttl: 1h}}\nstore: sqlite:///other.db\n")
        wait_for(lambda: len(logged("new policies are in force")) == 2)
        assert logged("next start") == ["these changes take effect at the next start: store"]
        path.unlink()
        clock.advance(61)
        assert gateway.ask(QUESTION, headers=code) == "MISS"  # its life was fixed when it began
        clock.advance(120)
        assert gateway.ask(QUESTION, headers=code) == "HIT"


def test_a_change_is_looked_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bad file is complained of once, not every second."""
    path = tmp_path / "likewise.yaml"
    write(path, "{}")
    cache = AsyncCache(store="memory://", embedder=HashingEmbedder())
    follower = reload.Follower(cache.engine, load(path))
    assert not follower.look()
    write(path, "nonsense: 1")
    assert [follower.look() for _ in range(3)] == [False, False, False]
    assert len(caplog.records) == 1
    write(path, "{}")
    assert follower.look()
    asyncio.run(cache.close())
