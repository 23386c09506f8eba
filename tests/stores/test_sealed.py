"""Texts at rest: encrypted, or left out; over SQLite, whose file can be read for what it holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from likewise import Cache, Category, Hit, Miss, Scope
from likewise.config import parse
from likewise.entry import OMITTED
from likewise.errors import ConfigError
from likewise.opening import from_config, snapshots_of, store_of
from likewise.reembedding import reembed
from likewise.request import Controls, Request
from likewise.stores import MemoryStore, Store, open_store, sealed
from likewise.stores.sealed import SealedStore
from likewise.testing import FakeClock, HashingEmbedder

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
QUESTION, ANSWER = "canary-question of mine", "canary-answer to it"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Store]:
    """Opens the same file, with these keys; without any it leaves texts out."""
    return lambda *keys: SealedStore(open_store(f"sqlite:///{tmp_path / 'a.db'}"), keys)


def at_rest(folder: Path) -> bytes:
    """All bytes of all files."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_text_at_rest(make: Callable[..., Store], tmp_path: Path, embedder: Any) -> None:
    """Neither question nor answer is in any file; both come back, by equality and by meaning."""
    with Cache(store=make(OLD), embedder=embedder) as cache:
        cache.store(QUESTION, {"said": ANSWER}, category="c")
        first = cache.check(QUESTION, category="c")
        assert isinstance(first, Hit)
    assert b"canary" not in at_rest(tmp_path)
    with Cache(store=make(OLD), embedder=embedder) as cache:
        for _ in range(2):  # the second is at hand
            again = cache.check(QUESTION, category="c")
            assert isinstance(again, Hit)
            assert again.answer == {"said": ANSWER}
        near = cache.check(f"{QUESTION}?", category="c")
        assert isinstance(near, Hit)
        assert near.tier == "semantic"
        assert cache.drop(near.entry_id)
    with open_store(f"sqlite:///{tmp_path / 'a.db'}") as plain:
        assert list(plain.scan()) == []


def test_keys_rotate(make: Callable[..., Store], embedder: Any) -> None:
    """The first key writes, all of them read; without the old one its entries are passed over."""
    with Cache(store=make(OLD), embedder=embedder) as cache:
        cache.store("old question", "old", category="c")
    with pytest.raises(ConfigError, match="none of the encryption keys opens"):
        make(NEW)
    with Cache(store=make(NEW, OLD), embedder=embedder) as cache:
        assert isinstance(cache.check("old question", category="c"), Hit)
        cache.store("new question", "new", category="c")
    with Cache(store=make(NEW), embedder=embedder) as cache:
        assert isinstance(cache.check("new question", category="c"), Hit)
        assert isinstance(cache.check("old question", category="c"), Miss)


def test_what_was_stored_in_clear_before_is_read(
    make: Callable[..., Store], tmp_path: Path, embedder: Any
) -> None:
    """Encryption may begin at any time; to go back to clear texts is refused."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with Cache(store=url, embedder=embedder) as cache:
        cache.store("clear question", "clear", category="c")
    with Cache(store=make(OLD), embedder=embedder) as cache:
        assert isinstance(cache.check("clear question", category="c"), Hit)
    with open_store(url) as store, pytest.raises(ConfigError, match=r"privacy.texts: encrypt"):
        sealed(store, "keep", [])


def test_left_out_texts(
    make: Callable[..., Store], tmp_path: Path, embedder: Any, clock: FakeClock
) -> None:
    """Equal questions are answered; similar ones where no guard would have to read the text."""
    policies = [Category("free", guards=()), Category("guarded")]
    for fresh in (True, False):
        with Cache(store=make(), embedder=embedder, categories=policies, clock=clock) as cache:
            if fresh:
                for name in ("free", "guarded"):
                    cache.store(QUESTION, "an answer", category=name)
            for name in ("free", "guarded"):
                assert isinstance(cache.check(QUESTION, category=name), Hit)
            near = f"{QUESTION}?"
            assert isinstance(cache.check(near, category="free"), Hit)
            vetoed = cache.check(near, category="guarded")
            assert isinstance(vetoed, Miss)
            assert (vetoed.reason, "left out" in vetoed.detail) == ("guard", True)
    assert b"canary" not in at_rest(tmp_path)


def test_a_left_out_text_is_not_embedded_anew(make: Callable[..., Store], embedder: Any) -> None:
    """There is nothing to embed; the entry serves equal questions as before."""
    store = make()
    with Cache(store=store, embedder=embedder) as cache:
        kept = cache.store(QUESTION, "an answer", category="c")
        assert kept is not None
        found = store.get(kept.id)
        assert found is not None
        assert found.question.startswith(OMITTED)
        assert found.key == kept.key
        counts = reembed(store, HashingEmbedder(dimensions=64))
        assert counts == {"embedded": 0, "gone": 0, "failed": 1}


def test_it_is_every_method_of_the_store_underneath() -> None:
    """Nothing of the contract is answered by a default of its own."""
    own = {name for name, value in vars(SealedStore).items() if callable(value)}
    names = {name for name, value in vars(Store).items() if callable(value)}
    assert {name for name in names if not name.startswith("_")} - {"count"} <= own


def test_wrong_and_missing_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is said what is wrong, without the key."""
    settings = parse(
        {"store": f"sqlite:///{tmp_path / 'b.db'}", "privacy": {"texts": "encrypt"}}
    ).settings
    monkeypatch.delenv("LIKEWISE_ENCRYPTION_KEYS", raising=False)
    with pytest.raises(ConfigError, match="LIKEWISE_ENCRYPTION_KEYS"):
        store_of(settings)
    monkeypatch.setenv("LIKEWISE_ENCRYPTION_KEYS", "secret-but-short")
    with pytest.raises(ConfigError, match="URL-safe base64") as caught:
        store_of(settings)
    assert "secret-but-short" not in str(caught.value)
    monkeypatch.setenv("LIKEWISE_ENCRYPTION_KEYS", f"{NEW},{OLD}")
    with store_of(settings) as store:
        assert isinstance(store, SealedStore)
    memory = MemoryStore()
    assert sealed(memory, "encrypt", [OLD]) is memory


def test_no_snapshot_of_encrypted_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A snapshot holds questions in clear: none is kept, and to ask for one is refused."""
    monkeypatch.setenv("LIKEWISE_ENCRYPTION_KEYS", OLD)
    url = f"sqlite:///{tmp_path / 'c.db'}"
    given: dict[str, Any] = {"store": url, "privacy": {"texts": "encrypt"}}
    engine = from_config(parse(given), embedder=HashingEmbedder())
    assert engine.filling._snapshots is None
    engine.close()
    folder = snapshots_of("auto", url)
    assert folder is not None
    assert not folder.exists()
    with pytest.raises(ConfigError, match=r"index\.snapshot"):
        from_config(parse({**given, "index": {"snapshot": str(tmp_path / "d")}}))


def test_nothing_is_kept_longer_than_retention(
    tmp_path: Path, clock: FakeClock, embedder: Any
) -> None:
    """Whatever the category's time to live, the caller's or none at all."""
    given: dict[str, Any] = {
        "store": f"sqlite:///{tmp_path / 'e.db'}",
        "privacy": {"retention": "1h"},
        "categories": {"long": {"ttl": None}},
    }
    engine = from_config(parse(given), embedder=embedder, clock=clock)
    with closing(engine):
        kept = engine.keep(Request("q", controls=Controls(category="long")), "a")
        assert kept is not None
        assert kept.expires_at == clock() + 3600.0
        clock.advance(3601)
        engine.tidy()
        assert engine.catalog.record(kept.id) is None
        assert engine.store.count() == 0


def test_a_tenant_is_erased(make: Callable[..., Store], embedder: Any) -> None:
    """All of it goes, indexed or not, and nothing of another's."""
    with Cache(store=make(OLD), embedder=embedder) as cache:
        for tenant in ("mine", "yours"):
            for name in ("a", "b"):
                cache.store(f"{name} {tenant}", "x", category=name, scope=Scope(tenant=tenant))
        assert cache.clear(tenant="mine", category="a") == 1
        assert cache.clear(tenant="mine") == 1
        assert isinstance(cache.check("a yours", category="a", scope=Scope(tenant="yours")), Hit)
        assert isinstance(cache.check("b mine", category="b", scope=Scope(tenant="mine")), Miss)
