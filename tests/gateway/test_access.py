from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from likewise.config import load, parse
from likewise.errors import ConfigError
from likewise.gateway.admin.access import KeyRing, failures, new_key
from likewise.gateway.admin.acts import Role
from likewise.gateway.admin.app import ACTS
from likewise.gateway.reload import Follower
from likewise.pace import Pace

from .conftest import Open
from .support import Gateway

NAMES = ("reader", "writer", "owner")


@pytest.fixture
def keys() -> dict[str, tuple[str, str]]:
    """A key for each role, with its hash."""
    return {name: new_key() for name in NAMES}


@pytest.fixture
def settings(keys: dict[str, tuple[str, str]]) -> list[dict[str, str]]:
    """The same as a configuration has them."""
    roles = zip(NAMES, ("read", "write", "admin"), strict=True)
    return [{"name": name, "role": role, "hash": keys[name][1]} for name, role in roles]


def ask(gateway: Gateway, key: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Do an act with a key."""
    answer = gateway.http.request(
        method,
        f"{gateway.url}/admin{path}",
        body=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {key}"},
    )
    return answer.status, answer.json()


def test_each_role_may_what_it_may(
    open_gateway: Open, keys: dict[str, tuple[str, str]], settings: list[dict[str, str]]
) -> None:
    """Every act is refused to every role below its own, before its body is looked at."""
    gateway = open_gateway({"gateway": {"keys": settings}})
    for act in ACTS:
        path = act.path.replace("{id}", "x").replace("{name}", "default")
        for name, role in zip(NAMES, Role, strict=True):
            status, told = ask(gateway, keys[name][0], act.method, path, {"no": "such"})
            assert (status == 403) == (role < act.role), (act.path, name)
            if status == 403:
                assert role.name.lower() in told["error"]["message"]


def test_what_reading_keys_may_not_do_is_not_done(
    open_gateway: Open, keys: dict[str, tuple[str, str]], settings: list[dict[str, str]]
) -> None:
    """A purge with a key that may only read leaves everything."""
    gateway = open_gateway({"gateway": {"keys": settings}})
    gateway.ask("Q")
    assert ask(gateway, keys["reader"][0], "POST", "/purge", {"all": True})[0] == 403
    assert ask(gateway, keys["writer"][0], "POST", "/purge", {"all": True})[0] == 403
    assert gateway.entries == 1
    assert ask(gateway, keys["owner"][0], "POST", "/purge", {"all": True}) == (200, {"dropped": 1})


def test_only_hashes_are_kept(keys: dict[str, tuple[str, str]]) -> None:
    """Neither the ring nor the settings hold or show the key, and a hash is no key."""
    key, hashed = keys["owner"]
    given = {"name": "owner", "role": "admin", "hash": hashed}
    ring = KeyRing(parse({"gateway": {"keys": [given]}}).settings.gateway)
    assert key not in repr(vars(ring))
    found = ring.admits(f"Bearer {key}".encode())
    assert found is not None
    assert (found.name, found.role) == ("owner", Role.ADMIN)
    for wrong in (key[:-1], key + "x", hashed, hashed.removeprefix("sha256:"), ""):
        assert ring.admits(f"Bearer {wrong}".encode()) is None
    assert ring.admits(f"Basic {key}".encode()) is None
    # The one key of the configuration may be a hash as well.
    one = KeyRing(parse({"gateway": {"admin_key": hashed}}).settings.gateway)
    assert one.admits(f"Bearer {key}".encode()) is not None
    assert one.admits(f"Bearer {hashed}".encode()) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"name": "a", "hash": "plain"}], r"gateway.keys\[0\].hash.*keys new"),
        ([{"name": "a", "hash": f"sha256:{'0' * 64}"}] * 2, "same name"),
        ([{"name": "a", "hash": f"sha256:{'0' * 64}", "role": "boss"}], "role"),
        ([{"hash": f"sha256:{'0' * 64}"}], "name"),
    ],
)
def test_wrong_keys_in_the_configuration(given: list[dict[str, str]], said: str) -> None:
    """It is said which, and what to do."""
    with pytest.raises(ConfigError, match=said):
        KeyRing(parse({"gateway": {"keys": given}}).settings.gateway)


def test_keys_rotate_without_a_restart(
    open_gateway: Open,
    tmp_path: Path,
    keys: dict[str, tuple[str, str]],
    settings: list[dict[str, str]],
) -> None:
    """A changed file voids the old key and admits the new one at once; a bad one does not."""
    gateway = open_gateway()
    path = tmp_path / "likewise.yaml"
    path.write_text(yaml.safe_dump({"gateway": {"keys": settings[:1]}}))
    ring = KeyRing(load(path).settings.gateway)
    follower = Follower(gateway.cache.engine, load(path), ring)
    old, new = (f"Bearer {keys[name][0]}".encode() for name in ("reader", "owner"))
    assert ring.admits(old) is not None
    path.write_text(yaml.safe_dump({"gateway": {"keys": settings[2:]}}))
    assert follower.look()
    assert ring.admits(old) is None
    assert ring.admits(new) is not None
    path.write_text(yaml.safe_dump({"gateway": {"keys": [{"name": "x", "hash": "plain-text"}]}}))
    assert not follower.look()
    assert ring.admits(new) is not None


def test_pace() -> None:
    """So many a minute, each for himself; what is used up comes back over a minute."""
    now = 0.0
    pace = Pace(6, lambda: now)
    for _ in range(6):
        assert pace.wait_s("a") == 0.0
        pace.count("a")
    assert pace.wait_s("a") == pytest.approx(10.0)
    assert pace.wait_s("b") == 0.0
    now = 10.0
    assert pace.wait_s("a") == pytest.approx(0.0, abs=1e-9)
    for number in range(20_000):
        pace.count(str(number))
    assert len(pace._buckets) == 10_000
    assert failures(lambda: now).wait_s("x") == 0.0


def test_guessing_is_slow_and_does_not_lock_others_out(open_gateway: Open) -> None:
    """After ten wrong keys an address waits, and is told for how long."""
    gateway = open_gateway({"gateway": {"admin_key": "right"}})
    for _ in range(10):
        assert ask(gateway, "wrong", "GET", "/stats")[0] == 401
    answer = gateway.http.request(
        "GET", f"{gateway.url}/admin/stats", headers={"authorization": "Bearer right"}
    )
    assert answer.status == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_key_has_its_pace(open_gateway: Open) -> None:
    """What a key does is limited by the minute."""
    gateway = open_gateway({"gateway": {"admin_key": "k", "acts_per_minute": 3}})
    said = [ask(gateway, "k", "GET", "/load")[0] for _ in range(4)]
    assert said == [200, 200, 200, 429]


def test_acts_are_noted(
    open_gateway: Open,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    keys: dict[str, tuple[str, str]],
    settings: list[dict[str, str]],
) -> None:
    """Who, what, from where and what became of it; refused ones too; no text of a question."""
    path = tmp_path / "audit.jsonl"
    gateway = open_gateway({"gateway": {"keys": settings, "audit_log": str(path)}})
    gateway.ask("canary question?")
    with caplog.at_level(logging.INFO, logger="likewise.audit"):
        _, found = ask(gateway, keys["reader"][0], "GET", "/entries")
        entry_id = found["entries"][0]["id"]
        body = {"correct": False, "question": "canary question?"}
        ask(gateway, keys["writer"][0], "POST", f"/entries/{entry_id}/feedback", body)
        ask(gateway, keys["reader"][0], "POST", "/purge", {"category": "default"})
        ask(gateway, keys["owner"][0], "PUT", "/policies/prices", {"ttl": "1h"})
    status, told = ask(gateway, keys["owner"][0], "GET", "/audit")
    assert status == 200
    acts = [(one["key"], one["act"], one["status"]) for one in reversed(told["acts"])]
    assert acts == [
        ("writer", "POST /admin/entries/{id}/feedback", 200),
        ("reader", "POST /admin/purge", 403),
        ("owner", "PUT /admin/policies/{name}", 200),
    ]
    assert told["acts"][-1]["id"] == entry_id
    assert told["acts"][0]["fields"] == ["ttl"]
    assert told["acts"][0]["client"] == "127.0.0.1"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines == list(reversed(told["acts"]))
    assert path.stat().st_mode & 0o777 == 0o600
    written = path.read_text("utf-8") + caplog.text
    assert "canary" not in written
    assert not any(key in written for key, _ in keys.values())
