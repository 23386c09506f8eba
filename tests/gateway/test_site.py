from __future__ import annotations

import gzip
import importlib.util
import re
from importlib import resources
from typing import Any

import pytest

from likewise.dashboard import site

from .conftest import Open
from .support import Gateway

STATIC = resources.files("likewise.dashboard") / "static"


def read(gateway: Gateway, path: str, **headers: str) -> Any:
    """Fetch a file of the dashboard."""
    return gateway.http.request("GET", f"{gateway.url}/ui/{path}", headers=headers)


@pytest.fixture
def gateway(open_gateway: Open) -> Gateway:
    """A gateway with a key."""
    return open_gateway({"gateway": {"admin_key": "secret"}})


def test_no_dashboard_without_a_key(open_gateway: Open) -> None:
    """Without a key there is nothing to see, and it is said how to have it."""
    answer = read(open_gateway(), "")
    assert answer.status == 404
    assert b"gateway.admin_key" in answer.data


def test_files_come_zipped_and_once(gateway: Gateway) -> None:
    """A browser gets them zipped, and need not fetch again what it has."""
    plain = read(gateway, "main.js")
    assert plain.status == 200
    assert plain.headers["content-type"].startswith("text/javascript")
    assert plain.data == (STATIC / "main.js").read_bytes()
    zipped = gateway.http.request(
        "GET",
        f"{gateway.url}/ui/main.js",
        headers={"accept-encoding": "gzip"},
        decode_content=False,
    )
    assert gzip.decompress(zipped.data) == plain.data
    known = read(gateway, "main.js", **{"if-none-match": plain.headers["etag"]})
    assert (known.status, known.data) == (304, b"")
    moved = gateway.http.request("GET", f"{gateway.url}/ui", redirect=False)
    assert moved.headers["location"].endswith("/ui/")
    assert gateway.http.request("POST", f"{gateway.url}/ui/main.js").status == 405


@pytest.mark.parametrize(
    "path", ["nothing.js", "../site.py", "..%2fsite.py", "static/main.js", "%2e%2e/site.py"]
)
def test_nothing_else_is_served(gateway: Gateway, path: str) -> None:
    """Only the files of the dashboard, whatever the path looks like."""
    assert read(gateway, path).status == 404


def test_pages_may_load_nothing_from_elsewhere(gateway: Gateway) -> None:
    """It works without the internet, and a browser would refuse anything else."""
    policy = read(gateway, "").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    for file in STATIC.iterdir():
        found = re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]+[^\s\"'`]*", file.read_text("utf-8"))
        assert [one for one in found if "www.w3.org" not in one] == []


def test_the_first_view_is_small() -> None:
    """All files together, unzipped, are below 300 KB; the chart library comes on top."""
    assert sum(len(file.read_bytes()) for file in STATIC.iterdir()) < 300_000


def test_charts_come_from_their_package(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is what ``plotly`` brings; where it is missing it is said what to install."""
    monkeypatch.setattr(site, "find_spec", lambda _: None)
    missing = read(gateway, site.CHARTS)
    assert missing.status == 404
    assert b"likewise[ui]" in missing.data
    monkeypatch.undo()
    assert importlib.util.find_spec("plotly") is not None
    library = read(gateway, site.CHARTS)
    assert library.status == 200
    assert b"plotly.js v" in library.data[:200]
