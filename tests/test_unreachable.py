"""A store that cannot be reached for a while: requests go on, and all agree again afterwards."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import pytest

from likewise import Cache, Category, Hit
from likewise.stores import open_store
from likewise.testing import HashingEmbedder

CUT_S = float(os.environ.get("LIKEWISE_TEST_PARTITION_S", "2"))
LONG_S = 60.0
LOOSE = Category("loose", similarity_threshold=0.9, guards=())


class Wire:
    """Passes bytes on to a server, until it is cut: refusing or silent, as networks are."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._how = ""
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how: str) -> None:
        """Let nothing through: ``refused`` closes what comes, ``silent`` says nothing to it."""
        self._how = how
        if how == "refused":
            self._drop()

    def mend(self) -> None:
        """Let everything through; what was open is gone, as after a timeout."""
        self._how = ""
        self._drop()

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._listener.close()
        self._drop()

    def _drop(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            if self._how == "refused":
                ours.close()
                continue
            try:
                theirs = socket.create_connection(self._to)
            except OSError:
                ours.close()
                continue
            self._ends += [ours, theirs]
            for one, other in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                while self._how == "silent":
                    time.sleep(0.02)
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["redis", "postgres"])
def wired(
    request: pytest.FixtureRequest, store_url: Callable[[str], str]
) -> Iterator[tuple[str, str, Wire]]:
    """The address of a new store, the same through a wire that can be cut, and the wire."""
    url = store_url(request.param)
    parts = urlsplit(url)
    assert parts.hostname is not None
    wire = Wire(parts.hostname, parts.port or {"redis": 6379}.get(request.param, 5432))
    user = f"{parts.username}@" if parts.username else ""
    yield url, urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{wire.port}")), wire
    wire.close()


def opened(url: str) -> Cache:
    """A cache over a store."""
    return Cache(store=url, embedder=HashingEmbedder(), categories=[LOOSE], examples={}, rules=())


def known(cache: Cache) -> list[str]:
    """The entries that a cache knows of."""
    return sorted(cache._engine.catalog.select(lambda _: True))


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_no_request_fails_while_the_store_is_away(
    wired: tuple[str, str, Wire], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is answered by the model, and counted; afterwards all know and serve the same."""
    url, through, wire = wired
    monkeypatch.setattr("likewise.stores.redis.ANSWER_S", CUT_S / 4)
    monkeypatch.setattr("likewise.stores.postgres.ANSWER_S", CUT_S / 4)
    with opened(url) as near, opened(through) as far:
        for i in range(20):
            far.store(f"question number {i}", "stored", category="loose")
        ended, failed, answered = threading.Event(), list[BaseException](), list[str]()

        def load(who: int) -> None:
            i = who
            while not ended.is_set():
                i += 1
                try:
                    text = f"question number {i % 20}" if i % 2 else f"a new one {who} {i}"
                    answered.append(far.answer(text, lambda: "computed", category="loose"))
                except BaseException as error:
                    failed.append(error)
                time.sleep(0.01)

        threads = [threading.Thread(target=load, args=(1000 * who,)) for who in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        wire.cut(how)
        gone = near.check("question number 3", category="loose")
        assert isinstance(gone, Hit)
        near.drop(gone.entry_id)
        near.store("stored on the other side", "elsewhere", category="loose")
        time.sleep(CUT_S)
        during = len(answered)
        wire.mend()
        deadline = time.monotonic() + LONG_S
        while not isinstance(far.check("stored on the other side", category="loose"), Hit):
            assert time.monotonic() < deadline, "it never followed again"
            time.sleep(0.02)
        ended.set()
        for thread in threads:
            thread.join(LONG_S)
        assert failed == []
        assert during > 0
        faults = [row["faults"].get("store", 0) for row in far.stats()["categories"].values()]
        assert sum(faults) > 0, "what could not be reached is counted"
        far._engine.tidy()  # what was to go meanwhile goes now
        with open_store(url) as store:
            there = sorted(row.id for row in store.scan())
            seq = store.mark().seq
        for cache in (near, far):
            while cache._engine.following.seq < seq:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert known(cache) == there
        assert gone.entry_id not in there
