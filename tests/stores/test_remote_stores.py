"""What stores behind a network say when something is wrong with them, and what they never say."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import redis

from likewise import Entry
from likewise.bench.breakeven import private_server
from likewise.bench.stores import private_redis
from likewise.errors import ConfigError, StoreError
from likewise.stores import PostgresStore, RedisStore, open_store
from likewise.stores.remote import Address

SECRET = "CANARY"  # noqa: S105 - is looked for in messages


def entry(name: str, answer: Any = "answer") -> Entry:
    """An entry whose question is its name."""
    return Entry(name, b"s", "code", name, answer, 1.0, None, np.ones(4, np.float16), "e")


def lacking(what: str) -> None:
    """Skip a test for which something is not installed; where CI is set it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


@contextmanager
def own_redis(*options: str) -> Iterator[str]:
    """A Redis of this test's own."""
    if shutil.which("redis-server") is None:
        lacking("redis-server")
    with private_redis(*options) as url:
        yield url


def refused(url: str, error: type[Exception] = StoreError) -> str:
    """The line with which opening a store is refused."""
    with pytest.raises(error) as caught:
        open_store(url)
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("redis://127.0.0.1:1", StoreError, "check that the server runs"),
        ("redis://127.0.0.1/x", ConfigError, "they are numbers"),
        (f"redis://user:pa/{SECRET}@host/0", ConfigError, "percent-encoded"),
        (f"redis://:{SECRET}@127.0.0.1:1/0", StoreError, "redis://127.0.0.1:1/0"),
        ("redis://127.0.0.1:1/0?prefix=a", StoreError, "check that the server runs"),
        ("postgresql://u@127.0.0.1:1/x", StoreError, "check that the server runs"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/x", StoreError, "postgresql://u@127.0.0.1:1/x"),
        (f"postgresql://u:pa/{SECRET}@host/x", ConfigError, "percent-encoded"),
        ("postgresql://127.0.0.1/x?nonsense=1", StoreError, "libpq"),
        ("postgresql://127.0.0.1/x?schema=a-b", ConfigError, "plain name"),
        (f"postgresql://127.0.0.1:1/x?password={SECRET}", StoreError, "127.0.0.1:1"),
    ],
)
def test_a_wrong_address_is_one_line_with_a_remedy(
    url: str, error: type[Exception], said: str
) -> None:
    """And without the password, wherever it stood."""
    assert said in refused(url, error)


def test_a_wrong_password_and_a_right_one() -> None:
    """In the address or in the environment; the store's own address shows none."""
    with own_redis("--requirepass", "right") as url:
        host = url.partition("//")[2]
        assert "check user and password" in refused(url)
        assert "check user and password" in refused(f"redis://:{SECRET}@{host}")
        with open_store(f"redis://:right@{host}") as store:
            store.put(entry("a"))
            assert store.url == f"redis://{host}"
            assert "right" not in repr(store)


def test_the_password_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it need not be in a file; characters that URLs do not like are no matter."""
    with own_redis("--requirepass", "r/i@g:ht") as url:
        monkeypatch.setenv("LIKEWISE_STORE_PASSWORD", "r/i@g:ht")
        with open_store(url) as store:
            store.put(entry("a"))
            assert "r/i@g:ht" not in store.url


def test_a_redis_that_may_not_be_written_says_so() -> None:
    """A replica, and one whose memory is full; what is there is still read."""
    with own_redis() as url, redis.Redis.from_url(url) as server, open_store(url) as store:
        store.put(entry("a"))
        server.config_set("maxmemory", "1mb")
        with pytest.raises(StoreError, match="raise maxmemory"):
            for i in range(1000):
                store.put(entry(f"b{i}", "x" * 10_000))
        assert store.get("a") is not None
        server.config_set("maxmemory", "0")
        store.put(entry("c"))
        server.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreError, match="name the primary"):
            store.put(entry("d"))
        assert store.get("c") is not None


def test_a_redis_that_cannot_save_says_so() -> None:
    """It refuses writes while its disk is full, or gone."""
    with own_redis() as url, redis.Redis.from_url(url) as server, open_store(url) as store:
        shutil.rmtree(server.config_get("dir")["dir"])
        server.config_set("save", "1 1")
        with pytest.raises(StoreError, match="free some disk space"):
            for i in range(2_000):
                store.put(entry(f"e{i % 10}"))
                time.sleep(0.005)
        assert store.get("e1") is not None


def test_data_of_another_program_is_left_alone_in_redis(store_url: Callable[[str], str]) -> None:
    """Under our keys, of whatever type; it is named and not changed."""
    with own_redis() as url, redis.Redis.from_url(url) as server:
        for key in ("meta", "ids", "feed"):
            server.set(f"{{likewise}}:{key}", "theirs")
            assert f"{{likewise}}:{key}" in refused(url)
            assert server.get(f"{{likewise}}:{key}") == b"theirs"
            with open_store(f"{url}?prefix=ours") as store:
                store.put(entry(key))
            server.delete(f"{{likewise}}:{key}")
        server.hset("{likewise}:meta", "a", "b")
        assert "another program" in refused(url)
        server.flushall()
        with open_store(url) as store:
            store.put(entry("a"))
            server.delete("{likewise}:ids")
            server.set("{likewise}:ids", "theirs")
            with pytest.raises(StoreError, match=r"add \?prefix=NAME"):
                store.put(entry("b"))


def test_a_newer_format_is_left_alone_in_redis() -> None:
    """The line says what to upgrade."""
    with own_redis() as url, redis.Redis.from_url(url) as server:
        open_store(url).close()
        server.hset("{likewise}:meta", "format", 99)
        assert "newer Likewise (format 99" in refused(url)


def test_a_redis_that_was_emptied_is_another_store() -> None:
    """Who followed it takes stock, and writes go on."""
    with own_redis() as url, redis.Redis.from_url(url) as server, open_store(url) as store:
        store.put(entry("a"))
        before = store.mark()
        server.flushall()
        store.put(entry("b"))
        with pytest.raises(StoreError, match="not kept any more"):
            store.changes(after=before.seq)
        assert [row.id for row in store.scan()] == ["b"]
        after = store.mark()
        assert store.changes(after=after.seq) == []


def test_what_redis_evicts_is_gone_and_is_cleared_up() -> None:
    """An answer, or an entry, that the server let go of by itself is not there for anybody."""
    with own_redis() as url, redis.Redis.from_url(url) as server, open_store(url) as store:
        for name in "abc":
            store.put(entry(name))
        server.delete("{likewise}:a:a")
        server.delete("{likewise}:e:b", "{likewise}:a:b")
        assert store.get("a") is None
        assert store.get("b") is None
        assert [row.id for row in store.scan()] == ["a", "c"]
        assert [row.id for row in store.scan()] == ["a", "c"]
        assert store.put(entry("b2")) == []
        assert store.counts()["code"] == 3


@pytest.fixture
def postgres_url(store_url: Callable[[str], str]) -> str:
    """A store on the server of the tests."""
    return store_url("postgres")


def test_a_database_that_is_not_there_is_named(postgres_url: str) -> None:
    """With what to do."""
    address, _, name = postgres_url.partition("?")
    missing = f"{address.rpartition('/')[0]}/no_such_database?{name}"
    assert "make the database first" in refused(missing)


def test_a_postgres_that_may_not_be_written_says_so(postgres_url: str) -> None:
    """A replica, or whoever set it so; what is there is still read."""
    with open_store(postgres_url) as store:
        store.put(entry("a"))
    readonly = f"{postgres_url}&options=-c%20default_transaction_read_only%3Don"
    with open_store(readonly) as store:
        assert store.get("a") is not None
        with pytest.raises(StoreError, match="name the primary"):
            store.put(entry("b"))


def test_data_of_another_program_is_left_alone_in_postgres(postgres_url: str) -> None:
    """A schema that is not ours is named and not changed; one that was meddled with says so."""
    address, _, query = postgres_url.partition("?")
    name = query.partition("=")[2]
    with psycopg.connect(address, autocommit=True) as db:
        db.execute(f"DROP SCHEMA {name} CASCADE")
        db.execute(f"CREATE SCHEMA {name}")
        db.execute(f"CREATE TABLE {name}.theirs (x int)")
        assert "another program" in refused(postgres_url)
        db.execute(f"CREATE TABLE {name}.meta (name text, value text)")
        assert "another program" in refused(postgres_url)
        db.execute(f"DROP SCHEMA {name} CASCADE")
        with open_store(postgres_url) as store:
            db.execute(f"DROP TABLE {name}.entries CASCADE")
            with pytest.raises(StoreError, match=r"add \?schema=NAME"):
                store.put(entry("a"))
        with pytest.raises(StoreError, match="newer Likewise"):
            db.execute(f"UPDATE {name}.meta SET value = '99' WHERE name = 'format'")  # noqa: S608
            open_store(postgres_url)


def test_many_may_make_the_same_store_at_once(postgres_url: str) -> None:
    """Workers start together; they find one store."""
    address, _, query = postgres_url.partition("?")
    with psycopg.connect(address, autocommit=True) as db:
        db.execute(f"DROP SCHEMA {query.partition('=')[2]} CASCADE")
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - one test

    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(open_store, [postgres_url] * 6))
    assert len({store.mark().store for store in stores}) == 1
    for store in stores:
        store.close()


def test_a_postgres_that_restarts_is_asked_again() -> None:
    """Connections that it has closed are not held against it."""
    if find_spec("pgserver") is None:
        lacking("pgserver")
    with private_server() as url, open_store(url) as store, psycopg.connect(url) as db:
        store.put(entry("a"))
        db.autocommit = True
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'likewise'"
        )
        assert store.get("a") is not None
        store.put(entry("b"))
        assert store.count() == 2


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_store_that_is_not_there_is_not_made_by_who_only_reads(
    kind: str, store_url: Callable[[str], str]
) -> None:
    """``likewise stats`` with a wrong address must not leave one behind."""
    url = store_url(kind).replace("test_", "none_")
    with pytest.raises(StoreError, match="there is no store at"):
        open_store(url, create=False)
    with pytest.raises(StoreError, match="there is no store at"):
        open_store(url, create=False)


def test_addresses_are_taken_apart() -> None:
    """What is ours, what is the driver's, and what may be shown."""
    address = Address("redis://me:p%40ss@h:1/2?prefix=x&timeout=3&password=q", ("prefix",))
    assert address.password == "p@ss"  # noqa: S105 - no real one
    assert address.for_driver == "redis://me:p%40ss@h:1/2?timeout=3&password=q"
    assert address.shown == "redis://me@h:1/2?prefix=x&timeout=3"
    assert address.option("prefix", "likewise") == "x"
    assert address.option("other", "likewise") == "likewise"


def test_other_names_of_the_schemes(store_url: Callable[[str], str]) -> None:
    """Valkey's, and the short one of PostgreSQL."""
    with open_store(store_url("redis").replace("redis://", "valkey://", 1)) as store:
        assert isinstance(store, RedisStore)
        assert store.url.startswith("valkey://")
    with open_store(store_url("postgres").replace("postgresql://", "postgres://", 1)) as store:
        assert isinstance(store, PostgresStore)


def test_redis_over_tls(tmp_path: Path) -> None:
    """With a certificate that is vouched for; with another the line says what to check."""
    if shutil.which("openssl") is None:
        lacking("openssl")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost",
        "-addext", "subjectAltName=IP:127.0.0.1",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = (
        "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no",
    )  # fmt: skip
    with own_redis(*options):
        with open_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}") as store:
            store.put(entry("a"))
            assert store.get("a") is not None
        assert "check the certificate" in refused(f"rediss://127.0.0.1:{port}/0")
        # Who speaks to it without TLS gets no answer, and does not hang.
        assert "cannot open" in refused(f"redis://127.0.0.1:{port}/0")


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:12/34{SECRET}@host",
        f"redis://:12#34{SECRET}@host",
        f"postgresql://user:12/34{SECRET}@host/db",
        f"postgresql://user:12?34{SECRET}@host/db",
    ],
)
def test_a_password_with_characters_of_urls_is_not_taken_for_a_place(url: str) -> None:
    """What would be shown as a database or an option may be a part of it."""
    assert "percent-encode" in refused(url, ConfigError)


def test_a_redis_that_lost_its_latest_is_noticed(tmp_path: Path) -> None:
    """Also when it has given their numbers anew meanwhile: it is another run of the server."""
    if shutil.which("redis-server") is None:
        lacking("redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run() -> subprocess.Popen[bytes]:
        command = ["redis-server", "--port", str(port), "--dir", str(tmp_path), "--save", ""]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(redis.RedisError), redis.Redis(port=port) as client:
                client.ping()
                break
            time.sleep(0.02)
        return server

    server = run()
    try:
        with open_store(f"redis://127.0.0.1:{port}/0") as store:
            store.put(entry("a"))
            with redis.Redis(port=port) as client:
                client.save()
            store.put(entry("lost"))
            seen = store.mark()
            server.kill()
            server.wait()
            server = run()
            with open_store(f"redis://127.0.0.1:{port}/0") as other:
                for name in "bcd":
                    other.put(entry(name))
            with pytest.raises(StoreError, match="not kept any more"):
                store.changes(after=seen.seq)
            assert store.changes(after=store.mark().seq) == []
    finally:
        server.kill()
        server.wait()
