"""``/ui/*``: the files of the dashboard, which fetch all they show from ``/admin``.

The files hold nothing of the cache; the key is asked for in the browser and goes with each request
for figures. Charts are drawn by plotly.js, as the Python package ``plotly`` brings it.
"""

from __future__ import annotations

import gzip
from hashlib import blake2b
from importlib import resources
from importlib.util import find_spec
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

CHARTS = "plotly.min.js"
"""The name of the chart library among the files."""

_LEAST_ZIPPED = 1_000

_SECURITY = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""plotly.js sets styles by itself, hence ``unsafe-inline`` for them; scripts come from here."""


class _File(NamedTuple):
    kind: bytes
    tag: bytes
    body: bytes
    zipped: bytes | None


class Site:
    """An ASGI application for everything below ``/ui``.

    Args:
        keys: True while there is a key to enter by; without one there is no dashboard.
    """

    def __init__(self, keys: object) -> None:
        self._keys = keys
        self._files: dict[str, _File] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
            return
        path: str = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/ui")
        if not self._keys:
            await _say(send, 404, "the dashboard is off; set gateway.admin_key to open it")
        elif scope["method"] not in {"GET", "HEAD"}:
            await _say(send, 405, "the dashboard is read with GET")
        else:
            await self._serve(path.removeprefix("/") or "index.html", scope, send)

    async def _serve(self, name: str, scope: Scope, send: Send) -> None:
        file = self._files.get(name)
        if file is None:
            body = _read(name)
            if body is None:
                missing = "charts need plotly: pip install 'likewise[ui]'"
                await _say(send, 404, missing if name == CHARTS else "there is no such file")
                return
            file = self._files[name] = _file(name, body)
        headers = Headers(scope=scope)
        known = [
            (b"content-type", file.kind),
            (b"etag", file.tag),
            (b"cache-control", b"no-cache"),
            (b"vary", b"accept-encoding"),
        ]
        if headers.get("if-none-match", "").encode("latin-1") == file.tag:
            await _send(send, 304, known, b"")
            return
        body = file.body
        if file.zipped is not None and "gzip" in headers.get("accept-encoding", ""):
            body = file.zipped
            known.append((b"content-encoding", b"gzip"))
        await _send(send, 200, known, b"" if scope["method"] == "HEAD" else body)


def _read(name: str) -> bytes | None:
    """Return a file of the dashboard, ``None`` when there is none of this name."""
    if name == CHARTS:
        found = find_spec("plotly")
        if found is None or found.origin is None:
            return None
        path = Path(found.origin).parent / "package_data" / CHARTS
        return path.read_bytes() if path.is_file() else None
    here = resources.files("likewise.dashboard") / "static"
    # Only what is there by name: no path of the client's is ever opened.
    file = next((one for one in here.iterdir() if one.name == name and one.is_file()), None)
    return None if file is None else file.read_bytes()


def _file(name: str, body: bytes) -> _File:
    kind = guess_type(name)[0] or "application/octet-stream"
    if kind.startswith("text/") or kind == "application/javascript":
        kind += "; charset=utf-8"
    tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'.encode()
    zipped = gzip.compress(body, 6, mtime=0) if len(body) >= _LEAST_ZIPPED else None
    return _File(kind.encode(), tag, body, zipped)


async def _say(send: Send, status: int, message: str) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await _send(send, status, [kind], f"{message}\n".encode())


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    sent = [*headers, *_SECURITY, *([] if status == 304 else [length])]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
