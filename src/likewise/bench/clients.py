"""Clients that cost little, so that they are not what is measured.

``pool`` runs them in a process of their own: ``python -m likewise.bench.clients`` reads one
``Volley`` as a line of JSON, does it, answers with one ``Window``, and so on until its input ends.
They are plain sockets with a selector and requests made beforehand; of an answer they read the
status, where its head ends, and its length. ``Connection`` is one such client for one question
after the other, in this process.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from likewise.errors import UpstreamError

HOST = "127.0.0.1"

_PATH = "/v1/chat/completions"
_PATIENCE_S = 60.0
"""How long a socket may be silent before a measurement is given up."""

_PIECE = 262_144
_LINGER_S = 10.0


class Volley(msgspec.Struct, kw_only=True, frozen=True):
    """What is asked, and how.

    Attributes:
        port: Of the server, on this machine.
        requests: Whole requests as bytes; see ``chat``.
        clients: Connections, each with one request under way at a time.
        seconds: For how long, with the requests in turn over and over; ``None`` asks each once.
        spread_s: The clients begin evenly over so many seconds.
        must: What the head of every answer must hold, in lower case; others are counted apart.
        uncounted: So many of the first requests are in no figure: they are asked while the clients
            are still beginning.
    """

    port: int
    requests: Sequence[bytes]
    clients: int
    seconds: float | None = None
    spread_s: float = 0.0
    must: bytes = b""
    uncounted: int = 0


class Window(msgspec.Struct, kw_only=True, frozen=True):
    """What came of a volley.

    Attributes:
        answered: Counted answers with status 200 and with what their heads must hold.
        other: Counted answers with status 200 and without it; they are in no figure.
        failed: All others, and connections that broke.
        said: The first line of the first failure.
        seconds: From the first request to the last answer.
        busy: Share of that time in which this process used its processor: near 1, the clients are
            what was measured.
        first_us: Median microseconds until the first byte of an answer's body.
        p50_us, p99_us: Of whole answers.
    """

    answered: int
    other: int
    failed: int
    said: str
    seconds: float
    busy: float
    first_us: float
    p50_us: float
    p99_us: float

    @property
    def rps(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


def chat(text: str, *, model: str, stream: bool = False, **headers: str) -> bytes:
    """Return a request for a chat completion as the bytes that go over the wire.

    Underscores in the names of headers become hyphens.
    """
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if stream:
        body["stream"] = True
    content = msgspec.json.encode(body)
    lines = {
        "host": HOST,
        "accept": "application/json",
        "authorization": "Bearer bench",
        "content-type": "application/json",
        "content-length": str(len(content)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {_PATH} HTTP/1.1\r\n{head}\r\n".encode() + content


class Answer:
    """One answer as it comes in."""

    __slots__ = ("_chunked", "_received", "_size", "body", "first_ns", "head")

    def __init__(self) -> None:
        self.head = b""
        self.body = b""
        self.first_ns = 0
        self._received = b""
        self._size = 0
        self._chunked = False

    def take(self, data: bytes) -> bool:
        """Add what a socket brought; return whether the answer is whole."""
        if not self.head:
            self._received += data
            head, found, data = self._received.partition(b"\r\n\r\n")
            if not found:
                return False
            self.head = head = head.lower()
            _, found, length = head.partition(b"\r\ncontent-length:")
            self._chunked = not found
            self._size = int(length.partition(b"\r\n")[0]) if found else 0
        if data:
            if not self.first_ns:
                self.first_ns = time.perf_counter_ns()
            self.body = self.body + data if self.body else data
        if self._chunked:
            return self.body.endswith(b"\r\n0\r\n\r\n")
        return len(self.body) >= self._size

    @property
    def ok(self) -> bool:
        """Whether its status is 200."""
        return self.head.startswith(b"http/1.1 200 ")

    @property
    def first_line(self) -> str:
        """Its status, for people."""
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    def header(self, name: str) -> str:
        """Return the value of a header, in lower case as all of the head; empty without it."""
        _, _, rest = self.head.partition(b"\r\n" + name.encode() + b":")
        return rest.partition(b"\r\n")[0].strip().decode("latin-1")


class Connection:
    """One client that asks one question after the other and waits for each.

    Raises:
        OSError: The server cannot be reached, or it closed the connection.
    """

    def __init__(self, port: int) -> None:
        self._socket = _connect(port)

    def ask(self, request: bytes) -> tuple[Answer, float]:
        """Return the answer, and the seconds until it was whole."""
        answer = Answer()
        started = time.perf_counter_ns()
        self._socket.sendall(request)
        while not answer.take(_some(self._socket)):
            pass
        return answer, (time.perf_counter_ns() - started) / 1e9

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


Pool = Callable[[Volley], Window]


@contextmanager
def pool() -> Iterator[Pool]:
    """Run the clients in a process of their own; yields what has them do a volley.

    Raises:
        UpstreamError: A server answered with errors, or not at all.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "likewise.bench.clients"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def run(volley: Volley) -> Window:
        assert process.stdin is not None  # noqa: S101 - for the type checker
        assert process.stdout is not None  # noqa: S101 - as above
        with suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(volley) + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            msg = f"the clients of the bench ended early, with exit code {process.wait()}"
            raise UpstreamError(msg)
        window = msgspec.json.decode(line, type=Window)
        if window.failed or not window.answered:
            msg = (
                f"of {window.answered + window.other + window.failed} requests {window.answered} "
                f"were answered as they should be; {window.failed} failed, the first with "
                f"{window.said or 'nothing'!r}; see what that server has logged"
            )
            raise UpstreamError(msg)
        return window

    try:
        yield run
    finally:
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(_LINGER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def fire(volley: Volley) -> Window:
    """Do a volley in this process, to its end."""
    return _Run(volley).window()


class _Client:
    """A connection and the request under way on it."""

    __slots__ = ("answer", "counts", "sent_ns", "socket")

    def __init__(self, port: int) -> None:
        self.socket = _connect(port)
        self.answer = Answer()
        self.sent_ns = 0
        self.counts = True


class _Run:
    """A volley under way."""

    def __init__(self, volley: Volley) -> None:
        self._volley = volley
        self._next = 0
        self._other = self._failed = 0
        self._said = ""
        self._first_ns: list[int] = []
        self._whole_ns: list[int] = []
        self._end_ns = 0

    def window(self) -> Window:
        volley = self._volley
        count = volley.clients
        if volley.seconds is None:
            count = min(count, len(volley.requests))
        gap_ns = int(1e9 * volley.spread_s / max(count, 1))
        try:
            waiting = [_Client(volley.port) for _ in range(count)]
        except OSError as error:
            return self._window(0, 0.0, said=f"no connection: {error.strerror or error}")
        with selectors.DefaultSelector() as selector:
            used = time.process_time()
            began = time.perf_counter_ns()
            self._end_ns = 0 if volley.seconds is None else began + int(1e9 * volley.seconds)
            waiting.reverse()
            while waiting or selector.get_map():
                now = time.perf_counter_ns()
                while waiting and began + gap_ns * (count - len(waiting)) <= now:
                    self._start(waiting.pop(), selector)
                timeout_s = _PATIENCE_S
                if waiting:
                    timeout_s = (began + gap_ns * (count - len(waiting)) - now) / 1e9
                ready = selector.select(max(timeout_s, 0.0))
                if not ready and not waiting:
                    self._give_up(selector)
                for key, _ in ready:
                    self._read(key.data, selector)
            took = time.perf_counter_ns() - began
            used = time.process_time() - used
        return self._window(took, used)

    def _start(self, client: _Client, selector: selectors.BaseSelector) -> None:
        selector.register(client.socket, selectors.EVENT_READ, client)
        if not self._send(client):
            self._leave(client, selector)

    def _send(self, client: _Client) -> bool:
        """Send the next request; return whether there was one to send."""
        requests = self._volley.requests
        number = self._next
        if self._end_ns:
            if time.perf_counter_ns() >= self._end_ns:
                return False
            number %= len(requests)
        elif number >= len(requests):
            return False
        client.counts = self._next >= self._volley.uncounted
        self._next += 1
        client.answer = Answer()
        client.sent_ns = time.perf_counter_ns()
        try:
            client.socket.sendall(requests[number])
        except OSError as error:
            self._fail(f"connection broken: {error.strerror or error}")
            return False
        return True

    def _read(self, client: _Client, selector: selectors.BaseSelector) -> None:
        answer = client.answer
        try:
            whole = answer.take(_some(client.socket))
        except (OSError, ValueError) as error:
            self._fail(f"connection broken: {error}")
            self._leave(client, selector)
            return
        if not whole:
            return
        if not answer.ok:
            self._fail(answer.first_line)
        elif self._volley.must not in answer.head:
            self._other += client.counts
        elif client.counts:
            self._whole_ns.append(time.perf_counter_ns() - client.sent_ns)
            self._first_ns.append(answer.first_ns - client.sent_ns)
        if not self._send(client):
            self._leave(client, selector)

    def _leave(self, client: _Client, selector: selectors.BaseSelector) -> None:
        selector.unregister(client.socket)
        client.socket.close()

    def _give_up(self, selector: selectors.BaseSelector) -> None:
        for key in list(selector.get_map().values()):
            self._fail(f"no byte for {_PATIENCE_S:.0f} s")
            self._leave(key.data, selector)

    def _fail(self, said: str) -> None:
        self._failed += 1
        self._said = self._said or said

    def _window(self, took_ns: int, used_s: float, *, said: str = "") -> Window:
        whole = sorted(self._whole_ns)
        seconds = max(took_ns, 1) / 1e9
        return Window(
            answered=len(whole),
            other=self._other,
            failed=self._failed + bool(said),
            said=self._said or said,
            seconds=seconds,
            busy=used_s / seconds,
            first_us=_quantile(sorted(self._first_ns), 0.5),
            p50_us=_quantile(whole, 0.5),
            p99_us=_quantile(whole, 0.99),
        )


def _quantile(ordered_ns: Sequence[int], share: float) -> float:
    """Return a quantile of sorted nanoseconds, in microseconds; 0 of none."""
    if not ordered_ns:
        return 0.0
    return ordered_ns[min(int(share * len(ordered_ns)), len(ordered_ns) - 1)] / 1e3


def _connect(port: int) -> socket.socket:
    connected = socket.create_connection((HOST, port), _PATIENCE_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _some(connected: socket.socket) -> bytes:
    data = connected.recv(_PIECE)
    if not data:
        msg = "closed by the server"
        raise ConnectionError(msg)
    return data


def _main() -> None:
    for line in sys.stdin.buffer:
        window = fire(msgspec.json.decode(line, type=Volley))
        sys.stdout.buffer.write(msgspec.json.encode(window) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
