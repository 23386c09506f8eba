from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from likewise import AsyncCache, Bypass, Category, Hit, Miss, Scope
from likewise.embed import Vectors
from likewise.errors import ConfigError, StoreError
from likewise.policy import Reason
from likewise.stores import MemoryStore
from likewise.testing import FakeClock, HashingEmbedder

ASKED = "how do I undo the last commit in git without losing my work"
ALIKE = "how do I undo the last commit in git without losing work"
LOOSE = Category("loose", similarity_threshold=0.9, guards=())


class ThreadSpy(MemoryStore):
    """A store that notes which threads touch it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def get(self, entry_id: str) -> Any:
        """See ``Store.get``."""
        self.threads.append(threading.current_thread().name)
        return super().get(entry_id)

    def put(self, entry: Any, *, keep_s: float | None = None) -> list[str]:
        """See ``Store.put``."""
        self.threads.append(threading.current_thread().name)
        return super().put(entry, keep_s=keep_s)


@pytest_asyncio.fixture
async def cache(clock: FakeClock) -> AsyncIterator[AsyncCache]:
    """A cache in memory."""
    async with AsyncCache(
        store=ThreadSpy(), embedder=HashingEmbedder(), categories=[LOOSE], rules=(), clock=clock
    ) as opened:
        yield opened


async def test_it_decides_as_the_other_door_does(cache: AsyncCache) -> None:
    """Exact hit, semantic hit, miss and bypass, with the same reasons."""
    assert isinstance(await cache.check(ASKED, category="loose"), Miss)
    entry = await cache.store(ASKED, {"a": 1}, category="loose")
    assert entry is not None
    exact = await cache.check(ASKED, category="loose")
    alike = await cache.check(ALIKE, category="loose")
    assert isinstance(exact, Hit)
    assert isinstance(alike, Hit)
    assert (exact.answer, exact.reason, alike.reason) == ({"a": 1}, "exact", "similar")
    assert isinstance(await cache.check("who am I", category="personal"), Bypass)
    assert await cache.store("who am I", "you", category="personal") is None
    other = await cache.check(ASKED, category="loose", scope=Scope(tenant="b"))
    assert isinstance(other, Miss)


async def test_feedback_drop_clear_and_explain_work(cache: AsyncCache) -> None:
    """Each is awaited and does what its namesake does."""
    entry = await cache.store(ASKED, "a", category="loose")
    assert entry is not None
    await cache.check(ALIKE, category="loose")
    assert await cache.feedback(entry.id, correct=False)
    blocked = await cache.check(ALIKE, category="loose")
    assert blocked.reason == "blocked-pair"
    told = await cache.explain(ALIKE, category="loose")
    assert told.decision.reason == "blocked-pair"
    assert await cache.drop(entry.id)
    assert not await cache.drop(entry.id)
    await cache.store(ASKED, "a", category="loose")
    assert await cache.clear(category="loose") == 1
    assert cache.stats()["entries"] == 0


async def test_the_loop_is_never_kept_waiting_by_store_or_embedder(clock: FakeClock) -> None:
    """Both run in threads of their own; while an embedder is stuck, the loop goes on."""
    stuck = threading.Event()
    names: list[str] = []

    class Stuck(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            names.append(threading.current_thread().name)
            assert stuck.wait(10)
            return super().embed(texts)

    store = ThreadSpy()
    async with AsyncCache(
        store=store, embedder=Stuck(), categories=[LOOSE], rules=(), clock=clock
    ) as cache:
        storing = asyncio.create_task(cache.store(ASKED, "a", category="loose"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not storing.done()
        decision = await cache.check("anything", category="empty")
        assert isinstance(decision, Miss)
        stuck.set()
        await storing
        assert isinstance(await cache.check(ASKED, category="loose"), Hit)
        assert isinstance(await cache.check(ALIKE, category="loose"), Hit)
    main = threading.main_thread().name
    assert main not in names + store.threads
    assert len(store.threads) == 2, "the second hit finds its answer at hand"


async def test_tasks_that_ask_the_same_share_one_computation(cache: AsyncCache) -> None:
    """Ten at once: one computes, all get its answer."""
    calls: list[int] = []

    async def compute() -> str:
        calls.append(1)
        await asyncio.sleep(0.01)
        return "revert"

    answers = await asyncio.gather(
        *(cache.answer(ASKED, compute, category="code") for _ in range(10))
    )
    assert answers == ["revert"] * 10
    assert len(calls) == 1
    assert await cache.answer(ASKED, compute, category="code") == "revert"
    assert len(calls) == 1


async def test_an_exception_reaches_all_tasks(cache: AsyncCache) -> None:
    """And is not remembered."""
    calls: list[int] = []

    async def fail() -> str:
        calls.append(1)
        await asyncio.sleep(0.01)
        raise ZeroDivisionError

    results = await asyncio.gather(
        *(cache.answer(ASKED, fail, category="code") for _ in range(5)), return_exceptions=True
    )
    assert [type(r) for r in results] == [ZeroDivisionError] * 5
    assert len(calls) == 1

    async def work() -> str:
        return "fine"

    assert await cache.answer(ASKED, work, category="code") == "fine"


async def test_a_cancelled_caller_does_not_stop_the_others(cache: AsyncCache) -> None:
    """The first one leaves; the second still gets the answer of the one computation."""
    calls: list[int] = []
    entered, release = asyncio.Event(), asyncio.Event()

    async def compute() -> str:
        calls.append(1)
        entered.set()
        await release.wait()
        return "revert"

    first = asyncio.create_task(cache.answer(ASKED, compute, category="code"))
    await entered.wait()
    second = asyncio.create_task(cache.answer(ASKED, compute, category="code"))
    while cache.stats()["categories"]["code"]["misses"] < 2:  # noqa: ASYNC110 - nothing tells when a caller begins to wait
        await asyncio.sleep(0.001)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    release.set()
    assert await second == "revert"
    assert len(calls) == 1


async def test_what_may_not_be_cached_is_computed_each_time(cache: AsyncCache) -> None:
    """By every caller for itself."""
    calls: list[int] = []

    async def compute() -> int:
        calls.append(1)
        return len(calls)

    for expected in (1, 2):
        assert await cache.answer("who am I", compute, category="personal") == expected


async def test_a_store_that_fails_costs_only_the_reuse(clock: FakeClock) -> None:
    """The answer comes all the same; ``store`` itself raises."""

    class Full(MemoryStore):
        def put(self, entry: object, *, keep_s: float | None = None) -> list[str]:
            raise StoreError("disk full")

    async def compute() -> str:
        return "fine"

    async with AsyncCache(store=Full(), embedder=HashingEmbedder(), clock=clock) as cache:
        assert await cache.answer(ASKED, compute) == "fine"
        with pytest.raises(StoreError, match="disk full"):
            await cache.store(ASKED, "x")


async def test_wrong_arguments_are_errors_at_once(cache: AsyncCache) -> None:
    """As at the other door."""
    with pytest.raises(ConfigError, match="category name"):
        await cache.check(ASKED, category="Bad Name")
    with pytest.raises(ConfigError, match="ttl"):
        await cache.store(ASKED, "x", ttl="soon")


async def test_a_config_opens_it(tmp_path: Path) -> None:
    """From a file, with the store and the categories it names."""
    path = tmp_path / "likewise.yaml"
    path.write_text(
        f"store: sqlite:///{tmp_path}/a.db\nembedding: {{model: hashing}}\n"
        "categories: {acme: {ttl: 1h}}\n"
    )
    async with AsyncCache.open(path) as cache:
        entry = await cache.store(ASKED, "x", category="acme")
        assert entry is not None
        assert entry.expires_at == entry.created_at + 3600
    async with AsyncCache.open(path) as cache:
        assert isinstance(await cache.check(ASKED, category="acme"), Hit)


async def test_many_tasks_at_once_are_all_served(cache: AsyncCache) -> None:
    """A few hundred lookups and writes together: every answer is its own."""

    async def one(i: int) -> None:
        word = f"{'abcdefghij'[i % 10] * 9} {'klmnopqrst'[i // 10 % 10] * 9}"
        decision = await cache.check(word, category="loose")
        if isinstance(decision, Hit):
            assert decision.answer == word
        else:
            await cache.store(word, word, category="loose")

    await asyncio.gather(*(one(i) for i in range(300)))
    assert cache.stats()["categories"]["loose"]["requests"] == 300
    assert cache.stats()["entries"] == 100


class SlowStore(MemoryStore):
    """A store whose reads do not come back until the test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.reads = 0

    def get(self, entry_id: str) -> Any:
        """Wait, then read."""
        self.reads += 1
        self.go.wait(30)
        return super().get(entry_id)


async def test_a_store_that_hangs_costs_hits_and_nothing_else() -> None:
    """A hit becomes a miss when the store does not answer; after a few it is left alone."""
    store = SlowStore()
    async with AsyncCache(store=store, embedder=HashingEmbedder()) as cache:
        await cache.store("How do I undo a commit?", "revert", category="code")
        try:
            decisions = [
                await cache.check("How do I undo a commit?", category="code") for _ in range(6)
            ]
        finally:
            store.go.set()
        assert all(isinstance(decision, Miss) for decision in decisions)
        assert {decision.reason for decision in decisions} == {Reason.STORE_FAULT}
        assert store.reads == 3
        assert cache.stats()["categories"]["code"]["faults"] == {"slow-store": 3}


async def test_what_needs_no_embedding_needs_no_thread(cache: AsyncCache) -> None:
    """Neither a miss where nothing is stored nor a hit whose answer is at hand."""
    await cache.store(ASKED, "a", category="loose")
    assert isinstance(await cache.check(ASKED, category="loose"), Hit)
    cache._embedding.shutdown()
    cache._reads.shutdown()
    hit = await cache.check(ASKED, category="loose")
    assert isinstance(hit, Hit)
    assert hit.answer == "a"
    miss = await cache.check(ASKED, category="empty")
    assert miss.reason == "no-candidate"
    with pytest.raises(RuntimeError):
        await cache.check(ALIKE, category="loose")
